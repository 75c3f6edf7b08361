"""Shorten long tails by the Yeo–Johnson transformation in float64, whatever comes in."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler

# Standard deviations. Far beyond the training rows a power overflows; the limit stands for that.
FARTHEST = 1e6
# Deviation over mean: below it a power bends nothing, and the digits that it leaves are noise.
NARROW = 1e-3

Doubles = NDArray[np.float64]


class Power(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Applies Yeo–Johnson's power to each column, then scales it to mean 0 and variance 1.

    scikit-learn's PowerTransformer computes float32 input in float32, where a power of -20 leaves
    nothing to tell two values apart by, and ONNX computes another thing; so both compute in
    float64 here. The output is float32. A missing value stays missing, any other becomes finite.

    Source: I. Yeo and R. Johnson, A new family of power transformations to improve normality or
    symmetry, Biometrika 87, 2000.

    Attributes
    ----------
    lambdas_
        The power of each of k columns.
    scaler_
        Mean and deviation of the bent columns.

    >>> Power().fit_transform(np.array([[0], [1], [1000]])).round(1)
    array([[-0.9],
           [-0.5],
           [ 1.4]], dtype=float32)
    """

    def fit(self, X: NDArray[Any], y: Any = None) -> Self:  # noqa: ARG002, N803 - scikit-learn's
        """Learn the power, mean and deviation of each of n × k columns."""
        rows = np.asarray(X, dtype=np.float64)
        self.n_features_in_ = rows.shape[1]
        self.lambdas_ = np.array([find_power(column) for column in rows.T])
        self.scaler_ = StandardScaler().fit(self._bend(rows))
        return self

    def transform(self, X: NDArray[Any]) -> NDArray[np.float32]:  # noqa: N803
        """Transform n × k columns."""
        bent = self._bend(np.asarray(X, dtype=np.float64))
        scaled = (bent - self.scaler_.mean_) / self.scaler_.scale_
        result: NDArray[np.float32] = np.clip(scaled, -FARTHEST, FARTHEST).astype(np.float32)
        return result

    def _bend(self, rows: Doubles) -> Doubles:
        columns = zip(rows.T, self.lambdas_, strict=True)
        with np.errstate(over="ignore"):
            return np.column_stack([stats.yeojohnson(each, power) for each, power in columns])


def find_power(column: Doubles) -> float:
    """Find the power of a column by maximum likelihood; 1 where any power is a straight line."""
    known = column[~np.isnan(column)]
    if not len(known) or known.std() <= NARROW * abs(known.mean()):
        return 1.0
    return float(stats.yeojohnson(known)[1])
