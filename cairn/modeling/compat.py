"""Private parts of scikit-learn and LightGBM that fitting needs, for want of a public way.

Each function says why. `tests/cairn/modeling/test_compat.py` fails when a library moves one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sklearn.calibration import _CalibratedClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GridSearchCV

# The versions whose source was read for this module.
SCIKIT_LEARN = ">=1.9,<1.10"
LIGHTGBM = ">=4.7,<4.8"


def iterate_histogram_trees(model: HistGradientBoostingClassifier) -> Iterator[Any]:
    """Yield the fitted trees of histogram boosting, iteration by iteration, class by class.

    scikit-learn keeps them private, as its pull request 12807 decided; skl2onnx reads the same
    attribute.
    """
    for iteration in model._predictors:  # noqa: SLF001
        yield from iteration


def forget_threads(model: HistGradientBoostingClassifier) -> None:
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
