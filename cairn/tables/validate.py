"""The rows of a part, checked against the contract; every problem of every value is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from cairn.contract import LARGEST, NUMBERS, Column, Contract
from cairn.errors import CairnError
from cairn.paths import CONTRACT, RAW
from cairn.tables.conversion import (
    BOOLEANS,
    FLOAT,
    INTEGER,
    Conversion,
    Typed,
    convert_table,
    index_columns,
    list_conversions,
    plan_conversions,
    read_table,
)
from cairn.tables.missing import list_missing_texts
from cairn.tables.part import JSON, Part

RARE = "a rare class"
MISSING = "missing"
BLANKS = "surrounding blanks removed"
STORED = {"number": pa.float32(), "integer": pa.float32()}
# Whole numbers that may be labels of 64 bits: a float64 would lose their last digits.
NULLABLE = {INTEGER: pd.Int64Dtype(), BOOLEANS: pd.BooleanDtype()}.get


class ValidPart(NamedTuple):
    """The rows of a part that keep the contract, and why the others do not.

    Attributes
    ----------
    rows
        Those that do, as data/processed has them.
    total
        How many rows the part has.
    problems
        One line for each problem: column, problem, value, and row, from 0 in the part.
    is_valid
        Whether a row of the part is among `rows`.
    hashes
        One for each of `rows`, the identifier aside; none unless they were asked for.
    notes
        What is no problem, but worth knowing → in how many values.
    columns
        The names of the columns that the part has.
    broken
        How many rows have other problems than a label that is missing or rare.
    """

    rows: pa.Table
    total: int
    problems: pd.DataFrame
    is_valid: NDArray[np.bool_]
    hashes: NDArray[np.uint64]
    notes: dict[str, int]
    columns: frozenset[str]
    broken: int = 0


def validate_part(part: Part, contract: Contract, *, with_hashes: bool = False) -> ValidPart:
    """Check the rows of a part against the contract.

    Raises
    ------
    CairnError
        Where the part is no table, lacks a column, or has one in another unit.
    """
    plan = plan_conversions(contract, part)
    table = read_table(part, plan)
    if part.form != "jsonl":  # where each row says which columns it has
        check_columns(contract, table.column_names)
    check_units(contract, table)
    typed = convert_table(table, plan)
    rows = pa.table({name: column.array for name, column in typed.items()})
    problems = pd.concat(
        [_list_unconverted(table, typed), check(rows, contract, typed)], ignore_index=True
    )
    problems = _prefer_label_problems(problems, contract).sort_values(
        ["row", "column"], kind="stable", ignore_index=True
    )
    is_valid = np.ones(len(rows), dtype=bool)
    is_valid[problems["row"].to_numpy(dtype=np.int64)] = False
    kept = rows.filter(pa.array(is_valid)) if len(problems) else rows
    return ValidPart(
        rows=to_stored(kept, contract),
        total=len(rows),
        problems=problems,
        is_valid=is_valid,
        hashes=hash_rows(kept, contract) if with_hashes else np.empty(0, np.uint64),
        notes={**note_values(kept, contract), **_note_texts(table, plan, contract)},
        columns=frozenset(table.column_names),
        broken=_count_broken(problems, contract),
    )


def _count_broken(problems: pd.DataFrame, contract: Contract) -> int:
    """Count the rows with other problems than a label that is missing or rare."""
    is_label = problems["column"] == contract.target.name
    is_unused = is_label & problems["problem"].isin([MISSING, RARE])
    return int(problems.loc[~is_unused, "row"].nunique())


def check_columns(contract: Contract, names: Iterable[str]) -> None:
    """Raise a CairnError where a column of the contract is not among those of the table."""
    known = set(names)
    absent = [name for name in list_conversions(contract) if name not in known]
    if absent:
        raise CairnError(
            f"{RAW} has no column {', '.join(map(repr, absent))}, which {CONTRACT} names; it has "
            f"{', '.join(sorted(known))}. Remove the column's line there, or, if this is another "
            f"table, delete {CONTRACT} and run `dvc repro`, which writes a new one"
        )


def check_units(contract: Contract, table: pa.Table) -> None:
    """Raise a CairnError where a header has another unit than the contract."""
    for field in table.schema:
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        wanted = contract.column(field.name).unit if field.name in contract.names else None
        if unit and wanted and unit != wanted:
            raise CairnError(
                f"column {field.name!r} is in {unit}, but {CONTRACT} says {wanted}; convert the "
                "values, or change the unit and the range there"
            )


def _list_unconverted(table: pa.Table, typed: dict[str, Typed]) -> pd.DataFrame:
    """List each value that does not have its column's type."""
    parts = [_to_problems([], [], [], [])]
    for name, column in typed.items():
        rows = np.flatnonzero(column.is_bad)
        if len(rows):
            values = _to_python(table[name].take(rows))
            count = len(rows)
            parts.append(_to_problems([name] * count, [column.problem] * count, values, rows))
    return pd.concat(parts, ignore_index=True)


