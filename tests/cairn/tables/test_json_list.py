from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.errors import CairnError
from cairn.tables import json_list, records

VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('a"\\[]{},:\n', max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text('}"\\'), inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.lists(st.dictionaries(st.text('a,"', max_size=2), VALUES, max_size=3), min_size=1)


@given(
    objects=OBJECTS,
    indent=st.sampled_from([None, 0, 2]),
    size=st.integers(1, 40),
    is_ascii=st.booleans(),
)
def test_any_list_becomes_lines_wherever_its_chunks_are_cut(
    objects: list[dict[str, Any]], indent: int | None, size: int, *, is_ascii: bool
) -> None:
    text = json.dumps(objects, indent=indent, ensure_ascii=is_ascii).encode()
    start = text.index(b"{") + 1  # the reader has seen that it begins with an object
    chunks = [text[:start], *(text[at : at + size] for at in range(start, len(text), size)), b" \n"]
    lines = b"".join(json_list.to_lines(iter(chunks), "table")).splitlines()
    assert [json.loads(line) for line in lines] == objects


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"a": 1}', "the JSON list has no end"),
        ('[{"a": "]}"', "the JSON list has no end"),
        ('[{"a": 1}] [{"a": 2}]', r"goes on behind its JSON list, with '\[{\"a\": 2}\]'"),
    ],
)
def test_what_is_no_complete_list_is_named(text: str, says: str) -> None:
    with pytest.raises(CairnError, match=f"^table: .*{says}"):
        list(json_list.to_lines(iter([text.encode()]), "table"))


def test_an_object_without_an_end_is_not_collected_for_ever() -> None:
    chunks = iter([b'[{"a": "', *[b"x" * 2**20] * 9])
    with pytest.raises(CairnError, match=f"a record of over {records.LONGEST:,} bytes"):
        list(json_list.to_lines(chunks, "table"))
    assert len(list(chunks)) >= 4
