"""A part of a table: some successive rows, as bytes of CSV or JSON lines or as an Arrow table.

A part is a few ten megabytes, whatever the size of the table, and can be sent to another process.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jiter
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from cairn.contract import MISSING_TEXTS
from cairn.errors import CairnError
from cairn.tables import header, records
from cairn.tables.header import Heading, title

END = ""  # the field after the last delimiter; no column has this name
SHOWN = 80  # characters of a value in an error
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
JSON = pa.json_()  # a value of JSON lines, as it was written
Types = Mapping[str, pa.DataType]


class Unconvertible(Exception):
    """A value does not have the type that was asked for, or values have no common type."""


class Dialect(NamedTuple):
    """How CSV is written."""

    delimiter: str
    decimal: str
    missing: tuple[str, ...] = MISSING_TEXTS


COMMAS = Dialect(",", ".")


@dataclass(frozen=True)
class Part:
    """Some successive rows of a table.

    Attributes
    ----------
    form, content
        The format, and the rows as bytes; from Parquet as an Arrow table.
    where, line
        The file, and the line, from 1, where the part begins in it.
    names
        Of the columns, as in the header; of JSON lines, those of the first rows.
    dialect
        How CSV is written.
    index
        Indices of the columns that, as the file itself says, name its rows.
    is_trailing
        Whether each line of CSV has a delimiter at its end.
    notes
        What was decided about the file; only its first part has them.
    """

    form: Literal["csv", "jsonl", "parquet"]
    content: bytes | pa.Table
    where: str
    line: int = 1
    names: tuple[str, ...] = ()
    dialect: Dialect = COMMAS
    index: frozenset[int] = frozenset()
    is_trailing: bool = False
    notes: tuple[str, ...] = ()

    @property
    def headings(self) -> tuple[Heading, ...]:
        """The columns and their names, the same in each part of a file."""
        return header.headings(self.names, self.index)

    @property
    def is_text(self) -> bool:
        """Whether values are as they were typed: 7 may be meant as a number or as a text."""
        return self.form == "csv"

    def read(self, types: Types | None = None) -> pa.Table:
        """Read the rows, under the columns' names as identifiers.

        The fields' metadata is `header`, as the file has it, `unit` where the header has one, and
        `index: 1` where the column numbers or names the rows.

        Parameters
        ----------
        types
            Name → type, for CSV and JSON lines; of the other columns it is inferred.

        Raises
        ------
        Unconvertible
            Where a value does not have its type; `read_loosely` reads the rows then.
        CairnError
            Where this is no table: what is wrong, and on which line.
        """
        if self.form == "csv":
            return rename_columns(self._read_csv(types or {}), self.headings)
        if self.form == "jsonl":
            table = self._read_jsonl(types or {})
            return rename_columns(table, self._name_keys(table.column_names))
        assert isinstance(self.content, pa.Table)  # noqa: S101 - for the types
        return rename_columns(
            self.content, self.headings or header.headings(tuple(self.content.schema.names))
        )

    def read_loosely(self, names: Collection[str] = ()) -> pa.Table:
        """Read the rows, with the values of these columns as they were written.

        That is text in CSV and JSON in JSON lines; JSON, too, in other columns whose values have
        no common type.
        """
        if self.form == "csv":
            return self.read(dict.fromkeys(names, pa.string()))
        if self.form == "jsonl":
            table = self._read_objects(names)
            return rename_columns(table, self._name_keys(table.column_names))
        return self.read()

    def _name_keys(self, keys: Sequence[str]) -> tuple[Heading, ...]:
        """Name the columns of JSON lines that have these keys.

        Raises
        ------
        CairnError
            Where a key that the first rows lack would have the name of another, or none: other
            parts cannot know of it.
        """
        late = [key for key in keys if key not in set(self.names)]
        by_key = {heading.header: heading for heading in header.headings((*self.names, *late))}
        for key in late if self.names else ():
            if by_key[key].name != title(key).name:
                raise CairnError(
                    f"{self.where}: line {self.line:,} or a later one has the key {key!r}, which "
                    f"the first rows lack and which, like another key, would become the column "
                    f"{title(key).name!r}; rename one of them"
                )
        return tuple(by_key[key] for key in keys)

    @property
    def _bytes(self) -> bytes:
        assert isinstance(self.content, bytes)  # noqa: S101 - for the types
        return self.content

    def _read_csv(self, wanted: Types) -> pa.Table:
        names = [heading.name for heading in self.headings]
        if not self._bytes.strip(b"\r\n"):
            return pa.Table.from_arrays([pa.nulls(0)] * len(names), names=names)
        fields = [*names, END] if self.is_trailing else names
        wanted = {**wanted, END: pa.string()}
        convert = pa_csv.ConvertOptions(
            column_types={name: wanted[name] for name in fields if name in wanted},
            null_values=self.dialect.missing,
            true_values=TRUE,
            false_values=FALSE,
            strings_can_be_null=True,
            decimal_point=self.dialect.decimal,
        )
        parse = pa_csv.ParseOptions(
            delimiter=self.dialect.delimiter, newlines_in_values=b'"' in self._bytes
        )
        # All in one block: Arrow takes the line feed from a CRLF in quotes at the border of two.
        read = pa_csv.ReadOptions(column_names=fields, block_size=len(self._bytes) + 1)
        try:
            table = pa_csv.read_csv(pa.py_buffer(self._bytes), read, parse, convert)
        except pa.ArrowInvalid as error:
            if "conversion error" in str(error) and "UTF8" not in str(error):
                raise Unconvertible(str(error)) from None
            raise self._explain_csv(str(error)) from None
        if any(map(pa.types.is_binary, table.schema.types)):  # what Arrow makes of no UTF-8
            raise self._explain_csv("bytes that are no text")
        if not self.is_trailing:
            return table
        if pc.any(pc.not_equal(pc.utf8_trim_whitespace(table[END]), "")).as_py():
            raise self._explain_csv("a value after the last delimiter")
        return table.drop_columns(END)

    def _explain_csv(self, reason: str) -> CairnError:
        """Explain why a part is no CSV, and on which line."""
        text = records.decode(self._bytes, self.where, self.line)
        csv.field_size_limit(records.LONGEST)  # as Arrow's
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.dialect.delimiter)
        begin = self.line
        try:
            for row in rows:
                count = len(row) - (self.is_trailing and not row[-1].strip()) if row else 0
                if row and (count != len(self.names) or len(row) != self._width):
                    return self._explain_fields(begin, count)
                begin = self.line + rows.line_num
        except csv.Error as error:
            reason = str(error)
        return CairnError(
            f"{self.where}: line {begin:,} or a later one is not valid CSV: "
            f"{reason.splitlines()[0]}; fix the line"
        )

    @property
    def _width(self) -> int:
        """How many fields a line of CSV has."""
        return len(self.names) + self.is_trailing

    def _explain_fields(self, line: int, fields: int) -> CairnError:
        """Explain that a line has more or fewer fields than the header."""
        return CairnError(
            f"{self.where}: line {line:,} has {fields} field{'s' if fields > 1 else ''}, but the "
            f"header has {len(self.names)}; fix the line, or quote the field that contains a "
            "delimiter or a line break"
        )

    def _read_jsonl(self, wanted: Types) -> pa.Table:
        table = self._parse_json(self._make_schema(wanted))
        if not _is_one_per_line(len(table), self._bytes):
            raise Unconvertible("not one object per line")
        return table.select([name for name in table.column_names if self._has(table, name)])

    def _parse_json(self, schema: pa.Schema | None) -> pa.Table:
        """Parse JSON lines by Arrow, with the types of the schema and inferred ones."""
        read = pa_json.ReadOptions(block_size=2 * len(self._bytes) + 1)
        parse = pa_json.ParseOptions(explicit_schema=schema)
        try:
            return pa_json.read_json(pa.BufferReader(self._bytes), read, parse)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise Unconvertible(str(error)) from None

    def _make_schema(self, wanted: Types) -> pa.Schema | None:
        """Make a schema of the types that are wanted, under the keys of the first object."""
        try:
            first = jiter.from_json(self._bytes.split(b"\n", 1)[0])
        except ValueError as error:
            raise Unconvertible(str(error)) from None
        keys = self._map_names(list(first)) if isinstance(first, dict) else {}
        if wanted.keys() - keys.keys():  # a later row may have more
            keys = self._map_names(self._parse_json(None).column_names) | keys
        return pa.schema([(keys.get(name, name), kind) for name, kind in wanted.items()])

    def _map_names(self, keys: Sequence[str]) -> dict[str, str]:
        """Map the names of columns to their keys."""
        return {heading.name: heading.header for heading in self._name_keys(keys)}

    def _has(self, table: pa.Table, name: str) -> bool:
        """Tell whether any row has the key: Arrow adds those whose types were wanted."""
        return table[name].null_count < len(table) or json.dumps(name).encode() in self._bytes

    def _read_objects(self, as_written: Collection[str]) -> pa.Table:
        """Read JSON lines one by one, these columns as they were written."""
        lines = enumerate(self._bytes.splitlines(), self.line)
        rows = [_parse_object(line, self.where, number) for number, line in lines if line.strip()]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {
            heading.header: _to_array(
                [row.get(heading.header) for row in rows], as_written=heading.name in as_written
            )
            for heading in self._name_keys(list(names))
        }
        return pa.table(columns) if columns else pa.table({"": pa.nulls(len(rows))}).select([])


def _is_one_per_line(count: int, content: bytes) -> bool:
    """Tell whether there are so many lines, blank ones aside: Arrow ignores ends of lines."""
    if count == content.count(b"\n") + (not content.endswith(b"\n")):
        return True
    return count == sum(map(bool, map(bytes.strip, content.splitlines())))


def _parse_object(line: bytes, where: str, number: int) -> dict[str, Any]:
    """Parse a row of JSON lines; raise a CairnError where it is no object."""
    try:
        row = jiter.from_json(line, catch_duplicate_keys=True)
    except ValueError as error:
        records.decode(line, where, number)
        reason, _, column = str(error).partition(" at line 1 column ")
        raise CairnError(
            f"{where}: line {number:,} is not a JSON object: {reason} at character {column or 1}; "
            "write one object per line"
        ) from None
    if not isinstance(row, dict):
        text = line.decode()[:SHOWN]
        raise CairnError(
            f"{where}: line {number:,} is not a JSON object but {text}; write one object per line"
        )
    return {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124


def _to_array(values: list[Any], *, as_written: bool) -> pa.Array:
    """Convert values to the type that they have in common, else to JSON as they were written."""
    present = {type(value) for value in values} - {type(None)}
    if not as_written and (present <= {int, float} or present in ({str}, {bool})):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, OverflowError):  # a whole number beyond 64 bits
            return pa.array([None if value is None else to_float(value) for value in values])
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.ExtensionArray.from_storage(JSON, pa.array(texts, type=pa.string()))


def to_float(value: float) -> float:
    """Convert a number to a float, infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def rename_columns(table: pa.Table, headings: Sequence[Heading]) -> pa.Table:
    """Rename the columns to identifiers, and unify the types of those that hold the same."""
    columns = [_unify_type(values) for values in table.columns]
    fields = [
        pa.field(heading.name, values.type, metadata=heading.metadata)
        for heading, values in zip(headings, columns, strict=True)
    ]
    if not fields:
        return table
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _unify_type(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert values to the one type of those that hold the same: int64, float64, string, …."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _unify_type(values.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.string())
    if pa.types.is_float16(kind):
        return values.cast(pa.float32())
    if pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
        return _to_numbers(values)
    return values


def _to_numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert numbers to int64 where that holds each of them, else to float64."""
    try:
        return values.cast(pa.int64())
    except pa.ArrowInvalid:
        return values.cast(pa.float64(), safe=False)
