"""Canaries: each private name of a library that `cairn.modeling.compat` uses still behaves."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import pytest
from packaging.specifiers import SpecifierSet
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
