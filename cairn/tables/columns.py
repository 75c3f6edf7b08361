"""Which columns a CSV file has, from its first rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from cairn.console import CairnError
from cairn.params.processed import Processed
from cairn.tables import first_row, header
from cairn.tables.header import ROW_NAMES, title

Row = Sequence[str]
SHOWN = 30  # characters of a field in an error
LISTED = 4  # fields in an error


@dataclass(frozen=True)
class Columns:
    """The columns of a file.

    Attributes
    ----------
    names
        As in the header.
    has_header
        Whether the first row is one.
    index
        Places of columns that name the rows.
    is_trailing
        Whether a delimiter ends each row.
    notes
        What was decided.
    """

    names: tuple[str, ...]
    has_header: bool = True
    index: frozenset[int] = frozenset()
    is_trailing: bool = False
    notes: tuple[str, ...] = ()


def columns(rows: Sequence[Row], block: Processed, where: str, missing: Collection[str]) -> Columns:
    """Find the columns of a file.

    Parameters
    ----------
    rows
        The first of them, the one that may be the header too.
    where
        The file, for errors.
    missing
        Texts that stand for no value.

    Raises
    ------
    CairnError
        Where the first row looks like data and nothing says that it is the header, or the names
        that params.yaml gives are more or fewer than the fields.
    """
    if isinstance(block.header, list) or block.header == "none":
        given = block.header if isinstance(block.header, list) else ()
        return _without_header(rows, given, where)
    found, below = _under_header(rows[0], rows[1:])
    notes = _checked(found.names, below, block, where, missing)
    named = header.headings(found.names, found.index)
    return replace(found, notes=(*found.notes, *notes, *header.notes(named)))


def _under_header(first: Row, rows: Sequence[Row]) -> tuple[Columns, Sequence[Row]]:
    """The columns that a header names, and the rows with as many fields."""
    width, usual = len(first), _usual(rows) if rows else len(first)
    full = [row for row in rows if len(row) == usual]
    are_ended = bool(full) and all(not row[-1].strip() for row in full)
    names = tuple(first)
    if usual == width and width > 1 and not first[-1].strip() and are_ended:
        return (
            Columns(names[:-1], is_trailing=True, notes=("each line ends with a delimiter",)),
            [row[:-1] for row in full],
        )
    if usual == width + 1 and are_ended:
        return (
            Columns(names, is_trailing=True, notes=("each row ends with a delimiter",)),
            [row[:-1] for row in full],
        )
    if usual == width + 1 and _are_names([row[0] for row in full]):
        text = f"the header is one shorter than the rows: their first field is {ROW_NAMES}"
        return (
            Columns((ROW_NAMES, *names), index=frozenset({0}), notes=(text,)),
            [["", *row[1:]] for row in full],
        )
    if usual == width - 1 and usual > 1 and not first[-1].strip():
        return Columns(names[:-1], notes=("the header ends with a delimiter",)), full
    return Columns(names), full


def _usual(rows: Sequence[Row]) -> int:
    """The number of fields that most rows have."""
    return Counter(map(len, rows)).most_common(1)[0][0]


def _are_names(fields: Sequence[str]) -> bool:
    """Whether each of them names a row."""
    return all(field.strip() for field in fields) and len(set(fields)) == len(fields)


def _checked(
    names: tuple[str, ...],
    rows: Sequence[Row],
    block: Processed,
    where: str,
    missing: Collection[str],
) -> tuple[str, ...]:
    """Notes of a first row that may be data; a CairnError where it looks like that."""
    if block.header == "first":
        return ()
    votes = first_row.votes(names, rows, missing)
    shown = ", ".join(repr(name[:SHOWN]) for name in names[:LISTED])
    shown += ", …" if len(names) > LISTED else ""
    if votes.data <= votes.header or _is_in(names, rows, block.target):
        text = f"the first row is taken for the header, as its numbers count: {shown}"
        return (text,) if votes.does_count else ()
    raise CairnError(
        f"{where}: the first row looks like data, not like a header: {shown}; if it is data, set "
        f"processed.header: none, which names the columns column_1 to column_{len(names)}, or to a "
        f"list of {len(names)} names; if it is the header, set processed.header: first"
    )


def _is_in(names: Sequence[str], rows: Sequence[Row], target: str) -> bool:
    """Whether the target is a name of the first row, and no value of its column."""
    wanted = title(target).name
    return any(
        title(name).name == wanted and all(row[place].strip() != name.strip() for row in rows)
        for place, name in enumerate(names)
    )


def _without_header(rows: Sequence[Row], given: Sequence[str], where: str) -> Columns:
    """The columns of a file whose first row is data: under the names that are given, if any."""
    usual = _usual(rows)
    is_trailing = usual > 1 and all(not row[-1].strip() for row in rows if len(row) == usual)
    if given and len(given) in {usual, usual - is_trailing}:
        return Columns(tuple(given), has_header=False, is_trailing=len(given) < usual)
    count = usual - is_trailing
    if given:
        raise CairnError(
            f"processed.header: got {len(given)} names; {where} has {count} fields in a row: "
            f"{', '.join(repr(field[:SHOWN]) for field in rows[0])}"
        )
    names = tuple(f"column_{number}" for number in range(1, count + 1))
    text = f"no header: the columns are column_1 to column_{count}"
    return Columns(names, has_header=False, is_trailing=is_trailing, notes=(text,))
