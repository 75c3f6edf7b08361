# ruff: noqa: PD011 - no frames
"""Rows as pandas, `json.dumps` and a CSV reader write them get the same answers."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.contract import MISSING_TEXTS, Column, Contract, LeftOut, Target
from cairn.formats import read_date, read_number
from cairn.transform import to_matrix
from service.http.errors import Refused
from service.inference import lenient
from service.inference.rows import Reader
from tests.small import ENGINEERING

CONTRACT = Contract(
    columns=(
        Column(name="emp_var_rate", header="emp.var.rate", kind="number", format="$1,234.5"),
        Column(name="age", kind="integer", minimum=0, missing=True, markers=("?", "-999")),
        Column(name="is_owner", header="is owner?", kind="boolean", missing=True),
        Column(name="cap_shape", header="cap-shape", kind="category", categories=("x", "b")),
        Column(name="zip", kind="category", categories=("07030", "7", "90210"), missing=True),
        Column(name="grade", kind="category", categories=(1, 2, 3)),
        Column(name="opened", kind="date", format="%d.%m.%Y", parts=("year", "month", "day")),
        Column(name="city", kind="category", categories=("Rome",), unknown=True, missing=True),
    ),
    identifier="row_id",
    identifier_header="Row Id",
    left_out=(LeftOut(name="note", header="Note!", reason="free text"),),
    target=Target(name="y", header="Subscribed?", classes=("no", "yes")),
)
READER = Reader(CONTRACT)
# As the table has it, and as the contract does.
TABLE = {
    "emp.var.rate": "$1,234.5", "age": "42", "is owner?": "True", "cap-shape": "x", "zip": "07030",
    "grade": "3", "opened": "29.02.2024", "city": "Rome", "Row Id": "C-1", "Note!": "so, so",
    "Subscribed?": "yes",
}  # fmt: skip
STRICT = {
    "emp_var_rate": 1234.5, "age": 42, "is_owner": True, "cap_shape": "x", "zip": "07030",
    "grade": 3, "opened": "2024-02-29T00:00:00", "city": "Rome", "row_id": "C-1",
}  # fmt: skip
VALUES = tuple(STRICT[name] for name in CONTRACT.names)


def reader(column: Column, **more: Any) -> Reader:
    """A reader of one column, and of one beside it, so that no row is taken for a column."""
    other = Column(name="other", kind="number", missing=True)
    return Reader(Contract(columns=(column, other), target=CONTRACT.target, **more))


def value(read: Reader, raw: Any) -> Any:
    """What a value is read as, in an object and in a list."""
    column = read.contract.names[0]
    (of_object,) = read.read(orjson.dumps({column: raw})).values
    (of_list,) = read.read(orjson.dumps({"features": [raw, None]})).values
    assert of_object == of_list
    assert type(of_object[0]) is type(of_list[0])
    return of_object[0]


def problem(read: Reader, raw: Any) -> str:
    with pytest.raises(Refused) as error:
        value(read, raw)
    (one,) = error.value.detail
    assert one.got == raw
    return one.problem


NUMBER = Column(name="a", kind="number")
WHOLE = Column(name="a", kind="integer", missing=True, markers=("?", "-999"))
MONEY = Column(name="a", kind="number", format="$1,234.5", missing=True)
COMMA = Column(name="a", kind="number", format="1234,5")
FLAG = Column(name="a", kind="boolean", missing=True)
TEXT = Column(name="a", kind="category", categories=("x", "7", "07030", "1.5", "NA", " y"))
PADDED = Column(name="a", kind="category", categories=("01099", "007", "07", "12", "012"))
SOME = Column(name="a", kind="category", categories=("x",), missing=True, markers=("-1",))
OPEN = Column(name="a", kind="category", categories=("x", "7"), unknown=True, missing=True)
ZIP = Column(name="a", kind="category", categories=("07030", "10001", "007"), missing=True)
OPEN_ZIP = ZIP.model_copy(update={"unknown": True})
SURE = Column(name="a", kind="category", categories=("x",), unknown=True)
CODE = Column(name="a", kind="category", categories=(1, 2, -3), missing=True, markers=("0",))
CODES = Column(name="a", kind="category", categories=(1,), unknown=True)
DATE = Column(name="a", kind="date", parts=("year", "hour"), missing=True)
GERMAN = Column(name="a", kind="date", parts=("year",), format="%d.%m.%Y")
DIGITS = Column(name="a", kind="date", parts=("year",), format="%Y%m%d")
SWAPPED = Column(name="a", kind="date", parts=("month",), format="%Y-%d-%m")
EPOCH = Column(name="a", kind="date", parts=("year",), format="epoch s")


@pytest.mark.parametrize(
    ("column", "given_value", "expected"),
    [
        (DIGITS, 1706745600000, "2024-02-01T00:00:00"),
        (ZIP, 7030, "07030"), (ZIP, 7030.0, "07030"), (ZIP, 7, "007"), (ZIP, "07030", "07030"),
        (OPEN_ZIP, 7030, "07030"), (OPEN_ZIP, 9, "9"),
        (NUMBER, "42", 42.0), (NUMBER, " 42 ", 42.0), (NUMBER, "-1.5e3", -1500.0),
        (NUMBER, "\N{MINUS SIGN}2", -2.0), (NUMBER, ".5", 0.5),
        (WHOLE, "42", 42.0), (WHOLE, "3.0", 3.0), (WHOLE, "", None), (WHOLE, "NA", None),
        (WHOLE, " ? ", None), (WHOLE, "-999", None), (WHOLE, -999, None), (WHOLE, -999.0, None),
        (MONEY, "$1,234.5", 1234.5), (MONEY, "-$2", -2.0), (MONEY, "2", 2.0), (MONEY, " ", None),
        (COMMA, "1,5", 1.5), (COMMA, 1.5, 1.5),
        (FLAG, "true", True), (FLAG, " FALSE ", False), (FLAG, "True", True), (FLAG, "null", None),
        (TEXT, " x ", "x"), (TEXT, 7, "7"), (TEXT, 7.0, "7"), (TEXT, 1.5, "1.5"),
        (TEXT, "07030", "07030"), (TEXT, "NA", "NA"), (TEXT, " y", " y"),
        # pandas reads codes as numbers, and those beside a missing value as floats.
        (TEXT, 7030, "07030"), (TEXT, 7030.0, "07030"), (PADDED, 1099, "01099"), (PADDED, 12, "12"),
        (SOME, "", None), (SOME, "NA", None), (SOME, "-1", None), (SOME, -1, None),
        (OPEN, "z", "z"), (OPEN, " z ", "z"), (OPEN, " x", "x"), (OPEN, "", None),
        (OPEN, "NaN", None), (OPEN, 7, "7"), (OPEN, 8, "8"), (OPEN, 7.0, "7"), (OPEN, 2.5, "2.5"),
        (SURE, "", ""), (SURE, "NA", "NA"), (SURE, " z", "z"),
        (CODE, "2", 2), (CODE, " +2.0 ", 2), (CODE, 2.0, 2), (CODE, "-3", -3), (CODE, "", None),
        (CODE, "0", None), (CODE, 0, None),
        (CODES, "007", 7), (CODES, "9223372036854775807", 2**63 - 1), (CODES, 7.0, 7),
        (DATE, "2016-01-01T00:00:00.000Z", "2016-01-01T00:00:00"),
        (DATE, "2024-02-29 10:00+02:00", "2024-02-29T08:00:00"), (DATE, "", None),
        (DATE, 1451606400000, "2016-01-01T00:00:00"),
        (DATE, 1451606400000.0, "2016-01-01T00:00:00"),
        (DATE, -1000, "1969-12-31T23:59:59"), (DATE, "2024-02-29 10:00", "2024-02-29 10:00"),
        (GERMAN, "1.2.2024", "2024-02-01T00:00:00"), (GERMAN, "2024-02-01", "2024-02-01"),
        (GERMAN, 1706745600000, "2024-02-01T00:00:00"),
        (DIGITS, 20240201, "2024-02-01T00:00:00"), (DIGITS, "20240201", "2024-02-01T00:00:00"),
        (SWAPPED, "2024-01-02", "2024-02-01T00:00:00"),
        (SWAPPED, "2024-13-02", "2024-02-13T00:00:00"),
        (EPOCH, 1706745600, "2024-02-01T00:00:00"), (EPOCH, "1706745600", "2024-02-01T00:00:00"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_its_table_means_it(
    column: Column, given_value: Any, expected: Any
) -> None:
    actual = value(reader(column), given_value)
    assert (actual, type(actual)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("column", "given_value", "what"),
    [
        (NUMBER, "", "missing value"), (NUMBER, "NA", "missing value"),
        (NUMBER, None, "missing value"),
        (NUMBER, "7O.1", "wrong type"), (NUMBER, "1_000", "wrong type"),
        (NUMBER, "$5", "wrong type"),
        (NUMBER, True, "wrong type"), (NUMBER, "inf", "not a finite number"),
        (NUMBER, "1e39", "out of range"), (NUMBER, "1" * 50, "out of range"),
        (WHOLE, "2.5", "not a whole number"), (WHOLE, "#", "wrong type"),
        (COMMA, "1.5", "wrong type"), (MONEY, "1,2", "wrong type"),
        (FLAG, "1", "wrong type"), (FLAG, 1, "wrong type"), (FLAG, "T", "wrong type"),
        (TEXT, "7030", "unknown category"), (TEXT, 7031, "unknown category"),
        (PADDED, 7, "unknown category"),
        (TEXT, "y", "unknown category"), (TEXT, "", "missing value"),
        (TEXT, True, "unknown category"),
        (TEXT, "X", "unknown category"), (SURE, True, "wrong type"), (SURE, None, "missing value"),
        (CODE, "2.5", "wrong type"), (CODE, 2.5, "wrong type"), (CODE, "4", "unknown category"),
        (CODE, True, "wrong type"), (CODES, "9223372036854775808", "out of range"),
        (DATE, "29.02.2024", "not a date"), (DATE, 20240229, "wrong type"),
        (DATE, True, "wrong type"),
        (DATE, 1e300, "wrong type"), (GERMAN, "31.02.2024", "not a date"),
        (GERMAN, "", "missing value"), (DIGITS, 20241345, "wrong type"),
        (ZIP, "7030", "unknown category"), (ZIP, 703, "unknown category"),
    ],
)  # fmt: skip
def test_a_value_that_its_table_does_not_have_is_named_as_it_came(
    column: Column, given_value: Any, what: str
) -> None:
    assert problem(reader(column), given_value) == what


def test_blanks_are_part_of_a_text_where_the_contract_says_so() -> None:
    read = reader(OPEN, strip=False)
    assert value(read, " x") == " x"
    assert value(read, "x") == "x"
    assert value(read, " NA") == " NA"
    assert value(reader(NUMBER, strip=False), " 7 ") == 7


def test_texts_for_a_missing_value_are_the_contract_s() -> None:
    assert value(reader(OPEN, missing=("-",)), "NA") == "NA"
    assert value(reader(OPEN, missing=("-",)), "-") is None
    assert value(reader(WHOLE, missing=("-",)), "") is None
    assert problem(reader(WHOLE, missing=("-",)), "NA") == "wrong type"


def test_a_column_of_plain_numbers_is_read_as_each_of_them_is() -> None:
    column = lenient.make_column_reader(WHOLE.model_copy(update={"markers": ()}), CONTRACT)
    one = lenient.make_value_reader(WHOLE.model_copy(update={"markers": ()}), CONTRACT)
    for values in (
        ["1", "2.5", "-3e2"], ["1", "", "NA"], ["1", None, 2, True], ["1", " 2 "], ["1", "1_000"],
        ["1", "x"], ["1", "nan"], ["1", "inf"], ["1", "\u0661"], ["1", "1" * 2000], [], ["", ""],
        ["-"], ["1", "--1"], ["1", [2]],
    ):  # fmt: skip
        assert column(values) == [one(value) for value in values]


ROWS = [
    TABLE, STRICT, {**STRICT, "emp_var_rate": "1,234.5"},
    {f" {key}\t": v for key, v in TABLE.items()},
    dict(reversed(TABLE.items())), {f"\ufeff{key}": v for key, v in TABLE.items()},
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_the_contract_s_names_or_the_table_s_headers(row: dict[str, Any]) -> None:
    expected = [VALUES]
    actual = READER.read(orjson.dumps(row))
    assert [tuple(values) for values in actual.values] == expected
    assert (actual.single, actual.identifiers) == (True, ["C-1"])
    many = READER.read(orjson.dumps([row, STRICT, row]))
    assert [tuple(values) for values in many.values] == expected * 3
    assert (many.single, many.identifiers) == (False, ["C-1"] * 3)


def frame() -> pd.DataFrame:
    """The table as pandas reads it: a file's numbers are numbers, and dates are dates."""
    file = io.StringIO()
    writer = csv.DictWriter(file, TABLE)
    writer.writeheader()
    writer.writerows([TABLE, {**TABLE, "age": "", "zip": "7", "city": ""}])
    file.seek(0)
    table = pd.read_csv(file, dtype={"zip": str})
    table["opened"] = pd.to_datetime(table["opened"], format="%d.%m.%Y")
    return table


