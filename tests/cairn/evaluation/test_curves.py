from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline

from cairn import paths
from cairn.compute import processes
from cairn.compute.processes import Run
from cairn.contract import Column, Contract, Feature, Histogram, Target
from cairn.evaluation import curves, metrics
from cairn.evaluation.metrics import ScoredRows
from cairn.inference import Predictions
from cairn.modeling import fitting
from cairn.modeling.folds import Folds
from cairn.modeling.records import Trial
from tests import small
from tests.cairn.evaluation import evaluated
from tests.cairn.evaluation.evaluated import doubtful

TRIALS = (Trial("C=1", 64, 0.12345678, 0.01), Trial("C=2", 64, 0.2, 0.02))
THREE = ScoredRows(
    np.zeros((3, 1), dtype=np.float32),
    np.arange(3),
    Predictions(np.arange(3), np.eye(3, dtype=np.float32)),
)


def predict(pipeline: Pipeline, features: NDArray[np.float32]) -> Predictions:
    return Predictions(pipeline.predict(features), pipeline.predict_proba(features))


def scored(fit: small.Fitted) -> ScoredRows:
    return ScoredRows(fit.features, fit.classes, predict(fit.pipeline, fit.features))


def points(fit: small.Fitted, **more: Any) -> dict[str, pd.DataFrame]:
    return curves.measure_points(
        fit.pipeline, scored(fit), fit.contract, more.get("seed", 0), more.get("trials", ())
    )


def learned(fit: small.Fitted) -> pd.DataFrame:
    unfitted = fitting.build_pipeline(fit.features, fit.contract, small.LINEAR)
    return curves.measure_learning(unfitted, (fit.features, fit.classes), small.LINEAR.seed)


def test_there_is_a_frame_for_each_picture_measured_or_not() -> None:
    frames = {**points(small.fitted()), "learning": curves.empty_learning()}
    assert {name: list(frame) for name, frame in frames.items()} == {
        "confusion": ["actual", "predicted"],
        "roc": ["false_positive_rate", "true_positive_rate", "class"],
        "precision_recall": ["recall", "precision", "class"],
        "calibration": ["predicted", "observed", "rows", "class"],
        "importance": ["column", "importance"],
        "learning": ["rows", "part", "log_loss", "deviation"],
        "dependence": ["column", "value", "label", "class", "probability"],
        "search": ["candidate", "rows", "value", "deviation"],
    }
    assert set(frames) == set(paths.PICTURES)
    assert {name for name, frame in frames.items() if frame.empty} == {"learning", "search"}


def test_two_classes_are_shown_by_the_second_with_its_label() -> None:
    fit = small.fitted()
    frames, rows = points(fit), scored(fit)
    assert (frames["confusion"]["actual"] == np.where(fit.classes, "yes", "no")).all()
    assert (
        frames["confusion"]["predicted"] == np.where(rows.predictions.labels, "yes", "no")
    ).all()
    for name in ("roc", "precision_recall", "calibration"):
        assert set(frames[name]["class"]) == {"yes"}
        values = frames[name].iloc[:, :2].to_numpy()
        assert ((values >= 0) & (values <= 1)).all()
    assert frames["roc"].iloc[0, :2].tolist() == [0, 0]
    assert frames["roc"].iloc[-1, :2].tolist() == [1, 1]
    assert frames["calibration"]["rows"].sum() == len(fit.classes)
    assert frames["importance"]["column"][0] == "area"
    assert frames["importance"]["importance"].is_monotonic_decreasing
    assert set(frames["dependence"]["class"]) == {"yes"}


def test_the_same_rows_give_the_same_points_on_one_thread_on_many_and_in_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(3)
    features = random.normal(size=(200, 3)).astype(np.float32)
    classes = (features[:, 0] + random.normal(size=200) > 0).astype(np.int64)
    forest = RandomForestClassifier(20, random_state=0)
    fitted = make_pipeline(forest).fit(features, classes)
    contract = Contract(
        columns=tuple(Column(name=name, kind="number") for name in "abc"),
        target=Target(name="y", classes=(0, 1)),
    )
    rows = ScoredRows(features, classes, predict(fitted, features))

    def every(run: Run = processes.here) -> dict[str, pd.DataFrame]:
        learning = curves.measure_learning(
            make_pipeline(forest), (features, classes), small.LINEAR.seed, run
        )
        return {**curves.measure_points(fitted, rows, contract, 0, TRIALS), "learning": learning}

    here = every()
    with processes.pool() as run:
        apart = every(run)
    monkeypatch.setattr(processes, "LARGEST", 0)
    with joblib.parallel_config("threading", n_jobs=4):
        together = every()
    for name, frame in here.items():
        pd.testing.assert_frame_equal(frame, together[name], check_exact=True)
        pd.testing.assert_frame_equal(frame, apart[name], check_exact=True)


