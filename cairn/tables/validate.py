"""Rows held to the contract: typed as it says, every problem of every value kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import jiter
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from cairn import formats
from cairn.console import CairnError
from cairn.contract import LARGEST, MISSING_TEXTS, NUMBERS, Category, Column, Contract
from cairn.paths import CONTRACT, RAW
from cairn.tables.reader import JSON, Part, Unconvertible, real

# What float32 rounds to its largest number, as the service has it.
EXACT = 2**53
CALENDAR = (-62_135_596_800, 253_402_300_799)  # seconds of the years 1 to 9999, from 1970
LEAST, MOST = -(2**63), 2**63 - 1
EXAMPLES = 5
SHOWN = 60  # characters of a value, in a report
REPEATED = ("row", "the same as one before")
RARE = "a rare class"
UNLABELED = "missing"
BLANKS = "blanks around the text taken off"
DECIMAL_COMMA = "1234,5"  # the one format that Arrow's reader knows besides JSON's
NUMBER = r"^\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf(inity)?))\s*$"
WHOLE = r"^\s*[+-]?\d{1,19}(\.0*)?\s*$"
BOOLEAN = r"^\s*(true|True|TRUE|false|False|FALSE)\s*$"
DATE = (
    r"^(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])-\d\d-\d\d"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?$"
)
TO_SECONDS = 19  # characters of a date and time
TEXT, INTEGER, FLOAT, BOOLEANS = pa.string(), pa.int64(), pa.float64(), pa.bool_()
LONG = pa.decimal128(38, 0)
SECONDS = pa.timestamp("s")
STORED = {"number": pa.float32(), "integer": pa.float32()}
# Whole numbers that may be labels of 64 bits: a float64 would lose their last digits.
NULLABLE = {INTEGER: pd.Int64Dtype(), BOOLEANS: pd.BooleanDtype()}.get


class Typed(NamedTuple):
    """A column's values with the type that the contract says, and which of them had another."""

    array: pa.ChunkedArray
    bad: pa.ChunkedArray
    problem: str


@dataclass(frozen=True)
class Reading:
    """How a column is read.

    Attributes
    ----------
    wanted
        The type that it is tried with first.
    convert
        From values of any type to that of the contract, null where there is none.
    problem
        What a value has that cannot be converted.
    format
        How its numbers or dates are written.
    absent
        Texts that stand for a missing value.
    strip
        Whether blanks around a text are no part of it.
    categories
        Texts that a number may stand for.
    """

    wanted: pa.DataType
    convert: Callable[[pa.ChunkedArray, Reading], pa.ChunkedArray]
    problem: str
    format: str | None = None
    absent: tuple[str, ...] = ()
    strip: bool = True
    categories: tuple[Category, ...] = ()


class Held(NamedTuple):
    """The rows of a part that keep the contract, and why the others do not.

    Attributes
    ----------
    rows
        Those that do, as data/processed has them.
    total
        How many there were.
    problems
        One line a problem: column, problem, value, and row, from 0 in the part.
    good
        Which of all rows are kept.
    hashes
        One of each row that is kept, identifier aside; none unless they were asked for.
    notes
        What is no problem, but to be known → of how many values.
    columns
        The names that the part has.
    broken
        How many rows have other problems than a label that is missing or rare.
    """

    rows: pa.Table
    total: int
    problems: pd.DataFrame
    good: NDArray[np.bool_]
    hashes: NDArray[np.uint64]
    notes: dict[str, int]
    columns: frozenset[str]
    broken: int = 0


def hold(part: Part, contract: Contract, *, hashed: bool = False) -> Held:
    """Hold a part to the contract; raises a CairnError where it is no table, or lacks a column."""
    plan = readings(contract, part)
    table = read(part, plan)
    if part.form != "jsonl":  # where each row says which columns it has
        lacks(contract, table.column_names)
    in_units(contract, table)
    typed = convert(table, plan)
    rows = pa.table({name: found.array for name, found in typed.items()})
    problems = pd.concat([_mistyped(table, typed), check(rows, contract, typed)], ignore_index=True)
    problems = _labeled(problems, contract)
    problems = problems.sort_values(["row", "column"], kind="stable", ignore_index=True)
    good = np.ones(len(rows), dtype=bool)
    good[problems["row"].to_numpy(dtype=np.int64)] = False
    kept = rows.filter(pa.array(good)) if len(problems) else rows
    return Held(
        rows=stored(kept, contract),
        total=len(rows),
        problems=problems,
        good=good,
        hashes=hashes_of(kept, contract) if hashed else np.empty(0, np.uint64),
        notes={**noted(kept, contract), **_written(table, plan, contract)},
        columns=frozenset(table.column_names),
        broken=_broken_rows(problems, contract),
    )