@pytest.mark.parametrize("orient", ["records", "split", "columns", "values"])
@pytest.mark.parametrize("date_format", ["iso", "epoch"])
@pytest.mark.filterwarnings("ignore:'epoch' date format")
def test_each_orient_of_pandas_is_read(orient: Any, date_format: Any) -> None:
    table = frame()
    if orient == "values":
        table = table[[CONTRACT.headers[name] for name in CONTRACT.names]]
    actual = READER.read(table.to_json(orient=orient, date_format=date_format).encode())
    other = list(VALUES)
    other[1], other[4], other[7] = None, "7", None
    expected = to_matrix([VALUES, other], CONTRACT, ENGINEERING)
    assert np.array_equal(to_matrix(actual.values, CONTRACT, ENGINEERING), expected, equal_nan=True)
    assert not actual.single


def test_rows_of_a_csv_reader_have_the_features_of_those_in_json() -> None:
    rows = [TABLE] * 3
    actual = READER.read(json.dumps({"records": rows}).encode())
    assert np.array_equal(
        to_matrix(actual.values, CONTRACT, ENGINEERING),
        to_matrix([VALUES] * 3, CONTRACT, ENGINEERING),
    )


def test_an_identifier_that_pandas_made_a_float_is_the_whole_number() -> None:
    for given_value, expected in ((7.0, 7), ("7.0", "7.0"), (" 7", " 7"), (None, None)):
        actual = READER.check({**TABLE, "Row Id": given_value}).identifiers
        assert actual == (None if expected is None else [expected])


