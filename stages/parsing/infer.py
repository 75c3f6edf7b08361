"""The contract that a table suggests: each part is surveyed by itself, and the surveys added up."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types
from pydantic import ValidationError

from stages.console import CairnError
from stages.contract import LARGEST, NUMBERS, Column, Contract, Kind, Label, Part, Target
from stages.parsing.checks import LEAST, MOST
from stages.parsing.table import JSON, Unconvertible, title
from stages.parsing.table import Part as Rows
from stages.paths import RAW

Form = Literal["integer", "number", "boolean", "text", "date", "time", "other"]
COMMA = r"\s*[+-]?\d+,\d+\s*"
ZERO = re.compile(rb'(?:^|[\n,;|\t"])[ +-]*0\d')
LOOKED = 2**20  # bytes of a part in which codes are looked for
DISTINCT = 100_000  # values of a column that are counted one by one
TIMES = pa.timestamp("us")
DATE: tuple[Part, ...] = ("year", "month", "day", "weekday")
KINDS: dict[frozenset[str], Kind] = {
    frozenset({"integer"}): "integer",
    frozenset({"number"}): "number",
    frozenset({"integer", "number"}): "number",
    frozenset({"boolean"}): "boolean",
    frozenset({"text"}): "category",
    frozenset({"date"}): "date",
    frozenset({"time"}): "date",
    frozenset({"date", "time"}): "date",
}


@dataclass(frozen=True)
class Found:
    """What is known of a column.

    Attributes
    ----------
    forms
        The forms that its values have, those of rows that are not good, too.
    unit
        From the header.
    present
        How many good rows have a value.
    distinct
        The values of texts and labels, up to a bit over DISTINCT.
    low, high
        Of numbers; None where there is none.
    """

    forms: frozenset[Form] = frozenset()
    unit: str | None = None
    present: int = 0
    distinct: frozenset[Any] = frozenset()
    low: float | None = None
    high: float | None = None

    def __add__(self, other: Found) -> Found:
        lows = [found.low for found in (self, other) if found.low is not None]
        highs = [found.high for found in (self, other) if found.high is not None]
        longest = max(self.distinct, other.distinct, key=len)
        return Found(
            self.forms | other.forms,
            self.unit or other.unit,
            self.present + other.present,
            longest if len(longest) > DISTINCT else self.distinct | other.distinct,
            min(lows, default=None),
            max(highs, default=None),
        )


@dataclass(frozen=True)
class Survey:
    """What is known of rows: how many there are, how many are good, and of those each column.

    A row without a target, or with an infinite number, is not good.
    """

    rows: int = 0
    good: int = 0
    columns: Mapping[str, Found] = field(default_factory=dict)

    def __add__(self, other: Survey) -> Survey:
        names = [*self.columns, *(name for name in other.columns if name not in self.columns)]
        none = Found()
        columns = {n: self.columns.get(n, none) + other.columns.get(n, none) for n in names}
        return Survey(self.rows + other.rows, self.good + other.good, columns)


def survey(
    part: Rows, target: str, texts: Sequence[str] = (), apart: Collection[str] = ()
) -> Survey:
    """What is known of a part.

    Parameters
    ----------
    target
        The column of the labels.
    texts
        Columns to take for texts, whatever they look like.
    apart
        Columns that the model does not see: any number is good there.
    """
    return of(_read(part, texts), target, apart)


def of(table: pa.Table, target: str, apart: Collection[str] = ()) -> Survey:
    """What is known of rows."""
    good = table.filter(_good(table, target, apart))
    found = {
        field.name: _found(table[field.name], good[field.name], field, label=field.name == target)
        for field in table.schema
    }
    return Survey(len(table), len(good), found)


def _read(part: Rows, texts: Sequence[str]) -> pa.Table:
    try:
        table = part.read(dict.fromkeys(texts, pa.string()))
    except Unconvertible:
        return _dated(part.loose(), texts)
    return _written(part, table, texts) if part.form == "csv" else table


def _written(part: Rows, table: pa.Table, texts: Sequence[str]) -> pa.Table:
    """The table with columns of whole numbers that begin with a zero, as codes do, for texts."""
    whole = [name for name in table.column_names if types.is_integer(table[name].type)]
    if not whole or not ZERO.search(part.content[:LOOKED]):
        return table
    typed = part.read(dict.fromkeys([*texts, *whole], pa.string()))
    for name in whole:
        if pc.any(pc.match_substring_regex(typed[name], r"^\s*[+-]?0\d")).as_py():
            place = table.column_names.index(name)
            table = table.set_column(place, typed.field(name), typed[name])
    return table


def _dated(table: pa.Table, texts: Sequence[str]) -> pa.Table:
    """The table with columns of which all texts are dates as such, as Arrow's reader has them."""
    for place, name in enumerate(table.column_names):
        if types.is_string(table[name].type) and name not in texts:
            with suppress(pa.ArrowInvalid):
                times = table[name].cast(TIMES)
                table = table.set_column(place, table.field(name).with_type(TIMES), times)
    return table