def _broken_rows(problems: pd.DataFrame, contract: Contract) -> int:
    """How many rows have problems besides a label that is missing or rare."""
    is_unused = (problems["column"] == contract.target.name) & problems["problem"].isin(
        [UNLABELED, RARE]
    )
    return int(problems.loc[~is_unused, "row"].nunique())


def lacks(contract: Contract, names: Iterable[str]) -> None:
    """Raise a CairnError where a column of the contract is not among those of the table."""
    known = set(names)
    gone = [name for name in _readings(contract) if name not in known]
    if gone:
        raise CairnError(
            f"{RAW} has no column {', '.join(map(repr, gone))}, which {CONTRACT} names; it has "
            f"{', '.join(sorted(known))}. Take its line out there, or, if this is another table, "
            f"delete {CONTRACT} and run `dvc repro`, which makes a new one"
        )


def in_units(contract: Contract, table: pa.Table) -> None:
    """Raise a CairnError where a header says another unit than the contract."""
    for field_ in table.schema:
        unit = (field_.metadata or {}).get(b"unit", b"").decode()
        wanted = contract.column(field_.name).unit if field_.name in contract.names else None
        if unit and wanted and unit != wanted:
            raise CairnError(
                f"column {field_.name!r} is in {unit}, {CONTRACT} says {wanted}; "
                "convert the values, "
                "or change the unit, and the range, there"
            )


def readings(contract: Contract, part: Part) -> dict[str, Reading]:
    """How each of the contract's columns, the target and the identifier, are read in a part.

    The usual texts for a missing value are those only in CSV, which has no other way to say it.
    """
    usual = MISSING_TEXTS if part.text else ()
    absent = usual if contract.missing is None else contract.missing
    return {
        name: replace(reading, absent=(*absent, *reading.absent), strip=contract.strip)
        for name, reading in _readings(contract).items()
    }


def _readings(contract: Contract) -> dict[str, Reading]:
    """The same, without what all columns have in common."""
    found = {column.name: _reading(column) for column in contract.columns}
    found[contract.target.name] = _label(contract)
    if contract.identifier:
        found[contract.identifier] = Reading(TEXT, identifier, "neither a text nor a whole number")
    return found


def _reading(column: Column) -> Reading:
    """How a column is read; of CSV numbers are never whole numbers, for 3.0 is one."""
    if column.kind in NUMBERS:
        is_plain = column.format in {None, DECIMAL_COMMA} and not column.markers
        wanted = FLOAT if is_plain else TEXT
        return Reading(wanted, number, "not a number", column.format, column.markers)
    if column.kind == "boolean":
        return Reading(
            TEXT if column.markers else BOOLEANS, boolean, "not true or false",
            absent=column.markers,
        )  # fmt: skip
    if column.kind == "date":
        return Reading(TEXT, date, "not a date", column.format, column.markers)
    if isinstance(column.categories[0], int):
        wanted = TEXT if column.markers else INTEGER
        return Reading(wanted, code, "not a whole number", absent=column.markers)
    return Reading(
        TEXT, category, "not a text", absent=column.markers, categories=column.categories
    )


def _label(contract: Contract) -> Reading:
    """How labels are read."""
    target = contract.target
    problem = "not a known class"
    first = target.classes[0]
    if isinstance(first, str):
        labels = tuple(label for label in (*target.classes, *target.rare) if isinstance(label, str))
        return Reading(TEXT, category, problem, absent=target.markers, categories=labels)
    wanted: pa.DataType = BOOLEANS
    if not isinstance(first, bool):
        small = max(abs(int(label)) for label in (*target.classes, *target.rare)) < EXACT
        wanted = FLOAT if small else INTEGER
    convert = boolean if isinstance(first, bool) else whole
    return Reading(TEXT if target.markers else wanted, convert, problem, absent=target.markers)


