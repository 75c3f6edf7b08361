"""One contract: what `processed` reads of a table, the service reads of a request, the same."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.contract import Column, Contract, Target
from cairn.tables import validate
from cairn.tables.part import JSON, Part
from service.http.errors import Refused
from service.inference.rows import Reader
from tests import small

TARGET = Target(name="labelled", classes=("no", "yes"))
GONE = object()


def offline(rows: list[dict[str, Any]], contract: Contract, size: int) -> list[bool]:
    """Which rows `processed` keeps, of parts of so many rows."""
    lines = [f"{json.dumps({**row, TARGET.name: 'yes'})}\n".encode() for row in rows]
    result = []
    for index in range(0, len(lines), size):
        part = Part("jsonl", b"".join(lines[index : index + size]), "table")
        result += validate.validate_part(part, contract).is_valid.tolist()
    return result


def online(rows: list[dict[str, Any]], contract: Contract) -> list[bool]:
    """Which rows the service takes."""
    reader = Reader(contract)
    return [accepted(reader, row) for row in rows]


def accepted(reader: Reader, row: dict[str, Any]) -> bool:
    try:
        reader.read(json.dumps({"records": [row]}).encode())
    except Refused:
        return False
    return True


def columns(contract: Contract) -> Iterator[tuple[str, st.SearchStrategy[Any]]]:
    """Right and wrong values of each column, and none at all."""
    for column in contract.columns:
        right, wrong = small.values(column), small.wrong(column)
        yield column.name, st.one_of(right, right, right, right, wrong, st.just(GONE))
    if contract.identifier:
        others = st.sampled_from([True, 0.5, 7.0, [], {}, 2**63, GONE])
        yield contract.identifier, st.one_of(small.IDENTIFIERS, small.IDENTIFIERS, others)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Contract, list[dict[str, Any]]]:
    """Any contract, with rows that keep it or do not."""
    contract = draw(small.contracts()).model_copy(update={"target": TARGET})
    row = st.fixed_dictionaries(dict(columns(contract)))
    rows = draw(st.lists(row, min_size=1, max_size=6))
    return contract, [{name: v for name, v in row.items() if v is not GONE} for row in rows]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=tables(), size=st.sampled_from([1, 2, 6]))
def test_the_service_takes_all_rows_that_processed_keeps(
    case: tuple[Contract, list[dict[str, Any]]], size: int
) -> None:
    contract, rows = case
    kept = offline(rows, contract, size)
    assert [
        is_accepted or not good
        for is_accepted, good in zip(online(rows, contract), kept, strict=True)
    ] == [True] * len(rows)


NUMBER = Column(name="a", kind="number")
WHOLE = Column(name="a", kind="integer", missing=True)
CODE = Column(name="a", kind="category", categories=(1, 2))
TEXT = Column(name="a", kind="category", categories=("", "1", "2024-01-01"))
OTHERS = Column(name="a", kind="category", categories=("x",), unknown=True)
DATE = Column(name="a", kind="date", parts=("year", "hour"))
FLAG = Column(name="a", kind="boolean")
LARGEST = 3.4028234663852886e38


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize(
    ("column", "right", "written", "wrong"),
    [
        (NUMBER, [1, -0.0, 1e-300, LARGEST, 3.40282348e38, 10**30, 2**64], ["1", " 1 "],
         ["", "1x", "inf", True, None, [1], {}, 3.41e38, 10**39, 10**400]),
        (WHOLE, [3, 3.0, -0.0, None, 2**60, 1e30], ["3", "", "NA"], [0.5, 1e-300, "0.5", True]),
        (CODE, [1, 2], ["1", 1.0, "2.0"], [2.5, "2.5", True, 3, "3", None, 2**70]),
        (TEXT, ["", "1", "2024-01-01"], [" 1", 1, 1.0], ["2024-01-02", 2, True, None, "NA"]),
        (OTHERS, ["x", "NA", "2024-01-01", "", "\0", "ä"], [1, 0.5], [False, None]),
        (DATE,
         ["2024-02-29", "0001-01-01", "9999-12-31T23:59:59.999999999", "2024-02-29 00:00"],
         [*small.OTHER_DATES, 1451606400000, 0],
         [*small.NO_DATES, *small.NO_DAYS, "", 20240229, None, True]),
        (FLAG, [True, False], ["true", " FALSE "], [0, 1, "1", "yes", None, 0.0]),
    ],
)  # fmt: skip
def test_values_at_the_borders_are_the_same_to_both(
    column: Column, right: list[Any], written: list[Any], wrong: list[Any], size: int
) -> None:
    """In JSON; what others write instead of it the service takes, whatever `processed` does."""
    contract = Contract(columns=(column,), target=TARGET)
    rows = [{"a": value} for value in [*right, *wrong]]
    expected = [True] * len(right) + [False] * len(wrong)
    assert online(rows, contract) == expected
    assert offline(rows, contract, size) == expected
    assert online([{"a": value} for value in written], contract) == [True] * len(written)


def cells(column: Column) -> st.SearchStrategy[str]:
    """What a column of CSV may have: its values as texts, and anything."""
    some = small.values(column).map(lambda value: "" if value is None else str(value))
    odd = st.sampled_from(
        ["", " ", "NA", "1", " 1", "+1.0", "-1", "true", "TRUE", "x", "07", "1e3"]
    )
    return some | odd | st.text("0123456789.,-+eETZ:x ", max_size=8)


def of_csv(texts: list[str], contract: Contract) -> list[Any]:
    """What `processed` reads of a column of CSV; GONE where it keeps no row."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([[text, "yes"] for text in texts])
    result = validate.validate_part(
        Part("csv", file.getvalue().encode(), "table", 2, ("a", "labelled")), contract
    )
    kept = iter(result.rows["a"].to_pylist())
    return [next(kept) if good else GONE for good in result.is_valid]


