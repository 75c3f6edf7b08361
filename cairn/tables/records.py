"""Text cut at the ends of its records, wherever the chunks that it comes in end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cairn.console import CairnError
from cairn.tables.encoding import advice

LONGEST = 2**22  # bytes of a record
NEWLINE = b"\n"
QUOTE = ord('"')
Places = NDArray[np.int64]
NO_PLACES: Places = np.empty(0, dtype=np.int64)


def blocks(
    chunks: Iterator[bytes], where: str, end: bytes, line: int, starts: bytes = b""
) -> Iterator[tuple[bytes, int]]:
    """The text cut at ends of records, each block with the number of its first line.

    Parameters
    ----------
    end
        Of a line.
    line
        The number of the first.
    starts
        What may stand before a quote that opens a field of CSV; none: quotes mean nothing.
    """
    rest = b""
    for chunk in chunks:
        text = rest + chunk
        cut = _cut(text, end, starts)
        rest = text[cut:]
        if len(rest) > LONGEST:
            raise endless(where, line + text.count(end, 0, cut))
        if cut:
            _bounded(text[:cut], where, end, line)
            yield textual(text[:cut], where, line), line
            line += text.count(end, 0, cut)
    if rest:
        _closed(rest, where, end, line, starts)
        _bounded(rest, where, end, line)
        yield textual(rest, where, line), line


def _bounded(content: bytes, where: str, end: bytes, line: int) -> None:
    """Raise a CairnError where a line is longer than a record may be."""
    half = LONGEST // 2 + 1  # a longer line has no end in one of the halves that it covers
    for start in range(0, len(content) - half + 1, half):
        if content.find(end, start, start + half) < 0:
            begin = content.rfind(end, 0, start) + 1
            after = content.find(end, start)
            if (len(content) if after < 0 else after) - begin > LONGEST:
                raise endless(where, line + content.count(end, 0, begin))


def _closed(record: bytes, where: str, end: bytes, line: int, starts: bytes) -> None:
    """Raise a CairnError where the last record of CSV has a quote that is not closed."""
    quotes = _quotes(record, starts) if starts else NO_PLACES
    if len(quotes) % 2:
        number = line + record.count(end, 0, int(quotes[-1]))
        raise CairnError(f"{where}: line {number:,} has a quote that is not closed; close it")


def textual(content: bytes, where: str, line: int) -> bytes:
    """The content; a CairnError where a byte of it is no text."""
    place = content.find(b"\0")
    if place >= 0:
        raise CairnError(
            f"{where}: line {line + content.count(NEWLINE, 0, place):,} has a byte 0, which no "
            "text has; give a table, no binary file, and for UTF-16 set processed.encoding"
        )
    return content


def _cut(text: bytes, end: bytes, starts: bytes) -> int:
    """Where the last whole record ends: after an end of line that is in no quotes."""
    quotes = _quotes(text, starts) if starts else NO_PLACES
    place = text.rfind(end)
    while place >= 0:
        before = np.searchsorted(quotes, place)
        if before % 2 == 0:
            return place + 1
        place = text.rfind(end, 0, int(quotes[before - 1]))
    return 0


def _quotes(text: bytes, starts: bytes) -> Places:
    """Where quoted texts begin and end, in turn.

    A quote amid a field that did not begin with one is a sign like any other, as 5" is.
    """
    if b'"' not in text:
        return NO_PLACES
    codes = np.frombuffer(text, dtype=np.uint8)
    places = np.flatnonzero(codes == QUOTE)
    opening = places[::2]
    before = codes[opening[opening > 0] - 1]
    if np.isin(before, list(starts + b'"')).all():
        return places
    return np.array(_strays_aside(text, places.tolist(), starts), dtype=np.int64)


def _strays_aside(text: bytes, places: Sequence[int], starts: bytes) -> list[int]:
    """As `_quotes`, one quote after the other."""
    found: list[int] = []
    done = -1
    for place in places:
        if place <= done:
            continue
        if len(found) % 2 == 0:
            if place == 0 or text[place - 1] in starts:
                found.append(place)
        elif text[place + 1 : place + 2] == b'"':
            done = place + 1
        else:
            found.append(place)
    return found


def end_of_header(first: bytes, starts: bytes) -> int:
    """Where the header ends: after the first end of line that is in no quotes, blank ones aside."""
    quotes = _quotes(first[:LONGEST], starts)
    blank = len(first) - len(first.lstrip(b"\r\n"))
    for found in re.compile(rb"\r\n|\r|\n").finditer(first, blank):
        if np.searchsorted(quotes, found.start()) % 2 == 0:
            return found.end()
    return len(first)


def pieces(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Chunks of no more than so many bytes."""
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]


def decoded(content: bytes, where: str, line: int) -> str:
    """Bytes that begin on this line as text; a CairnError where they are none."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        number = line + content.count(b"\n", 0, error.start)
        raise CairnError(
            f"{where}: line {number:,} is not UTF-8 text ({error.reason}); "
            f"{advice(content, error.start)}"
        ) from None


def endless(where: str, line: int) -> CairnError:
    """Say that a record is longer than one may be."""
    return CairnError(
        f"{where}: line {line:,} or one after it begins a record of over {LONGEST:,} bytes; close "
        "the quote that is open there, or give a table"
    )