def test_three_classes_are_shown_each_against_the_rest() -> None:
    names = np.array(["a", "b", "c"])
    for curve in (curves._roc, curves._precision_recall, curves._calibration):
        assert list(curves._by_class(curve, THREE, names)["class"].unique()) == ["a", "b", "c"]


def test_the_calibration_counts_the_rows_of_each_of_its_points() -> None:
    probabilities = np.array([0.0, 0.05, 0.1, 0.11, 0.55, 1.0])
    calibration = curves._calibration(np.array([0, 0, 0, 1, 1, 1], dtype=bool), probabilities)
    assert calibration["rows"].tolist() == [3, 1, 1, 1]
    assert calibration["observed"].tolist() == [0, 1, 1, 1]
    assert calibration["predicted"].tolist() == pytest.approx([0.05, 0.11, 0.55, 1])


def test_the_column_that_decides_is_the_important_one() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(100, 2)).astype(np.float32)
    classes = (features[:, 1] > 0).astype(np.int64)
    pipeline = make_pipeline(LogisticRegression()).fit(features, classes)
    rows = ScoredRows(features, classes, predict(pipeline, features))
    importance = curves.importance(pipeline, rows, ("idle", "decides"), 0)
    assert importance["column"].tolist() == ["decides", "idle"]
    assert importance["importance"][0] > 0.1 > abs(importance["importance"][1])


def test_the_parts_of_a_date_are_shuffled_together_as_one_column() -> None:
    """Of two features that say the same, each alone could be shuffled without a loss."""
    random = np.random.default_rng(0)
    alike = random.normal(size=(100, 1)).repeat(2, axis=1)
    features = np.column_stack([alike, random.normal(size=100)]).astype(np.float32)
    classes = (features[:, 0] > 0).astype(np.int64)
    pipeline = make_pipeline(LogisticRegression()).fit(features, classes)
    rows = ScoredRows(features, classes, predict(pipeline, features))
    together = curves.importance(pipeline, rows, ("when", "when", "idle"), 0)
    apart = curves.importance(pipeline, rows, ("year", "month", "idle"), 0)
    assert together["column"].tolist() == ["when", "idle"]
    assert together["importance"][0] > 1.5 * apart["importance"][0]


def test_every_feature_counts_for_its_column() -> None:
    fit = small.full()
    frames = points(fit)
    assert sorted(frames["importance"]["column"]) == sorted(small.FULL.names)
    names = {feature.name for feature in fit.contract.features}
    assert set(frames["dependence"]["column"]) <= names


def test_importance_is_that_of_scikit_learn() -> None:
    """Whose own function asks about each shuffle by itself."""
    fit = small.fitted()
    rows = np.random.default_rng(5).permutation(len(fit.classes))
    expected = permutation_importance(
        fit.pipeline,
        fit.features[rows],
        fit.classes[rows],
        scoring="neg_log_loss",
        n_repeats=curves.IMPORTANCE_REPEATS,
        random_state=5,
    ).importances_mean
    importance = curves.importance(fit.pipeline, scored(fit), small.CONTRACT.names, 5)
    by_name = importance.set_index("column")["importance"]
    assert by_name[list(small.CONTRACT.names)].tolist() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("batch", [1, curves.BATCH])