# As tables write them, with marks of their own for what is missing.
MONEY = Column(name="a", kind="number", format="$1,234.5", missing=True, markers=("?", "-999"))
COMMA = Column(name="a", kind="integer", format="1234,5")
GERMAN = Column(name="a", kind="date", format="%d.%m.%Y", parts=("year",), missing=True)
SWAPPED = Column(name="a", kind="date", format="%Y-%d-%m", parts=("month",), markers=("?",))
CITY = Column(
    name="a", kind="category", categories=("Rome", "07", "x"), unknown=True, missing=True,
    markers=("?",),
)  # fmt: skip
GRADE = Column(name="a", kind="category", categories=(1, 2), missing=True, markers=("x",))


@pytest.mark.parametrize(
    "column",
    [NUMBER, WHOLE, CODE, TEXT, DATE, FLAG, MONEY, COMMA, GERMAN, SWAPPED, CITY, GRADE],
)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_cell_of_csv_is_the_same_value_in_a_request(column: Column, data: st.DataObject) -> None:
    contract = Contract(columns=(column,), target=TARGET)
    texts = data.draw(st.lists(cells(column), min_size=1, max_size=20))
    reader = Reader(contract)
    for text, expected in zip(texts, of_csv(texts, contract), strict=True):
        if expected is GONE:
            continue
        ((result,),) = reader.read(json.dumps([{"a": text}]).encode()).values
        if isinstance(expected, datetime):
            assert datetime.fromisoformat(result[:19]) == expected
        elif isinstance(expected, float):
            assert np.float32(result) == expected
        else:
            assert result == expected


def test_a_name_of_a_row_is_the_same_to_both() -> None:
    contract = Contract(columns=(NUMBER,), identifier="id", target=TARGET)
    right: list[Any] = ["x", "", "2024-01-01", 7, -(2**63), 2**63 - 1, None]
    wrong: list[Any] = [True, 0.5, [], {}, 2**63]
    rows = [{"a": 1, "id": value} for value in [*right, *wrong]]
    expected = [True] * len(right) + [False] * len(wrong)
    assert online(rows, contract) == expected
    assert offline(rows, contract, 1) == offline(rows, contract, 99) == expected
    names = b"".join(b'{"a":1,"id":%d,"labelled":"no"}\n' % name for name in (7, 2**63 - 1))
    result = validate.validate_part(Part("jsonl", names, "table"), contract)
    assert result.rows["id"].to_pylist() == ["7", str(2**63 - 1)]


def test_a_row_that_pydantic_never_sees_is_no_row_offline_either() -> None:
    """JSON has no NaN: a file that has some says that the value is missing."""
    part = Part("jsonl", b'{"a":NaN,"labelled":"no"}\n', "table")
    contract = Contract(columns=(NUMBER,), target=TARGET)
    assert not validate.validate_part(part, contract).is_valid[0]
    assert JSON not in [field.type for field in part.read().schema]
