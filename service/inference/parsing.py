"""JSON parsed by jiter, a long body in pieces, so that no call holds up other threads for long.

A call of a parser keeps Python's lock until it returns: of ten megabytes for a tenth of a second,
in which no other request is answered, whatever thread it is in. A long body is cut at the commas of
its outer two levels: between rows, or between the columns of a DataFrame. The pieces are parsed one
by one and joined. What is wrong is worded as jiter would for the whole, with the position in that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import jiter
import numpy as np
from numpy.typing import NDArray

from cairn.json_text import find_quotes

# Bytes up to which a body is parsed by one call, and of the pieces of a longer one.
PIECE = 2**15
# Bytes that are scanned at once: the arrays of the scan are some times as large.
CHUNK = 2**16
LEVELS = 2
COUNTED = 2**12  # bytes, in which NumPy is no quicker at counting
# Values within one element, beyond which it is no row.
MAX_VALUES = 10_000
BLANKS = b" \t\n\r"
QUOTE, COMMA, LIST, OBJECT = b'",[{'
CLOSING = {OBJECT: b"}", LIST: b"]"}
POSITION = re.compile(r"at line (\d+) column (\d+)$")
# A member of an object that stands for those before it; none has that key.
MEMBER = b'"\\u0000cairn":'

_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"{[")] = 1
_STEPS[list(b"}]")] = -1
_IS_STRUCTURE = np.zeros(256, bool)
_IS_STRUCTURE[list(b"{[}],")] = True


class Limits(NamedTuple):
    """The longest objects of a long body that are parsed.

    Attributes
    ----------
    columns, rows
        Members of a row, and of a column that has an index.
    """

    columns: int
    rows: int


class TooWide(Exception):
    """An element of a long body has so many values that it is no row.

    Attributes
    ----------
    index
        Which element of its list, or member of the body, it is.
    number
        How many values it has.
    kind
        The bracket that it begins with; that of another element within it: None.
    """

    def __init__(self, index: int, number: int, kind: str | None) -> None:
        super().__init__(index, number, kind)
        self.index = index
        self.number = number
        self.kind = kind


class Events(NamedTuple):
    """The brackets and commas of the outer levels of a body.

    Attributes
    ----------
    positions, bytes, levels
        Where each is, which it is, and of the container that it belongs to the level, from 1.
    """

    positions: NDArray[np.int64]
    bytes: NDArray[np.uint8]
    levels: NDArray[np.int64]


class Part(NamedTuple):
    """A container of a body: from behind its bracket to its end.

    Attributes
    ----------
    bracket
        The byte that it begins with.
    start, stop
        Between which bytes its elements are.
    commas
        Where those between its elements are.
    before
        What precedes its first element, as JSON: the brackets and keys that it is within.
    """

    bracket: int
    start: int
    stop: int
    commas: NDArray[np.int64]
    before: bytes

    def lead_to(self, piece: Piece, text: bytes = b"") -> bytes:
        """Return JSON that leads to a piece as what is before it does, and this much of it."""
        passed = b"" if not piece.first else b"0," if self.bracket == LIST else MEMBER + b"0,"
        return self.before + passed + text


class Piece(NamedTuple):
    """Elements of a container: between which bytes, which is the first, and how many."""

    start: int
    stop: int
    first: int
    number: int


def parse_json(body: bytes, limits: Limits, *, allow_inf_nan: bool = False) -> Any:
    """Parse a body.

    Raises
    ------
    ValueError
        The body is no JSON, or an object has a key twice: as jiter says it.
    TooWide
        An element of a long body is no row, whatever its values are.
    """
    if len(body) <= PIECE:
        return _parse(body, allow_inf_nan=allow_inf_nan)
    return LongBody(body, limits, allow_inf_nan=allow_inf_nan).parse()


def count_byte(body: bytes, byte: int) -> int:
    """Count a byte: where there are many, `bytes.count` takes ten times as long."""
    if len(body) < COUNTED:
        return body.count(byte)
    content = np.frombuffer(body, np.uint8)
    starts = range(0, len(content), 2**20)
    return sum(int(np.count_nonzero(content[start : start + 2**20] == byte)) for start in starts)


def _parse(text: bytes, *, allow_inf_nan: bool) -> Any:
    return jiter.from_json(text, allow_inf_nan=allow_inf_nan, catch_duplicate_keys=True)


class LongBody:
    """Parses one long body."""

    def __init__(self, body: bytes, limits: Limits, *, allow_inf_nan: bool) -> None:
        self._body = body
        self._limits = limits
        self._allow_inf_nan = allow_inf_nan

    def parse(self) -> Any:
        """Parse it; raises as `parse_json` does."""
        body = self._body
        start = len(body) - len(body.lstrip(BLANKS))
        if start == len(body) or body[start] not in CLOSING:
            return _parse(body, allow_inf_nan=self._allow_inf_nan)
        events = scan(body)
        outer = self._find_part(events, 1, start, b"")
        self._check_members(outer, 0, self._limits.columns)
        content: Any = [] if outer.bracket == LIST else {}
        for piece in self._cut(outer):
            parsed = self._parse_long(events, outer, piece) if piece.number == 1 else None
            self._add(content, outer, piece, parsed)
        self._check_closing(outer)
        if body[outer.stop + 1 :].strip(BLANKS):
            self._explain(b"[]", outer.stop + 1)
        return content

    def _find_part(self, events: Events, level: int, start: int, before: bytes) -> Part:
        """Find the container of a level whose bracket is at `start`."""
        first = int(np.searchsorted(events.positions, start)) + 1
        of_level = np.flatnonzero(events.levels[first:] == level) + first
        closings = of_level[events.bytes[of_level] != COMMA]
        last = int(closings[0]) if len(closings) else len(events.positions)
        stop = int(events.positions[last]) if len(closings) else len(self._body)
        commas = events.positions[of_level[of_level < last]]
        bracket = self._body[start]
        return Part(bracket, start + 1, stop, commas, before + bytes([bracket]))

    def _cut(self, part: Part) -> Iterator[Piece]:
        """Cut a container at its commas into pieces of about PIECE bytes, or of one element."""
        start, index, commas = part.start, 0, part.commas
        if not len(commas) and not self._body[start : part.stop].strip(BLANKS):
            return
        while index <= len(commas):
            end = max(int(np.searchsorted(commas, start + PIECE)) - 1, index)
            if part.stop - start <= PIECE:
                end = len(commas)
            stop = int(commas[end]) if end < len(commas) else part.stop
            yield Piece(start, stop, index, end - index + 1)
            start, index = stop + 1, end + 1

    def _parse_long(self, events: Events, outer: Part, piece: Piece) -> Any:
        """Parse a member that is a long list or object; None where it is not."""
        body = self._body
        first = int(np.searchsorted(events.positions, piece.start))
        is_long = piece.stop - piece.start > PIECE and first < len(events.positions)
        if not is_long or (start := int(events.positions[first])) >= piece.stop:
            return None  # or a long text
        before = body[piece.start : start]
        key, is_right = (None, not before.strip(BLANKS)) if outer.bracket == LIST else (
            self._parse_key(before)
        )  # fmt: skip
        if not is_right:
            self._explain(outer.lead_to(piece), piece.start, piece.stop)
        inner = self._find_part(events, LEVELS, start, outer.before + before)
        most = self._limits.columns if outer.bracket == LIST else max(self._limits)
        self._check_members(inner, piece.first, most)
        content: Any = [] if inner.bracket == LIST else {}
        for element in self._cut(inner):
            if element.number == 1:
                self._check_width(element)
            self._add(content, inner, element, None)
        self._check_closing(inner)
        if body[inner.stop + 1 : piece.stop].strip(BLANKS):
            self._explain(outer.lead_to(piece, text=before + b"{}"), inner.stop + 1)
        return [content] if key is None else {key: content}

    def _parse_key(self, text: bytes) -> tuple[str | None, bool]:
        """Parse the key of a member and the colon behind it; tell whether that is what it is."""
        try:
            (key,) = _parse(b"{%b0}" % text, allow_inf_nan=False)
        except ValueError:
            return None, False
        return key, True

    def _check_members(self, part: Part, index: int, most: int) -> None:
        """Refuse an object with more members; raises TooWide."""
        if part.bracket != LIST and len(part.commas) >= most:
            raise TooWide(index, len(part.commas) + 1, "{")

    def _check_width(self, element: Piece) -> None:
        """Refuse an element that is too long to be a row; raises TooWide."""
        text = self._body[element.start : element.stop]
        if len(text) <= PIECE or count_byte(text, COMMA) <= MAX_VALUES:
            return
        bracket = text.lstrip(BLANKS)[:1].decode("latin-1")
        events = scan(text)
        number = int(np.count_nonzero((events.levels == 1) & (events.bytes == COMMA))) + 1
        most = {"[": MAX_VALUES, "{": self._limits.columns}.get(bracket, number)
        raise TooWide(element.first, number, bracket if number > most else None)

    def _add(self, content: Any, part: Part, piece: Piece, parsed: Any) -> None:
        """Add the elements of a piece to those before it."""
        if parsed is None:
            parsed = self._parse_piece(part, piece, content)
        if part.bracket == LIST:
            content.extend(parsed)
            return
        twice = next((key for key in parsed if key in content), None)
        if twice is not None:
            lead = part.before + format_key(twice) + b":0,"
            self._explain(lead, piece.start, piece.stop)
        content.update(parsed)

    def _parse_piece(self, part: Part, piece: Piece, before: Any) -> Any:
        # As deep as in the body: the parser has a limit.
        is_inner = len(part.before) > 1
        opening = (b"[" if is_inner else b"") + bytes([part.bracket])
        closing = CLOSING[part.bracket] + (b"]" if is_inner else b"")
        text = self._body[piece.start : piece.stop]
        try:
            parsed = _parse(opening + text + closing, allow_inf_nan=self._allow_inf_nan)
        except ValueError:
            parsed = None
        if parsed is not None and is_inner:
            (parsed,) = parsed
        if parsed is None or len(parsed) != piece.number:
            lead = part.lead_to(piece)
            if isinstance(before, dict):  # one of its keys again may come before another problem
                lead = part.before + b"".join([format_key(key) + b":0," for key in before])
            self._explain(lead, piece.start, piece.stop)
        return parsed

    def _check_closing(self, part: Part) -> None:
        """Refuse a container that does not end as it began."""
        if self._body[part.stop : part.stop + 1] == CLOSING[part.bracket]:
            return
        is_empty = not self._body[part.start : part.stop].strip(BLANKS)
        value = b"" if is_empty else b"{}" if part.bracket == LIST else MEMBER + b"{}"
        self._explain(part.before + value, part.stop)

    def _explain(self, lead: bytes, start: int, stop: int = 0) -> NoReturn:
        """Raise jiter's error for the body, which has its first one behind `start`.

        What is parsed begins there, after something short that leads as deep: it grows until the
        error is not that it ends.
        """
        length = max(stop - start, 0) + PIECE
        while True:
            stop = min(start + length, len(self._body))
            text = lead + self._body[start:stop]
            try:
                _parse(text, allow_inf_nan=self._allow_inf_nan)
            except ValueError as error:
                message = str(error)
                index = _find_index(text, message)
                if stop == len(self._body) or (index or 0) < len(text) - PIECE // 2:
                    raise ValueError(self._relocate(message, index, start - len(lead))) from None
            if stop == len(self._body):
                raise ValueError("it cannot be parsed in pieces")
            length *= 2

    def _relocate(self, message: str, index: int | None, offset: int) -> str:
        """Write a message with the position in the whole body."""
        if index is None:
            return message
        position = index + offset
        line = self._body.count(b"\n", 0, position + 1) + 1
        column = position - self._body.rfind(b"\n", 0, position + 1)
        return POSITION.sub(f"at line {line} column {column}", message)


def format_key(key: str) -> bytes:
    """Write a key as JSON; one that jiter has read has no lone surrogates."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return b'"%b"' % re.sub(r"[\x00-\x1f]", _escape, escaped).encode()


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _find_index(text: bytes, message: str) -> int | None:
    """Find the position that a message names, in bytes from 0."""
    match = POSITION.search(message)
    if match is None:
        return None
    start = 0
    for _ in range(int(match[1]) - 1):
        start = text.index(b"\n", start) + 1
    return start + int(match[2]) - 1


def scan(body: bytes) -> Events:
    """Find the brackets and commas of a body's outer levels, outside of texts."""
    found: list[tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]] = []
    level, in_text, is_escaped = 0, False, False
    for offset in range(0, len(body), CHUNK):
        chunk = np.frombuffer(body, np.uint8, min(CHUNK, len(body) - offset), offset)
        quotes, is_escaped = find_quotes(chunk, is_escaped=is_escaped)
        texts = np.logical_xor.accumulate(quotes)
        if in_text:
            texts = ~texts
        in_text = bool(texts[-1])
        positions = np.flatnonzero(_IS_STRUCTURE[chunk] & ~texts)
        kinds = chunk[positions]
        steps = _STEPS[kinds]
        after = np.cumsum(steps, dtype=np.int64) + level
        level = int(after[-1]) if len(after) else level
        levels = after + (steps < 0)
        is_outer = levels <= LEVELS
        found.append((positions[is_outer] + offset, kinds[is_outer], levels[is_outer]))
    return Events(*map(np.concatenate, zip(*found, strict=True)))
