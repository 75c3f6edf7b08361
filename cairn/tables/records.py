"""Text cut at the ends of its records, wherever the chunks that it comes in end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cairn.errors import CairnError
from cairn.tables.encoding import suggest_encodings

LONGEST = 2**22  # bytes of a record
NEWLINE = b"\n"
QUOTE = ord('"')
Indices = NDArray[np.int64]
NO_INDICES: Indices = np.empty(0, dtype=np.int64)


def cut_blocks(
    chunks: Iterator[bytes], where: str, end: bytes, line: int, starts: bytes = b""
) -> Iterator[tuple[bytes, int]]:
    """Cut text at ends of records, and yield each block with the number of its first line.

    Parameters
    ----------
    end
        What ends a line.
    line
        The number of the first line.
    starts
        What may stand before a quote that opens a field of CSV; none: quotes mean nothing.
    """
    rest = b""
    for chunk in chunks:
        text = rest + chunk
        cut = _find_cut(text, end, starts)
        rest = text[cut:]
        if len(rest) > LONGEST:
            raise explain_length(where, line + text.count(end, 0, cut))
        if cut:
            _check_lines(text[:cut], where, end, line)
            yield check_text(text[:cut], where, line), line
            line += text.count(end, 0, cut)
    if rest:
        _check_quotes(rest, where, end, line, starts)
        _check_lines(rest, where, end, line)
        yield check_text(rest, where, line), line


def _check_lines(content: bytes, where: str, end: bytes, line: int) -> None:
    """Raise a CairnError where a line is longer than a record may be."""
    half = LONGEST // 2 + 1  # a longer line has no end in one of the halves that it covers
    for start in range(0, len(content) - half + 1, half):
        if content.find(end, start, start + half) < 0:
            begin = content.rfind(end, 0, start) + 1
            after = content.find(end, start)
            if (len(content) if after < 0 else after) - begin > LONGEST:
                raise explain_length(where, line + content.count(end, 0, begin))


def _check_quotes(record: bytes, where: str, end: bytes, line: int, starts: bytes) -> None:
    """Raise a CairnError where the last record of CSV has a quote that is not closed."""
    quotes = _find_quotes(record, starts) if starts else NO_INDICES
    if len(quotes) % 2:
        number = line + record.count(end, 0, int(quotes[-1]))
        raise CairnError(f"{where}: line {number:,} opens a quote that is never closed; close it")


def check_text(content: bytes, where: str, line: int) -> bytes:
    """Return the content; raise a CairnError where a byte of it is no text."""
    index = content.find(b"\0")
    if index >= 0:
        raise CairnError(
            f"{where}: line {line + content.count(NEWLINE, 0, index):,} has a zero byte, which "
            "text never has; use a table and no binary file, or, if this is UTF-16, set "
            "processed.encoding: utf-16"
        )
    return content


def _find_cut(text: bytes, end: bytes, starts: bytes) -> int:
    """Find where the last complete record ends: after an end of line that is in no quotes."""
    quotes = _find_quotes(text, starts) if starts else NO_INDICES
    index = text.rfind(end)
    while index >= 0:
        before = np.searchsorted(quotes, index)
        if before % 2 == 0:
            return index + 1
        index = text.rfind(end, 0, int(quotes[before - 1]))
    return 0


def _find_quotes(text: bytes, starts: bytes) -> Indices:
    """Find where quoted texts begin and end, in turn.

    A quote within a field that did not begin with one is a character like any other, as in 5".
    """
    if b'"' not in text:
        return NO_INDICES
    codes = np.frombuffer(text, dtype=np.uint8)
    indices = np.flatnonzero(codes == QUOTE)
    opening = indices[::2]
    before = codes[opening[opening > 0] - 1]
    if np.isin(before, list(starts + b'"')).all():
        return indices
    return np.array(_skip_strays(text, indices.tolist(), starts), dtype=np.int64)


def _skip_strays(text: bytes, indices: Sequence[int], starts: bytes) -> list[int]:
    """Skip quotes within fields that did not begin with one, one quote after the other."""
    quotes: list[int] = []
    done = -1
    for index in indices:
        if index <= done:
            continue
        if len(quotes) % 2 == 0:
            if index == 0 or text[index - 1] in starts:
                quotes.append(index)
        elif text[index + 1 : index + 2] == b'"':
            done = index + 1
        else:
            quotes.append(index)
    return quotes


def find_header_end(first: bytes, starts: bytes) -> int:
    """Find where the header ends: after the first line break in no quotes, blank lines aside."""
    quotes = _find_quotes(first[:LONGEST], starts)
    blank = len(first) - len(first.lstrip(b"\r\n"))
    for match in re.compile(rb"\r\n|\r|\n").finditer(first, blank):
        if np.searchsorted(quotes, match.start()) % 2 == 0:
            return match.end()
    return len(first)


def split_chunks(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Split chunks into those of no more than so many bytes."""
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]


def decode(content: bytes, where: str, line: int) -> str:
    """Decode bytes that begin on this line; raise a CairnError where they are no UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        number = line + content.count(b"\n", 0, error.start)
        raise CairnError(
            f"{where}: line {number:,} is not UTF-8 text ({error.reason}); "
            f"{suggest_encodings(content, error.start)}"
        ) from None


def explain_length(where: str, line: int) -> CairnError:
    """Explain that a record is longer than one may be."""
    return CairnError(
        f"{where}: line {line:,} or a later one begins a record of over {LONGEST:,} bytes; close "
        "the quote that is open there, or use a file that is a table"
    )