def _to_python(values: pa.ChunkedArray) -> list[Any]:
    """Turn values into Python's, as people wrote them."""
    if values.type == JSON:
        return list(map(json.loads, values.cast(pa.string()).to_pylist()))
    # Arrow's dates go beyond Python's.
    is_date = types.is_temporal(values.type)
    return (values.cast(pa.string()) if is_date else values).to_pylist()  # type: ignore[no-any-return]


def _to_problems(columns: Any, problems: Any, values: Any, rows: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "column": pd.Series(columns, dtype=object),
            "problem": pd.Series(problems, dtype=object),
            "value": pd.Series(values, dtype=object),
            "row": pd.Series(rows, dtype=np.int64),
        }
    )


class Violation(NamedTuple):
    """Values of a column that have its type, and break a rule.

    Attributes
    ----------
    column, problem
        The column's name, and what is wrong.
    is_broken
        Whether a value breaks the rule; null: it does not.
    """

    column: str
    problem: str
    is_broken: pa.ChunkedArray


def check(rows: pa.Table, contract: Contract, typed: Mapping[str, Typed]) -> pd.DataFrame:
    """Check typed rows: one line for each problem, none for a value that had no type already."""
    parts = [_to_problems([], [], [], [])]
    for name, problem, is_broken in _find_violations(rows, contract, typed):
        indices = np.flatnonzero(pc.fill_null(is_broken, fill_value=False))
        if len(indices):
            values, count = rows[name].take(indices).to_pylist(), len(indices)
            parts.append(_to_problems([name] * count, [problem] * count, values, indices))
    return pd.concat(parts, ignore_index=True)


def _find_violations(
    rows: pa.Table, contract: Contract, typed: Mapping[str, Typed]
) -> Iterator[Violation]:
    """Check each rule of each column."""
    for column in contract.columns:
        values = rows[column.name]
        if not column.missing:
            yield _find_gaps(column.name, values, typed)
        yield from _check_column(values, column)
    target = contract.target
    labels = rows[target.name]
    yield _find_gaps(target.name, labels, typed)
    is_unknown = _is_outside(labels, [*target.classes, *target.rare])
    yield Violation(target.name, "not a known class", is_unknown)
    yield Violation(target.name, RARE, _is_among(labels, target.rare))


def _find_gaps(name: str, values: pa.ChunkedArray, typed: Mapping[str, Typed]) -> Violation:
    """Find values that are missing, and not only because they had another type."""
    return Violation(name, MISSING, pc.and_(pc.is_null(values), pc.invert(typed[name].is_bad)))


def _check_column(values: pa.ChunkedArray, column: Column) -> Iterator[Violation]:
    """Check the rules of one column, gaps aside."""
    if column.kind == "category" and not column.unknown:
        is_unknown = _is_outside(values, column.categories)
        yield Violation(column.name, "not a known category", is_unknown)
    elif column.kind in NUMBERS:
        lowest = -LARGEST if column.minimum is None else column.minimum
        highest = LARGEST if column.maximum is None else column.maximum
        is_inside = pc.and_(pc.greater_equal(values, lowest), pc.less_equal(values, highest))
        yield Violation(column.name, _describe_range(column), pc.invert(is_inside))
    if column.kind == "integer":
        is_fraction = pc.not_equal(pc.floor(values), values)
        yield Violation(column.name, "not a whole number", is_fraction)