def _good(table: pa.Table, target: str, apart: Collection[str]) -> pa.Array:
    """Which rows have a target and no number beyond float32."""
    good = pa.array(np.ones(len(table), dtype=bool))
    for name in table.column_names:
        values = table[name]
        if name == target:
            good = pc.and_(good, pc.invert(pc.is_null(values, nan_is_null=True)))
        elif types.is_floating(values.type) and name not in apart:
            beyond = pc.greater(pc.abs(values), LARGEST)
            good = pc.and_(good, pc.invert(pc.fill_null(beyond, fill_value=False)))
    return good


def _found(
    values: pa.ChunkedArray, good: pa.ChunkedArray, column: pa.Field, *, label: bool
) -> Found:
    """What is known of a column: its form from all rows, the rest from good ones."""
    unit = (column.metadata or {}).get(b"unit", b"").decode() or None
    if not len(_present(values)):
        return Found(unit=unit)
    form, present = _form(_present(values)), _present(good)
    distinct: frozenset[Any] = frozenset()
    if form == "text" or (label and form != "other"):
        distinct = frozenset(pc.unique(present).slice(0, DISTINCT + 1).to_pylist())
    low, high = _ends(present) if form in {"number", "integer"} else (None, None)
    return Found(frozenset({form}), unit, len(present), distinct, low, high)


def _present(values: pa.ChunkedArray) -> pa.ChunkedArray:
    missing = pc.is_null(values, nan_is_null=True)
    return values.filter(pc.invert(missing)) if pc.any(missing).as_py() else values


def _ends(values: pa.ChunkedArray) -> tuple[float | None, float | None]:
    ends = pc.min_max(values).as_py()
    return ends["min"], ends["max"]


def _form(values: pa.ChunkedArray) -> Form:
    kind = values.type
    if types.is_timestamp(kind) and kind.tz is None:
        return "date" if pc.all(pc.equal(pc.floor_temporal(values), values)).as_py() else "time"
    if kind == JSON:
        return "other"
    return next((form for form, matches in _FORMS.items() if matches(kind)), "other")


_FORMS: dict[Form, Callable[[pa.DataType], bool]] = {
    "integer": types.is_integer,
    "number": types.is_floating,
    "boolean": types.is_boolean,
    "text": types.is_string,
    "date": types.is_date,
}


def mixed(found: Survey) -> list[str]:
    """The columns whose values have forms that no kind has together."""
    return [n for n, c in found.columns.items() if c.forms and c.forms not in KINDS]


def propose(
    found: Survey, target: str, *, identifier: str | None, drop: Sequence[str], most: int
) -> Contract:
    """The contract that a table suggests.

    Parameters
    ----------
    found
        The survey of all of it.
    target, identifier, drop
        Columns, as in the header or as identifiers.
    most
        Most categories of a column, and classes of the target.

    Raises
    ------
    CairnError
        Where it suggests none: which column, and what to do.
    """
    apart = {known(target, "processed.target", found.columns)}
    named = identifier and known(identifier, "processed.identifier", found.columns)
    left = apart | {known(name, "processed.drop", found.columns) for name in drop}
    if named in left:
        raise CairnError(
            f"processed.identifier: {named!r} is the target, or in processed.drop, too"
        )
    left |= {named} if named else set()
    columns = [
        _column(name, column, found.good, most)
        for name, column in found.columns.items()
        if name not in left
    ]
    [label] = apart
    if not columns:
        raise CairnError(f"{RAW}: no column is left beside the target {label!r}")
    classes = _classes(label, found.columns[label], most)
    try:
        return Contract(
            target=Target(name=label, classes=classes), identifier=named, columns=tuple(columns)
        )
    except ValidationError as error:
        reason = error.errors()[0]["ctx"]["error"]
        raise CairnError(
            f"{RAW}: {reason} among columns, parts of dates and the target; rename one in the "
            "header, or add it to processed.drop"
        ) from None


