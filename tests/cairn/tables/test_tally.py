from __future__ import annotations

import json

import numpy as np

from cairn.contract import Column, Contract, Target
from cairn.tables.part import Part
from cairn.tables.tally import REPEATED, Tally
from cairn.tables.validate import validate_part

CONTRACT = Contract(
    columns=(Column(name="a", kind="number"),), target=Target(name="y", classes=("no", "yes"))
)


def tally(*parts: str) -> Tally:
    """Add up parts of CSV whose columns are a and y."""
    result = Tally()
    for rows in parts:
        part = Part("csv", rows.encode(), "t", 2, ("a", "y"))
        result.add(validate_part(part, CONTRACT))
    return result


TWO = ("1,no\nx,no\n", "y,no\n2,\n" + "z,no\n" * 5)


def test_problems_add_up_with_rows_counted_through_all_parts() -> None:
    result = tally(*TWO)
    assert (result.rows, result.set_aside) == (9, 8)
    assert result.counts == {("a", "not a number"): 7, ("y", "missing"): 1}
    assert result.first["a", "not a number"] == [(2, "x"), (3, "y"), (5, "z"), (6, "z"), (7, "z")]
    assert result.describe() == (
        "8 bad rows: 'a' is not a number in 7 rows (data rows 2, 3, 5, 6, 7, …, such as 'x', 'y', "
        "'z'); 'y' is missing in 1 row (data row 4)"
    )


def test_a_report_is_json_of_counts() -> None:
    result = tally(*TWO)
    result.add_copies(np.array([1]))
    assert json.loads(json.dumps(result.report())) == {
        "rows": 9,
        "kept": 0,
        "set_aside": 9,
        "problems": {"a: not a number": 7, "row: equals an earlier one": 1, "y: missing": 1},
        "notes": {},
    }


def test_the_first_copies_are_listed() -> None:
    result = Tally(rows=20)
    result.add_copies(np.array([], dtype=np.int64))
    assert REPEATED not in result.counts
    result.add_copies(np.array([2, 3, 5]))
    result.add_copies(np.array([7, 8, 1234]))
    assert result.describe() == (
        "6 bad rows: 6 rows equal an earlier one (data rows 2, 3, 5, 7, 8, …)"
    )


def test_a_long_value_is_cut_in_a_report() -> None:
    assert len(tally(f"{'x' * 1000},no\n").describe()) < 150
