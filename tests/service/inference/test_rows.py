from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cairn.contract import Column, Contract, Target
from service.http.errors import Problem, Refused
from service.inference.problems import LISTED, LONGEST
from service.inference.rows import Reader
from service.process.settings import MAX_ROWS
from tests import small
from tests.service import complete

CONTRACT = Contract(
    columns=(
        Column(name="n", kind="number", minimum=0, maximum=10),
        Column(name="i", kind="integer", missing=True),
        Column(name="b", kind="boolean"),
        Column(name="c", kind="category", categories=("1", "x"), missing=True),
    ),
    target=Target(name="y", classes=(0, 1)),
)
READER = Reader(CONTRACT)
GOOD = {"n": 1.5, "i": 2, "b": True, "c": "x"}


def read(content: Any, reader: Reader = READER) -> list[dict[str, Any]]:
    return named(reader, reader.read(orjson.dumps(content)).values)


def named(reader: Reader, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(reader.contract.names, row, strict=True)) for row in rows]


def refusal(content: Any, reader: Reader = READER) -> Refused:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    with pytest.raises(Refused) as error:
        reader.read(body)
    return error.value


def problem(content: Any, reader: Reader = READER) -> Problem:
    actual = refusal(content, reader)
    assert actual.status == 422
    assert actual.error == "the request breaks the contract in 1 place"
    (one,) = actual.detail
    return one


def shapes(contract: Contract, rows: list[dict[str, Any]]) -> list[Any]:
    """Every body that says these rows."""
    lists = [[row[name] for name in contract.names] for row in rows]
    bodies: list[Any] = [{"records": rows}, {"features": lists}]
    return bodies + ([rows[0], {"features": lists[0]}] if len(rows) == 1 else [])


@settings(max_examples=50, deadline=None)
@given(request=small.requests())
def test_rows_that_keep_the_contract_are_the_same_in_every_shape(
    request: tuple[Contract, list[dict[str, Any]]],
) -> None:
    contract, rows = request
    reader = Reader(contract)
    for body in shapes(contract, rows):
        assert read(body, reader) == rows
    sparse = [{name: value for name, value in row.items() if value is not None} for row in rows]
    assert read({"records": sparse}, reader) == rows


@settings(max_examples=50, deadline=None)
@given(request=small.requests(), data=st.data())
def test_one_wrong_value_is_one_problem_that_names_its_row_and_column(
    request: tuple[Contract, list[dict[str, Any]]], data: st.DataObject
) -> None:
    contract, rows = request
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(contract.columns))
    value = data.draw(small.wrong(column))
    # A list that begins with a list is many rows, whatever was meant; so is an object of them.
    assume(column != contract.columns[0] or not isinstance(value, list))
    assume(len(contract.columns) > 1 or not isinstance(value, list | dict))
    broken = [{**good, column.name: value} if index == row else good
              for index, good in enumerate(rows)]  # fmt: skip
    for body in shapes(contract, broken):
        actual = problem(body, Reader(contract))
        assert (actual.row, actual.column) == (row, column.name)
        assert actual.got == (value if not isinstance(value, list | dict | str) else actual.got)
        assert actual.allowed


@pytest.mark.parametrize(
    ("rows", "single"),
    [
        ({"features": [1.5, 2, True, "x"]}, True),
        ({"features": [[1.5, 2, True, "x"]]}, False),
        (GOOD, True),
        ({"records": [GOOD]}, False),
    ],
)
def test_a_list_of_one_row_is_a_list(rows: Any, single: bool) -> None:  # noqa: FBT001
    actual = READER.read(orjson.dumps(rows))
    assert (named(READER, actual.values), actual.single) == ([GOOD], single)