def read(part: Part, plan: Mapping[str, Reading]) -> pa.Table:
    """The part's rows, each column with the type that is wanted if all its values have it."""
    wanted = {name: reading.wanted for name, reading in plan.items()}
    tries = [wanted]
    if part.form == "jsonl":  # names of rows are texts or whole numbers
        named = {n: INTEGER for n, reading in plan.items() if reading.convert is identifier}
        tries += [{**wanted, **named}] if named else []
    if any(reading.format == DECIMAL_COMMA for reading in plan.values()):
        part = replace(part, dialect=part.dialect._replace(decimal=","))
    for types_ in tries:
        try:
            return part.read(types_)
        except Unconvertible:
            continue
    return part.loose(wanted)


def convert(table: pa.Table, plan: Mapping[str, Reading]) -> dict[str, Typed]:
    """Each column with its type; where the table has none, all of it is missing."""
    places = _places(table)
    none = pa.chunked_array([pa.nulls(len(table))])
    return {
        name: _typed(table.column(places[name]) if name in places else none, reading)
        for name, reading in plan.items()
    }


def _places(table: pa.Table) -> dict[str, int]:
    """The place of each column: Arrow looks through all names for each of them."""
    return {name: place for place, name in enumerate(table.column_names)}


def _typed(values: pa.ChunkedArray, reading: Reading) -> Typed:
    """A column with its type; a value that is not there only after that was bad."""
    if types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    present = _without_markers(values, reading)
    plain = written(present, reading) if values.type == JSON else present
    found = reading.convert(plain, reading)
    return Typed(found, pc.and_(pc.is_null(found), pc.is_valid(present)), reading.problem)


def _without_markers(values: pa.ChunkedArray, reading: Reading) -> pa.ChunkedArray:
    """Values without blanks around texts, and without texts that stand for a missing one."""
    if values.type == JSON:
        texts = [json.dumps(text, ensure_ascii=False) for text in reading.absent]
        absent = pc.is_in(values.cast(TEXT), pa.array(texts, TEXT), skip_nulls=True)
        return pc.if_else(absent, pa.scalar(None, JSON), values) if _any(absent) else values
    if not types.is_string(values.type):
        return values
    plain = _stripped(values, reading)
    absent = pc.is_in(plain, pa.array(reading.absent, TEXT), skip_nulls=True)
    return pc.if_else(absent, None, plain) if _any(absent) else plain


def _stripped(values: pa.ChunkedArray, reading: Reading) -> pa.ChunkedArray:
    """Texts without blanks around them, but for a category that has some itself."""
    if not reading.strip:
        return values
    own = [text for text in _text_categories(reading) if text != text.strip()]
    plain = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.is_in(values, pa.array(own, TEXT)), values, plain) if own else plain


def _any(found: pa.ChunkedArray) -> bool:
    return bool(pc.any(found).as_py())


def written(values: pa.ChunkedArray, reading: Reading) -> pa.ChunkedArray:
    """Values of JSON as they were written, those that a conversion takes."""
    kind, takes = _OF_JSON[reading.convert]
    found = [None if text is None else jiter.from_json(text.encode()) for text in _texts(values)]
    return pa.chunked_array([pa.array([takes(value, reading) for value in found], type=kind)])


def _texts(values: pa.ChunkedArray) -> list[str | None]:
    return values.cast(TEXT).to_pylist()  # type: ignore[no-any-return]


def _each(
    values: pa.ChunkedArray, read: Callable[[str], Any], kind: pa.DataType
) -> pa.ChunkedArray:
    """What each text is read as; one that stands in many rows is read once."""
    encoded = values.combine_chunks().dictionary_encode()
    found = pa.array([read(text) for text in encoded.dictionary.to_pylist()], type=kind)
    return pa.chunked_array([found.take(encoded.indices)])


