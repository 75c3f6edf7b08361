from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import datasets, metrics

from cairn.contract import Column, Contract, Target
from cairn.evaluation import leaks
from cairn.modeling import duplicates
from cairn.modeling.records import Leak

RANDOM = np.random.default_rng(0)
ROWS = 800
TRUTH = (RANDOM.random(ROWS) < 0.35).astype(np.int64)
NOISE = RANDOM.random(ROWS)
THREE = RANDOM.integers(0, 3, ROWS)


def find(features: Any, truth: Any) -> dict[str, float]:
    """Feature → AUC, of what is found."""
    rows = np.asarray(features, dtype=np.float32)
    names = [f"x{index}" for index in range(rows.shape[1])]
    columns = leaks.find(rows, np.asarray(truth), names, duplicates.hash_matrix(rows), 0)
    return {leak.feature: leak.auc for leak in columns}


@pytest.mark.parametrize(
    ("column", "truth"),
    [
        (TRUTH, TRUTH),
        (1 - TRUTH, TRUTH),
        (TRUTH + NOISE * 0.9, TRUTH),
        (np.where(TRUTH, np.nan, NOISE), TRUTH),
        (np.where(TRUTH & (NOISE < 0.99), 1, 0), TRUTH),
        (np.array([2, 0, 1])[THREE], THREE),
        (np.array([5, -7, 5.5])[THREE] + NOISE / 10, THREE),
    ],
    ids=["equal", "opposite", "ranked", "missing", "nearly", "in no order", "in bands"],
)
def test_the_target_in_another_form_is_found(column: Any, truth: NDArray[np.int64]) -> None:
    assert list(find(np.column_stack([NOISE, column]), truth)) == ["x1"]


@pytest.mark.parametrize(
    ("column", "truth"),
    [
        (np.arange(ROWS), TRUTH),
        (RANDOM.integers(0, 400, ROWS), TRUTH),
        (np.where(TRUTH & (NOISE < 0.9), 1, 0), TRUTH),
        (THREE == 0, THREE),
        (np.full(ROWS, np.nan), TRUTH),
    ],
    ids=["a number of the row", "many categories", "often", "one class of three", "empty"],
)
def test_what_is_not_the_target_is_not(column: Any, truth: NDArray[np.int64]) -> None:
    assert find(np.asarray(column, dtype=np.float32)[:, None], truth) == {}


@pytest.mark.parametrize("name", ["breast_cancer", "iris", "wine", "digits"])
def test_no_column_of_a_plain_table_is_named(name: str) -> None:
    table = getattr(datasets, f"load_{name}")()
    assert find(table.data, table.target) == {}


def test_copies_of_a_row_do_not_tell_its_label() -> None:
    """Each row five times, with labels by chance: who looks at a copy knows."""
    rows = np.repeat(RANDOM.random(200), 5)[:, None]
    assert find(rows, np.repeat(RANDOM.integers(0, 2, 200), 5)) == {}


def test_of_few_rows_nothing_is_reported() -> None:
    truth = np.arange(40) % 2
    assert find(truth[:, None], truth) == {}


def test_a_class_of_few_rows_does_not_hide_a_leak() -> None:
    truth = np.append(TRUTH[:-2], [2, 2])
    assert find(np.append(TRUTH[:-2], [1, 0])[:, None], truth)


def test_the_best_is_first_and_the_figure_is_scikit_learn_s() -> None:
    nearly = np.where(NOISE < 0.003, 1 - TRUTH, TRUTH)
    columns = find(np.column_stack([nearly, TRUTH]), TRUTH)
    assert list(columns) == ["x1", "x0"]
    assert columns["x1"] == 1
    assert columns["x0"] == pytest.approx(metrics.roc_auc_score(TRUTH, nearly), abs=0.005)


def test_a_large_table_is_checked_by_some_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "MOST_ROWS", 100)
    assert list(find(np.column_stack([TRUTH, NOISE]), TRUTH)) == ["x0"]


def test_what_to_do_is_reported_for_columns_dates_and_engineered_features() -> None:
    contract = Contract(
        columns=(
            Column(name="alive", kind="boolean"),
            Column(name="left", kind="date", parts=("year", "month")),
        ),
        target=Target(name="survived", classes=(0, 1)),
    )
    texts = [
        leaks.warning(Leak(name, 0.9987), contract) for name in ("alive", "left_year", "ratio")
    ]
    assert all("by itself predicts survived almost perfectly (AUC 0.999)" in text for text in texts)
    assert texts[0].startswith("column 'alive'")
    assert texts[0].endswith("not known at the time of prediction, add it to processed.drop")
    assert texts[1].endswith("add 'left' to processed.drop")
    assert texts[2].endswith("take it out of stages/engineering.py")
