from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from stages import evaluate
from stages.evaluate import Scored
from stages.inference import Predictions
from tests import small


def scored(truth: list[int], probabilities: list[list[float]]) -> Scored:
    said = np.array(probabilities, dtype=np.float32)
    features: NDArray[np.float32] = np.zeros((len(truth), 1), dtype=np.float32)
    return Scored(features, np.array(truth), Predictions(said.argmax(axis=1), said))


TWO = scored([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
THREE = scored([0, 1, 2], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])


def test_two_classes_are_scored_by_the_second() -> None:
    scores = evaluate.scores(TWO, 2)
    assert scores["rows"] == 4
    assert scores["accuracy"] == 0.75
    assert scores["balanced_accuracy"] == 0.75
    assert scores["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2, abs=1e-6)
    assert scores["roc_auc"] == 1
    assert scores["average_precision"] == 1
    logs = np.log([0.9, 0.4, 0.8, 0.9])
    assert scores["log_loss"] == pytest.approx(-logs.mean(), abs=1e-6)
    assert scores["brier"] == pytest.approx((0.01 + 0.36 + 0.04 + 0.01) / 4, abs=1e-6)


def test_ranking_the_wrong_way_round_scores_nothing() -> None:
    assert evaluate.scores(scored([1, 0], [[0.9, 0.1], [0.1, 0.9]]), 2)["roc_auc"] == 0


def test_the_precision_that_is_averaged_is_that_of_the_second_class() -> None:
    rows = scored([0, 0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.4, 0.6]])
    assert evaluate.scores(rows, 2)["average_precision"] == 0.5


def test_a_perfect_model_of_three_classes_scores_one() -> None:
    scores = evaluate.scores(THREE, 3)
    assert {scores[name] for name in ("accuracy", "f1_macro", "roc_auc")} == {1}
    assert scores["average_precision"] == 1
    assert scores["brier"] == 0
    assert scores["log_loss"] == pytest.approx(0, abs=1e-6)


def test_scores_have_six_digits() -> None:
    assert evaluate.scores(scored([0, 1, 1], [[0.6, 0.4]] * 3), 2)["accuracy"] == 0.333333


def test_plots_of_two_classes_show_the_second_with_its_label() -> None:
    fitted = small.fitted()
    said = Predictions(
        fitted.pipeline.predict(fitted.features), fitted.pipeline.predict_proba(fitted.features)
    )
    rows = Scored(fitted.features, fitted.classes, said)
    points = evaluate.plots(fitted.pipeline, rows, small.TERMS, 0)
    assert {name: list(frame) for name, frame in points.items()} == {
        "confusion": ["actual", "predicted"],
        "roc": ["false_positive_rate", "true_positive_rate", "class"],
        "precision_recall": ["recall", "precision", "class"],
        "calibration": ["predicted", "observed", "class"],
        "importance": ["column", "importance"],
    }
    assert (points["confusion"]["actual"] == np.where(fitted.classes, "yes", "no")).all()
    assert (points["confusion"]["predicted"] == np.where(said.labels, "yes", "no")).all()
    for name in ("roc", "precision_recall", "calibration"):
        assert set(points[name]["class"]) == {"yes"}
        values = points[name].iloc[:, :2].to_numpy()
        assert ((values >= 0) & (values <= 1)).all()
    assert points["roc"].iloc[0, :2].tolist() == [0, 0]
    assert points["roc"].iloc[-1, :2].tolist() == [1, 1]
    assert points["importance"]["column"][0] == "area"
    assert points["importance"]["importance"].is_monotonic_decreasing
    again = evaluate.plots(fitted.pipeline, rows, small.TERMS, 0)
    for name, frame in points.items():
        pd.testing.assert_frame_equal(frame, again[name])


def test_plots_of_three_classes_show_each_against_the_rest() -> None:
    names = np.array(["a", "b", "c"])
    for curve in (evaluate._roc, evaluate._precision_recall, evaluate._calibration):
        assert list(evaluate._by_class(curve, THREE, names)["class"].unique()) == ["a", "b", "c"]


def test_the_column_that_decides_is_the_important_one() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(100, 2)).astype(np.float32)
    classes = (features[:, 1] > 0).astype(np.int64)
    pipeline = make_pipeline(LogisticRegression()).fit(features, classes)
    said = Predictions(pipeline.predict(features), pipeline.predict_proba(features))
    found = evaluate.importance(pipeline, Scored(features, classes, said), ("idle", "decides"), 0)
    assert found["column"].tolist() == ["decides", "idle"]
    assert found["importance"][0] > 0.1 > abs(found["importance"][1])


