"""Make a fitted estimator one that ONNX reproduces exactly in float32."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier

from cairn.modeling import compat, isotonic
from cairn.modeling.estimators import is_lightgbm_class, is_thread_invariant, list_estimators


def align(estimator: BaseEstimator) -> BaseEstimator:
    """Return a fitted estimator that float32 can reproduce, and that holds no number of cores.

    A tree on histograms splits half-way between two values, in float64. ONNX compares in float32,
    where half-way between two neighbors would be one of them. The largest float32 that is not above
    the threshold splits every float32 alike. The steps of an isotonic calibration become slopes.
    """
    if not (is_thread_invariant(estimator) or _has_isotonic(estimator)):
        return estimator
    aligned = copy.deepcopy(estimator)
    for part in filter(lambda part: hasattr(part, "classes_"), walk(aligned)):
        if isinstance(part, HistGradientBoostingClassifier):
            _align_histogram_boosting(part)
        elif is_lightgbm_class(type(part)):
            _align_lightgbm(part)
        elif _has_isotonic(part):
            _align_calibration(part)
    return aligned


def _has_isotonic(estimator: BaseEstimator) -> bool:
    """Tell whether the estimator, or one inside it, is calibrated by isotonic regression."""
    return any(getattr(part, "method", None) == "isotonic" for part in list_estimators(estimator))


def walk(value: Any) -> Iterator[BaseEstimator]:
    """Yield an estimator and every estimator in its attributes, at any depth."""
    if isinstance(value, BaseEstimator):
        yield value
        value = vars(value)
    if compat.is_calibrated_fold(value):
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from walk(inner)


def _align_histogram_boosting(estimator: HistGradientBoostingClassifier) -> None:
    for tree in compat.iterate_histogram_trees(estimator):
        tree.nodes["num_threshold"] = floor_to_float32(tree.nodes["num_threshold"])
    compat.forget_threads(estimator)
    estimator.__class__ = HistGradientBoostingClassifier


def _align_calibration(estimator: Any) -> None:
    for fold in getattr(estimator, "calibrated_classifiers_", []):
        fold.calibrators = list(map(isotonic.smooth, fold.calibrators))


def _align_lightgbm(estimator: Any) -> None:
    from lightgbm import Booster, LGBMClassifier  # noqa: PLC0415 - an optional extra

    lines = estimator.booster_.model_to_string().split("\n")
    text = "\n".join(_align_line(line) for line in lines if not line.startswith("tree_sizes="))
    # The text ends with the best of the trees, so nothing is left to stop early for.
    compat.set_booster(estimator, Booster(model_str=text))
    estimator.__class__ = LGBMClassifier


def _align_line(line: str) -> str:
    """Round the thresholds in a line of LightGBM's text form of a model down to float32."""
    name, _, values = line.partition("=")
    if name != "threshold":
        return line
    thresholds = floor_to_float32(np.array(values.split(), dtype=np.float64))
    return "threshold=" + " ".join(map(repr, thresholds.tolist()))


def floor_to_float32(values: Any) -> Any:
    """Return the largest float32 that is not above each float64, as float64."""
    near = values.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near > values, below, near).astype(np.float64)