@pytest.mark.parametrize(
    ("column", "value", "what", "got", "allowed"),
    [
        ("n", "1x", "wrong type", "1x", "a number (float32) at least 0 and at most 10"),
        ("n", True, "wrong type", True, "a number (float32) at least 0 and at most 10"),
        ("n", None, "missing value", None, "a number (float32) at least 0 and at most 10"),
        ("n", [1], "wrong type", "a list of 1", "a number (float32) at least 0 and at most 10"),
        ("n", -0.5, "out of range", -0.5, "a number (float32) at least 0 and at most 10"),
        ("n", 11, "out of range", 11, "a number (float32) at least 0 and at most 10"),
        ("i", 0.5, "not a whole number", 0.5, "a whole number, or null"),
        ("i", 1e39, "out of range", 1e39, "a whole number, or null"),
        ("b", 1, "wrong type", 1, "true or false"),
        ("b", "yes", "wrong type", "yes", "true or false"),
        ("b", "1", "wrong type", "1", "true or false"),
        ("b", "", "missing value", "", "true or false"),
        ("n", " NA ", "missing value", " NA ", "a number (float32) at least 0 and at most 10"),
        ("n", "11", "out of range", "11", "a number (float32) at least 0 and at most 10"),
        ("n", "inf", "not a finite number", "inf", "a number (float32) at least 0 and at most 10"),
        ("i", "0.5", "not a whole number", "0.5", "a whole number, or null"),
        ("c", "y", "unknown category", "y", ["1", "x", None]),
        ("c", 2, "unknown category", 2, ["1", "x", None]),
        ("c", True, "unknown category", True, ["1", "x", None]),
    ],
)
def test_a_problem_says_what_is_wrong_what_came_and_what_is_allowed(
    column: str, value: Any, what: str, got: Any, allowed: Any
) -> None:
    actual = problem({**GOOD, column: value})
    assert actual == Problem(row=0, column=column, problem=what, got=got, allowed=allowed)


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert read({**GOOD, "i": 3.0})[0]["i"] == 3


def test_both_ends_of_a_range_are_in_it() -> None:
    assert [row["n"] for row in read({"records": [{**GOOD, "n": 0}, {**GOOD, "n": 10}]})] == [0, 10]


def test_a_number_may_be_as_large_as_float32_holds() -> None:
    wide = Reader(Contract(columns=(Column(name="n", kind="number"),), target=CONTRACT.target))
    assert read({"n": 3.4028234663852886e38}, wide) == [{"n": 3.4028234663852886e38}]
    assert problem({"n": 3.41e38}, wide).problem == "out of range"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", ["n", "i"])
def test_what_json_cannot_say_is_no_number(column: str, value: float) -> None:
    with pytest.raises(Refused) as error:
        READER.check({**GOOD, column: value})
    assert [one.problem for one in error.value.detail] == ["not a finite number"]


@pytest.mark.parametrize(
    ("value", "problem_of_it", "got"),
    [
        (b"1e999", "not a finite number", "a number beyond float64"),
        (b"-1e999", "not a finite number", "a number beyond float64"),
        (b"1" + b"0" * 400, "wrong type", "a number beyond float64"),
        (b"1" + b"0" * 50, "out of range", 1e50),
    ],
)
def test_a_number_too_large_for_any_float_is_a_problem_that_json_can_hold(
    value: bytes, problem_of_it: str, got: Any
) -> None:
    actual = problem(b'{"n": %s, "b": true}' % value)
    assert (actual.problem, actual.got) == (problem_of_it, got)
    assert orjson.dumps(actual.model_dump())


def test_a_column_that_may_be_missing_may_be_left_out_and_another_may_not() -> None:
    assert read({"n": 1, "b": False}) == [{"n": 1, "i": None, "b": False, "c": None}]
    assert problem({"n": 1}) == Problem(
        row=0, column="b", problem="missing column", got=None, allowed="true or false"
    )


def test_an_unknown_column_is_named_with_those_that_are_known() -> None:
    assert problem({**GOOD, "z": 1}) == Problem(
        row=0, column="z", problem="unknown column", got=1, allowed=["n", "i", "b", "c"]
    )


def test_every_problem_of_every_row_is_named_at_once() -> None:
    actual = refusal({"records": [{**GOOD, "n": "x", "b": 0}, GOOD, {**GOOD, "c": "y"}]})
    assert actual.error == "the request breaks the contract in 3 places"
    assert [(one.row, one.column) for one in actual.detail] == [(0, "n"), (0, "b"), (2, "c")]


@pytest.mark.parametrize(
    ("content", "row", "what", "got"),
    [
        ({"features": []}, 0, "wrong number of values", 0),
        ({"features": [1, 2, True]}, 0, "wrong number of values", 3),
        ({"features": [1, 2, True, "x", 0]}, 0, "wrong number of values", 5),
        ({"features": [[1, 2, True, "x"], [1]]}, 1, "wrong number of values", 1),
        ({"features": [[1, 2, True, "x"], {"n": 1}]}, 1, "wrong type", "an object of 1"),
        ({"records": [GOOD, 7]}, 1, "wrong type", 7),
        ({"records": [GOOD, []]}, 1, "wrong type", "a list of 0"),
        ({"records": []}, None, "no rows", []),
        ([GOOD, 7], 1, "wrong type", 7),
        ([1.5, 2, True, "x"], None, "wrong shape", "a list of 4"),
        ([], None, "no rows", []),
        (None, None, "wrong shape", None),
        (1, None, "wrong shape", 1),
        ("features", None, "wrong shape", "features"),
        ("x" * 1000, None, "wrong shape", "x" * LONGEST + "…"),
    ],
)
def test_what_is_no_row_is_a_problem_of_the_row_or_of_the_whole(
    content: Any, row: int | None, what: str, got: Any
) -> None:
    actual = problem(content)
    assert (actual.row, actual.column, actual.problem, actual.got) == (row, None, what, got)


