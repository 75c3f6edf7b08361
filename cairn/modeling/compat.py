"""Private parts of scikit-learn and LightGBM that fitting needs, for want of a public way.

Each function says why. `tests/cairn/modeling/test_compat.py` fails when a library moves one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn import ensemble
from sklearn.calibration import _CalibratedClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GridSearchCV
from sklearn.utils import check_random_state

# The versions whose source was read for this module.
SCIKIT_LEARN = ">=1.9,<1.10"
LIGHTGBM = ">=4.7,<4.8"

BATCH = 2**14  # rows that are binned at once: some megabytes of float64


class HistGradientBoostingClassifier(ensemble.HistGradientBoostingClassifier):  # type: ignore[misc]
    """scikit-learn's histogram boosting, which bins float32 rows without a float64 copy of all.

    scikit-learn copies the rows as float64 and keeps the copy while it fits, although trees see
    only the bins, one byte each. Here a batch at a time becomes float64. The bins are the same, and
    so is every bit of the model. It has scikit-learn's name, which the errors of a fit say.
    """

    def _preprocess_X(self, X: Any, *, reset: bool) -> Any:  # noqa: N802, N803
        is_float32 = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype == np.float32  # noqa: PLR2004
        if not (reset and is_float32):
            return super()._preprocess_X(X, reset=reset)
        super()._preprocess_X(X[:1], reset=True)  # it checks the columns, not their values
        if self.is_categorical_ is None:
            return X, None
        return super()._preprocess_X(X, reset=True)

    def _bin_data(self, X: Any, sample_weight: Any, is_training_data: bool) -> Any:  # noqa: FBT001, N803
        if is_training_data:
            self._bin_mapper.fit(*self._draw_rows(X, sample_weight))
        # Trees grow from columns, and predict from rows.
        binned = np.empty(X.shape, dtype=np.uint8, order="F" if is_training_data else "C")
        for start in range(0, len(X), BATCH):
            batch = slice(start, start + BATCH)
            binned[batch] = self._bin_mapper.transform(X[batch])
        return binned

    def _draw_rows(self, X: Any, sample_weight: Any) -> Any:  # noqa: N803
        """Draw the rows that decide the bins as the binning step itself draws them, and weights."""
        mapper = self._bin_mapper
        if mapper.subsample is None or len(X) <= mapper.subsample:
            return X, None, sample_weight
        shares = None if sample_weight is None else sample_weight / np.sum(sample_weight)
        random = check_random_state(mapper.random_state)
        return X[random.choice(len(X), mapper.subsample, p=shares, replace=True)], None, None


def iterate_histogram_trees(model: ensemble.HistGradientBoostingClassifier) -> Iterator[Any]:
    """Yield the fitted trees of histogram boosting, iteration by iteration, class by class.

    scikit-learn keeps them private, as its pull request 12807 decided; skl2onnx reads the same
    attribute.
    """
    for iteration in model._predictors:  # noqa: SLF001
        yield from iteration


def forget_threads(model: ensemble.HistGradientBoostingClassifier) -> None:
    """Clear the number of cores that the binning step keeps, so that a pickle has none in it."""
    model._bin_mapper.n_threads = None  # noqa: SLF001


def is_calibrated_fold(value: Any) -> bool:
    """Tell whether a value is a fold of CalibratedClassifierCV, which is no estimator itself."""
    return isinstance(value, _CalibratedClassifier)


def set_knots(model: IsotonicRegression) -> None:
    """Have an isotonic regression predict by its thresholds, which were changed after its fit.

    Its `fit` builds the interpolation by the same private method, which nothing public calls.
    """
    model._build_f(model.X_thresholds_, model.y_thresholds_)  # noqa: SLF001


class GridSearch(GridSearchCV):  # type: ignore[misc]  # untyped
    """A grid search that decides itself in which order it evaluates candidates.

    scikit-learn documents the hook `_run_search` for subclasses, under a private name.
    """

    def run_search(self, evaluate_candidates: Callable[[Any], dict[str, Any]]) -> None:
        """Evaluate candidates, some at a time; each call returns the results of all so far."""
        raise NotImplementedError

    def _run_search(self, evaluate_candidates: Callable[[Any], dict[str, Any]]) -> None:
        self.run_search(evaluate_candidates)


def set_booster(model: Any, booster: Any) -> None:
    """Replace the trees of a fitted LightGBM classifier; `booster_` has no setter."""
    model._Booster = booster  # noqa: SLF001


def list_lightgbm_parameters() -> list[str]:
    """List every parameter of LightGBM and its aliases.

    LightGBM accepts unknown parameters and ignores them, and has no public list of the known ones.
    """
    from lightgbm.basic import _ConfigAliases  # noqa: PLC0415 - an optional extra

    aliases = _ConfigAliases._get_all_param_aliases()  # noqa: SLF001
    return [*aliases, *(name for names in aliases.values() for name in names)]
