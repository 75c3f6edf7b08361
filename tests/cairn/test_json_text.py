from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cairn.json_text import find_quotes


@given(text=st.text(st.sampled_from('"\\a'), max_size=40), cut=st.integers(0, 40))
def test_a_quote_behind_a_backslash_ends_no_text(text: str, cut: int) -> None:
    """However the text is cut into chunks."""
    expected, is_escaped = [], False
    for character in text:
        expected.append(character == '"' and not is_escaped)
        is_escaped = character == "\\" and not is_escaped
    actual, was_escaped = [], False
    for part in filter(None, (text[:cut], text[cut:])):
        quotes, was_escaped = find_quotes(
            np.frombuffer(part.encode(), np.uint8), is_escaped=was_escaped
        )
        actual += quotes.tolist()
    assert (actual, was_escaped) == (expected, is_escaped)