def test_a_row_of_the_wrong_length_names_the_columns_in_order() -> None:
    assert problem({"features": [1]}).allowed == "a list of 4 values: n, i, b, c"


def test_a_column_may_bear_the_name_of_a_shape() -> None:
    columns = tuple(Column(name=name, kind="number") for name in ("features", "records"))
    reader = Reader(Contract(columns=columns, target=CONTRACT.target))
    assert reader.read(b'{"features": 1, "records": 2}') == ([(1, 2)], True, None)
    one_row = Reader(Contract(columns=columns[:1], target=CONTRACT.target))
    assert one_row.read(b'{"features": 1}') == ([(1,)], True, None)
    assert one_row.read(b'{"features": [1]}') == ([(1,)], True, None)
    assert one_row.read(b'{"records": [{"features": 1}]}') == ([(1,)], False, None)


FULL = Reader(small.FULL)
FULL_ROW = complete.ROW
DATE = (
    "a date YYYY-MM-DD, or with a time YYYY-MM-DDTHH:MM[:SS[.fraction]] and a zone or none, or "
    "milliseconds since 1970"
)


@pytest.mark.parametrize("column", ["opened", "born"])
@pytest.mark.parametrize(
    "date",
    [
        "2024-02-29", "2024-02-29T00:00", "2024-02-29 23:59", "2024-02-29T23:59:59",
        "2024-02-29 23:59:59.5", "2024-02-29T23:59:59.123456789", "0001-01-01", "9999-12-31",
        "0001-01-01T00:00:00", "9999-12-31 23:59:59.999999999",
    ],
)  # fmt: skip
def test_a_date_may_have_a_time(column: str, date: str) -> None:
    assert read({**FULL_ROW, column: date}, FULL)[0][column] == date
    listed = list({**FULL_ROW, column: date}.values())
    assert read({"features": listed}, FULL)[0][column] == date


@pytest.mark.parametrize("date", [*small.NO_DATES, *small.NO_DAYS])
def test_what_is_no_date_of_the_calendar_is_refused(date: str) -> None:
    for content in (
        {**FULL_ROW, "born": date},
        {"features": list({**FULL_ROW, "born": date}.values())},
    ):
        assert problem(content, FULL) == Problem(
            row=0,
            column="born",
            problem="not a date",
            got=date,
            allowed=f"{DATE}, or null",
        )


@pytest.mark.parametrize(
    ("column", "value", "what", "allowed"),
    [
        ("opened", 20240229, "wrong type", DATE),
        ("size", 3, "unknown category", [1, 2, 5]),
        ("size", 5.5, "wrong type", [1, 2, 5]),
        ("size", "5.5", "wrong type", [1, 2, 5]),
        ("size", "3", "unknown category", [1, 2, 5]),
        ("size", True, "wrong type", [1, 2, 5]),
        ("size", None, "missing value", [1, 2, 5]),
        ("size", 2**63, "unknown category", [1, 2, 5]),
        ("branch", 30.5, "wrong type", "any whole number of 64 bits, or null"),
        ("branch", False, "wrong type", "any whole number of 64 bits, or null"),
        ("branch", "30x", "wrong type", "any whole number of 64 bits, or null"),
        ("branch", 2**63, "out of range", "any whole number of 64 bits, or null"),
        ("colour", True, "wrong type", "any text"),
        ("colour", None, "missing value", "any text"),
        ("customer", 1.5, "wrong type", "a text, a whole number of 64 bits, or null"),
        ("customer", True, "wrong type", "a text, a whole number of 64 bits, or null"),
        ("customer", ["C"], "wrong type", "a text, a whole number of 64 bits, or null"),
        ("customer", 2**63, "out of range", "a text, a whole number of 64 bits, or null"),
    ],
)  # fmt: skip
def test_a_problem_with_a_date_a_code_or_a_name_says_what_is_allowed(
    column: str, value: Any, what: str, allowed: Any
) -> None:
    actual = problem({**FULL_ROW, column: value}, FULL)
    assert (actual.column, actual.problem, actual.allowed) == (column, what, allowed)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("branch", 4711),
        ("branch", -(2**63)),
        ("branch", 2**63 - 1),
        ("colour", ""),
        ("colour", "名"),
    ],
)
def test_a_category_may_be_one_that_is_not_listed_where_the_contract_says_so(
    column: str, value: Any
) -> None:
    assert read({**FULL_ROW, column: value}, FULL)[0][column] == value


