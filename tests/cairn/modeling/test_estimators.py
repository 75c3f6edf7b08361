from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.svm import LinearSVC

from cairn.contract import Contract, Label, Target
from cairn.errors import CairnError
from cairn.modeling import alignment, estimators
from cairn.modeling.folds import Folds
from cairn.params.train import Train
from tests import small

TREE = "sklearn.tree.DecisionTreeClassifier"


def train_params(name: str = TREE, **arguments: Any) -> Train:
    return small.LINEAR.model_copy(update={"estimator": name, "arguments": arguments, "seed": 3})


def build(name: str = TREE, **arguments: Any) -> Any:
    return estimators.build_estimator(train_params(name, **arguments), small.CONTRACT)


def test_the_estimator_gets_its_arguments_and_the_seed() -> None:
    result = build(max_depth=2)
    assert (result.max_depth, result.random_state) == (2, 3)


def test_a_seed_among_the_arguments_wins() -> None:
    assert build(random_state=9).random_state == 9


def test_an_estimator_without_randomness_gets_no_seed() -> None:
    assert not hasattr(build("sklearn.naive_bayes.GaussianNB"), "random_state")


@pytest.mark.parametrize("name", ["svm.LinearSVC", "svm.SVC", "linear_model.RidgeClassifier"])
def test_an_estimator_without_probabilities_is_calibrated_on_shuffled_rows(name: str) -> None:
    result = build(f"sklearn.{name}")
    assert isinstance(result, CalibratedClassifierCV)
    assert (result.cv.number, result.cv.seed, result.cv.learns_all) == (5, 3, True)


@pytest.mark.parametrize(
    "name",
    [
        "sklearn.linear_model.LinearRegression",
        "sklearn.tree.Nothing",
        "sklearn.nothing.Tree",
        "sklearn.tree",
        "sklearn.datasets.load_iris",
        "sklearn.metrics.accuracy_score",
        "sklearn.preprocessing.StandardScaler",
        "lightgbm.LGBMRegressor",
        "lightgbm.Nothing",
    ],
)
def test_what_is_no_classifier_is_refused_by_name(name: str) -> None:
    with pytest.raises(CairnError) as error:
        build(name)
    assert f"train.estimator: got {name}; allowed:" in str(error.value)


def test_an_unknown_argument_is_named_with_those_that_are_known() -> None:
    with pytest.raises(CairnError) as error:
        build(depth=2)
    assert "train.arguments: DecisionTreeClassifier takes no depth; it takes" in str(error.value)
    assert "max_depth" in str(error.value)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("ensemble.StackingClassifier", "estimators"),
        ("ensemble.VotingClassifier", "estimators"),
        ("multiclass.OneVsRestClassifier", "estimator"),
    ],
)
def test_an_estimator_that_needs_an_argument_says_which_and_how(name: str, needed: str) -> None:
    with pytest.raises(CairnError) as error:
        build(f"sklearn.{name}")
    kind = name.rpartition(".")[2]
    assert str(error.value) == (
        f"train.estimator: {kind} needs {needed} in train.arguments; "
        "write an estimator as {class: sklearn.svm.LinearSVC, C: 0.5}"
    )


def test_no_seed_at_all_is_refused() -> None:
    with pytest.raises(CairnError, match="random_state: null"):
        build(random_state=None)


def target(classes: tuple[Label, ...]) -> Contract:
    own = Target(name="y", classes=classes)
    return Contract(columns=small.CONTRACT.columns, target=own)


@pytest.mark.parametrize(
    ("contract", "weights", "coded"),
    [
        (small.CONTRACT, {"yes": 5.0, "no": 1.0}, {1: 5.0, 0: 1.0}),
        (target((1, 2, 3)), {1: 0.5, 2: 1, 3: 2}, {0: 0.5, 1: 1, 2: 2}),
        (target((-1, 1)), {1: 9}, {1: 9}),
        (target((False, True)), {True: 3, False: 1}, {1: 3, 0: 1}),
    ],
)
def test_a_class_is_weighted_by_its_label(
    contract: Contract, weights: dict[Any, float], coded: dict[int, float]
) -> None:
    params = train_params(class_weight=weights)
    assert estimators.build_estimator(params, contract).class_weight == coded
    assert params.arguments == {"class_weight": weights}


