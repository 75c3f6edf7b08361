"""The columns of a part, each converted to the type that the contract gives it.

A value that cannot be converted becomes null and is marked, so that every problem is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import jiter
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from cairn import formats
from cairn.contract import NUMBERS, Category, Column, Contract
from cairn.tables.missing import MissingRule, list_missing_texts
from cairn.tables.part import JSON, Part, Unconvertible, to_float

EXACT = 2**53  # from here on a float64 may stand for several whole numbers
CALENDAR = (-62_135_596_800, 253_402_300_799)  # seconds of the years 1 to 9999, from 1970
LEAST, MOST = -(2**63), 2**63 - 1
DECIMAL_COMMA = "1234,5"  # the one format that Arrow's reader knows besides JSON's
NUMBER = r"^\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf(inity)?))\s*$"
INTEGER_TEXT = r"^\s*[+-]?\d{1,19}(\.0*)?\s*$"
BOOLEAN = r"^\s*(true|True|TRUE|false|False|FALSE)\s*$"
DATE = (
    r"^(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])-\d\d-\d\d"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?$"
)
TO_SECONDS = 19  # characters of a date and time
TEXT, INTEGER, FLOAT, BOOLEANS = pa.string(), pa.int64(), pa.float64(), pa.bool_()
LONG = pa.decimal128(38, 0)
SECONDS = pa.timestamp("s")
NO_RULE = MissingRule(())


class Typed(NamedTuple):
    """The values of a column, converted.

    Attributes
    ----------
    array
        Of the type that the contract gives the column; null where there is no such value.
    is_bad
        Whether a value is there but cannot be converted.
    problem
        What is wrong with those.
    """

    array: pa.ChunkedArray
    is_bad: pa.ChunkedArray
    problem: str


@dataclass(frozen=True)
class Conversion:
    """How the values of a column are converted.

    Attributes
    ----------
    wanted
        The type that the reader is asked for first.
    convert
        From values of any type to that of the contract, null where it is impossible.
    problem
        What is wrong with a value that cannot be converted.
    format
        How the column writes its numbers or dates.
    markers
        Texts that stand for a missing value in this column.
    categories
        The column's categories: a whole number may stand for one that is a text.
    rule
        Which texts stand for a missing value, in this part of the table.
    """

    wanted: pa.DataType
    convert: Callable[[pa.ChunkedArray, Conversion], pa.ChunkedArray]
    problem: str
    format: str | None = None
    markers: tuple[str, ...] = ()
    categories: tuple[Category, ...] = ()
    rule: MissingRule = field(default=NO_RULE)

    @property
    def text_categories(self) -> list[str]:
        """The categories that are texts."""
        return [text for text in self.categories if isinstance(text, str)]


def plan_conversions(contract: Contract, part: Part) -> dict[str, Conversion]:
    """Plan how each column of the contract, the target and the identifier are converted."""
    usual = list_missing_texts(contract.missing, is_csv=part.is_text)
    return {
        name: replace(
            each, rule=MissingRule((*usual, *each.markers), contract.strip, each.categories)
        )
        for name, each in list_conversions(contract).items()
    }


def list_conversions(contract: Contract) -> dict[str, Conversion]:
    """List the conversions by column, without what depends on the part."""
    conversions = {column.name: _of_column(column) for column in contract.columns}
    conversions[contract.target.name] = _of_labels(contract)
    if contract.identifier:
        problem = "neither a text nor a whole number"
        conversions[contract.identifier] = Conversion(TEXT, to_identifiers, problem)
    return conversions


def _of_column(column: Column) -> Conversion:
    """Plan a column; numbers of CSV are read as floats, for 3.0 is a whole number, too."""
    markers, kind = column.markers, column.kind
    if kind in NUMBERS:
        is_plain = column.format in {None, DECIMAL_COMMA} and not markers
        wanted = FLOAT if is_plain else TEXT
        return Conversion(wanted, to_numbers, "not a number", column.format, markers)
    if kind == "boolean":
        wanted = TEXT if markers else BOOLEANS
        return Conversion(wanted, to_booleans, "not true or false", markers=markers)
    if kind == "date":
        return Conversion(TEXT, to_dates, "not a date", column.format, markers)
    if isinstance(column.categories[0], int):
        wanted = TEXT if markers else INTEGER
        return Conversion(wanted, to_codes, "not a whole number", markers=markers)
    return Conversion(TEXT, to_texts, "not a text", markers=markers, categories=column.categories)


def _of_labels(contract: Contract) -> Conversion:
    """Plan the target."""
    target, problem = contract.target, "not a known class"
    labels = (*target.classes, *target.rare)
    if isinstance(target.classes[0], str):
        texts = tuple(label for label in labels if isinstance(label, str))
        return Conversion(TEXT, to_texts, problem, markers=target.markers, categories=texts)
    wanted, convert = BOOLEANS, to_booleans
    if not isinstance(target.classes[0], bool):
        is_small = max(abs(int(label)) for label in labels) < EXACT
        wanted, convert = (FLOAT if is_small else INTEGER), to_integers
    return Conversion(TEXT if target.markers else wanted, convert, problem, markers=target.markers)


def read_table(part: Part, plan: Mapping[str, Conversion]) -> pa.Table:
    """Read a part, each column with the type that is wanted if all its values have it."""
    wanted = {name: conversion.wanted for name, conversion in plan.items()}
    attempts = [wanted]
    if part.form == "jsonl":  # identifiers are texts or whole numbers
        identifiers = {n: INTEGER for n, each in plan.items() if each.convert is to_identifiers}
        attempts += [{**wanted, **identifiers}] if identifiers else []
    if any(conversion.format == DECIMAL_COMMA for conversion in plan.values()):
        part = replace(part, dialect=part.dialect._replace(decimal=","))
    for attempt in attempts:
        try:
            return part.read(attempt)
        except Unconvertible:
            continue
    return part.read_loosely(wanted)


def convert_table(table: pa.Table, plan: Mapping[str, Conversion]) -> dict[str, Typed]:
    """Convert each column of the plan; one that the table lacks is all missing."""
    indices = index_columns(table)
    missing = pa.chunked_array([pa.nulls(len(table))])
    return {
        name: _convert(table.column(indices[name]) if name in indices else missing, conversion)
        for name, conversion in plan.items()
    }


def index_columns(table: pa.Table) -> dict[str, int]:
    """Map each name to its index: Arrow looks through all names for each of them."""
    return {name: index for index, name in enumerate(table.column_names)}


def _convert(values: pa.ChunkedArray, conversion: Conversion) -> Typed:
    """Convert a column."""
    if types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    present = conversion.rule.clean(values)
    plain = parse_json(present, conversion) if values.type == JSON else present
    array = conversion.convert(plain, conversion)
    return Typed(array, pc.and_(pc.is_null(array), pc.is_valid(present)), conversion.problem)


def parse_json(values: pa.ChunkedArray, conversion: Conversion) -> pa.ChunkedArray:
    """Parse values of JSON, and keep those that the conversion accepts."""
    kind, accept = _OF_JSON[conversion.convert]
    parsed = [
        None if text is None else jiter.from_json(text.encode())
        for text in values.cast(TEXT).to_pylist()
    ]
    return pa.chunked_array([pa.array([accept(value, conversion) for value in parsed], type=kind)])


def _read_each(
    values: pa.ChunkedArray, read: Callable[[str], Any], kind: pa.DataType
) -> pa.ChunkedArray:
    """Read each text, those that are equal once."""
    encoded = values.combine_chunks().dictionary_encode()
    read_values = pa.array([read(text) for text in encoded.dictionary.to_pylist()], type=kind)
    return pa.chunked_array([read_values.take(encoded.indices)])


def _fill_unread(
    array: pa.ChunkedArray, values: pa.ChunkedArray, read: Callable[[str], Any]
) -> pa.ChunkedArray:
    """Read those of the values one by one that are null in the array."""
    is_unread = pc.and_(pc.is_null(array), pc.is_valid(values))
    if not pc.any(is_unread).as_py():
        return array
    rest = _read_each(values.filter(is_unread), read, array.type)
    filled = pc.replace_with_mask(
        array.combine_chunks(), is_unread.combine_chunks(), rest.combine_chunks()
    )
    return pa.chunked_array([filled])


def to_numbers(values: pa.ChunkedArray, conversion: Conversion) -> pa.ChunkedArray:
    """Convert numbers to float64."""
    if types.is_integer(values.type) or types.is_floating(values.type):
        return values.cast(FLOAT, safe=False)
    if not types.is_string(values.type):
        return _to_nulls(values, FLOAT)
    if conversion.format:
        return _read_each(values, lambda text: formats.read_number(text, conversion.format), FLOAT)
    plain = pc.utf8_trim_whitespace(_keep_matches(values, NUMBER)).cast(FLOAT)
    return _fill_unread(plain, values, formats.read_number)


def to_integers(values: pa.ChunkedArray, _: Conversion) -> pa.ChunkedArray:
    """Convert whole numbers to int64; 1.0 is one."""
    if types.is_integer(values.type):
        return values.cast(INTEGER)
    if types.is_floating(values.type):
        is_whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), EXACT))
        return pc.if_else(is_whole, values, None).cast(INTEGER)
    if types.is_string(values.type):
        matches = pc.utf8_trim_whitespace(_keep_matches(values, INTEGER_TEXT))
        return _to_64_bits(pc.replace_substring_regex(matches, r"\.0*$", "").cast(LONG))
    return _to_nulls(values, INTEGER)


def to_codes(values: pa.ChunkedArray, conversion: Conversion) -> pa.ChunkedArray:
    """Convert categories that are whole numbers to int64."""
    return to_integers(values, conversion)


def _to_64_bits(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert whole numbers of any length to int64."""
    least, most = (pa.scalar(end, type=LONG) for end in (LEAST, MOST))
    fits = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))
    return pc.if_else(fits, values, pa.scalar(None, type=LONG)).cast(INTEGER)