@pytest.mark.parametrize("name", ["C-1", "", 0, -(2**63), 2**63 - 1])
def test_an_identifier_is_read_beside_the_columns(name: Any) -> None:
    named_row = {"customer": name, **FULL_ROW}
    assert FULL.check(named_row).identifiers == [name]
    many = FULL.check({"records": [FULL_ROW, named_row, {**FULL_ROW, "customer": None}]})
    assert many.identifiers == [None, name, None]
    assert named(FULL, many.values) == [FULL_ROW] * 3


def test_without_an_identifier_there_is_none() -> None:
    for content in (
        FULL_ROW,
        {**FULL_ROW, "customer": None},
        {"records": [FULL_ROW, {**FULL_ROW, "customer": None}]},
        {"features": list(FULL_ROW.values())},
    ):
        assert FULL.check(content).identifiers is None


def test_an_identifier_has_no_place_in_a_list() -> None:
    actual = problem({"features": ["C-1", *FULL_ROW.values()]}, FULL)
    assert (actual.problem, actual.got) == ("wrong number of values", 8)
    assert actual.allowed == "a list of 7 values: opened, born, area, size, branch, colour, flag"


def test_an_unknown_column_is_reported_beside_the_identifier() -> None:
    assert problem({**FULL_ROW, "Customer": 1}, FULL).allowed == [*FULL_ROW, "customer"]


def test_an_identifier_may_bear_the_name_of_a_shape() -> None:
    contract = Contract(
        columns=(Column(name="features", kind="number"),),
        identifier="records",
        target=CONTRACT.target,
    )
    actual = Reader(contract).read(b'{"features": 1, "records": "C-1"}')
    assert actual == ([(1,)], True, ["C-1"])
    column = Column(name="n", kind="number", missing=True)
    one_row = Reader(Contract(columns=(column,), identifier="features", target=CONTRACT.target))
    assert one_row.read(b'{"features": [1]}') == ([(1,)], True, None)
    assert one_row.read(b'{"features": 7}') == ([(None,)], True, [7])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\xff",
        b'{"n": 1, "b": true, "n": 1}',
        b'{"records": [{"n": 1, "n": 1}]}',
        b"[" * 300 + b"]" * 300,
        b"1" * 5000,
        b'{"n": "\\ud800"}',
        b'{"n": 1',
        b"{'n': 1}",
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_is_400_and_says_where(body: bytes) -> None:
    actual = refusal(body)
    assert actual.status == 400
    assert actual.error.startswith("the body is not JSON: ")
    assert actual.detail == []


@given(body=st.binary(max_size=50))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    assert refusal(body).status in {400, 422}


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | small.TEXTS,
    lambda parts: (
        st.lists(parts, max_size=4)
        | st.dictionaries(st.sampled_from([*GOOD, "features", "records"]) | small.TEXTS, parts)
    ),
    max_leaves=10,
)


NEARLY = st.dictionaries(
    st.sampled_from([*FULL_ROW, "customer"]), JSON | st.sampled_from(small.NO_DATES), max_size=3
).map(lambda changed: {**FULL_ROW, **changed})


@given(content=JSON | NEARLY | st.fixed_dictionaries({"features": JSON}) | st.lists(JSON).map(
    lambda rows: {"records": rows}), reader=st.sampled_from([READER, FULL]))  # fmt: skip
def test_no_json_does_more_than_be_refused_with_problems_that_json_can_hold(
    content: Any, reader: Reader
) -> None:
    actual = None
    try:
        reader.read(orjson.dumps(content))
    except Refused as refused:
        actual = refused
    if actual:
        assert actual.status == 422
        assert actual.detail
        assert orjson.dumps([one.model_dump() for one in actual.detail])


BAD = {"n": "x", "b": 0}


