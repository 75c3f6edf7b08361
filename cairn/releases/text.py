"""Format the tables that commands print, apart from what imports scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NONE = "–"


def format_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Format rows of text in aligned columns.

    >>> print(format_table(["a", "b"], [["one", "2"]]))
    a    b
    one  2
    """
    every = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    lines = (zip(row, widths, strict=True) for row in every)
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in line).rstrip() for line in lines
    )
