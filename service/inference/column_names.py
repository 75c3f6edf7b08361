"""Which column a key of a request names: by the contract's name, or by the table's header."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from cairn.contract import Contract
from service.inference.problems import LISTED, LONGEST

# What a byte-order mark becomes where a CSV file's first header is read with it.
MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
# Keys of columns without a header, as a CSV reader and pandas have them.
NAMELESS = re.compile(r"\s*|Unnamed: \d+")
# Names that an unknown key is compared with, keys of a request that are, and pairs of both: each
# takes 10 µs.
MAX_COMPARED, MAX_SUGGESTED, MAX_PAIRS = 300, 10, 600
ALIKE = 0.75  # of difflib's ratio


class KeyMapping(NamedTuple):
    """What the keys of a row stand for.

    Attributes
    ----------
    places
        Name of a column or of the identifier → place of its key in the row.
    unknown
        Keys that the contract does not have.
    twice
        Each key that names a column which another key named before → that key.
    missing
        Names of columns that need a value and have no key.
    values
        From a row's values, and a None behind them, to those in the order of the columns.
    """

    positions: dict[str, int]
    unknown: list[str]
    duplicates: dict[str, str]
    missing: list[str]
    values: Callable[[Sequence[Any]], Sequence[Any]]

    @property
    def is_complete(self) -> bool:
        """Whether the row has each column once, and no other."""
        return not (self.unknown or self.duplicates or self.missing)


class Names:
    """The names of a contract, and the headers of its table.

    Attributes
    ----------
    headers
        Each name, those that a request may have and that are ignored too → its header.
    columns
        Headers of the columns, in order.
    """

    def __init__(self, contract: Contract) -> None:
        self.headers = contract.headers
        self.columns = [self.headers[name] for name in contract.names]
        self._columns = {column.name: column.missing for column in contract.columns}
        self._ignored = contract.ignored
        self._keys = {name: name for name in self.headers}
        for header, name in contract.aliases.items():
            self._keys.setdefault(header, name)
        self._bare = dict[str, str]()
        for key, name in self._keys.items():
            self._bare.setdefault(key.strip(), name)
        self._folded = {_fold(key): self.headers[name] for key, name in self._bare.items()}

    def resolve(self, key: str) -> str | None:
        """Return the name that a key stands for; None where the contract has none.

        Blanks around a header, and a byte-order mark before it, are no part of it.
        """
        name = self._keys.get(key)
        return self._bare.get(key.strip().lstrip(MARK).strip()) if name is None else name

    def map_keys(self, keys: Iterable[str]) -> KeyMapping:
        """Find what the keys of a row stand for.

        A key of a column without a header that the contract does not have is ignored: an index,
        or what a delimiter at the end of each line makes.
        """
        positions, first = dict[str, int](), dict[str, str]()
        unknown, duplicates = list[str](), dict[str, str]()
        for position, key in enumerate(keys):
            name = self.resolve(key)
            if name is None:
                unknown += [] if NAMELESS.fullmatch(key) else [key]
            elif name in first:
                duplicates[key] = first[name]
            else:
                first[name] = key
                if name not in self._ignored:
                    positions[name] = position
        missing = [
            name
            for name, optional in self._columns.items()
            if not optional and name not in positions
        ]
        return KeyMapping(
            positions,
            unknown,
            duplicates,
            missing,
            _make_picker([positions.get(n, -1) for n in self._columns]),
        )

    def make_mapper(self) -> Callable[[dict[str, Any]], KeyMapping]:
        """Make a `map_keys` for rows in turn, most of which have the keys of the one before."""
        keys: tuple[str, ...] | None = None
        last: KeyMapping | None = None

        def map_keys(row: dict[str, Any]) -> KeyMapping:
            nonlocal keys, last
            if last is None or tuple(row) != keys:
                keys = tuple(row)
                last = self.map_keys(keys)
            return last

        return map_keys

    def make_suggest(self) -> Callable[[str], str | None]:
        """Make a function that finds a name like an unknown key, for a request's first few keys."""
        names: dict[str, str | None] = {}
        most = min(MAX_SUGGESTED, MAX_PAIRS // min(len(self._folded), MAX_COMPARED))

        def suggest(key: str) -> str | None:
            if key not in names:
                names[key] = self._find_similar(key[:LONGEST], compare=len(names) < most)
            return names[key]

        return suggest

    def _find_similar(self, key: str, *, compare: bool) -> str | None:
        folded = _fold(key)
        if folded in self._folded or not compare:
            return self._folded.get(folded)
        from difflib import get_close_matches  # noqa: PLC0415 - most services never need it

        some = list(self._folded)[:MAX_COMPARED]
        close = get_close_matches(folded, some, n=1, cutoff=ALIKE)
        return self._folded[close[0]] if close else None


def _make_picker(positions: list[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Make a function that picks the values at these positions."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda values: tuple(values[position] for position in positions)


def _fold(key: str) -> str:
    """Return a key without what people write in several ways."""
    return "".join(filter(str.isalnum, key[: 2 * LISTED].casefold()))
