from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from stages import evaluate
from stages.console import CairnError
from stages.evaluate import Scored
from stages.inference import Predictions
from tests import small
from tests.stages.evaluated import doubtful


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


def test_a_loss_is_the_same_whether_scikit_learn_or_onnx_said_it() -> None:
    wrong = scored([0, 1], [[0.9, 0.1], [1, 0]])
    wide = wrong.said._replace(probabilities=wrong.said.probabilities.astype(np.float64))
    assert evaluate.scores(wrong._replace(said=wide), 2) == evaluate.scores(wrong, 2)


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
        "calibration_error": approx(calibration_error(truth, said)),
    }


def approx(value: float) -> Any:
    return pytest.approx(value, abs=1e-6)


def calibration_error(truth: NDArray[Any], said: NDArray[Any]) -> float:
    """As the paper defines it, bin by bin."""
    confidence, hit = said.max(axis=1), said.argmax(axis=1) == truth
    edges = np.linspace(0, 1, evaluate.CALIBRATION_BINS + 1)
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
    assert evaluate.scores(rows, 2)["calibration_error"] == 0
    sure = scored([0, 1], [[1.0, 0.0], [1.0, 0.0]])
    assert evaluate.scores(sure, 2)["calibration_error"] == 0.5


def test_intervals_hold_the_score_and_shrink_with_the_rows() -> None:
    few, many = (evaluate.intervals(doubtful(rows), 2, 0) for rows in (400, 6400))
    for found in (few, many):
        assert set(found) == set(evaluate.SCORES)
        assert all(each.low <= each.value <= each.high for each in found.values())
    for name in ("accuracy", "roc_auc", "log_loss"):
        width = [found[name].high - found[name].low for found in (few, many)]
        assert width[0] / width[1] == pytest.approx(4, rel=0.3)
    assert evaluate.intervals(doubtful(400), 2, 0) == few


def test_an_interval_of_the_accuracy_is_as_wide_as_theory_has_it() -> None:
    rows = doubtful(2000)
    found = evaluate.intervals(rows, 2, 0)["accuracy"]
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 2000)
    assert found.high - found.value == pytest.approx(half, rel=0.15)
    assert found.value - found.low == pytest.approx(half, rel=0.15)


def test_of_many_rows_a_part_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = doubtful(4000)
    whole = evaluate.intervals(rows, 2, 0)["accuracy"]
    monkeypatch.setattr(evaluate, "RESAMPLED_ROWS", 1000)
    part = evaluate.intervals(rows, 2, 0)["accuracy"]
    assert part.value == whole.value
    assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.25)


def test_no_interval_goes_beyond_what_a_score_can_be() -> None:
    found = evaluate.intervals(scored([0, 0, 1, 1], [[0.9, 0.1]] * 2 + [[0.1, 0.9]] * 2), 2, 0)
    assert found["accuracy"] == (1, approx(4 / (4 + 1.959964**2)), 1)  # Wilson's
    assert found["roc_auc"].low < 1
    assert all(each.low >= 0 for each in found.values())
    wrong = evaluate.intervals(scored([0, 1] * 4, [[0.001, 0.999], [0.999, 0.001]] * 4), 2, 0)
    assert wrong["log_loss"].high > 1


def test_each_class_is_scored_against_the_rest() -> None:
    no, yes = evaluate.by_class(TWO, small.TERMS)
    assert no == {
        "class": "no", "rows": 2, "precision": 1, "recall": 0.5, "f1": approx(2 / 3),
        "roc_auc": 1, "average_precision": 1,
    }  # fmt: skip
    assert (yes["precision"], yes["recall"], yes["rows"]) == (approx(2 / 3), 1, 2)


def sliced(*columns: str) -> list[dict[str, Any]]:
    fitted = small.fitted()
    said = Predictions(
        fitted.pipeline.predict(fitted.features), fitted.pipeline.predict_proba(fitted.features)
    )
    return evaluate.by_slice(Scored(fitted.features, fitted.classes, said), small.TERMS, columns)


def test_slices_are_the_values_of_a_column_or_parts_of_its_range() -> None:
    found = sliced("colour", "flag", "area")
    named = [(each["column"], each["value"]) for each in found]
    assert named[:7] == [
        ("colour", "blue"), ("colour", "green"), ("colour", "red"), ("colour", "missing"),
        ("flag", "false"), ("flag", "true"), ("flag", "missing"),
    ]  # fmt: skip
    assert [column for column, _ in named[7:]] == ["area"] * evaluate.PARTS
    for column in ("colour", "flag", "area"):
        assert sum(each["rows"] for each in found if each["column"] == column) == small.ROWS
    assert set(found[0]) == {"column", "value", "rows", *evaluate.SCORES}


def test_a_column_that_is_named_twice_is_sliced_once() -> None:
    assert sliced("colour", "colour") == sliced("colour")


def test_a_slice_with_one_class_has_no_score_that_needs_all() -> None:
    low = sliced("area")[0]
    assert {name for name, value in low.items() if value is None} == evaluate.OF_ALL_CLASSES
    assert low["accuracy"] == 1


def test_parts_of_a_date_are_slices_of_their_own() -> None:
    made = small.full()
    said = Predictions(
        made.pipeline.predict(made.features), made.pipeline.predict_proba(made.features)
    )
    rows = Scored(made.features, made.classes, said)
    found = evaluate.by_slice(rows, small.FULL, ["born", "branch"])
    assert {each["column"] for each in found} == {"born_year", "born_day", "branch"}
    assert "another" in [each["value"] for each in found if each["column"] == "branch"]


def test_a_slice_of_no_column_is_refused() -> None:
    with pytest.raises(CairnError, match=r"train\.slices: no column 'size'; .* area, depth"):
        evaluate.check_slices(["area", "size"], small.TERMS)
    evaluate.check_slices(["area"], small.TERMS)
