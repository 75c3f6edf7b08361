from __future__ import annotations

import codecs
import json
import math
from typing import Any

import orjson
import pytest

from cairn.contract import Column, Contract, Target
from service.http.errors import Refused
from service.inference.problems import LISTED
from service.inference.rows import Reader
from tests import small, workers

CONTRACT = Contract(
    columns=(Column(name="a", kind="number"), Column(name="b_c", header="b.c", kind="number")),
    target=Target(name="y", classes=(0, 1)),
)
READER = Reader(CONTRACT, max_rows=1000)
ROW = {"a": 1, "b.c": 2}


def refusal(body: bytes) -> Refused:
    with pytest.raises(Refused) as error:
        READER.read(body)
    assert error.value.status == 400
    assert orjson.dumps([one.model_dump() for one in error.value.detail])
    return error.value


@pytest.mark.parametrize(
    ("content", "positions", "output"),
    [
        ({"a": math.nan, "b.c": 1}, [(0, "a", "NaN")], "row 0, column 'a': NaN"),
        ([ROW, {"a": 1, "b.c": -math.inf}], [(1, "b.c", "-Infinity")], "row 1, column 'b.c'"),
        ({"features": [1, math.inf]}, [(0, "b.c", "Infinity")], "row 0, column 'b.c': Infinity"),
        (
            {"records": [{"a": math.nan, "b.c": math.nan}, ROW, {**ROW, "a": math.nan}]},
            [(0, "a", "NaN"), (0, "b.c", "NaN"), (2, "a", "NaN")],
            "row 0, column 'a': NaN is not JSON; send null (and 2 more)",
        ),
        ({"a": {"0": 1, "1": math.nan}, "b.c": {"0": 1, "1": 2}}, [(1, "a", "NaN")], "row 1"),
    ],
)
def test_each_nan_is_named_with_its_row_and_column(
    content: Any, positions: list[tuple[int, str, str]], output: str
) -> None:
    actual = refusal(json.dumps(content).encode())
    assert [(one.row, one.column, one.got) for one in actual.detail] == positions
    assert {(one.problem, one.allowed) for one in actual.detail} == {
        ("not JSON", "null, or a number")
    }
    assert actual.error.startswith("the body is not JSON: ")
    assert output in actual.error
    assert "send null" in actual.error


def test_of_many_nans_the_first_are_listed_and_all_are_counted() -> None:
    actual = refusal(json.dumps([{"a": math.nan, "b.c": math.nan}] * 300).encode())
    assert len(actual.detail) == LISTED
    assert "(and 599 more)" in actual.error


def test_a_nan_where_no_value_is_has_no_place() -> None:
    actual = refusal(b'{"a": [NaN], "b.c": 1}')
    assert (actual.error, actual.detail) == (
        "the body is not JSON: it has NaN or Infinity; send null", [],
    )  # fmt: skip


def test_a_number_too_large_for_a_float_is_none_of_json_s_problems() -> None:
    with pytest.raises(Refused) as error:
        READER.read(b'{"a": 1e999, "b.c": 1}')
    assert error.value.status == 422
    actual = refusal(b'[{"a": 1e999, "b.c": NaN}]')
    assert [one.column for one in actual.detail] == ["b.c"]


def test_the_text_nan_is_a_text() -> None:
    with pytest.raises(Refused) as error:
        READER.read(b'{"a": "NaN", "b.c": "Infinity"}')
    assert [one.problem for one in error.value.detail] == ["missing value", "not a finite number"]


@pytest.mark.parametrize("more", [b"", b" ", b"\n"])
def test_a_byte_order_mark_is_no_part_of_the_body(more: bytes) -> None:
    assert READER.read(codecs.BOM_UTF8 + more + json.dumps(ROW).encode()).values == [(1, 2)]


def test_an_answer_with_the_input_is_json_all_the_same() -> None:
    worker = workers.worker()
    body = {"features": small.rows()[1]}
    answer = workers.call(
        "POST", "/predict", [codecs.BOM_UTF8 + json.dumps(body).encode()],
        [(b"content-type", b"application/json")], b"echo=true", worker,
    )  # fmt: skip
    assert answer.status == 200
    assert answer.content["input"] == body


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (json.dumps(ROW).encode("utf-16"), "it is UTF-16; send UTF-8"),
        (json.dumps(ROW).encode("utf-32"), "it is UTF-32; send UTF-8"),
        (json.dumps(ROW).encode("utf-16-be"), "it is UTF-16 or UTF-32; send UTF-8"),
        (json.dumps(ROW).encode("utf-16-le"), "it is UTF-16 or UTF-32; send UTF-8"),
        ('{"größe": 1}'.encode("latin-1"), "byte 5, 0xf6, is not UTF-8; send UTF-8"),
        (codecs.BOM_UTF8 + b"{", "EOF while parsing an object at line 1 column 1"),
        (codecs.BOM_UTF8 + b'{"a": NaN}', "row 0, column 'a': NaN is not JSON; send null"),
        (b'{"a": NaN', "expected value at line 1 column 7"),
        (b'{"a": NaN, "a": NaN}', "expected value at line 1 column 7"),
        (b"NaN", "expected value"),
    ],
)
def test_a_body_of_another_kind_is_reported_as_that(body: bytes, output: str) -> None:
    try:
        actual = refusal(body)
    except AssertionError:
        assert body == b"NaN"  # JSON, but no row
        return
    assert output in actual.error
