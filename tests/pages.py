"""The documentation as tests read it: pages, and the blocks and tables in them."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.conftest import ROOT

# What people read, by its name from the top of the repository; what is generated has no commands.
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
}


class Block(NamedTuple):
    """A block of code on a page: its language, empty where none is given, and its text."""

    language: str
    text: str


def blocks(page: str, language: str | None = None) -> list[Block]:
    """Return the blocks of a page in order, or those in one language."""
    pattern = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    matches = [Block(*parts) for parts in pattern.findall(PAGES[page])]
    return [block for block in matches if language is None or block.language == language]


def commands(page: str) -> list[str]:
    """Return the lines that a page tells its readers to type into a shell."""
    return [line for block in blocks(page, "console") for line in block.text.splitlines()]


def table(page: str, first: str) -> list[list[str]]:
    """Return the rows of the table of a page whose first headings are `first`."""
    pattern = rf"^\| {re.escape(first)} \|.*\n\|[-| ]+\n((?:\|.*\n)+)"
    match = re.search(pattern, PAGES[page], re.MULTILINE)
    assert match
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in match[1].splitlines()]
