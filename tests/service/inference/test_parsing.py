"""A body that is parsed in pieces is what it is when parsed at once, and so is what is wrong."""

from __future__ import annotations

import json
from typing import Any

import jiter
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.http.errors import Refused
from service.inference import parsing
from service.inference.parsing import Limits, parse_json
from service.inference.rows import Reader
from tests import small
from tests.service.inference.test_typed import READERS, bodies

LIMITS = Limits(10**9, 10**9)


def parse(body: bytes, *, allow_inf_nan: bool = False) -> Any:
    """Parse a body at once; the message where it is no JSON."""
    try:
        return jiter.from_json(body, allow_inf_nan=allow_inf_nan, catch_duplicate_keys=True)
    except ValueError as error:
        return f"error: {error}"


def parse_in_pieces(body: bytes, piece: int, *, allow_inf_nan: bool = False) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "PIECE", piece)
        patch.setattr(parsing, "CHUNK", max(piece, 1))
        try:
            return parse_json(body, LIMITS, allow_inf_nan=allow_inf_nan)
        except ValueError as error:
            return f"error: {error}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('ab"\\{}[],:\n é\N{GRINNING FACE}')),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('ab"\\,', max_size=3), inner),
)  # fmt: skip


@given(value=VALUES, piece=st.integers(1, 40), indent=st.none() | st.integers(0, 2))
def test_json_is_the_same_in_pieces(value: Any, piece: int, indent: int | None) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    assert parse_in_pieces(body, piece) == parse(body)


@settings(max_examples=500)
@given(data=st.data(), piece=st.integers(1, 60), allow_inf_nan=st.booleans())
def test_so_are_bodies_that_are_no_json(
    data: st.DataObject, piece: int, *, allow_inf_nan: bool
) -> None:
    body = data.draw(bodies(data.draw(st.sampled_from(READERS)).contract))
    actual = parse_in_pieces(body, piece, allow_inf_nan=allow_inf_nan)
    assert repr(actual) == repr(parse(body, allow_inf_nan=allow_inf_nan)), body


@pytest.mark.parametrize("piece", range(1, 40, 3))
@pytest.mark.parametrize("end", [b"\x0c}", b",1}", b"", b"}}", b',"z":}'])
def test_the_first_of_two_problems_is_named(end: bytes, piece: int) -> None:
    body = b'{"y":0,"records":0,"records":0' + end
    assert repr(parse_in_pieces(body, piece)) == repr(parse(body))


@settings(max_examples=500)
@given(text=st.text(st.sampled_from('{}[],:"\\a1 \n'), max_size=30), piece=st.integers(1, 20))
def test_so_is_anything(text: str, piece: int) -> None:
    body = text.encode()
    assert repr(parse_in_pieces(body, piece)) == repr(parse(body)), body


class Calls:
    """Records how long the texts are that a parser is called with."""

    def __init__(self, parse: Any) -> None:
        self.parse = parse
        self.longest = 0

    def __call__(self, text: bytes, *arguments: Any, **options: Any) -> Any:
        self.longest = max(self.longest, len(text))
        return self.parse(text, *arguments, **options)


COLUMNS = small.CONTRACT.names
ROW = dict.fromkeys(COLUMNS, 1)
# Bodies of megabytes that nobody means well with, and what each is refused for.
HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "unknown keys": (
        b"{%s}" % b",".join(b'"k%d":1' % index for index in range(100_000)),
        422, "too many columns",
    ),
    "unknown keys of a row": (
        b'{"records":[{%s}]}' % b",".join(b'"k%d":1' % index for index in range(100_000)),
        422, "too many columns",
    ),
    "unknown keys of a row without a name": (
        b"[{%s}]" % b",".join(b'"k%d":1' % index for index in range(100_000)),
        422, "too many columns",
    ),
    "a row of many values": (
        b'{"features":[[%s]]}' % b",".join([b"1"] * 100_000), 422, "wrong number of values",
    ),
    "values of one row": (
        b'{"features":[%s]}' % b",".join([b"1"] * 100_000), 422, "wrong number of values",
    ),
    "many rows, all wrong": (
        b'{"features":[%s]}' % b",".join([b'["x","x","x","x","x"]'] * 10_000), 422, "wrong type",
    ),
    "many records, all wrong": (
        b'{"records":[%s]}' % b",".join([b'{"area":"x","depth":"x","a":"x"}'] * 10_000),
        422, "wrong type",
    ),
    "too many rows": (b'{"features":[%s]}' % b",".join([b"[1]"] * 20_000), 413, "20,000 rows"),
    "too many rows by column": (
        b'{"area":[%s]}' % b",".join([b"1"] * 100_000), 413, "100,000 rows",
    ),
    "a value of many values": (
        b'{"records":[{"area":[%s]}]}' % b",".join([b"1"] * 100_000), 413, "row 0 has over 10,000",
    ),
    "too many values": (b"[%s1]" % (b"1," * 1_000_000), 413, "values"),
    "long texts": (
        b'{"records":[%s]}' % b",".join([b'{"colour":"%s"}' % (b"x" * 20_000)] * 100),
        422, "missing column",
    ),
    "deep": (b'{"a":%s}' % (b"[" * 500_000 + b"]" * 500_000), 400, "recursion limit"),
    "digits": (b'{"features":[%s]}' % (b"1" * 1_000_000), 400, "number out of range"),
    "no end": (b'{"features":[%s' % (b"[1,2,3,true,null]," * 9_000), 400, "EOF while parsing"),
    "garbage at the end": (
        b'{"features":[%s]}}' % b",".join([b"[1,2,3,true,null]"] * 9_000), 400, "trailing",
    ),
    "a key twice, far apart": (
        b'{"area":[%s],"area":1}' % b",".join([b"1"] * 9_000), 400, 'duplicate key "area"',
    ),
    "no UTF-8 at the end": (
        b'{"features":[%s,["\xff"]]}' % b",".join([b"[1,2,3,true,null]"] * 9_000),
        400, "is not UTF-8",
    ),
    "NaN": (
        b'{"features":[%s,[NaN]]}' % b",".join([b"[1,2,3,true,null]"] * 9_000), 400, "row 9000",
    ),
}  # fmt: skip
SINGLE_VALUES = {"deep", "digits"}  # which the parser refuses at their beginning


@pytest.mark.parametrize("name", HOSTILE)
def test_a_long_body_is_refused_without_a_long_call(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, status, message = HOSTILE[name]
    calls = Calls(jiter.from_json)
    monkeypatch.setattr(jiter, "from_json", calls)
    reader = Reader(small.CONTRACT, max_rows=10_000)
    with pytest.raises(Refused) as refused:
        reader.read(body)
    assert refused.value.status == status
    words = [refused.value.error, *(problem.problem for problem in refused.value.detail)]
    assert any(message in word for word in words), words
    assert calls.longest < 3 * parsing.PIECE or name in SINGLE_VALUES
