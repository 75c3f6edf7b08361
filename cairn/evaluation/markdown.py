"""Write Markdown: names, numbers and tables of the card and the report.

Not Jinja2: its autoescape is for HTML, so cells and code spans would need these filters all the
same, and a table in a template is a loop in a string that no type checker reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from cairn.evaluation.records import Interval

NONE = "–"  # a value that there is not


def code(text: object) -> str:
    """Write a name of the user's as it is: neither markup nor HTML, on one line.

    >>> code("mean_area"), code("a|b <i>")
    ('`mean_area`', 'a&#124;b &#60;i&#62;')
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    if not line:
        return "(empty)"
    if re.search(r"[`|\\<>&]", line):  # what ends such a span, or a cell, or reads as HTML
        return re.sub(r"[!-/:-@\[-`{-~]", lambda match: f"&#{ord(match[0])};", line)
    return f"`{line}`"


def prose(text: str) -> str:
    """Write a sentence that may name things of the user's: nothing in it is markup.

    >>> prose("no row is of class 'a|b <i>'")
    "no row is of class 'a&#124;b &#60;i&#62;'"
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return re.sub(r"[!#&*<>\[\\\]_`|~]", lambda match: f"&#{ord(match[0])};", line)


def number(value: float | None, digits: int = 3) -> str:
    """Write a score, or a dash where there is none."""
    return NONE if value is None else f"{value:.{digits}f}"


def between(score: Interval | Mapping[str, float | None] | None, digits: int = 3) -> str:
    """Write the interval of a score, or a dash where there is none.

    >>> between(Interval(0.95, 0.9, 1)), between(Interval(1))
    ('0.900 to 1.000', '–')
    """
    ends = as_interval(score).ends
    return f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}" if ends else NONE


def scored(score: Interval | Mapping[str, float | None] | None, digits: int = 3) -> str:
    """Write a score with its interval, as far as there are any.

    >>> scored(Interval(0.95, 0.9, 1)), scored(None)
    ('0.950 (0.900 to 1.000)', '–')
    """
    own = as_interval(score)
    value = number(own.value, digits)
    return f"{value} ({between(own, digits)})" if own.ends else value


def as_interval(score: Interval | Mapping[str, float | None] | None) -> Interval:
    """Return a score, which may come from JSON, as a record."""
    if isinstance(score, Interval):
        return score
    return Interval(*map((score or {}).get, ("value", "low", "high")))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; columns of numbers are aligned to the right.

    >>> print(table(["class", "rows"], [["a", "1"]]))
    | class | rows |
    | --- | ---: |
    | a | 1 |
    """
    cells = [[_cell(each) for each in row] for row in rows]
    right = [
        all(re.match(r"[-−+\d–]", row[index]) for row in cells) for index in range(len(header))
    ]
    rules = ["---:" if each and cells else "---" for each in right]
    return "\n".join(f"| {' | '.join(row)} |" for row in [map(_cell, header), rules, *cells])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
