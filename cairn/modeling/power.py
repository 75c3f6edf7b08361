"""Long tails made short: Yeo–Johnson in float64, whatever comes in."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.preprocessing import PowerTransformer

# Standard deviations. Far beyond what is known a power overflows; a number this large says as much.
FARTHEST = 1e6
# Deviation over mean: below, a power bends nothing, and what it leaves of the digits is noise.
NARROW = 1e-3


class Power(PowerTransformer):  # type: ignore[misc]  # untyped
    """Yeo–Johnson's power of each column, then mean 0 and variance 1, as float32.

    In float32, as scikit-learn computes it of float32, a power of -20 leaves nothing to tell two
    values apart by, and what ONNX says is another thing; so both compute in float64. A missing
    value stays one, any other number becomes a finite one.

    Source: I. Yeo and R. Johnson, A new family of power transformations to improve normality or
    symmetry, Biometrika 87, 2000.

    >>> Power().fit_transform(np.array([[0], [1], [1000]])).round(1)
    array([[-0.9],
           [-0.5],
           [ 1.4]], dtype=float32)
    """

    def fit(self, X: NDArray[Any], y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Learn the power, mean and deviation of each of n × k columns."""
        super().fit(np.asarray(X, dtype=np.float64), y)
        return self

    def transform(self, X: NDArray[Any]) -> NDArray[np.float32]:  # noqa: N803
        """All of n × k, as its columns are learned to be."""
        # Not its parent's, which refuses a power that overflows.
        columns = zip(np.asarray(X, dtype=np.float64).T, self.lambdas_, strict=True)
        with np.errstate(over="ignore"):
            bent = np.column_stack([stats.yeojohnson(each, power) for each, power in columns])
        scaled = (bent - self._scaler.mean_) / self._scaler.scale_
        found: NDArray[np.float32] = np.clip(scaled, -FARTHEST, FARTHEST).astype(np.float32)
        return found

    def fit_transform(self, X: NDArray[Any], y: Any = None) -> NDArray[np.float32]:  # noqa: N803
        """Both in turn."""
        return self.fit(X, y).transform(X)

    def _yeo_johnson_optimize(self, x: NDArray[np.float64]) -> float:
        """The power of a column, as its parent finds it; 1 where any power is a straight line."""
        known = x[~np.isnan(x)]
        if known.std() < NARROW * abs(known.mean()):
            return 1.0
        return float(super()._yeo_johnson_optimize(x))
