"""The names of a table's columns: an identifier for each header, unique within a file."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

SIGNS = 3  # of a header without letters and digits that are spelled out
UNIT = re.compile(r"(.*\S)\s+\(([^()]+)\)\s*", re.DOTALL)
INDEX = "index"
ROW_NAMES = "rownames"
LISTED = 5  # headers in a note
SHOWN = 40  # characters of a header in a note
# How pandas names a nameless column of a file that it reads, and then writes.
UNNAMED = re.compile(r"Unnamed: 0(\.\d+)?|__index_level_\d+__")


class Title(NamedTuple):
    """A column's header: its name as an identifier, and its unit."""

    name: str
    unit: str | None


class Heading(NamedTuple):
    """A column of a file.

    Attributes
    ----------
    header
        As the file has it.
    name
        An identifier, which no other column of the file has.
    unit
        What the header has in parentheses after a blank.
    is_index
        Whether the column only numbers or names the rows, as its header shows.
    """

    header: str
    name: str
    unit: str | None
    is_index: bool = False

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the column's Arrow field."""
        unit = {"unit": self.unit} if self.unit else {}
        return {"header": self.header, **unit, **({"index": "1"} if self.is_index else {})}


def title(text: str) -> Title:
    """Split a header `name (unit)` and make the name an identifier.

    Only parentheses after a blank hold a unit: `avg(age)` is a name. The signs of a header that
    has no letter and no digit are spelled out.

    >>> title("sepal length (cm)")
    Title(name='sepal_length', unit='cm')
    >>> title("avg(age)")
    Title(name='avg_age', unit=None)
    >>> title("%")
    Title(name='percent_sign', unit=None)
    """
    match = UNIT.fullmatch(text)
    if match and (name := _identifier(match[1])):
        return Title(name, match[2])
    return Title(_identifier(text), None)


def _identifier(text: str) -> str:
    """Turn a text into an identifier, empty where nothing of it can be in one."""
    text = unicodedata.normalize("NFC", text)
    name = re.sub(r"\W+", "_", text).strip("_")
    signs = [sign for sign in text if unicodedata.category(sign)[0] not in "CZ"]
    if name or len(signs) > SIGNS:
        return name
    words = " ".join(unicodedata.name(sign, "") for sign in signs).lower()
    return re.sub(r"\W+", "_", words).strip("_")


@lru_cache(maxsize=64)
def headings(headers: tuple[str, ...], index: frozenset[int] = frozenset()) -> tuple[Heading, ...]:
    """Name the columns of a file.

    Parameters
    ----------
    headers
        In the order of the file; the names depend on nothing else.
    index
        Indices of columns that are known to name rows.
    """
    titles = _make_titles(headers)
    with_name = [number for number, title in enumerate(titles) if title.name]
    nameless = [number for number, title in enumerate(titles) if not title.name]
    names: dict[int, str] = {}
    pool = _NamePool(title.name for title in titles)
    for number in (*with_name, *nameless):  # so that a nameless column takes no name of another
        is_first = number == 0 and not headers[0].strip()
        names[number] = pool.take(
            titles[number].name or (INDEX if is_first else f"column_{number + 1}")
        )
    return tuple(
        Heading(
            header,
            names[number],
            titles[number].unit,
            is_index=number in index or (number == 0 and _is_index(header)),
        )
        for number, header in enumerate(headers)
    )


def _is_index(header: str) -> bool:
    """Tell whether the first column of a file is the row names that pandas or R wrote."""
    return not header.strip() or bool(UNNAMED.fullmatch(header.strip()))


def _make_titles(headers: Sequence[str]) -> list[Title]:
    """Make the titles, with the unit in the name where only it tells two columns apart."""
    titles = [title(text) for text in headers]
    counts = Counter(title.name for title in titles)
    return [
        Title(_identifier(text), unit) if unit and counts[name] > 1 else Title(name, unit)
        for text, (name, unit) in zip(headers, titles, strict=True)
    ]


class _NamePool:
    """Gives each name once: another column that wants it gets a number after it.

    Parameters
    ----------
    wanted
        Names that headers have, which no number makes another column's.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self._wanted = frozenset(wanted)
        self._used: set[str] = set()
        self._numbers: Counter[str] = Counter()

    def take(self, name: str) -> str:
        """Take the name, or the first free one after it."""
        free = name
        while free in self._used or (free != name and free in self._wanted):
            self._numbers[name] += 1
            free = f"{name}_{self._numbers[name] + 1}"
        self._used.add(free)
        return free


def describe_names(columns: Sequence[Heading]) -> tuple[str, ...]:
    """Describe which columns do not have the name that their header by itself gives, and why."""
    nameless: list[str] = []
    units: list[str] = []
    repeated: list[str] = []
    for number, column in enumerate(columns, 1):
        plain = title(column.header).name
        if not plain:
            nameless.append(f"column {number} is {column.name}")
        elif column.name != plain:
            kind = units if _has_unit_in_name(column) else repeated
            kind.append(f"{column.header[:SHOWN]!r} is {column.name}")
    reasons = {
        "headers without a name": nameless,
        "headers that differ only in the unit": units,
        "repeated headers": repeated,
    }
    return tuple(f"{reason}: {_list_first(texts)}" for reason, texts in reasons.items() if texts)


def _has_unit_in_name(column: Heading) -> bool:
    return column.unit is not None and column.name == _identifier(column.header)


def _list_first(texts: Sequence[str]) -> str:
    """List the first few texts."""
    more = [f"and {len(texts) - LISTED:,} more"] if len(texts) > LISTED else []
    return ", ".join([*texts[:LISTED], *more])
