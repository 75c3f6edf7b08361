"""What the card and the report are written in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


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