def known(name: str, key: str, columns: Iterable[str]) -> str:
    """A column's name as an identifier, given that way or as in the header."""
    found = title(name).name
    if found not in columns:
        raise CairnError(f"{key}: got {name!r}; the columns are {', '.join(columns)}")
    return found


def _column(name: str, found: Found, rows: int, most: int) -> Column:
    """What the values of a column have in common."""
    if not found.present:
        raise CairnError(f"column {name!r} has no value at all; add it to processed.drop")
    if found.forms not in KINDS:
        raise CairnError(
            f"column {name!r} has values that no kind of column has ({_forms(found)}); allowed: "
            "numbers, booleans, texts or dates without zone, one of them throughout; mend the "
            "source, or add it to processed.drop"
        )
    kind = KINDS[found.forms]
    more = _more(name, kind, found, most)
    return Column(name=name, kind=kind, unit=found.unit, missing=found.present < rows, **more)


def _more(name: str, kind: Kind, found: Found, most: int) -> dict[str, Any]:
    """What only a column of its kind has."""
    if kind == "date":
        return {"parts": (*DATE, "hour") if "time" in found.forms else DATE}
    if kind != "category":
        return {}
    if all(re.fullmatch(COMMA, text) for text in found.distinct):
        raise CairnError(
            f"column {name!r} has numbers with a comma, such as {min(found.distinct)!r}; set "
            "processed.decimal: ','"
        )
    if len(found.distinct) > most:
        raise CairnError(
            f"column {name!r} has {_number(found)} distinct texts, more than "
            f"processed.max_categories ({most}); add it to processed.drop, or raise that"
        )
    return {"categories": tuple(sorted(found.distinct))}


def _number(found: Found) -> str:
    count = len(found.distinct)
    return f"over {DISTINCT:,}" if count > DISTINCT else f"{count:,}"


def _forms(found: Found) -> str:
    return ", ".join(sorted(_WORDS[form] for form in found.forms))


_WORDS: dict[Form, str] = {
    "integer": "whole numbers",
    "number": "numbers",
    "boolean": "booleans",
    "text": "texts",
    "date": "dates",
    "time": "dates with a time",
    "other": "values of another type, or of several",
}


def _classes(name: str, found: Found, most: int) -> tuple[Label, ...]:
    """The distinct labels, sorted; a CairnError where they are not what a classifier predicts."""
    kind = KINDS.get(found.forms)
    if found.forms and (kind in {None, "date"} or (kind in NUMBERS and not _whole(found))):
        raise CairnError(
            f"target {name!r} has values that name no class ({_forms(found)}); Cairn predicts "
            "classes: whole numbers within 64 bits, texts or booleans; set processed.target"
        )
    values = map(int, found.distinct) if kind in NUMBERS else found.distinct
    labels: list[Label] = sorted(values)
    if len(labels) not in range(2, most + 1):
        raise CairnError(
            f"target {name!r} has {_number(found)} distinct label{'s' if len(labels) > 1 else ''}; "
            f"allowed: 2 to {most} (processed.max_categories); set processed.target"
        )
    return tuple(labels)


def _whole(found: Found) -> bool:
    """Whether all numbers are whole ones of 64 bits."""
    return all(LEAST <= value <= MOST and value % 1 == 0 for value in found.distinct)


def shown(terms: Contract, found: Survey) -> str:
    """What was inferred, as a table for people."""
    rows = [
        {
            "column": column.name,
            "kind": column.kind,
            "unit": column.unit or "",
            "missing": f"{1 - found.columns[column.name].present / found.good:.1%}"
            if column.missing
            else "",
            "values": _values(column, found.columns[column.name]),
        }
        for column in terms.columns
    ]
    return str(pd.DataFrame(rows).to_string(index=False, justify="left", max_colwidth=60))


def _values(column: Column, found: Found) -> str:
    if column.kind == "category":
        return f"{len(column.categories)}: {', '.join(map(str, column.categories))}"
    if column.kind == "date":
        return ", ".join(column.parts)
    return "" if found.low is None else f"{found.low:g} to {found.high:g}"