def _or_else(
    found: pa.ChunkedArray, values: pa.ChunkedArray, read: Callable[[str], Any]
) -> pa.ChunkedArray:
    """What was found, and of the values for which nothing was what each of them is read as."""
    left = pc.and_(pc.is_null(found), pc.is_valid(values))
    if not _any(left):
        return found
    rest = _each(values.filter(left), read, found.type)
    return pa.chunked_array([pc.replace_with_mask(found.combine_chunks(), left.combine_chunks(),
                                                  rest.combine_chunks())])  # fmt: skip


def number(values: pa.ChunkedArray, reading: Reading) -> pa.ChunkedArray:
    """Numbers as float64."""
    if types.is_integer(values.type) or types.is_floating(values.type):
        return values.cast(FLOAT, safe=False)
    if not types.is_string(values.type):
        return _nulls(values, FLOAT)
    if reading.format:
        return _each(values, lambda text: formats.read_number(text, reading.format), FLOAT)
    plain = pc.utf8_trim_whitespace(_matching(values, NUMBER)).cast(FLOAT)
    return _or_else(plain, values, formats.read_number)


def whole(values: pa.ChunkedArray, _: Reading) -> pa.ChunkedArray:
    """Whole numbers as int64; 1.0 is one."""
    if types.is_integer(values.type):
        return values.cast(INTEGER)
    if types.is_floating(values.type):
        good = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), EXACT))
        return pc.if_else(good, values, None).cast(INTEGER)
    if types.is_string(values.type):
        good = _matching(values, WHOLE)
        digits = pc.replace_substring_regex(pc.utf8_trim_whitespace(good), r"\.0*$", "")
        return _within(digits.cast(LONG))
    return _nulls(values, INTEGER)


def code(values: pa.ChunkedArray, reading: Reading) -> pa.ChunkedArray:
    """Categories that are whole numbers, as int64."""
    return whole(values, reading)