def to_booleans(values: pa.ChunkedArray, _: Conversion) -> pa.ChunkedArray:
    """Convert to booleans."""
    if types.is_boolean(values.type):
        return values
    if types.is_string(values.type):
        matches = pc.utf8_trim_whitespace(_keep_matches(values, BOOLEAN))
        return pc.equal(pc.utf8_lower(matches), "true")
    return _to_nulls(values, BOOLEANS)


def to_dates(values: pa.ChunkedArray, conversion: Conversion) -> pa.ChunkedArray:
    """Convert dates and times, to the second; those with a zone to UTC."""
    kind = values.type
    if types.is_date(kind):
        return _keep_calendar(values.cast(SECONDS))
    if types.is_timestamp(kind):
        times = values.cast(pa.timestamp(kind.unit))
        return _keep_calendar(pc.floor_temporal(times, unit="second").cast(SECONDS))
    if types.is_integer(kind) and conversion.format:
        values = values.cast(TEXT)
    if not types.is_string(values.type):
        return _to_nulls(values, SECONDS)
    if conversion.format:
        return _read_each(values, lambda text: formats.read_date(text, conversion.format), SECONDS)
    plain = _to_seconds(pc.utf8_slice_codeunits(_keep_matches(values, DATE), 0, TO_SECONDS))
    return _fill_unread(plain, values, formats.read_date)


