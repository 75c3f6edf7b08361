from __future__ import annotations

from typing import Any

import pytest

from cairn.contract import Column, Contract, LeftOut, Target
from service.http.errors import Refused
from service.inference.column_names import Names
from service.inference.shapes import Shaped, read_shape

CONTRACT = Contract(
    columns=(Column(name="a", kind="number"), Column(name="b_c", header="b.c", kind="number")),
    left_out=(LeftOut(name="note", reason="free text"),),
    target=Target(name="y", classes=(0, 1)),
)
NAMES = Names(CONTRACT)
ROWS = [{"a": 1, "b.c": 2}, {"a": 3, "b.c": None}]
MANY: Shaped = (ROWS, False, False)
ONE: Shaped = (ROWS[:1], True, False)


def shape(content: Any, names: Names = NAMES, max_rows: int = 2) -> Shaped:
    return read_shape(content, names, max_rows)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ROWS[0], ONE),
        ({"records": ROWS[0]}, ONE),
        ({"features": ROWS[0]}, ONE),
        (ROWS, MANY),
        ({"records": ROWS}, MANY),
        ({"dataframe": ROWS}, MANY),
        ({"columns": ["a", "b.c"], "index": [7, 8], "data": [[1, 2], [3, None]]}, MANY),
        ({"data": [[1, 2], [3, None]], "columns": ["a", "b.c"]}, MANY),
        ({"a": {"0": 1, "1": 3}, "b.c": {"0": 2, "1": None}}, MANY),
        ({"a": {"0": 1, "1": 3}, "b.c": {"1": None, "0": 2}}, MANY),
        ({"a": [1, 3], "b.c": [2, None]}, MANY),
        ({"records": {"a": [1, 3], "b.c": [2, None]}}, MANY),
        ([[1, 2], [3, 4]], ([[1, 2], [3, 4]], False, True)),
        ({"features": [1, 2]}, ([[1, 2]], True, True)),
        ({"features": [[1, 2]]}, ([[1, 2]], False, True)),
        # What looks almost like a DataFrame is one row, for the contract to refuse.
        ({"a": {"0": 1}, "b.c": {"1": 2}}, None),
        ({"a": [1, 2], "b.c": [1]}, None),
        ({"a": [1, 2], "b.c": 1}, None),
        ({"instances": [[1, 2]]}, None),
        ({"columns": ["a"], "data": {"a": 1}}, None),
        ({"columns": ["a"], "data": [[1]], "more": 1}, None),
        ({}, None),
    ],
)
def test_rows_come_in_every_shape_that_pandas_and_people_write(
    content: Any, expected: Shaped | None
) -> None:
    assert shape(content) == (expected or ([content], True, False))


@pytest.mark.parametrize(
    ("content", "status", "output"),
    [
        ([], 422, "no rows"),
        ({"records": []}, 422, "no rows"),
        ({"columns": ["a"], "data": []}, 422, "no rows"),
        ({"a": [], "b.c": []}, 422, "no rows"),
        ({"a": {}, "b.c": {}}, 422, "no rows"),
        ([1, 2], 422, "wrong shape"),
        ("a", 422, "wrong shape"),
        ({"features": [], "dataframe": []}, 422, "wrong shape"),
        ({"columns": ["a", 1], "data": [[1, 2]]}, 422, "wrong shape"),
        ({"columns": ["a", "a"], "data": [[1, 2]]}, 422, "wrong shape"),
        ({"columns": ["a", "b.c"], "data": [[1, 2], [1]]}, 422, "wrong number of values"),
        ({"columns": ["a", "b.c"], "data": [[1, 2], 1]}, 422, "wrong type"),
        ([{}] * 3, 413, ""),
        ([[]] * 3, 413, ""),
        ({"a": [1] * 3, "b.c": [1] * 3}, 413, ""),
        ({"a": dict.fromkeys("xyz", 1)}, 413, ""),
        ({"columns": ["a"], "data": [[1]] * 3}, 413, ""),
    ],
)
def test_what_has_no_rows_or_too_many_is_refused(content: Any, status: int, output: str) -> None:
    with pytest.raises(Refused) as error:
        shape(content)
    assert error.value.status == status
    assert [one.problem for one in error.value.detail] == ([output] if output else [])


def test_a_column_may_bear_the_name_of_a_shape() -> None:
    columns = tuple(Column(name=name, kind="number") for name in ("columns", "data", "records"))
    names = Names(Contract(columns=columns, target=CONTRACT.target))
    row = {"columns": 1, "data": 2, "records": 3}
    assert shape(row, names) == ([row], True, False)
    lists = {"columns": [1], "data": [2], "records": [3]}
    assert shape(lists, names) == ([row], False, False)