def test_a_problem_names_a_column_as_the_request_did_and_one_that_is_missing_by_its_header() -> (
    None
):
    row = {**TABLE, "is owner?": "maybe", " grade": "9", "colour": 1, "Emp Var Rat": 1}
    del row["grade"], row["cap-shape"]
    with pytest.raises(Refused) as error:
        READER.check({"records": [row]})
    assert [(one.column, one.problem, one.got) for one in error.value.detail] == [
        ("is owner?", "wrong type", "maybe"),
        ("cap-shape", "missing column", None),
        (" grade", "unknown category", "9"),
        ("colour", "unknown column", 1),
        ("Emp Var Rat", "unknown column, perhaps 'emp.var.rate'", 1),
    ]
    assert error.value.error == "the request breaks the contract in 5 places"
    assert error.value.detail[3].allowed == [
        "emp.var.rate", "age", "is owner?", "cap-shape", "zip", "grade", "opened", "city", "Row Id",
    ]  # fmt: skip


def test_a_problem_of_a_list_names_its_column_by_the_header() -> None:
    with pytest.raises(Refused) as error:
        READER.check({"features": ["x", *VALUES[1:]]})
    (one,) = error.value.detail
    assert (one.column, one.problem, one.got) == ("emp.var.rate", "wrong type", "x")
    assert one.allowed == "a number (float32), or a text like '$1,234.5'"


