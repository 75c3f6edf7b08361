"""A JSON list of objects, such as pandas' to_json(orient='records') writes, as JSON lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn.errors import CairnError
from cairn.json_text import find_quotes
from cairn.tables import records

START = re.compile(rb"\s*\[(?=\s*\{)")
SIGNS = np.zeros(256, dtype=bool)
SIGNS[list(b"[]{},\r\n")] = True
DEPTH = np.zeros(256, dtype=np.int64)
DEPTH[list(b"[{")], DEPTH[list(b"]}")] = 1, -1
COMMA, BLANK, NEWLINE = b", \n"

Indices = NDArray[np.int64]


class Signs(NamedTuple):
    """Where in a part of a list there are signs outside of texts.

    Attributes
    ----------
    commas
        Those between two objects of the list.
    breaks
        The ends of lines.
    end
        What ends the list, if it does.
    """

    commas: Indices
    breaks: Indices
    end: int | None


def to_lines(chunks: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Convert the chunks of a JSON list to those of JSON lines, one object a line.

    Raises
    ------
    CairnError
        Where the list has no end, or the file goes on behind it.
    """
    rest = b""
    is_open = False
    for chunk in chunks:
        text = rest + chunk
        if not is_open:
            text, is_open = START.sub(b"", text, count=1), True
        signs = _find_signs(text)
        if signs.end is not None:
            yield _lay_out(text[: signs.end], signs) + b"\n"
            _check_end(text[signs.end + 1 :], chunks, where)
            return
        cut = int(signs.commas[-1]) + 1 if len(signs.commas) else 0
        rest = text[cut:]
        if len(rest) > records.LONGEST:
            raise records.explain_length(where, 1)
        if cut:
            yield _lay_out(text[:cut], signs)
    raise CairnError(f"{where}: the JSON list has no end; the file is cut short")


def _find_signs(text: bytes) -> Signs:
    """Find the signs of a part of a list that begins between two objects."""
    codes = np.frombuffer(text, dtype=np.uint8)
    quotes = np.flatnonzero(find_quotes(codes, is_escaped=False)[0])
    at = np.flatnonzero(SIGNS[codes])
    at = at[np.searchsorted(quotes, at) % 2 == 0]
    signs = codes[at]
    depth = np.cumsum(DEPTH[signs])
    ends = at[depth < 0]
    end = int(ends[0]) if len(ends) else None
    inside = at < (len(text) if end is None else end)
    commas = at[(signs == COMMA) & (depth == 0) & inside]
    return Signs(commas, at[np.isin(signs, list(b"\r\n")) & inside], end)


def _lay_out(text: bytes, signs: Signs) -> bytes:
    """Lay out a part of a list with an object on each line."""
    codes = np.frombuffer(text, dtype=np.uint8).copy()
    codes[signs.breaks[signs.breaks < len(codes)]] = BLANK
    codes[signs.commas] = NEWLINE
    return codes.tobytes()


def _check_end(rest: bytes, chunks: Iterator[bytes], where: str) -> None:
    """Raise a CairnError where a file goes on behind its list."""
    while not rest.strip():
        more = next(chunks, None)
        if more is None:
            return
        rest = more
    text = rest.strip()[:20].decode(errors="replace")
    raise CairnError(f"{where}: the file goes on behind its JSON list, with {text!r}; remove that")
