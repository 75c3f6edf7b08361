from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
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
