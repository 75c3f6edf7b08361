from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from cairn.contract import Contract, Target
from cairn.errors import CairnError
from cairn.evaluation import metrics, records, slices
from cairn.evaluation.metric_table import NEED_ALL_CLASSES
from cairn.evaluation.metrics import ScoredRows
from cairn.inference import Predictions
from tests import small
from tests.cairn.evaluation import evaluated
from tests.cairn.evaluation.evaluated import approx, scored


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "RESAMPLES", 20)


TWO = scored([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
THREE_CLASSES = Contract(
    columns=small.CONTRACT.columns, target=Target(name="kind", classes=("a", "b", "c"))
)


def by_class(rows: ScoredRows, contract: Contract, seed: int) -> list[dict[str, Any]]:
    """Return the scores as evaluation.json has them."""
    return [records._class(each) for each in slices.score_classes(rows, contract, seed)]


def test_each_class_is_scored_against_the_rest() -> None:
    no, yes = by_class(TWO, small.CONTRACT, 0)
    assert set(no) == {"class", "rows", *metrics.CLASS_SCORES}
    assert (no["class"], no["rows"], yes["rows"]) == ("no", 2, 2)
    logs = np.log([0.9, 0.4, 0.8, 0.9])
    shared = {
        "roc_auc": 1,
        "average_precision": 1,
        "log_loss": approx(-logs.mean()),
        "brier": approx((0.01 + 0.36 + 0.04 + 0.01) / 4),
        "calibration_error": approx((0.1 + 0.6 + 0.2 + 0.1) / 4),
    }
    own = {"precision": (1, approx(2 / 3)), "recall": (0.5, 1), "f1": (approx(2 / 3), 0.8)}
    for index, each in enumerate((no, yes)):
        wanted = shared | {name: both[index] for name, both in own.items()}
        assert {name: each[name]["value"] for name in metrics.CLASS_SCORES} == wanted


def test_scores_of_a_class_are_those_of_scikit_learn_and_in_their_intervals() -> None:
    rows = evaluated.rows(THREE_CLASSES, 200)
    for index, scores in enumerate(by_class(rows, THREE_CLASSES, 0)):
        truth, predicted = rows.truth == index, rows.predictions.labels == index
        probabilities = rows.predictions.probabilities[:, index]
        wanted = {
            "precision": sklearn_metrics.precision_score(truth, predicted),
            "recall": sklearn_metrics.recall_score(truth, predicted),
            "f1": sklearn_metrics.f1_score(truth, predicted),
            "roc_auc": sklearn_metrics.roc_auc_score(truth, probabilities),
            "average_precision": sklearn_metrics.average_precision_score(truth, probabilities),
            "log_loss": sklearn_metrics.log_loss(truth, probabilities),
            "brier": sklearn_metrics.brier_score_loss(truth, probabilities),
        }
        for name, value in wanted.items():
            assert scores[name]["value"] == approx(value)
            assert scores[name]["low"] <= scores[name]["value"] <= scores[name]["high"]
            assert scores[name]["low"] < scores[name]["high"]


def test_a_class_that_is_never_predicted_has_a_precision_of_0() -> None:
    no, yes = by_class(scored([0, 0, 1], [[0.9, 0.1]] * 3), small.CONTRACT, 0)
    assert (yes["precision"]["value"], yes["recall"]["value"], yes["f1"]["value"]) == (0, 0, 0)
    assert yes["precision"]["high"] > 0.5
    assert no["recall"]["value"] == 1


def sliced(*columns: str) -> list[dict[str, Any]]:
    fitted = small.fitted()
    predictions = Predictions(
        fitted.pipeline.predict(fitted.features), fitted.pipeline.predict_proba(fitted.features)
    )
    rows = ScoredRows(fitted.features, fitted.classes, predictions)
    return [records._slice(each) for each in slices.score_slices(rows, small.CONTRACT, columns, 0)]


def test_slices_are_the_values_of_a_column_or_parts_of_its_range() -> None:
    groups = sliced("colour", "flag", "area")
    named = [(each["column"], each["value"]) for each in groups]
    assert named[:7] == [
        ("colour", "blue"), ("colour", "green"), ("colour", "red"), ("colour", "missing"),
        ("flag", "false"), ("flag", "true"), ("flag", "missing"),
    ]  # fmt: skip
    assert [column for column, _ in named[7:]] == ["area"] * slices.PARTS
    for column in ("colour", "flag", "area"):
        assert sum(each["rows"] for each in groups if each["column"] == column) == small.ROWS
    assert set(groups[0]) == {"column", "value", "rows", *metrics.SCORES}


def test_a_column_that_is_named_twice_is_sliced_once() -> None:
    assert sliced("colour", "colour") == sliced("colour")


def test_a_slice_with_one_class_has_no_score_that_needs_all() -> None:
    low = sliced("area")[0]
    assert {name for name, value in low.items() if value is None} == NEED_ALL_CLASSES
    assert low["accuracy"]["value"] == 1


def test_parts_of_a_date_are_slices_of_their_own() -> None:
    fit = small.full()
    predictions = Predictions(
        fit.pipeline.predict(fit.features), fit.pipeline.predict_proba(fit.features)
    )
    rows = ScoredRows(fit.features, fit.classes, predictions)
    groups = slices.score_slices(rows, small.FULL, ["born", "branch"], 0)
    assert {each.column for each in groups} == {"born_year", "born_day", "branch"}
    assert "another" in [each.value for each in groups if each.column == "branch"]


def test_a_slice_of_no_column_is_refused() -> None:
    with pytest.raises(CairnError, match=r"evaluate\.slices: no column 'size'; .* area, depth"):
        slices.check_slices(["area", "size"], small.CONTRACT)
    slices.check_slices(["area"], small.CONTRACT)


def test_of_two_classes_the_area_is_one_number() -> None:
    truth, probabilities = [0] * 20 + [1] * 3, [[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 3
    no, yes = by_class(scored(truth, probabilities), small.CONTRACT, 0)
    assert no["roc_auc"] == yes["roc_auc"]
    assert no["recall"]["low"] > yes["recall"]["low"], "of more rows"


def test_slices_beyond_some_have_scores_without_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    full = sliced("flag")
    monkeypatch.setattr(slices, "MOST", 1)
    first, *others = sliced("flag")
    assert first == full[0]
    for each, before in zip(others, full[1:], strict=True):
        accuracy = before["accuracy"]
        assert each["accuracy"] == {"value": accuracy["value"], "low": None, "high": None}


def test_a_slice_says_how_sure_its_scores_are() -> None:
    slices = sliced("flag")
    for each in slices:
        accuracy = each["accuracy"]
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        assert accuracy["low"] < accuracy["high"]