@pytest.mark.parametrize("weights", ["balanced", None])
def test_other_weights_go_to_the_estimator_as_they_are(weights: str | None) -> None:
    assert build(class_weight=weights).class_weight == weights


@pytest.mark.parametrize("label", ["maybe", 0, 1, "Yes", True])
def test_the_weight_of_a_class_that_is_none_is_refused_with_the_classes(label: Any) -> None:
    with pytest.raises(CairnError) as error:
        build(class_weight={"no": 1, label: 2})
    assert str(error.value) == (
        f"train.arguments.class_weight: no class {label!r}; the classes are 'no', 'yes'"
    )


@pytest.mark.parametrize(
    "name", ["ensemble.GradientBoostingClassifier", "neural_network.MLPClassifier"]
)
def test_where_classes_cannot_be_weighted_the_error_names_what_can(name: str) -> None:
    with pytest.raises(CairnError, match=r"takes no class_weight; .*HistGradientBoosting"):
        build(f"sklearn.{name}", class_weight="balanced")


WRAPPER = "sklearn.calibration.CalibratedClassifierCV"
SVC = {"class": "sklearn.svm.LinearSVC", "C": 0.5, "class_weight": {"yes": 2}}


def test_a_mapping_with_a_class_is_an_estimator_seeded_and_weighted_alike() -> None:
    params = train_params(WRAPPER, estimator=SVC, ensemble=False)
    result = estimators.build_estimator(params, small.CONTRACT)
    assert isinstance(result.estimator, LinearSVC)
    inner = result.estimator
    assert (inner.C, inner.random_state, inner.class_weight) == (0.5, 3, {1: 2})
    assert params.arguments["estimator"] == SVC


@pytest.mark.parametrize(("cv", "number"), [({}, 5), ({"cv": None}, 5), ({"cv": 3}, 3)])
def test_folds_inside_are_shuffled_by_the_seed(cv: dict[str, Any], number: int) -> None:
    result = build(WRAPPER, estimator=SVC, **cv).cv
    assert isinstance(result, Folds)
    assert (result.number, result.seed, result.learns_all) == (number, 3, True)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (WRAPPER, {"estimator": SVC, "ensemble": False}),
        ("sklearn.ensemble.StackingClassifier", {"estimators": [["a", SVC]]}),
    ],
)
def test_what_asks_each_row_once_gets_folds_that_all_rows_are_in(
    name: str, arguments: dict[str, Any]
) -> None:
    assert build(name, **arguments).cv.learns_all is False


def test_no_folds_that_mean_something_else_stay() -> None:
    result = build("sklearn.linear_model.RidgeClassifierCV").estimator
    assert isinstance(result, RidgeClassifierCV)
    assert result.cv is None


def test_estimators_in_lists_are_made_with_their_names() -> None:
    pair = [["a", SVC], ["b", {"class": TREE}]]
    result = build("sklearn.ensemble.StackingClassifier", estimators=pair, cv=4)
    assert isinstance(result, StackingClassifier)
    assert [(name, type(inner).__name__) for name, inner in result.estimators] == [
        ("a", "LinearSVC"),
        ("b", "DecisionTreeClassifier"),
    ]
    assert [inner.random_state for _, inner in result.estimators] == [3, 3]
    assert isinstance(result.final_estimator, LogisticRegression)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ({"class": "sklearn.svm.Nothing"}, "train.arguments.estimator.class: got sklearn.svm.No"),
        ({"class": "os.path.join"}, "train.arguments.estimator.class: got os.path.join"),
        ({"class": "LinearSVC"}, "train.arguments.estimator.class: got LinearSVC; allowed"),
        ({"class": TREE, "depth": 2}, "train.arguments.estimator: DecisionTreeClassifier takes no"),
        ({"class": TREE, "random_state": None}, "train.arguments.estimator.random_state: null"),
        ({**SVC, "class_weight": {"x": 1}}, "train.arguments.estimator.class_weight: no class 'x'"),
    ],
)
def test_what_is_wrong_inside_is_named_with_its_place(inner: dict[str, Any], message: str) -> None:
    with pytest.raises(CairnError) as error:
        build(WRAPPER, estimator=inner)
    assert message in str(error.value)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("name", [TREE, "sklearn.svm.LinearSVC"])
