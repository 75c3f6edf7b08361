"""What is wrong with a request: every problem is counted, the first are described."""

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
    """What is wrong with one row: the number of problems, and each, described on demand."""

    number: int
    described: Iterable[Problem]


def make_refusal(rows: Iterable[Problems]) -> Refused:
    """Make a 422 of the problems of each row: all are counted, the first LISTED described."""
    count, listed = 0, list[Problem]()
    for problems in rows:
        count += problems.number
        if len(listed) < LISTED:
            listed += islice(problems.described, LISTED - len(listed))
    sentence = f"the request breaks the contract in {count:,} place{'s' if count > 1 else ''}"
    if count > LISTED:
        sentence += f", of which the first {LISTED} are listed"
    return Refused(422, sentence, listed)


def refuse_request(problem: str, got: Any, allowed: str) -> Refused:
    """Make a 422 of one problem with the request as a whole."""
    description = Problem(row=None, column=None, problem=problem, got=got, allowed=allowed)
    return make_refusal([Problems(1, [description])])


def describe_row(index: int, problem: str, got: Any, allowed: str) -> Problems:
    """Describe one problem with a row as a whole."""
    return Problems(1, [Problem(row=index, column=None, problem=problem, got=got, allowed=allowed)])


def shorten(value: Any) -> Any:
    """Return a value as an answer may repeat it: long text is cut, a list or object named only."""
    if isinstance(value, list | tuple | dict):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]}…"
    if isinstance(value, int | float) and not -MOST <= value <= MOST:
        return "a number beyond float64"
    return float(value) if isinstance(value, int) and abs(value) > LONG else value
