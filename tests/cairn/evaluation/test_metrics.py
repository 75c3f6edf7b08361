from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from cairn.evaluation import metrics
from cairn.evaluation.metrics import ScoredRows
from cairn.inference import Predictions
from tests.cairn.evaluation.evaluated import approx, scored

TWO = scored([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
THREE = scored([0, 1, 2], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])


def test_two_classes_are_scored_by_the_second() -> None:
    scores = metrics.scores(TWO, 2)
    assert scores["rows"] == 4
    assert scores["accuracy"] == 0.75
    assert scores["balanced_accuracy"] == 0.75
    assert scores["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2, abs=1e-6)
    assert scores["roc_auc"] == 1
    assert scores["average_precision"] == 1
    logs = np.log([0.9, 0.4, 0.8, 0.9])
    assert scores["log_loss"] == pytest.approx(-logs.mean(), abs=1e-6)
    assert scores["brier"] == pytest.approx((0.01 + 0.36 + 0.04 + 0.01) / 4, abs=1e-6)


def test_a_loss_is_the_same_whether_scikit_learn_or_onnx_predicted_it() -> None:
    wrong = scored([0, 1], [[0.9, 0.1], [1, 0]])
    wide = wrong.predictions._replace(
        probabilities=wrong.predictions.probabilities.astype(np.float64)
    )
    assert metrics.scores(wrong._replace(predictions=wide), 2) == metrics.scores(wrong, 2)


def test_ranking_the_wrong_way_round_scores_nothing() -> None:
    assert metrics.scores(scored([1, 0], [[0.9, 0.1], [0.1, 0.9]]), 2)["roc_auc"] == 0


def test_the_precision_that_is_averaged_is_that_of_the_second_class() -> None:
    rows = scored([0, 0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.4, 0.6]])
    assert metrics.scores(rows, 2)["average_precision"] == 0.5


def test_a_perfect_model_of_three_classes_scores_one() -> None:
    scores = metrics.scores(THREE, 3)
    assert {scores[name] for name in ("accuracy", "f1_macro", "roc_auc")} == {1}
    assert scores["average_precision"] == 1
    assert scores["brier"] == 0
    assert scores["log_loss"] == pytest.approx(0, abs=1e-6)


def test_scores_have_six_digits() -> None:
    assert metrics.scores(scored([0, 1, 1], [[0.6, 0.4]] * 3), 2)["accuracy"] == 0.333333


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_by_blocks_and_pairs_are_those_of_all_rows_at_once(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "BLOCK", 7)
    random = np.random.default_rng(classes)
    truth = random.integers(0, classes, 100)
    probabilities = random.dirichlet(np.ones(classes), 100).astype(np.float32)
    labels = probabilities.argmax(axis=1)
    features: NDArray[np.float32] = np.zeros((100, 1), dtype=np.float32)
    scores = metrics.scores(
        ScoredRows(features, truth, Predictions(labels, probabilities)), classes
    )
    hot = np.eye(classes)[truth]
    kept = slice(1, 2) if classes == 2 else slice(None)
    every = np.arange(classes)
    assert scores == {
        "rows": 100,
        "accuracy": approx(sklearn_metrics.accuracy_score(truth, labels)),
        "balanced_accuracy": approx(sklearn_metrics.balanced_accuracy_score(truth, labels)),
        "f1_macro": approx(sklearn_metrics.f1_score(truth, labels, average="macro")),
        "roc_auc": approx(sklearn_metrics.roc_auc_score(hot[:, kept], probabilities[:, kept])),
        "average_precision": approx(
            sklearn_metrics.average_precision_score(hot[:, kept], probabilities[:, kept])
        ),
        "log_loss": approx(sklearn_metrics.log_loss(truth, probabilities, labels=every)),
        "brier": approx(sklearn_metrics.brier_score_loss(truth, probabilities, labels=every)),
        "calibration_error": approx(calibration_error(truth, probabilities)),
    }


def calibration_error(truth: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """As the paper defines it, bin by bin."""
    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, metrics.CALIBRATION_BINS + 1)
    bins = [(confidence >= low) & (confidence < high) for low, high in pairwise(edges)]
    return float(
        sum(
            abs(confidence[each].mean() - hit[each].mean()) * each.mean()
            for each in bins
            if each.any()
        )
    )


def test_a_model_that_knows_how_sure_it_is_has_no_calibration_error() -> None:
    rows = scored([0, 0, 0, 1, 1, 1, 1, 0], [[0.75, 0.25]] * 4 + [[0.25, 0.75]] * 4)
    assert metrics.scores(rows, 2)["calibration_error"] == 0
    sure = scored([0, 1], [[1.0, 0.0], [1.0, 0.0]])
    assert metrics.scores(sure, 2)["calibration_error"] == 0.5


def test_a_class_that_no_row_has_is_in_no_mean() -> None:
    """Rows of the first two of three classes, and of only one class."""
    rows = scored([0, 0, 1, 1], [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1], [0, 1, 0]])
    scores = metrics.scores(rows, 3)
    probabilities = rows.predictions.probabilities
    each = [
        float(sklearn_metrics.roc_auc_score(rows.truth == k, probabilities[:, k])) for k in (0, 1)
    ]
    assert scores["roc_auc"] == approx(sum(each) / 2)
    assert scores["f1_macro"] == approx((2 / 3 + 0.8) / 2)
    absent = dict(zip(metrics.CLASS_SCORES, metrics.measure_class(rows, 2), strict=True))
    untold = [name for name, value in absent.items() if np.isnan(value)]
    assert untold == ["recall", "f1", "roc_auc", "average_precision"]


def test_of_rows_of_one_class_the_ranking_is_not_scored() -> None:
    scores = metrics.scores(scored([0, 0], [[0.8, 0.2], [0.4, 0.6]]), 2)
    assert not {"roc_auc", "average_precision"} & set(scores)
    assert scores["accuracy"] == 0.5
