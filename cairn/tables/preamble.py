"""Lines above the header of a CSV file: a title, comments, when the table was exported."""

from __future__ import annotations

import csv
from typing import NamedTuple

from cairn.tables.delimiter import COMMON
from cairn.tables.header import title

LINES = 50  # that are looked at
SHOWN = 40  # characters of a line in a note


class Preamble(NamedTuple):
    """What stands above the header.

    Attributes
    ----------
    size
        How many bytes.
    note
        What was decided.
    """

    size: int = 0
    note: str = ""


def find_preamble(sample: bytes, target: str) -> Preamble:
    r"""Find the lines above the header, which is the first line that names the target.

    Each line above it has fewer fields than the header that are not empty, as a title has.

    Parameters
    ----------
    sample
        The beginning of the file, UTF-8.

    Examples
    --------
    >>> find_preamble(b"Sales 2024\n\nprice,churned\n1,yes\n", "churned").size
    12
    """
    lines: list[str] = []
    size = 0
    for line in sample.splitlines(keepends=True)[: LINES + 1]:
        text = line.decode(errors="replace").strip("\r\n")
        for sign in COMMON:
            fields = _split(text, sign)
            if len(fields) > 1 and _names(fields, target):
                return _describe(lines, sign, fields, size)
        lines.append(text)
        size += len(line)
    return Preamble()


def _describe(lines: list[str], sign: str, fields: list[str], size: int) -> Preamble:
    """Describe the lines above a header; none where they may be rows of the table."""
    above = [line for line in lines if line.strip()]
    is_open = "\n".join(above).count('"') % 2  # a header may have line breaks in quotes
    if not above or is_open or any(len(_split(line, sign)) >= len(fields) for line in above):
        return Preamble()
    excerpt = f"{above[0].strip()[:SHOWN]!r}{', …' if len(above) > 1 else ''}"
    number = len(lines) + 1
    return Preamble(
        size, f"the header is line {number}; lines above it are no part of the table: {excerpt}"
    )


def _split(line: str, sign: str) -> list[str]:
    """Split a line into its fields that are not empty."""
    try:
        fields = next(csv.reader([line], delimiter=sign), [])
    except csv.Error:
        return []
    return [field.strip() for field in fields if field.strip()]


def _names(fields: list[str], target: str) -> bool:
    """Tell whether a line names the target."""
    return target.strip() in fields or title(target).name in {title(field).name for field in fields}