def _keep_calendar(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Keep times of the years that a text can have, 1 to 9999."""
    seconds, (first, last) = times.cast(INTEGER), CALENDAR
    is_inside = pc.and_(pc.greater_equal(seconds, first), pc.less_equal(seconds, last))
    return pc.if_else(is_inside, times, pa.scalar(None, type=SECONDS))


def _to_seconds(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert ISO texts to times; null where there is no such day or hour."""
    try:
        return texts.cast(SECONDS)
    except pa.ArrowInvalid:
        times = [None if text is None else _read_iso(text) for text in texts.to_pylist()]
        return pa.chunked_array([pa.array(times, type=SECONDS)])


def _read_iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def to_texts(values: pa.ChunkedArray, conversion: Conversion) -> pa.ChunkedArray:
    """Convert to texts; a whole number stands for the category that is its text."""
    if types.is_integer(values.type):
        texts = values.cast(TEXT)
        is_known = pc.is_in(texts, pa.array(conversion.text_categories, TEXT))
        return pc.if_else(is_known, texts, None)
    return values if types.is_string(values.type) else _to_nulls(values, TEXT)


def to_identifiers(values: pa.ChunkedArray, conversion: Conversion) -> pa.ChunkedArray:
    """Convert what names a row, a text or a whole number, to text."""
    return values if types.is_string(values.type) else to_integers(values, conversion).cast(TEXT)


def _accept_64_bits(value: Any, _: Conversion) -> int | None:
    return value if type(value) is int and LEAST <= value <= MOST else None


def _accept_number(value: Any, conversion: Conversion) -> float | None:
    if isinstance(value, str):
        return formats.read_number(value, conversion.format)
    return to_float(value) if type(value) in {int, float} else None


def _accept_label(value: Any, conversion: Conversion) -> int | None:
    is_whole = type(value) is float and value.is_integer()
    return _accept_64_bits(int(value) if is_whole else value, conversion)


def _accept_text(value: Any, conversion: Conversion) -> str | None:
    if type(value) in {int, float}:
        return str(value) if str(value) in conversion.categories else None
    if not isinstance(value, str):
        return None
    is_plain = not conversion.rule.strip or value in conversion.categories
    return value if is_plain else value.strip()


def _accept_date(value: Any, conversion: Conversion) -> str | None:
    if type(value) is int and conversion.format:
        return str(value)
    return value if isinstance(value, str) else None


def _accept_boolean(value: Any, _: Conversion) -> bool | None:
    if isinstance(value, str):
        text = value.strip()
        return text.lower() == "true" if re.fullmatch(BOOLEAN, text) else None
    return value if isinstance(value, bool) else None


def _accept_identifier(value: Any, conversion: Conversion) -> str | None:
    if isinstance(value, str):
        return value
    number = _accept_64_bits(value, conversion)
    return None if number is None else str(number)


_OF_JSON: dict[Any, tuple[pa.DataType, Callable[[Any, Conversion], Any]]] = {
    to_numbers: (FLOAT, _accept_number),
    to_integers: (INTEGER, _accept_label),
    to_codes: (INTEGER, _accept_64_bits),
    to_booleans: (BOOLEANS, _accept_boolean),
    to_dates: (TEXT, _accept_date),
    to_texts: (TEXT, _accept_text),
    to_identifiers: (TEXT, _accept_identifier),
}


def _keep_matches(texts: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """Keep texts that match a pattern; the others become null."""
    return pc.if_else(pc.match_substring_regex(texts, pattern), texts, None)


def _to_nulls(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Make as many nulls."""
    return pa.chunked_array([pa.nulls(len(values), kind)])
