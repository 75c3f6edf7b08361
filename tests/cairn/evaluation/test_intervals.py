from __future__ import annotations

import numpy as np
import pytest

from cairn.compute import processes
from cairn.evaluation import intervals, metrics
from cairn.evaluation.metrics import ScoredRows
from cairn.evaluation.records import Interval
from cairn.inference import Predictions
from tests.cairn.evaluation import evaluated
from tests.cairn.evaluation.evaluated import approx, doubtful, scored


def ends(score: Interval) -> tuple[float, float]:
    assert score.ends
    return score.ends


def value_of(score: Interval) -> float:
    assert score.value is not None
    return score.value


def width(interval: Interval) -> float:
    low, high = ends(interval)
    return high - low


def of_one(name: str, rows: ScoredRows, classes: int = 2) -> Interval:
    """Return the interval of one score, with the resamples that all would have."""
    repeats = intervals.RESAMPLES // (classes - 1)
    return intervals.measure_some([name], rows, classes, (0, repeats))[name]


def test_intervals_hold_the_score_and_shrink_with_the_rows() -> None:
    few, many = (intervals.measure_all(doubtful(rows), 2, 0) for rows in (400, 6400))
    for scores in (few, many):
        assert set(scores) == set(metrics.SCORES)
        for each in scores.values():
            low, high = ends(each)
            assert low <= value_of(each) <= high
    for name in ("accuracy", "roc_auc", "log_loss"):
        assert width(few[name]) / width(many[name]) == pytest.approx(4, rel=0.3)
    assert intervals.measure_all(doubtful(400), 2, 0) == few
    assert of_one("accuracy", doubtful(400)) == few["accuracy"]


def test_intervals_are_the_same_in_processes() -> None:
    rows = doubtful(300)
    with processes.pool() as run:
        assert intervals.measure_all(rows, 2, 1, run) == intervals.measure_all(rows, 2, 1)


def test_an_interval_of_the_accuracy_is_as_wide_as_theory_has_it() -> None:
    rows = doubtful(2000)
    interval = of_one("accuracy", rows)
    value = value_of(interval)
    half = 1.96 * np.sqrt(value * (1 - value) / 2000)
    low, high = ends(interval)
    assert high - value == pytest.approx(half, rel=0.15)
    assert value - low == pytest.approx(half, rel=0.15)


def test_of_many_rows_a_part_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = doubtful(4000)
    full = of_one("accuracy", rows)
    monkeypatch.setattr(intervals, "RESAMPLED_ROWS", 1000)
    part = of_one("accuracy", rows)
    assert part.value == full.value
    assert width(part) == pytest.approx(width(full), rel=0.25)


def test_no_interval_goes_beyond_what_a_score_can_be() -> None:
    right = scored([0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
    interval = intervals.measure_all(right, 2, 0)
    assert interval["accuracy"] == Interval(1, approx(4 / (4 + 1.959964**2)), 1)  # Wilson's
    assert ends(interval["roc_auc"])[0] < 1
    assert all(ends(each)[0] >= 0 for each in interval.values())
    wrong = scored([0, 1] * 4, [[0.001, 0.999], [0.999, 0.001], [0.01, 0.99], [0.99, 0.01]] * 2)
    assert ends(intervals.measure_all(wrong, 2, 0)["log_loss"])[1] > 1


def test_a_loss_that_no_other_rows_change_has_no_interval() -> None:
    rows = scored([0, 1], [[0.8, 0.2], [0.3, 0.7]])
    brier = of_one("brier", rows)
    assert value_of(brier) > 0
    assert (brier.low, brier.high) == (None, None)
    assert of_one("accuracy", rows).high == 1


def test_a_share_of_who_always_says_the_same_has_an_interval() -> None:
    interval = of_one("accuracy", scored([0] * 9 + [1] * 11, [[0.3, 0.7]] * 20))
    assert interval.value == 0.55
    assert ends(interval) == (approx(0.342085), approx(0.741802))  # Wilson's


def test_a_rare_class_of_many_rows_is_in_every_part() -> None:
    random = np.random.default_rng(0)
    truth = np.array([0] * 6_000 + [1] * 5_998 + [2] * 2)
    probabilities = random.dirichlet(np.ones(3), len(truth)).astype(np.float32)
    rows = ScoredRows(
        probabilities, truth, Predictions(probabilities.argmax(axis=1), probabilities)
    )
    assert width(of_one("roc_auc", rows, 3)) > 0.05
    assert width(of_one("accuracy", rows, 3)) < 0.02


def test_rows_of_a_rare_class_count_for_what_they_are() -> None:
    truth = [0] * 20 + [1] * 3
    probabilities = [[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 3
    accuracy, roc_auc = (
        of_one(name, scored(truth, probabilities)) for name in ("accuracy", "roc_auc")
    )
    assert ends(accuracy)[0] > ends(roc_auc)[0] > 0.6


def test_a_model_that_knows_how_sure_it_is_may_have_no_calibration_error() -> None:
    random = np.random.default_rng(2)
    second = random.random(200)
    truth = (random.random(200) < second).astype(np.int64)
    calibrated = np.column_stack([1 - second, second])
    for probabilities, none in (
        (calibrated, True),
        (np.where(calibrated > 0.5, 0.999, 0.001), False),
    ):
        predictions = Predictions(probabilities.argmax(axis=1), probabilities.astype(np.float32))
        rows = ScoredRows(probabilities.astype(np.float32), truth, predictions)
        interval = of_one("calibration_error", rows)
        assert value_of(interval) > 0.03
        assert (ends(interval)[0] == 0) == none


def test_where_all_folds_agree_nothing_tells_how_much_they_vary() -> None:
    values = np.array([[1.0, 0.2], [1.0, 0.3], [1.0, 0.4]])
    interval = intervals.average_folds(["accuracy", "brier"], values, 3, 2)
    assert interval["accuracy"] == Interval(1)
    assert width(interval["brier"]) > 0.2


@pytest.mark.parametrize(("classes", "most"), [(2, 1), (3, 2)])
def test_a_brier_score_is_at_most_what_it_can_be(classes: int, most: int) -> None:
    values = np.array([[0.05], [0.9]])
    assert intervals.average_folds(["brier"], values, 2, classes)["brier"].high == most


def test_folds_that_do_not_tell_a_score_do_not_count() -> None:
    nan = np.nan
    values = np.array([[0.5, nan, nan], [0.7, 0.4, nan], [0.6, nan, nan], [0.6, nan, nan]])
    interval = intervals.average_folds(["accuracy", "recall", "f1"], values, 2, 2)
    assert ends(interval["accuracy"])[0] < value_of(interval["accuracy"]) == 0.6
    assert interval["recall"] == Interval(0.4)
    assert interval["f1"] == Interval(None)


@pytest.mark.filterwarnings("error")
def test_two_rows_of_one_class_have_what_they_tell() -> None:
    rows = evaluated.scored([0, 0], [[0.8, 0.2], [0.4, 0.6]])
    interval = intervals.measure_all(rows, 2, 0)
    low, high = ends(interval["accuracy"])
    assert low < value_of(interval["accuracy"]) == 0.5 < high
    assert interval["roc_auc"] == Interval(None)
