"""Find the list of rows in a body without parsing it, and cut it into pieces that are lists too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from service.inference.parsing import BLANKS

# Bytes that are decoded by one call: it holds up all other threads for a quarter of a millisecond.
PIECE = 2**16
BLANK = rb"[ \t\n\r]*"
# The beginning of a body with a list, up to its first value, and the end of one.
HEAD = re.compile(rb'%b(?:\{%b"(features|records|dataframe)"%b:%b)?\[%b([\[{]?)' % ((BLANK,) * 5))
TAILS = {
    is_keyed: re.compile(rb"\]%b%b\Z" % (BLANK, rb"\}" + BLANK if is_keyed else b""))
    for is_keyed in (True, False)
}
TAIL_BYTES = 64
COMMA = re.compile(rb"%b,%b" % (BLANK, BLANK))
CLOSING = {b"[": b"]", b"{": b"}"}


class Declined(Exception):
    """The body must be read by another reader."""


class ListHead(NamedTuple):
    """How a body with a list begins.

    Attributes
    ----------
    key
        The key of the list; None where the body is the list.
    bracket
        The one that its first value begins with; empty where that is no list and no object.
    start
        Where the first value is.
    """

    key: bytes | None
    bracket: bytes
    start: int

    @property
    def is_known(self) -> bool:
        """Whether the key, if there is one, is the one of rows like these."""
        return self.key is None or (self.bracket == b"[") == (self.key == b"features")

    @property
    def has_lists(self) -> bool:
        """Whether the rows are lists, as they are to be under the key."""
        return self.bracket == b"[" and self.key in {None, b"features"}


def find_list(body: bytes) -> ListHead | None:
    """Find the list of a body; None where it begins with none."""
    match = HEAD.match(body)
    return match and ListHead(match[1], match[2], match.start(2))


def cut_rows(body: bytes, head: ListHead) -> Iterator[bytes]:
    """Cut the list of a body into lists of about PIECE bytes.

    It is cut behind a bracket where a comma follows. If that is within a text, neither part is
    JSON; if each part is a list of rows, so is the whole.

    Raises
    ------
    Declined
        The list has no such end, or no such cuts.
    """
    start = head.start
    tail = TAILS[head.key is not None].search(body, max(start, len(body) - TAIL_BYTES))
    if tail is None:
        raise Declined
    stop = tail.start()
    while stop - start > PIECE:
        end = body.find(CLOSING[head.bracket], start + PIECE, stop) + 1
        if not end:
            break
        yield b"[%b]" % body[start:end]
        comma = COMMA.match(body, end, stop)
        if comma is None:
            if body[end:stop].strip(BLANKS):
                raise Declined
            return
        start = comma.end()
        if start == stop:
            raise Declined
    yield b"[%b]" % body[start:stop]