def test_an_estimator_is_calibrated_as_the_block_says(name: str, method: str) -> None:
    params = train_params(name).model_copy(update={"calibration": method})
    result = estimators.build_estimator(params, small.CONTRACT)
    assert isinstance(result, CalibratedClassifierCV)
    assert type(result.estimator).__name__ == name.rpartition(".")[2]
    assert (result.method, result.estimator.random_state) == (method, 3)
    assert (result.cv.number, result.cv.seed, result.cv.learns_all) == (5, 3, True)


def test_what_calibrates_itself_is_not_calibrated_twice() -> None:
    params = train_params("sklearn.svm.SVC", probability=True)
    with pytest.raises(CairnError, match=r"train\.calibration: probability: true .* remove it"):
        estimators.build_estimator(
            params.model_copy(update={"calibration": "sigmoid"}), small.CONTRACT
        )


def stopping(name: str, **arguments: Any) -> Any:
    params = train_params(name, **arguments).model_copy(update={"early_stopping": 7})
    return estimators.build_estimator(params, small.CONTRACT)


@pytest.mark.parametrize(
    "name",
    [
        "sklearn.ensemble.GradientBoostingClassifier",
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.linear_model.SGDClassifier",
        "sklearn.neural_network.MLPClassifier",
    ],
)
def test_what_is_fitted_step_by_step_is_told_when_to_stop(name: str) -> None:
    arguments = {"loss": "log_loss"} if "SGD" in name else {}
    result = stopping(name, **arguments)
    assert (result.n_iter_no_change, result.validation_fraction) == (7, 0.1)
    assert getattr(result, "early_stopping", True) is True
    assert stopping(name, **arguments, n_iter_no_change=2).n_iter_no_change == 2
    assert name in estimators.EARLY_STOPPING


def test_what_cannot_stop_early_is_refused_with_those_that_can() -> None:
    with pytest.raises(CairnError) as error:
        stopping(TREE)
    assert str(error.value) == (
        f"train.early_stopping: {TREE} does not stop early; set null, or use one that does: "
        f"{', '.join(estimators.EARLY_STOPPING)}"
    )


def test_a_calibrated_estimator_stops_early_inside() -> None:
    params = train_params("sklearn.ensemble.HistGradientBoostingClassifier")
    changes = {"early_stopping": 4, "calibration": "isotonic"}
    result = estimators.build_estimator(params.model_copy(update=changes), small.CONTRACT)
    assert (result.method, result.estimator.n_iter_no_change) == ("isotonic", 4)


def test_folds_that_are_none_are_refused() -> None:
    with pytest.raises(
        CairnError, match=r"train\.estimator: .* cannot be built: got 1 folds; allowed"
    ):
        build(WRAPPER, estimator=SVC, cv=1)


def test_lightgbm_is_told_to_give_the_same_bits_and_to_be_quiet() -> None:
    result = build("lightgbm.LGBMClassifier", max_bin=63, n_estimators=5).get_params()
    assert result["deterministic"] is result["force_col_wise"] is True
    assert (result["verbosity"], result["max_bin"], result["random_state"]) == (-1, 63, 3)
    with pytest.raises(CairnError, match="LGBMClassifier takes no bins_at_most; it takes"):
        build("lightgbm.LGBMClassifier", bins_at_most=63)


def test_without_lightgbm_the_error_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['lightgbm'] = None\n"
        "from tests.cairn.modeling.test_estimators import build\n"
        "build('lightgbm.LGBMClassifier')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "lightgbm.LGBMClassifier: LightGBM is not installed; run `make install-extras`" in (
        done.stderr
    )


@pytest.mark.parametrize(
    ("name", "arguments", "scale"),
    [
        ("sklearn.linear_model.LogisticRegression", {}, True),
        ("sklearn.svm.SVC", {}, True),
        ("sklearn.neural_network.MLPClassifier", {}, True),
        (WRAPPER, {"estimator": SVC}, True),
        ("sklearn.naive_bayes.GaussianNB", {}, False),
        ("sklearn.ensemble.RandomForestClassifier", {}, False),
        (WRAPPER, {"estimator": {"class": TREE}}, False),
        ("lightgbm.LGBMClassifier", {}, False),
    ],
)
def test_what_compares_columns_wants_them_scaled(
    name: str,
    arguments: dict[str, Any],
    scale: bool,  # noqa: FBT001
) -> None:
    assert estimators.is_scale_sensitive(build(name, **arguments)) is scale


