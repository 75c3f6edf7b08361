"""The shapes that a request may have, each turned into rows."""

from __future__ import annotations

from itertools import repeat
from typing import Any

from service.http.errors import Refused
from service.inference.column_names import Names
from service.inference.problems import Problems, describe_row, make_refusal, refuse_request, shorten

SHAPES = (
    'an object with a value for each column, {"records": [such objects]}, a list of them, '
    '{"features": [values in the order of the columns]} or {"features": [[…], …]}'
)
LISTS = "features"
# The second is what BentoML's own client makes of a DataFrame.
OBJECTS = ("records", "dataframe")
SHAPED = {LISTS, *OBJECTS}
SPLIT = {"columns", "data"}  # of pandas' orient="split", which may have an index, too


# The rows, objects or lists of values in the order of the columns; whether the request asked for
# one row as such, not for a list of one; whether the rows are lists. A named tuple takes longer.
Shaped = tuple[list[Any], bool, bool]


def read_shape(content: Any, names: Names, max_rows: int) -> Shaped:
    """Find the rows of a parsed body.

    Raises
    ------
    Refused
        422 where there are none, 413 where there are too many.
    """
    if not isinstance(content, dict):
        return _read_list(content, max_rows)
    if len(content) == 1:
        [(key, values)] = content.items()
        if key in SHAPED and isinstance(values, list):
            return _read_many(values, max_rows, listed=key == LISTS)
        if key in SHAPED and isinstance(values, dict):
            content = values
    elif content and content.keys() <= SHAPED and not content.keys() & names.headers.keys():
        both = " and ".join(content)
        raise refuse_request("wrong shape", f"{both} at once", SHAPES)
    for value in content.values():
        if not isinstance(value, list | dict):
            break  # no column of a DataFrame
        return _read_frame(content, names, max_rows) or ([content], True, False)
    return [content], True, False


def _read_list(rows: Any, max_rows: int) -> Shaped:
    """Return the rows of a list without a name: pandas' orient="records" or "values"."""
    if not isinstance(rows, list) or (rows and not isinstance(rows[0], list | dict)):
        raise refuse_request("wrong shape", shorten(rows), SHAPES)
    return _read_many(rows, max_rows, listed=bool(rows) and isinstance(rows[0], list))


def _read_many(values: list[Any], max_rows: int, *, listed: bool) -> Shaped:
    if listed and not (values and isinstance(values[0], list)):
        return [values], True, True
    _check_count(len(values), max_rows)
    return values, False, listed


def _check_count(number: int, max_rows: int) -> None:
    """Raise Refused where there are too few rows or too many."""
    if not number:
        raise refuse_request("no rows", [], "at least one row")
    if number > max_rows:
        raise Refused(413, f"{number:,} rows; send at most {max_rows:,} at once")


def _read_frame(content: dict[str, Any], names: Names, max_rows: int) -> Shaped | None:
    """Return the rows of a DataFrame by column, or split; None where it is none.

    No value of a row is a list or an object, so nothing else looks like these.
    """
    if content.keys() - {"index"} == SPLIT and all(isinstance(content[key], list) for key in SPLIT):
        return _read_split(content["columns"], content["data"], max_rows)
    kinds = set(map(type, content.values()))
    if kinds not in ({dict}, {list}) or not any(map(names.resolve, content)):
        return None
    parts = list(content.values())
    if kinds == {dict}:
        if any(part.keys() != parts[0].keys() for part in parts):
            return None
        parts = [[part[key] for key in parts[0]] for part in parts]
    if any(len(part) != len(parts[0]) for part in parts):
        return None
    _check_count(len(parts[0]), max_rows)
    keys = list(content)
    rows = [dict(zip(keys, row, strict=True)) for row in zip(*parts, strict=True)]
    return rows, False, False


def _read_split(columns: list[Any], data: list[Any], max_rows: int) -> Shaped:
    """Return the rows of pandas' orient="split"."""
    if not all(isinstance(column, str) for column in columns):
        raise refuse_request("wrong shape", shorten(columns), "columns: a list of texts")
    if len(set(columns)) < len(columns):
        raise refuse_request("wrong shape", shorten(columns), "columns: none of them twice")
    _check_count(len(data), max_rows)
    if any(not isinstance(row, list) or len(row) != len(columns) for row in data):
        raise make_refusal(map(_describe_misfit, range(len(data)), data, repeat(len(columns))))
    rows = [dict(zip(columns, row, strict=True)) for row in data]
    return rows, False, False


def _describe_misfit(index: int, row: Any, number: int) -> Problems:
    """Describe the wrong shape of one row of data."""
    allowed = f"a list of {number} values, one for each of columns"
    if not isinstance(row, list):
        return describe_row(index, "wrong type", shorten(row), allowed)
    if len(row) != number:
        return describe_row(index, "wrong number of values", len(row), allowed)
    return Problems(0, [])