@pytest.mark.parametrize(
    ("content", "positions", "rows"),
    [
        ({"features": [[]] * 101}, "101", list(range(100))),
        ({"features": [[1.5, 2, True, "x"], *[[]] * 1100]}, "1,100", list(range(1, 101))),
        ({"records": [BAD] * 51}, "102", [row for row in range(50) for _ in "nb"]),
        (
            {"records": [{}, GOOD, *[BAD] * 60]},
            "122",
            [0, 0, *[i for i in range(2, 51) for _ in "nb"]],
        ),
        (
            {"records": [{**GOOD, "n": ""}, *[BAD] * 60]},
            "121",
            [0, *[i for i in range(1, 50) for _ in "nb"], 50],
        ),
        ({"records": [3] * 200}, "200", list(range(100))),
    ],
)
def test_of_many_problems_the_first_are_listed_and_all_are_counted(
    content: Any, positions: str, rows: list[int]
) -> None:
    actual = refusal(content)
    assert actual.error == (
        f"the request breaks the contract in {positions} places, of which the first 100 are listed"
    )
    assert [one.row for one in actual.detail] == rows


def test_a_hundred_problems_are_all_listed() -> None:
    actual = refusal({"records": [BAD] * 50})
    assert actual.error == "the request breaks the contract in 100 places"
    assert len(actual.detail) == LISTED


def test_every_column_that_is_unknown_is_a_problem_up_to_a_limit() -> None:
    actual = refusal({**GOOD, **{f"z{index}": 1 for index in range(LISTED)}})
    assert actual.error == "the request breaks the contract in 100 places"
    assert {one.problem for one in actual.detail} == {"unknown column"}


def test_too_many_columns_in_a_row_are_one_problem() -> None:
    wide = {**GOOD, **{f"z{index}": 1 for index in range(LISTED + 2)}}
    actual = refusal({"records": [wide, BAD]})
    assert actual.error == "the request breaks the contract in 3 places"
    assert actual.detail[0] == Problem(
        row=0,
        column=None,
        problem="too many columns",
        got=len(wide),
        allowed="an object with a value for each of n, i, b, c",
    )
    assert [(one.row, one.column) for one in actual.detail[1:]] == [(1, "n"), (1, "b")]


@pytest.mark.parametrize("key", ["features", "records"])
@pytest.mark.parametrize("row", [GOOD, [1.5, 2, True, "x"], [], 3])
def test_more_rows_than_the_limit_are_413_whatever_they_are(key: str, row: Any) -> None:
    rows = [[], *[row] * MAX_ROWS] if key == "features" else [row] * (MAX_ROWS + 1)
    actual = refusal({key: rows})
    assert (actual.status, actual.detail) == (413, [])
    assert "10,001 rows" in actual.error
    assert "at most 10,000" in actual.error


@pytest.mark.parametrize(
    "body",
    [
        b'{"features": [%s[]]}' % (b"[]," * 140_000),
        b"[%s1]" % (b"1," * 140_000),
        b"{%s}" % b",".join(b'"%d":1' % number for number in range(140_000)),
    ],
)
def test_more_values_than_all_those_rows_need_are_not_even_parsed(body: bytes) -> None:
    actual = refusal(body)
    assert actual.status == 413
    assert "130,000 values" in actual.error


def test_as_many_rows_as_the_limit_are_read() -> None:
    assert len(read({"records": [GOOD] * MAX_ROWS})) == MAX_ROWS
    assert len(read({"features": [list(GOOD.values())] * MAX_ROWS})) == MAX_ROWS


def test_many_values_of_one_row_are_no_rows() -> None:
    actual = problem({"features": [1.5] * (MAX_ROWS + 1)})
    assert (actual.row, actual.problem, actual.got) == (0, "wrong number of values", MAX_ROWS + 1)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ("x" * LONGEST, "x" * LONGEST),
        ("x" * (LONGEST + 1), "x" * LONGEST + "…"),
        (["x" * 1000], "a list of 1"),
        ({"a": 1, "b": ["x" * 1000]}, "an object of 2"),
    ],
)
def test_a_long_value_is_cut_short(value: Any, got: str) -> None:
    assert problem({**GOOD, "n": value}).got == got


def test_a_deeply_nested_value_is_one_problem() -> None:
    body = b'{"n": %s, "b": true}' % (b"[" * 150 + b"]" * 150)
    actual = problem(body)
    assert (actual.column, actual.got) == ("n", "a list of 1")
    assert orjson.dumps(actual.model_dump())


def test_a_small_body_takes_little_memory_whatever_is_wrong_with_it() -> None:
    body = b'{"records": [%s]}' % b",".join([b"{}"] * 5000)
    tracemalloc.start()
    try:
        refusal(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20
