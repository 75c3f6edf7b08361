"""A body that is parsed in pieces is what it is when parsed at once, and so is what is wrong."""

from __future__ import annotations

import json
from typing import Any

import jiter
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference import parsing
from service.inference.parsing import Limits, parse_json
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


@settings(max_examples=500)
@given(text=st.text(st.sampled_from('{}[],:"\\a1 \n'), max_size=30), piece=st.integers(1, 20))
def test_so_is_anything(text: str, piece: int) -> None:
    body = text.encode()
    assert repr(parse_in_pieces(body, piece)) == repr(parse(body)), body