def _is_outside(values: pa.ChunkedArray, known: Iterable[Any]) -> pa.ChunkedArray:
    return pc.and_(pc.is_valid(values), pc.invert(_is_among(values, known)))


def _is_among(values: pa.ChunkedArray, known: Iterable[Any]) -> pa.ChunkedArray:
    return pc.is_in(values, pa.array(list(known), values.type), skip_nulls=True)


def _describe_range(column: Column) -> str:
    """Describe what a number is that is not in the column's range."""
    ends = [
        f"{word} {end:g}"
        for word, end in (("under", column.minimum), ("over", column.maximum))
        if end is not None
    ]
    return " or ".join(ends) or "beyond float32"


def _prefer_label_problems(problems: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Keep, of a row whose label is missing or rare, only that problem."""
    is_label = problems["column"] == contract.target.name
    unused = problems.loc[is_label & problems["problem"].isin([MISSING, RARE]), "row"]
    return problems[is_label | ~problems["row"].isin(unused)] if len(unused) else problems


def _note_texts(
    table: pa.Table, plan: Mapping[str, Conversion], contract: Contract
) -> dict[str, int]:
    """Count the categories that had blanks around them, and the texts read as missing values."""
    indices = index_columns(table)
    columns = {name: table.column(indices[name]) for name in plan if name in indices}
    kinds = {column.name: column.kind for column in contract.columns}
    usual = set(list_missing_texts(contract.missing))
    notes = {}
    for name, values in columns.items():
        if not types.is_string(values.type):
            continue
        rule = plan[name].rule
        plain = rule.strip_blanks(values)
        if contract.strip and kinds.get(name, "category") == "category":
            notes[f"{name}: {BLANKS}"] = _count(pc.not_equal(plain, values))
        for text in rule.texts:
            if text not in usual:
                notes[f"{name}: {text!r} read as missing"] = _count(pc.equal(plain, text))
    return {text: count for text, count in notes.items() if count}


def to_stored(rows: pa.Table, contract: Contract) -> pa.Table:
    """Convert typed rows to the types of data/processed: numbers to float32."""
    kinds = {column.name: column.kind for column in contract.columns}
    fields = [
        pa.field(field.name, STORED.get(kinds.get(field.name, ""), field.type))
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields), safe=False).combine_chunks()


def note_values(rows: pa.Table, contract: Contract) -> dict[str, int]:
    """Count what people should know of rows that keep the contract.

    Whole numbers that float32 does not hold exactly, and categories that may be new.
    """
    notes = {}
    for column in contract.columns:
        values = rows[column.name]
        if column.kind == "integer":
            is_exact = pc.equal(values.cast(STORED["integer"], safe=False).cast(FLOAT), values)
            notes[f"{column.name}: rounded to float32"] = _count(pc.invert(is_exact))
        elif column.unknown:
            is_new = _is_outside(values, column.categories)
            notes[f"{column.name}: a category that the contract does not list"] = _count(is_new)
    return {text: count for text, count in notes.items() if count}


def _count(is_so: pa.ChunkedArray) -> int:
    return pc.sum(is_so).as_py() or 0


def hash_rows(rows: pa.Table, contract: Contract) -> NDArray[np.uint64]:
    """Hash each row to 64 bits.

    Of eleven million rows, two that differ have the same hash in 3 of a million cases.
    """
    names = [name for name in rows.column_names if name != contract.identifier]
    texts = [name for name in names if types.is_string(rows[name].type)]
    # pandas hashes a missing text as the text nan.
    present = pa.table({f"{name} is there": pc.is_valid(rows[name]) for name in texts})
    frame = pd.concat(
        [t.to_pandas(types_mapper=NULLABLE) for t in (rows.select(names), present)], axis=1
    )
    hashes = pd.util.hash_pandas_object(frame, index=False, categorize=False)
    return np.asarray(hashes, dtype=np.uint64)
