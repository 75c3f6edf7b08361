"""What the card and the report are written in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

NONE = "–"  # what cannot be said


def code(text: object) -> str:
    """A name of the user's as it is, in Markdown: neither markup nor HTML, on one line.

    >>> code("mean_area"), code("a|b <i>")
    ('`mean_area`', 'a&#124;b &#60;i&#62;')
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    if not line:
        return "(empty)"
    if re.search(r"[`|\\<>&]", line):  # what ends such a span, or a cell, or reads as HTML
        return re.sub(r"[!-/:-@\[-`{-~]", lambda found: f"&#{ord(found[0])};", line)
    return f"`{line}`"


def prose(text: str) -> str:
    """A sentence that may name things of the user's, in Markdown: nothing in it is markup.

    >>> prose("no row is of class 'a|b <i>'")
    "no row is of class 'a&#124;b &#60;i&#62;'"
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return re.sub(r"[!#&*<>\[\\\]_`|~]", lambda found: f"&#{ord(found[0])};", line)


def number(value: float | None, digits: int = 3) -> str:
    """A score, or a dash where it cannot be said."""
    return NONE if value is None else f"{value:.{digits}f}"


def between(score: Mapping[str, float | None], digits: int = 3) -> str:
    """The interval of a score, or a dash where nothing tells it.

    >>> between({"low": 0.9, "high": 1}), between({"low": None, "high": None})
    ('0.900 to 1.000', '–')
    """
    if score["low"] is None:
        return NONE
    return f"{number(score['low'], digits)} to {number(score['high'], digits)}"


def scored(score: Mapping[str, float | None] | None, digits: int = 3) -> str:
    """A score with its interval, as far as they can be said.

    >>> scored({"value": 0.95, "low": 0.9, "high": 1}), scored(None)
    ('0.950 (0.900 to 1.000)', '–')
    """
    if score is None:
        return NONE
    value = number(score["value"], digits)
    return value if score["low"] is None else f"{value} ({between(score, digits)})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a column whose cells all begin as numbers do stands to the right.

    >>> print(table(["class", "rows"], [["a", "1"]]))
    | class | rows |
    | --- | ---: |
    | a | 1 |
    """
    cells = [[_cell(each) for each in row] for row in rows]
    right = [
        all(re.match(r"[-−+\d–]", row[place]) for row in cells) for place in range(len(header))
    ]
    rules = ["---:" if each and cells else "---" for each in right]
    return "\n".join(f"| {' | '.join(row)} |" for row in [map(_cell, header), rules, *cells])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
