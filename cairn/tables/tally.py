"""The problems of all rows of a table, added up part by part, for the console and the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cairn.tables.validate import MISSING, ValidPart

EXAMPLES = 5  # rows and values of each problem
SHOWN = 60  # characters of a value
REPEATED = ("row", "equals an earlier one")


@dataclass
class Tally:
    """The problems of a table.

    Attributes
    ----------
    rows, set_aside
        How many rows there are, and how many were set aside.
    broken
        How many break the contract otherwise than by a label that is missing or rare.
    counts
        Rows of each column and problem.
    first
        The rows, from 1, and values of the first few of each.
    notes
        What is no problem, but worth knowing → in how many values.
    columns
        The names of the columns that any part has.
    """

    rows: int = 0
    set_aside: int = 0
    broken: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], list[tuple[int, Any]]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    columns: set[str] = field(default_factory=set)

    def add(self, part: ValidPart) -> None:
        """Add a part, which comes after those before it."""
        for (column, problem), group in part.problems.groupby(["column", "problem"], sort=True):
            key = (str(column), str(problem))
            self.counts[key] += len(group)
            listed = self.first.setdefault(key, [])
            head = group.head(EXAMPLES - len(listed))
            listed += [
                (self.rows + int(row) + 1, value)
                for row, value in zip(head["row"], head["value"], strict=True)
            ]
        self.rows += part.total
        self.set_aside += part.problems["row"].nunique()
        self.broken += part.broken
        self.notes.update(part.notes)
        self.columns |= part.columns

    def add_copies(self, rows: NDArray[np.int64]) -> None:
        """Count rows, from 1, that are copies of earlier ones."""
        if len(rows):
            self.set_aside += len(rows)
            self.counts[REPEATED] += len(rows)
            listed = self.first.setdefault(REPEATED, [])
            listed += [(int(row), None) for row in rows[: EXAMPLES - len(listed)]]

    def report(self) -> dict[str, Any]:
        """Report the counts, which DVC shows as metrics."""
        return {
            "rows": self.rows,
            "kept": self.rows - self.set_aside,
            "set_aside": self.set_aside,
            "problems": {f"{name}: {problem}": n for (name, problem), n in self._sorted()},
            "notes": dict(self.notes),
        }

    def describe(self) -> str:
        """Describe the problems in a sentence: how many rows, which columns, the first of each."""
        problems = "; ".join(self._describe(key, count) for key, count in self._sorted())
        return f"{self.set_aside:,} bad row{'s' if self.set_aside > 1 else ''}: {problems}"

    def _sorted(self) -> list[tuple[tuple[str, str], int]]:
        return sorted(self.counts.items())

    def _describe(self, key: tuple[str, str], count: int) -> str:
        name, problem = key
        first = self.first[key]
        rows = [f"{row:,}" for row, _ in first] + ["…"] * (count > len(first))
        values = dict.fromkeys(_shorten(value) for _, value in first if value is not None)
        examples = f", such as {', '.join(values)}" if values and problem != MISSING else ""
        unit = f"row{'s' if count > 1 else ''}"
        listed = f"(data {unit} {', '.join(rows)}{examples})"
        if key == REPEATED:
            return f"{count:,} {unit} {'equal' if count > 1 else 'equals'} an earlier one {listed}"
        return f"{name!r} is {problem} in {count:,} {unit} {listed}"


def _shorten(value: Any) -> str:
    """Write a value as a message may repeat it."""
    value = value.item() if isinstance(value, np.generic) else value
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
