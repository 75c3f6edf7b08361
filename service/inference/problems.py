"""What is wrong with a request, as its answer says it: all of it counted, the first described."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from service.http.errors import Problem, Refused

LISTED = 100
LONGEST = 100
# Beyond these JSON has no float, and no whole number, that every reader takes.
MOST = sys.float_info.max
LONG = 2**53


class Problems(NamedTuple):
    """What is wrong with one row: the number of places, and each of them, described on demand."""

    number: int
    described: Iterable[Problem]


def make_refusal(rows: Iterable[Problems]) -> Refused:
    """A 422 of what is wrong with each row: all of it counted, the first LISTED described."""
    count, listed = 0, list[Problem]()
    for problems in rows:
        count += problems.number
        if len(listed) < LISTED:
            listed += islice(problems.described, LISTED - len(listed))
    sentence = f"the request breaks the contract in {count:,} place{'s' if count > 1 else ''}"
    if count > LISTED:
        sentence += f", of which the first {LISTED} are listed"
    return Refused(422, sentence, listed)


def refuse_request(problem: str, got: Any, wanted: str) -> Refused:
    """A 422 of one problem with the request as a whole."""
    found = Problem(row=None, column=None, problem=problem, got=got, allowed=wanted)
    return make_refusal([Problems(1, [found])])


def describe_row(place: int, problem: str, got: Any, wanted: str) -> Problems:
    """One problem with a row as a whole."""
    return Problems(1, [Problem(row=place, column=None, problem=problem, got=got, allowed=wanted)])


def shorten(value: Any) -> Any:
    """A value as an answer may repeat it: a long text is cut, a list or an object is not shown."""
    if isinstance(value, list | tuple | dict):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]}…"
    if isinstance(value, int | float) and not -MOST <= value <= MOST:
        return "a number beyond float64"
    return float(value) if isinstance(value, int) and abs(value) > LONG else value