def test_what_asks_an_ensemble_while_it_is_fitted_is_known() -> None:
    forest = "sklearn.ensemble.RandomForestClassifier"
    inner = {"class": forest}
    assert estimators.has_inner_ensemble(
        build("sklearn.ensemble.AdaBoostClassifier", estimator=inner)
    )
    assert not estimators.has_inner_ensemble(build(forest))
    assert not estimators.has_inner_ensemble(build(WRAPPER, estimator=SVC))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1))
def test_a_floor_splits_every_float32_as_the_float64_does(values: list[float]) -> None:
    thresholds = np.clip(np.array(values), -3e38, 3e38)
    floors = alignment.floor_to_float32(thresholds)
    np.testing.assert_array_equal(floors, floors.astype(np.float32))
    assert (floors <= thresholds).all()
    above = np.nextafter(floors.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    assert (above > thresholds).all()


def neighbours() -> tuple[Any, Any]:
    """Rows whose values are neighbours in float32, and what is half-way between tells apart."""
    first = np.float32(1) + np.arange(40, dtype=np.float32) * np.spacing(np.float32(1))
    rows = np.repeat(first, 30)[:, None]
    return rows, (np.arange(40).repeat(30) % 7 > 3).astype(np.int64)


@pytest.mark.parametrize(
    "name", ["sklearn.ensemble.HistGradientBoostingClassifier", "lightgbm.LGBMClassifier"]
)
def test_thresholds_in_float32_say_the_same_of_every_float32(name: str) -> None:
    rows, classes = neighbours()
    small_bins = {"min_data_in_bin": 1} if "lightgbm" in name else {}
    fitted = build(name, **small_bins).fit(rows, classes)
    exact = alignment.align(fitted)
    assert exact is not fitted
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        predictions, expected = exact.predict_proba(rows), fitted.predict_proba(rows)
    np.testing.assert_array_equal(predictions, expected)
    assert len(np.unique(predictions[:, 1])) > 2


def test_of_estimators_inside_others_the_fitted_ones_are_made_exact() -> None:
    rows, classes = neighbours()
    inner = {"class": "sklearn.ensemble.HistGradientBoostingClassifier", "max_iter": 3}
    exact = alignment.align(build(WRAPPER, estimator=inner, cv=2).fit(rows, classes))
    fitted = [each.estimator for each in exact.calibrated_classifiers_]
    assert len(fitted) == 2
    for each in fitted:
        assert type(each) is HistGradientBoostingClassifier  # a pickle names scikit-learn's
        assert each._bin_mapper.n_threads is None
        thresholds = each._predictors[0][0].nodes["num_threshold"]
        np.testing.assert_array_equal(thresholds, thresholds.astype(np.float32))


@pytest.mark.parametrize("ensemble", [True, False])
def test_steps_of_a_calibration_become_slopes(ensemble: bool) -> None:  # noqa: FBT001
    rows, classes = neighbours()
    fitted = build(WRAPPER, estimator=SVC, method="isotonic", ensemble=ensemble).fit(rows, classes)
    before = fitted.predict_proba(rows)
    exact = alignment.align(fitted)
    assert exact is not fitted
    np.testing.assert_array_equal(fitted.predict_proba(rows), before)
    for each in exact.calibrated_classifiers_:
        (function,) = each.calibrators
        assert 0 < function.y_thresholds_[0] <= function.y_thresholds_[-1] < 1


def test_what_has_no_such_trees_stays_as_it_is() -> None:
    tree = build().fit([[0.0], [1.0]], [0, 1])
    assert alignment.align(tree) is tree


def test_a_warning_is_one_line_and_plans_of_a_library_are_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with estimators.summarize_warnings("the fit"):
        for _ in range(2):
            warnings.warn("not\nconverged", ConvergenceWarning, stacklevel=1)
        warnings.warn("will go in 2.0", FutureWarning, stacklevel=1)
    assert capsys.readouterr().out == "train: the fit warns: not converged\n"
