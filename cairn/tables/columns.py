"""The columns of a CSV file, found from its first rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from cairn.errors import CairnError
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
        Indices of the columns that name the rows.
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


def find_columns(
    rows: Sequence[Row], params: Processed, where: str, missing: Collection[str]
) -> Columns:
    """Find the columns of a file.

    Parameters
    ----------
    rows
        The first rows, with the one that may be the header.
    where
        The file, for errors.
    missing
        Texts that stand for no value.

    Raises
    ------
    CairnError
        Where the first row looks like data and params.yaml does not call it the header, or
        params.yaml has more or fewer names than a row has fields.
    """
    if isinstance(params.header, list) or params.header == "none":
        names = params.header if isinstance(params.header, list) else ()
        return _name_columns(rows, names, where)
    columns, below = _read_header(rows[0], rows[1:])
    notes = _check_header(columns.names, below, params, where, missing)
    headings = header.headings(columns.names, columns.index)
    return replace(columns, notes=(*columns.notes, *notes, *header.describe_names(headings)))


def _read_header(first: Row, rows: Sequence[Row]) -> tuple[Columns, Sequence[Row]]:
    """Read the columns that a header names, and keep the rows with as many fields."""
    width, usual = len(first), _count_fields(rows) if rows else len(first)
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
        text = f"the header has one field fewer than the rows: their first field is {ROW_NAMES}"
        return (
            Columns((ROW_NAMES, *names), index=frozenset({0}), notes=(text,)),
            [["", *row[1:]] for row in full],
        )
    if usual == width - 1 and usual > 1 and not first[-1].strip():
        return Columns(names[:-1], notes=("the header ends with a delimiter",)), full
    return Columns(names), full


def _count_fields(rows: Sequence[Row]) -> int:
    """Count the fields that most rows have."""
    return Counter(map(len, rows)).most_common(1)[0][0]


def _are_names(fields: Sequence[str]) -> bool:
    """Tell whether each of them names a row."""
    return all(field.strip() for field in fields) and len(set(fields)) == len(fields)


def _check_header(
    names: tuple[str, ...],
    rows: Sequence[Row],
    params: Processed,
    where: str,
    missing: Collection[str],
) -> tuple[str, ...]:
    """Check whether the first row is the header.

    Returns
    -------
    tuple
        A note where the row might be data.

    Raises
    ------
    CairnError
        Where the row looks like data.
    """
    if params.header == "first":
        return ()
    votes = first_row.count_votes(names, rows, missing)
    shown = ", ".join(repr(name[:SHOWN]) for name in names[:LISTED])
    shown += ", …" if len(names) > LISTED else ""
    if votes.data <= votes.header or _has_target(names, rows, params.target):
        text = f"the first row is read as the header, because its numbers count up or down: {shown}"
        return (text,) if votes.does_count else ()
    raise CairnError(
        f"{where}: the first row looks like data, not like a header: {shown}. If it is data, set "
        f"processed.header: none, which names the columns column_1 to column_{len(names)}, or set "
        f"it to a list of {len(names)} names. If it is the header, set processed.header: first"
    )


def _has_target(names: Sequence[str], rows: Sequence[Row], target: str) -> bool:
    """Tell whether the first row has the target's name, and its column does not have that value."""
    wanted = title(target).name
    return any(
        title(name).name == wanted and all(row[index].strip() != name.strip() for row in rows)
        for index, name in enumerate(names)
    )


def _name_columns(rows: Sequence[Row], names: Sequence[str], where: str) -> Columns:
    """Name the columns of a file whose first row is data: by these names, or by numbers."""
    usual = _count_fields(rows)
    is_trailing = usual > 1 and all(not row[-1].strip() for row in rows if len(row) == usual)
    if names and len(names) in {usual, usual - is_trailing}:
        return Columns(tuple(names), has_header=False, is_trailing=len(names) < usual)
    count = usual - is_trailing
    if names:
        raise CairnError(
            f"processed.header: got {len(names)} names, but a row of {where} has {count} fields: "
            f"{', '.join(repr(field[:SHOWN]) for field in rows[0])}; list {count} names"
        )
    numbers = tuple(f"column_{number}" for number in range(1, count + 1))
    text = f"no header: the columns are column_1 to column_{count}"
    return Columns(numbers, has_header=False, is_trailing=is_trailing, notes=(text,))
