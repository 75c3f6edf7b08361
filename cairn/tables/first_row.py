"""The first row of a CSV file: its header, or data like the rows below it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

NUMBER = re.compile(
    r"[+\-\u2212]?[$€£]?(\d[\d.,'\u00a0\u202f ]*|[.,]\d+)(e[+-]?\d+)?\s?%?", re.IGNORECASE
)
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?|\d{1,2}:\d\d(:\d\d.*)?")
NEARLY_ALL = 0.9  # of a column's values
COLUMNS = 500  # of a wide table that are looked at, about
STEPS = 3  # numbers with equal steps between them are no coincidence
RISING = 6  # numbers rise or fall by coincidence once in 360 rows


class Votes(NamedTuple):
    """How many columns speak for a header, and how many for data.

    Attributes
    ----------
    does_count
        Whether numbers speak for a header because they count, as years do.
    """

    header: int
    data: int
    does_count: bool = False


def count_votes(
    first: Sequence[str], rows: Sequence[Sequence[str]], missing: Collection[str]
) -> Votes:
    """Compare each field of the first row with the column below it.

    A text above numbers is a header, and so is one that its column never repeats though it
    repeats others. A number above numbers is data, unless the row counts (2019, 2020, 2021) and
    those below do not; so is a text that its column repeats.

    Parameters
    ----------
    missing
        Texts that stand for no value.
    """
    indices = range(0, len(first), 1 + len(first) // COLUMNS)
    below = [row for row in rows if len(row) == len(first) and list(row) != list(first)]
    header = data = 0
    counted: list[int] = []
    for index in indices:
        field = first[index].strip()
        values = [value for row in below if _is_value(value := row[index].strip(), missing)]
        if not values or not _is_value(field, missing):
            continue
        kind = next(
            (kind for kind in (_is_number, _is_date) if _measure(kind, values) >= NEARLY_ALL), None
        )
        if kind and kind(field):
            counted += [index] if kind is _is_number else []
            data += 1
        elif field in values:
            data += 0 if kind else 1
        elif kind or 2 * len(set(values)) <= len(values):
            header += 1
    if _is_counting(first, counted) and not _is_usual(below, counted):
        return Votes(header + len(counted), data - len(counted), does_count=True)
    return Votes(header, data)


def _is_value(text: str, missing: Collection[str]) -> bool:
    return text not in missing and any(sign.isalnum() for sign in text)


def _is_number(text: str) -> bool:
    return bool(NUMBER.fullmatch(text))


def _is_date(text: str) -> bool:
    return bool(DATE.fullmatch(text))


def _measure(kind: Callable[[str], bool], values: Sequence[str]) -> float:
    """Measure the fraction of values of a kind."""
    return sum(map(kind, values)) / len(values)


def _is_counting(row: Sequence[str], indices: Sequence[int]) -> bool:
    """Tell whether the numbers at these indices go up or down as those of a header do."""
    try:
        numbers = [float(row[index]) for index in indices]
    except ValueError:
        return False
    steps = [after - before for before, after in pairwise(numbers)]
    is_even = (
        len(numbers) >= STEPS
        and steps[0] != 0
        and all(abs(step - steps[0]) <= 1e-6 * abs(steps[0]) for step in steps)
    )
    is_rising = len(numbers) >= RISING and (max(steps) < 0 or min(steps) > 0)
    return is_even or is_rising


def _is_usual(rows: Sequence[Sequence[str]], indices: Sequence[int]) -> bool:
    """Tell whether the numbers of most rows do so."""
    return 2 * sum(_is_counting(row, indices) for row in rows) > len(rows)