def large(rows: int) -> Scored:
    """Many rows of two classes, scored with a doubt."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, rows)
    second = (truth + random.normal(size=rows)).clip(-2, 3) / 5 + 0.4
    said = np.column_stack([1 - second, second]).astype(np.float32)
    features: NDArray[np.float32] = np.zeros((rows, 1), dtype=np.float32)
    return Scored(features, truth, Predictions((second > 0.5).astype(np.int64), said))


def test_curves_of_many_rows_are_thin_and_still_the_same_curves() -> None:
    rows = large(40_000)
    names = np.array(["no", "yes"])
    for curve, x, y, area in (
        (evaluate._roc, "false_positive_rate", "true_positive_rate", "roc_auc"),
        (evaluate._precision_recall, "recall", "precision", "average_precision"),
    ):
        whole = curve(rows.truth == 1, rows.said.probabilities[:, 1])
        found = evaluate._by_class(curve, rows, names)
        assert 900 < len(found) <= evaluate.POINTS < len(whole)
        for end in (0, -1):
            assert found[x].iloc[end] == pytest.approx(whole[x].iloc[end])
            assert found[y].iloc[end] == pytest.approx(whole[y].iloc[end])
        below = abs(np.trapezoid(found[y], found[x]))
        assert below == pytest.approx(evaluate.scores(rows, 2)[area], abs=1e-3)


def test_a_short_curve_is_whole() -> None:
    curve = pd.DataFrame({"x": [0.0, 0.5, 1.0], "y": [0.0, 0.0, 1.0]})
    pd.testing.assert_frame_equal(evaluate.thin(curve, 3), curve)


def test_the_confusion_of_many_rows_is_that_of_some_at_random() -> None:
    rows = large(30_000)
    names = np.array(["no", "yes"])
    found = evaluate.confusion(rows, names, 1)
    assert len(found) == evaluate.CONFUSION_ROWS
    right = float((found["actual"] == found["predicted"]).mean())
    assert right == pytest.approx(evaluate.scores(rows, 2)["accuracy"], abs=0.02)
    pd.testing.assert_frame_equal(found, evaluate.confusion(rows, names, 1))
    assert not found.equals(evaluate.confusion(rows, names, 2))


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_by_blocks_and_pairs_are_those_of_all_rows_at_once(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "BLOCK", 7)
    random = np.random.default_rng(classes)
    truth = random.integers(0, classes, 100)
    said = random.dirichlet(np.ones(classes), 100).astype(np.float32)
    labels = said.argmax(axis=1)
    features: NDArray[np.float32] = np.zeros((100, 1), dtype=np.float32)
    found = evaluate.scores(Scored(features, truth, Predictions(labels, said)), classes)
    hot = np.eye(classes)[truth]
    kept = slice(1, 2) if classes == 2 else slice(None)
    every = np.arange(classes)
    assert found == {
        "rows": 100,
        "accuracy": approx(metrics.accuracy_score(truth, labels)),
        "balanced_accuracy": approx(metrics.balanced_accuracy_score(truth, labels)),
        "f1_macro": approx(metrics.f1_score(truth, labels, average="macro")),
        "roc_auc": approx(metrics.roc_auc_score(hot[:, kept], said[:, kept])),
        "average_precision": approx(metrics.average_precision_score(hot[:, kept], said[:, kept])),
        "log_loss": approx(metrics.log_loss(truth, said, labels=every)),
        "brier": approx(metrics.brier_score_loss(truth, said, labels=every)),
    }


def approx(value: float) -> Any:
    return pytest.approx(value, abs=1e-6)
