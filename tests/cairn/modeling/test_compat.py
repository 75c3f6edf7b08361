"""Canaries: each private name of a library that `cairn.modeling.compat` uses still behaves."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import pytest
from packaging.specifiers import SpecifierSet
from sklearn import ensemble
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from cairn.modeling import compat

X = np.arange(60, dtype=np.float64)[:, None]
Y = (X[:, 0] % 7 > 2).astype(np.int64)


@pytest.mark.parametrize(
    ("package", "versions"),
    [("scikit-learn", compat.SCIKIT_LEARN), ("lightgbm", compat.LIGHTGBM)],
)
def test_the_module_was_read_for_the_installed_version(package: str, versions: str) -> None:
    assert metadata.version(package) in SpecifierSet(versions)


def make_rows(rows: int, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Make float32 rows of whole numbers, some missing and one infinite, and classes to learn."""
    random = np.random.default_rng(0)
    features = random.normal(scale=3, size=(rows, columns)).round().astype(np.float32)
    features[:, 1] += random.normal(size=rows)
    features[::7, 0], features[1, 1] = np.nan, np.inf
    return features, (features[:, 1] + random.normal(size=rows) > 0).astype(np.int64)


def read_trees(model: ensemble.HistGradientBoostingClassifier) -> list[bytes]:
    """Read every bit of the trees of histogram boosting."""
    return [tree.nodes.tobytes() for tree in compat.iterate_histogram_trees(model)]


@pytest.mark.parametrize(
    ("rows", "arguments"),
    [
        (500, {}),
        (40_000, {"early_stopping": True}),
        (500, {"early_stopping": True, "scoring": "accuracy"}),
        (500, {"class_weight": "balanced"}),
        (500, {"categorical_features": [0, 2]}),
        (500, {"max_bins": 5, "warm_start": True}),
        (200_001, {}),  # of more than 200,000 rows a draw decides the bins
        (200_001, {"class_weight": {0: 1.0, 1: 3.0}}),
    ],
    ids=str,
)
def test_binning_in_batches_gives_the_same_trees(rows: int, arguments: dict[str, Any]) -> None:
    features, classes = make_rows(rows)
    kinds = (ensemble.HistGradientBoostingClassifier, compat.HistGradientBoostingClassifier)
    one, other = (
        kind(max_iter=2, random_state=1, **arguments).fit(features, classes) for kind in kinds
    )
    assert read_trees(one) == read_trees(other)
    assert len(read_trees(one)) >= 2
    np.testing.assert_array_equal(one.predict_proba(features), other.predict_proba(features))


@pytest.mark.parametrize(
    ("features", "classes"),
    [(np.zeros((0, 2), np.float32), []), (np.zeros((3, 2), np.float32), [0, 1])],
    ids=["no row", "a class too few"],
)
def test_binning_in_batches_refuses_what_scikit_learn_refuses(features: Any, classes: Any) -> None:
    messages = []
    for kind in (ensemble.HistGradientBoostingClassifier, compat.HistGradientBoostingClassifier):
        with pytest.raises(ValueError, match="sample") as error:
            kind().fit(features, classes)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_binning_in_batches_saves_the_float64_copy_of_all_rows() -> None:
    features, classes = make_rows(250_000, columns=12)
    peaks = []
    for kind in (ensemble.HistGradientBoostingClassifier, compat.HistGradientBoostingClassifier):
        tracemalloc.start()
        try:
            kind(max_iter=1).fit(features, classes)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    difference = peaks[0] - peaks[1]
    assert difference > features.nbytes  # of the copy, which is twice that


def test_the_trees_of_histogram_boosting_decide_its_predictions() -> None:
    model = HistGradientBoostingClassifier(max_iter=3).fit(X, Y)
    trees = list(compat.iterate_histogram_trees(model))
    assert len(trees) == 3
    assert {"num_threshold", "value", "left", "right"} <= set(trees[0].nodes.dtype.names)
    for tree in trees:
        tree.nodes["value"] = 0
    assert len(np.unique(model.predict_proba(X))) <= 2


def test_the_binning_step_forgets_the_number_of_cores() -> None:
    model = HistGradientBoostingClassifier(max_iter=1).fit(X, Y)
    assert isinstance(model._bin_mapper.n_threads, int)
    compat.forget_threads(model)
    assert model._bin_mapper.n_threads is None
    assert model.predict(X).shape == (60,)


def test_a_fold_of_a_calibration_is_known_and_is_no_estimator() -> None:
    model = CalibratedClassifierCV(LogisticRegression(), cv=2).fit(X, Y)
    assert all(map(compat.is_calibrated_fold, model.calibrated_classifiers_))
    assert not hasattr(model.calibrated_classifiers_[0], "get_params")
    assert not compat.is_calibrated_fold(model)


def test_an_isotonic_regression_predicts_by_the_knots_that_it_was_given() -> None:
    model = IsotonicRegression(out_of_bounds="clip").fit([0, 1, 2], [0, 0.5, 1])
    model.X_thresholds_, model.y_thresholds_ = np.array([0.0, 2]), np.array([0.2, 0.4])
    assert model.predict([1]).tolist() == [0.5]
    compat.set_knots(model)
    assert model.predict([1]) == pytest.approx([0.3])


def test_a_grid_search_calls_its_hook_and_collects_the_results() -> None:
    class Backwards(compat.GridSearch):
        def run_search(self, evaluate_candidates: Callable[[Any], dict[str, Any]]) -> None:
            for value in (2.0, 1.0):
                results = evaluate_candidates([{"C": value}])
            assert len(results["mean_test_score"]) == 2

    search = Backwards(LogisticRegression(), {"C": [1.0, 2.0]}, cv=2).fit(X, Y)
    assert [each["C"] for each in search.cv_results_["params"]] == [2.0, 1.0]


def test_a_lightgbm_classifier_predicts_by_the_booster_that_it_was_given() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    fixed = {"n_estimators": 3, "min_child_samples": 2, "verbosity": -1}
    one, other = (lightgbm.LGBMClassifier(**fixed).fit(X, y) for y in (Y, 1 - Y))
    before = one.predict_proba(X)
    compat.set_booster(one, other.booster_)
    assert one.booster_ is other.booster_
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    assert not np.array_equal(one.predict_proba(X), before)


def test_the_list_of_lightgbm_s_parameters_has_names_and_aliases() -> None:
    pytest.importorskip("lightgbm")
    names = compat.list_lightgbm_parameters()
    assert {"num_leaves", "num_leaf", "monotone_constraints", "mc"} <= set(names)
    assert "max_leave" not in names