def test_dependence_is_that_of_scikit_learn(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many values the model is asked about at once."""
    monkeypatch.setattr(curves, "BATCH", batch)
    fit = small.fitted()
    index = small.CONTRACT.names.index("area")
    dependence = curves.dependence(fit.pipeline, fit.features, fit.contract, ["area"], 0)
    values = dependence["value"].to_numpy()
    expected = partial_dependence(
        fit.pipeline,
        fit.features,
        [index],
        response_method="predict_proba",
        custom_values={index: values},
        method="brute",
        kind="average",
    )["average"][0]
    assert dependence["probability"].tolist() == pytest.approx(expected, abs=2e-6)


def test_curves_of_many_rows_are_thin_and_still_the_same_curves() -> None:
    rows = doubtful(40_000)
    names = np.array(["no", "yes"])
    for curve, x, y, area in (
        (curves._roc, "false_positive_rate", "true_positive_rate", "roc_auc"),
        (curves._precision_recall, "recall", "precision", "average_precision"),
    ):
        full = curve(rows.truth == 1, rows.predictions.probabilities[:, 1])
        thin = curves._by_class(curve, rows, names)
        assert 900 < len(thin) <= curves.POINTS < len(full)
        for end in (0, -1):
            assert thin[x].iloc[end] == pytest.approx(full[x].iloc[end])
            assert thin[y].iloc[end] == pytest.approx(full[y].iloc[end])
        below = abs(np.trapezoid(thin[y], thin[x]))
        assert below == pytest.approx(metrics.scores(rows, 2)[area], abs=1e-3)


def test_a_short_curve_is_whole() -> None:
    curve = pd.DataFrame({"x": [0.0, 0.5, 1.0], "y": [0.0, 0.0, 1.0]})
    pd.testing.assert_frame_equal(curves.thin(curve, 3), curve)


def test_the_confusion_of_many_rows_is_that_of_some_at_random() -> None:
    rows = doubtful(30_000)
    names = np.array(["no", "yes"])
    confusion = curves.confusion(rows, names, 1)
    assert len(confusion) == curves.CONFUSION_ROWS
    right = float((confusion["actual"] == confusion["predicted"]).mean())
    assert right == pytest.approx(metrics.scores(rows, 2)["accuracy"], abs=0.02)
    pd.testing.assert_frame_equal(confusion, curves.confusion(rows, names, 1))
    assert not confusion.equals(curves.confusion(rows, names, 2))


def test_a_search_is_shown_as_it_was_tried() -> None:
    search = points(small.fitted(), trials=TRIALS)["search"]
    assert search["candidate"].tolist() == ["C=1", "C=2"]
    assert search["value"].tolist() == [0.123457, 0.2]


def test_more_rows_to_learn_from_make_a_better_model() -> None:
    fit = small.fitted()
    learning = learned(fit)
    assert learning["part"].tolist() == ["training"] * 5 + ["validation"] * 5
    aside = learning[learning["part"] == "validation"]
    assert aside["rows"].is_monotonic_increasing
    assert aside["rows"].iloc[-1] == len(fit.classes) * 4 // 5
    assert aside["log_loss"].iloc[-1] < aside["log_loss"].iloc[0]
    assert (learning["deviation"] >= 0).all()


def test_with_all_rows_the_curve_says_what_the_folds_say() -> None:
    fit = small.fitted()
    losses = []
    for rows, aside in Folds(5, seed=0).split(fit.features, fit.classes):
        model = fitting.fit(fit.features[rows], fit.classes[rows], small.CONTRACT, small.LINEAR)
        probabilities = model.predict_proba(fit.features[aside])
        losses.append(sklearn_metrics.log_loss(fit.classes[aside], probabilities, labels=[0, 1]))
    last = learned(fit).iloc[-1]
    assert last["log_loss"] == pytest.approx(np.mean(losses), abs=1e-5)
    assert last["deviation"] == pytest.approx(np.std(losses), abs=1e-5)


def test_a_class_with_fewer_rows_than_folds_has_no_learning_curve() -> None:
    fit = small.fitted()
    few = np.flatnonzero(fit.classes == 1)[:4]
    rows = np.concatenate([np.flatnonzero(fit.classes == 0), few])
    learning = learned(fit._replace(features=fit.features[rows], classes=fit.classes[rows]))
    pd.testing.assert_frame_equal(learning, curves.empty_learning())


def test_sizes_that_cannot_hold_each_class_twice_are_left_out() -> None:
    fit = small.fitted()
    few = np.flatnonzero(fit.classes == 1)[:5]
    rows = np.concatenate([np.flatnonzero(fit.classes == 0), few])
    learning = learned(fit._replace(features=fit.features[rows], classes=fit.classes[rows]))
    # Four of the class in a fold's rows: two of them are among more than a quarter.
    assert 0 < len(learning) < 10
    assert learning["rows"].min() > len(rows) * 0.8 * 0.1


def test_sizes_on_which_the_estimator_fails_are_left_out() -> None:
    """Calibration by five folds that do not give way wants five rows of each class."""
    fit = small.fitted()
    inside = CalibratedClassifierCV(GaussianNB(), cv=5)
    features = np.nan_to_num(fit.features)
    rows = (features, fit.classes)
    learning = curves.measure_learning(Pipeline([("model", inside)]), rows, small.LINEAR.seed)
    assert learning["rows"].nunique() == 4
    assert np.isfinite(learning["log_loss"]).all()


@pytest.mark.parametrize("number", [2, 3])
def test_a_class_without_a_row_has_no_curve(number: int) -> None:
    truth, names = [0, 0, 2, 0] if number > 2 else [0] * 4, np.array(["a", "b", "c"][:number])
    probabilities = np.random.default_rng(0).dirichlet(np.ones(number), 4)
    test = evaluated.scored(truth, probabilities.tolist())
    for curve, columns in (
        (curves._roc, ["false_positive_rate", "true_positive_rate", "class"]),
        (curves._precision_recall, ["recall", "precision", "class"]),
        (curves._calibration, ["predicted", "observed", "rows", "class"]),
    ):
        frame = curves._by_class(curve, test, names)
        assert list(frame) == columns
        assert set(frame["class"]) == ({"a", "c"} if number > 2 else set())
        assert frame.notna().all(axis=None)


@pytest.mark.parametrize("classes", [[0] * 90 + [1] * 9 + [2], [0, 1] * 40])
def test_each_beginning_of_mixed_rows_has_the_classes_in_proportion(classes: list[int]) -> None:
    codes = np.array(classes)
    order = curves.mix(np.arange(len(codes)), codes, 1)
    assert sorted(order) == list(range(len(codes)))
    assert len(set(codes[order[: len(set(classes))]])) == len(set(classes))
    for end in range(1, len(codes), 7):
        counts = np.bincount(codes[order[:end]], minlength=codes.max() + 1)
        wanted = np.bincount(codes) * end / len(codes)
        assert np.abs(counts - wanted).max() <= len(set(classes))
    assert (order != curves.mix(np.arange(len(codes)), codes, 2)).any()


def test_the_probability_follows_the_column_that_decides() -> None:
    dependence = points(small.fitted())["dependence"]
    area = dependence[dependence["column"] == "area"]
    assert area["value"].is_monotonic_increasing
    assert area["probability"].is_monotonic_increasing
    assert area["probability"].iloc[-1] - area["probability"].iloc[0] > 0.5
    assert len(area) == curves.DEPENDENCE_POINTS
    assert area["label"].isna().all()


def test_categories_and_booleans_are_called_by_their_names() -> None:
    dependence = points(small.fitted())["dependence"]
    for column, labels in (("colour", ["blue", "green", "red"]), ("flag", ["false", "true"])):
        own = dependence[dependence["column"] == column]
        assert own["label"].tolist() == labels
        assert own["value"].tolist() == list(range(len(labels)))


def test_dependence_is_the_mean_of_what_the_model_says() -> None:
    fit = small.fitted()
    dependence = points(fit)["dependence"]
    one = dependence[dependence["column"] == "colour"].iloc[2]
    rows = fit.features.copy()
    rows[:, list(small.CONTRACT.names).index("colour")] = one["value"]
    assert one["probability"] == pytest.approx(
        fit.pipeline.predict_proba(rows)[:, 1].mean(), abs=1e-5
    )


def test_several_classes_have_a_curve_each() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(90, 1)).astype(np.float32)
    classes = np.digitize(features[:, 0], [-0.5, 0.5])
    pipeline = make_pipeline(LogisticRegression()).fit(features, classes)
    contract = Contract(
        columns=(Column(name="x", kind="number"),), target=Target(name="y", classes=(1, 2, 3))
    )
    dependence = curves.dependence(pipeline, features, contract, ["x"], 0)
    assert list(dependence["class"].unique()) == ["1", "2", "3"]
    sums = dependence.groupby("value")["probability"].sum()
    assert sums.tolist() == pytest.approx([1] * curves.DEPENDENCE_POINTS, abs=1e-5)


def test_a_column_with_one_value_has_no_curve() -> None:
    features = np.column_stack([np.arange(20), np.ones(20)]).astype(np.float32)
    pipeline = make_pipeline(LogisticRegression()).fit(features, np.arange(20) > 9)
    contract = Contract(
        columns=(Column(name="x", kind="number"), Column(name="one", kind="number")),
        target=Target(name="y", classes=(False, True)),
    )
    dependence = curves.dependence(pipeline, features, contract, ["one", "x"], 0)
    assert list(dependence["column"].unique()) == ["x"]
    table = curves.dependence(pipeline, features, contract, ["one"], 0)
    assert table.empty
    assert list(table) == list(curves.DEPENDENCE)


def test_small_units_keep_their_digits() -> None:
    values = np.linspace(1e-9, 2e-9, 50).astype(np.float32)
    grid, _ = curves.grid(values, None, Feature(name="tiny"))
    assert len(grid) == curves.DEPENDENCE_POINTS
    assert min(grid) > 1e-9
    assert max(grid) < 2e-9


def test_of_many_categories_the_commonest_are_asked() -> None:
    names = tuple(f"c{code}" for code in range(50))
    column = Column(name="c", kind="category", categories=names)
    counts = tuple(range(50))
    feature = Feature(name="c", column="c", histogram=Histogram(edges=(), counts=counts, missing=0))
    values, labels = curves.grid(np.zeros(3, dtype=np.float32), column, feature)
    assert values == list(range(30, 50))
    assert labels == list(names[30:])