@pytest.mark.parametrize("key", ["emp_var_rate", " emp.var.rate "])
def test_a_column_by_both_its_names_is_a_problem(key: str) -> None:
    with pytest.raises(Refused) as error:
        READER.check({**TABLE, key: 1})
    (one,) = error.value.detail
    assert (one.column, one.problem, one.got) == (key, "the same column twice", 1)
    assert one.allowed == f"'emp.var.rate' or {key!r}, not both"


def test_nothing_is_made_of_the_target_and_of_columns_that_are_left_out() -> None:
    for more in ({"y": None}, {"Subscribed?": ["?"], "note": {}}, {"Note!": 1e999, " y": True}):
        assert READER.check({**STRICT, **more}).values == [VALUES]


FORMS = st.sampled_from([None, "$1,234.5", "1.234,5 €", "(1 234)", "1234,5", "1234.5%"])
TEXTS = st.text(max_size=9) | st.text("0123456789.,-+()$% €e/:TZ", max_size=12)


@given(text=TEXTS, form=FORMS)
def test_a_text_is_the_number_that_the_formats_say(text: str, form: str | None) -> None:
    read = reader(Column(name="a", kind="number", format=form, missing=True))
    expected = None if text.strip() in MISSING_TEXTS else read_number(text, form)
    is_good = text.strip() in MISSING_TEXTS or (expected is not None and abs(expected) < 1e38)
    if is_good:
        assert value(read, text) == expected
    else:
        with pytest.raises(Refused):
            value(read, text)


DATES = st.dates().map(str) | st.dates().map(lambda day: day.strftime("%d.%m.%Y")) | TEXTS


@given(text=DATES, form=st.sampled_from([None, "%d.%m.%Y", "%Y-%d-%m", "%m/%d/%y", "epoch ms"]))
def test_a_text_is_the_date_that_the_formats_say(text: str, form: str | None) -> None:
    read = reader(Column(name="a", kind="date", parts=("year",), format=form, missing=True))
    expected = read_date(text, form)
    if text.strip() in MISSING_TEXTS:
        assert value(read, text) is None
    elif expected is None:
        with pytest.raises(Refused):
            value(read, text)
    else:
        assert read_date(value(read, text)) == expected