def _within(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers of any length as int64."""
    least, most = (pa.scalar(end, type=LONG) for end in (LEAST, MOST))
    good = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))
    return pc.if_else(good, values, pa.scalar(None, type=LONG)).cast(INTEGER)


def boolean(values: pa.ChunkedArray, _: Reading) -> pa.ChunkedArray:
    """Booleans."""
    if types.is_boolean(values.type):
        return values
    if types.is_string(values.type):
        good = pc.utf8_trim_whitespace(_matching(values, BOOLEAN))
        return pc.equal(pc.utf8_lower(good), "true")
    return _nulls(values, BOOLEANS)


def date(values: pa.ChunkedArray, reading: Reading) -> pa.ChunkedArray:
    """Dates and times, to the second; those with a zone in UTC."""
    kind = values.type
    if types.is_date(kind):
        return _of_calendar(values.cast(SECONDS))
    if types.is_timestamp(kind):
        times = values.cast(pa.timestamp(kind.unit))
        return _of_calendar(pc.floor_temporal(times, unit="second").cast(SECONDS))
    if types.is_integer(kind) and reading.format:
        values = values.cast(TEXT)
    if not types.is_string(values.type):
        return _nulls(values, SECONDS)
    if reading.format:
        return _each(values, lambda text: formats.read_date(text, reading.format), SECONDS)
    plain = _seconds(pc.utf8_slice_codeunits(_matching(values, DATE), 0, TO_SECONDS))
    return _or_else(plain, values, formats.read_date)


def _of_calendar(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times of the years that a text has, 1 to 9999."""
    seconds, (first, last) = times.cast(INTEGER), CALENDAR
    good = pc.and_(pc.greater_equal(seconds, first), pc.less_equal(seconds, last))
    return pc.if_else(good, times, pa.scalar(None, type=SECONDS))


def _seconds(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO texts as times; null where there is no such day or hour."""
    try:
        return texts.cast(SECONDS)
    except pa.ArrowInvalid:
        times = [None if text is None else _time(text) for text in texts.to_pylist()]
        return pa.chunked_array([pa.array(times, type=SECONDS)])


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def category(values: pa.ChunkedArray, reading: Reading) -> pa.ChunkedArray:
    """Texts; a whole number stands for the category that is its text."""
    if types.is_integer(values.type):
        texts = values.cast(TEXT)
        known = pc.is_in(texts, pa.array(_text_categories(reading), TEXT))
        return pc.if_else(known, texts, None)
    return values if types.is_string(values.type) else _nulls(values, TEXT)


def _text_categories(reading: Reading) -> list[str]:
    return [text for text in reading.categories if isinstance(text, str)]


def identifier(values: pa.ChunkedArray, reading: Reading) -> pa.ChunkedArray:
    """What names a row, a text or a whole number, as text."""
    return values if types.is_string(values.type) else whole(values, reading).cast(TEXT)


def _in_64_bits(value: Any, _: Reading) -> int | None:
    return value if type(value) is int and LEAST <= value <= MOST else None


def _some_number(value: Any, reading: Reading) -> float | None:
    if isinstance(value, str):
        return formats.read_number(value, reading.format)
    return real(value) if type(value) in {int, float} else None


def _label_number(value: Any, reading: Reading) -> int | None:
    is_whole = type(value) is float and value.is_integer()
    return _in_64_bits(int(value) if is_whole else value, reading)


def _some_text(value: Any, reading: Reading) -> str | None:
    if type(value) is int:
        return str(value) if str(value) in reading.categories else None
    if not isinstance(value, str):
        return None
    return value.strip() if reading.strip and value not in reading.categories else value


def _some_date(value: Any, reading: Reading) -> str | None:
    if type(value) is int and reading.format:
        return str(value)
    return value if isinstance(value, str) else None


def _some_truth(value: Any, _: Reading) -> bool | None:
    if isinstance(value, str):
        text = value.strip()
        return text.lower() == "true" if re.fullmatch(BOOLEAN, text) else None
    return value if isinstance(value, bool) else None


def _some_name(value: Any, reading: Reading) -> str | None:
    found = _in_64_bits(value, reading)
    return (value if isinstance(value, str) else None) if found is None else str(found)


_OF_JSON: dict[Any, tuple[pa.DataType, Callable[[Any, Reading], Any]]] = {
    number: (FLOAT, _some_number),
    whole: (INTEGER, _label_number),
    code: (INTEGER, _in_64_bits),
    boolean: (BOOLEANS, _some_truth),
    date: (TEXT, _some_date),
    category: (TEXT, _some_text),
    identifier: (TEXT, _some_name),
}


def _matching(texts: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """Texts of a pattern."""
    return pc.if_else(pc.match_substring_regex(texts, pattern), texts, None)


def _nulls(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """No value at all."""
    return pa.chunked_array([pa.nulls(len(values), kind)])


def _mistyped(table: pa.Table, typed: dict[str, Typed]) -> pd.DataFrame:
    """A line for each value that is not of its column's type."""
    parts = [_problems([], [], [], [])]
    for name, found in typed.items():
        rows = np.flatnonzero(found.bad)
        if len(rows):
            came = _shown(table[name].take(rows))
            parts.append(_problems([name] * len(rows), [found.problem] * len(rows), came, rows))
    return pd.concat(parts, ignore_index=True)


def _shown(values: pa.ChunkedArray) -> list[Any]:
    """Values as people wrote them."""
    if values.type == JSON:
        return list(map(json.loads, _texts(values)))  # type: ignore[arg-type]
    # Arrow's dates go beyond Python's.
    return _texts(values) if types.is_temporal(values.type) else values.to_pylist()


def _problems(columns: Any, problems: Any, values: Any, rows: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "column": pd.Series(columns, dtype=object),
            "problem": pd.Series(problems, dtype=object),
            "value": pd.Series(values, dtype=object),
            "row": pd.Series(rows, dtype=np.int64),
        }
    )


class Violation(NamedTuple):
    """Values of a column that have its type, and break a rule."""

    problem: str
    where: pa.ChunkedArray


def check(rows: pa.Table, contract: Contract, typed: Mapping[str, Typed]) -> pd.DataFrame:
    """Hold typed rows to the contract: one line a problem, none for what had no type already."""
    parts = [_problems([], [], [], [])]
    for name, found in _violations(rows, contract, typed):
        places = np.flatnonzero(pc.fill_null(found.where, fill_value=False))
        if len(places):
            values = rows[name].take(places).to_pylist()
            count = len(places)
            parts.append(_problems([name] * count, [found.problem] * count, values, places))
    return pd.concat(parts, ignore_index=True)


def _violations(
    rows: pa.Table, contract: Contract, typed: Mapping[str, Typed]
) -> Iterable[tuple[str, Violation]]:
    """Each rule of each column, with the values that break it."""
    for column in contract.columns:
        values = rows[column.name]
        if not column.missing:
            yield column.name, _gaps(values, typed[column.name])
        for violation in _broken(values, column):
            yield column.name, violation
    target = contract.target
    labels = rows[target.name]
    yield target.name, _gaps(labels, typed[target.name])
    known = [*target.classes, *target.rare]
    yield target.name, Violation("not a known class", _outside(labels, known))
    yield target.name, Violation(RARE, _inside(labels, target.rare))


def _gaps(values: pa.ChunkedArray, typed: Typed) -> Violation:
    """Values that are missing, and not only because they had another type."""
    return Violation(UNLABELED, pc.and_(pc.is_null(values), pc.invert(typed.bad)))


def _broken(values: pa.ChunkedArray, column: Column) -> Iterable[Violation]:
    """The rules of one column but for gaps."""
    if column.kind == "category" and not column.unknown:
        yield Violation("not a known category", _outside(values, column.categories))
    elif column.kind in NUMBERS:
        lowest = -LARGEST if column.minimum is None else column.minimum
        highest = LARGEST if column.maximum is None else column.maximum
        inside = pc.and_(pc.greater_equal(values, lowest), pc.less_equal(values, highest))
        yield Violation(_beyond(column), pc.invert(inside))
    if column.kind == "integer":
        yield Violation("not a whole number", pc.not_equal(pc.floor(values), values))


def _outside(values: pa.ChunkedArray, known: Iterable[Any]) -> pa.ChunkedArray:
    return pc.and_(pc.is_valid(values), pc.invert(_inside(values, known)))


def _inside(values: pa.ChunkedArray, known: Iterable[Any]) -> pa.ChunkedArray:
    return pc.is_in(values, pa.array(list(known), values.type), skip_nulls=True)


def _beyond(column: Column) -> str:
    """What a number is that is not in the column's range."""
    ends = [
        f"{word} {end:g}"
        for word, end in (("under", column.minimum), ("over", column.maximum))
        if end is not None
    ]
    return " or ".join(ends) or "beyond float32"


def _labeled(problems: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The problems, but of a row without a label, or with a rare one, only that."""
    is_label = problems["column"] == contract.target.name
    unused = problems.loc[is_label & problems["problem"].isin([UNLABELED, RARE]), "row"]
    return problems[is_label | ~problems["row"].isin(unused)] if len(unused) else problems


def _written(table: pa.Table, plan: Mapping[str, Reading], contract: Contract) -> dict[str, int]:
    """How many texts of categories had blanks around them, and which texts were missing values."""
    places = _places(table)
    read = {name: table.column(places[name]) for name in plan if name in places}
    texts = {name: values for name, values in read.items() if types.is_string(values.type)}
    kinds = {column.name: column.kind for column in contract.columns}
    usual = {*(MISSING_TEXTS if contract.missing is None else contract.missing)}
    found = {}
    for name, values in texts.items():
        plain = _stripped(values, plan[name])
        if contract.strip and kinds.get(name, "category") == "category":
            found[f"{name}: {BLANKS}"] = _count(pc.not_equal(plain, values))
        for text in plan[name].absent:
            if text not in usual:
                found[f"{name}: {text!r} taken for missing"] = _count(pc.equal(plain, text))
    return {text: count for text, count in found.items() if count}


def stored(rows: pa.Table, contract: Contract) -> pa.Table:
    """Typed rows as data/processed has them: numbers as float32."""
    kinds = {column.name: column.kind for column in contract.columns}
    fields = [
        pa.field(field.name, STORED.get(kinds.get(field.name, ""), field.type))
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields), safe=False).combine_chunks()


def noted(rows: pa.Table, contract: Contract) -> dict[str, int]:
    """What people should know of rows that keep the contract → of how many values.

    Whole numbers that float32 does not hold exactly, and categories that are allowed to be new.
    """
    found = {}
    for column in contract.columns:
        values = rows[column.name]
        if column.kind == "integer":
            exact = pc.equal(values.cast(STORED["integer"], safe=False).cast(FLOAT), values)
            found[f"{column.name}: rounded by float32"] = _count(pc.invert(exact))
        elif column.unknown:
            listed = pc.is_in(values, pa.array(column.categories, values.type), skip_nulls=True)
            new = pc.and_(pc.is_valid(values), pc.invert(listed))
            found[f"{column.name}: a category that is not listed"] = _count(new)
    return {text: count for text, count in found.items() if count}


def _count(found: pa.ChunkedArray) -> int:
    return pc.sum(found).as_py() or 0


def hashes_of(rows: pa.Table, contract: Contract) -> NDArray[np.uint64]:
    """64 bits for each row; of eleven million rows two differ and agree in 3 of a million cases."""
    names = [name for name in rows.column_names if name != contract.identifier]
    texts = [name for name in names if types.is_string(rows[name].type)]
    # pandas hashes a missing text as the text nan.
    present = pa.table({f"{name} is there": pc.is_valid(rows[name]) for name in texts})
    frame = pd.concat(
        [t.to_pandas(types_mapper=NULLABLE) for t in (rows.select(names), present)], axis=1
    )
    found = pd.util.hash_pandas_object(frame, index=False, categorize=False)
    return np.asarray(found, dtype=np.uint64)


@dataclass
class Tally:
    """What is wrong with the rows of a table, added up part by part.

    Attributes
    ----------
    rows, aside
        How many there are, and how many were set aside.
    broken
        How many break the contract otherwise than by a label that is missing or rare.
    counts
        Rows of each column and problem.
    first
        The rows, from 1, and values of the first few of each.
    notes
        What is no problem, but to be known → of how many values.
    columns
        The names that any part has.
    """

    rows: int = 0
    aside: int = 0
    broken: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], list[tuple[int, Any]]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    columns: set[str] = field(default_factory=set)

    def add(self, held: Held) -> None:
        """Add a part, which comes after those before it."""
        for (column, problem), group in held.problems.groupby(["column", "problem"], sort=True):
            key = (str(column), str(problem))
            self.counts[key] += len(group)
            listed = self.first.setdefault(key, [])
            for row, value in zip(group["row"], group["value"], strict=True):
                if len(listed) == EXAMPLES:
                    break
                listed.append((self.rows + int(row) + 1, value))
        self.rows += held.total
        self.aside += held.problems["row"].nunique()
        self.broken += held.broken
        self.notes.update(held.notes)
        self.columns |= held.columns

    def repeat(self, rows: NDArray[np.int64]) -> None:
        """Count rows, from 1, that are the same as ones before them."""
        if len(rows):
            self.aside += len(rows)
            self.counts[REPEATED] += len(rows)
            listed = self.first.setdefault(REPEATED, [])
            listed += [(int(row), None) for row in rows[: EXAMPLES - len(listed)]]

    def report(self) -> dict[str, Any]:
        """The counts, which DVC shows as metrics."""
        return {
            "rows": self.rows,
            "kept": self.rows - self.aside,
            "set_aside": self.aside,
            "problems": {f"{name}: {problem}": n for (name, problem), n in self._sorted()},
            "notes": dict(self.notes),
        }

    def described(self) -> str:
        """The problems in one sentence: how many rows, which columns, the first few of each."""
        found = "; ".join(self._described(key, count) for key, count in self._sorted())
        return f"{self.aside:,} bad row{'s' if self.aside > 1 else ''}: {found}"

    def _sorted(self) -> list[tuple[tuple[str, str], int]]:
        return sorted(self.counts.items())

    def _described(self, key: tuple[str, str], count: int) -> str:
        name, problem = key
        rows = [f"{row:,}" for row, _ in self.first[key]] + ["…"] * (count > len(self.first[key]))
        values = dict.fromkeys(_short(value) for _, value in self.first[key] if value is not None)
        came = f", such as {', '.join(values)}" if values and problem != "missing" else ""
        what = problem if key == REPEATED else f"{name!r} {problem}"
        return f"{what} in {count:,} (data row{'s' if count > 1 else ''} {', '.join(rows)}{came})"


def _short(value: Any) -> str:
    """A value as a report may repeat it."""
    value = value.item() if isinstance(value, np.generic) else value
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
