"""data/raw/table as parts: CSV, JSON lines or Parquet, compressed or not, or a tar of such files.

A part is a few ten megabytes, whatever the size of the table, and can be sent to another process.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import math
import re
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import jiter
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from cairn.console import CairnError
from cairn.contract import MISSING_TEXTS
from cairn.params.processed import Processed
from cairn.sources.archive import is_hidden
from cairn.tables import delimiter, header, records
from cairn.tables.columns import columns
from cairn.tables.delimiter import COMMON, SELDOM, SEPARATOR, Layout
from cairn.tables.encoding import advice
from cairn.tables.header import Heading
from cairn.tables.header import title as title  # noqa: PLC0414 - callers have it from here

BYTES = 2**25  # of text in a part
ROWS = 2**17  # of Parquet in a part
END = ""  # the field after the last delimiter; no column has this name
HEAD = 512
HEAD_OF_JSON = 2**18  # bytes of JSON lines whose keys name the columns of all
SHOWN = 80  # characters of what came, in an error
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
CELLS = 2**21  # of CSV in a part, where that many are less than BYTES
CELLS_OF_JSON = 2**20  # that may all become objects of Python
CELLS_OF_PARQUET = 2**23
SAMPLE = 2**18  # bytes that show how a CSV file is written, or more
SAMPLE_ROWS = 20  # that do, of a wide table
OPENERS = (COMMON + SELDOM).encode() + b" \r\n"
SEPARATE = f"separate columns by one of {' '.join(map(repr, COMMON))}, or set processed.delimiter"
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UNPACK: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": lambda file: pa.CompressedInputStream(
        pa.PythonFile(file, mode="r"), "zstd"
    ),
}
TWICE = "compressed twice; unpack it once"
# How files begin that people take for tables.
OTHERS = {
    **dict.fromkeys(UNPACK, TWICE),
    b"PAR1": "Parquet inside a compressed file; unpack it",
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV",
    b"%PDF": "a PDF document; give the table that it was made of",
    b"\x89PNG": "a PNG image; give a table",
    b"\xff\xd8\xff": "a JPEG image; give a table",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"SQLite format 3": "an SQLite database; set raw.query and raw.source: sqlite:///PATH",
    b"\x93NUMPY": "a NumPy array; write it as Parquet or CSV",
    b"\x04\x22\x4d\x18": "compressed by LZ4; allowed: gz, bz2, xz, zst",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"FEA1": "a Feather file; write it as Parquet",
    b"ORC": "an ORC file; write it as Parquet",
    b"Obj\x01": "an Avro file; write it as Parquet",
    b"\x89HDF": "an HDF5 file; write the table as Parquet",
    b"\x80\x04\x95": "a pickle; write the table as Parquet",
    b"$FL": "an SPSS file; save it as CSV",
    b"<stata_dta>": "a Stata file; save it as CSV",
    b"HEADER RECORD*******": "a SAS file; save it as CSV",
    b"RDX": "data of R; write the table by write.csv",
    b"RDA": "data of R; write the table by write.csv",
    b"X\n\x00\x00\x00": "data of R; write the table by write.csv",
}
ARFF = re.compile(rb"(?:\s*%[^\r\n]*[\r\n]+|\s)*@relation\b", re.IGNORECASE)
JSON = pa.json_()  # a value of JSON lines, as it was written
Types = Mapping[str, pa.DataType]


class Unconvertible(Exception):
    """A value is not of the type that its column was asked for, or values have no type together."""


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
        What it is, and its rows as bytes, or from Parquet.
    where, line
        The file, and the line of it, from 1, where the part begins.
    names
        Of the columns, as in the header; of JSON lines, those of the first rows.
    dialect
        Of CSV.
    index
        Places of columns that the file itself says name its rows.
    is_trailing
        Whether each line of CSV has a delimiter at its end.
    notes
        What was decided about the file, in the first part of it.
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
    def text(self) -> bool:
        """Whether a value is as it was typed: 7 may be meant as a number or as a text."""
        return self.form == "csv"

    def read(self, types: Types | None = None) -> pa.Table:
        """The rows, under the columns' names as identifiers.

        The fields' metadata is `header`, as the file has it, `unit` where the header has one, and
        `index: 1` where the column numbers or names the rows.

        Parameters
        ----------
        types
            Name → type, for CSV and JSON lines; of the other columns it is inferred.

        Raises
        ------
        Unconvertible
            Where a value is not of its type; `loose` reads the rows then.
        CairnError
            Where this is no table: what is wrong, and on which line.
        """
        if self.form == "csv":
            return named(self._csv(types or {}), self.headings)
        if self.form == "jsonl":
            table = self._jsonl(types or {})
            return named(table, self._keys(table.column_names))
        assert isinstance(self.content, pa.Table)  # noqa: S101 - for the types
        return named(
            self.content, self.headings or header.headings(tuple(self.content.schema.names))
        )

    def loose(self, names: Collection[str] = ()) -> pa.Table:
        """As `read`, with the values of these columns as they were written.

        Texts of CSV, JSON of JSON lines; JSON, too, in other columns whose values have no type
        together.
        """
        if self.form == "csv":
            return self.read(dict.fromkeys(names, pa.string()))
        if self.form == "jsonl":
            table = self._objects(names)
            return named(table, self._keys(table.column_names))
        return self.read()

    def _keys(self, keys: Sequence[str]) -> tuple[Heading, ...]:
        """The columns of JSON lines that have these keys.

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
                    f"{self.where}: line {self.line:,} or one after it has the key {key!r}, which "
                    f"the first rows lack and which would be the column {title(key).name!r} like "
                    "another; rename it"
                )
        return tuple(by_key[key] for key in keys)

    @property
    def _bytes(self) -> bytes:
        assert isinstance(self.content, bytes)  # noqa: S101 - for the types
        return self.content

    def _csv(self, wanted: Types) -> pa.Table:
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
            raise self._broken(str(error)) from None
        if any(map(pa.types.is_binary, table.schema.types)):  # what Arrow makes of no UTF-8
            raise self._broken("no text")
        if not self.is_trailing:
            return table
        if pc.any(pc.not_equal(pc.utf8_trim_whitespace(table[END]), "")).as_py():
            raise self._broken("a value after the last delimiter")
        return table.drop_columns(END)

    def _broken(self, reason: str) -> CairnError:
        """Why a part is no CSV, and on which line."""
        text = records.decoded(self._bytes, self.where, self.line)
        csv.field_size_limit(records.LONGEST)  # as Arrow's
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.dialect.delimiter)
        begin = self.line
        try:
            for row in rows:
                count = len(row) - (self.is_trailing and not row[-1].strip()) if row else 0
                if row and (count != len(self.names) or len(row) != self._width):
                    return self._ragged(begin, count)
                begin = self.line + rows.line_num
        except csv.Error as error:
            reason = str(error)
        return CairnError(
            f"{self.where}: line {begin:,} or one after it is no CSV: {reason.splitlines()[0]}"
        )

    @property
    def _width(self) -> int:
        """How many fields a line of CSV has."""
        return len(self.names) + self.is_trailing

    def _ragged(self, line: int, fields: int) -> CairnError:
        return CairnError(
            f"{self.where}: line {line:,} has {fields} field{'s' if fields > 1 else ''}, the "
            f"header {len(self.names)}; mend the line, or quote the field that has a delimiter "
            "or an end of line in it"
        )

    def _jsonl(self, wanted: Types) -> pa.Table:
        table = self._inferred(self._schema(wanted))
        if not _one_a_line(len(table), self._bytes):
            raise Unconvertible("not one object a line")
        return table.select([name for name in table.column_names if self._has(table, name)])

    def _inferred(self, schema: pa.Schema | None) -> pa.Table:
        """JSON lines as Arrow reads them, with the types of the schema and inferred ones."""
        read = pa_json.ReadOptions(block_size=2 * len(self._bytes) + 1)
        parse = pa_json.ParseOptions(explicit_schema=schema)
        try:
            return pa_json.read_json(pa.BufferReader(self._bytes), read, parse)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise Unconvertible(str(error)) from None

    def _schema(self, wanted: Types) -> pa.Schema | None:
        """The types that are wanted, under the keys of the first object."""
        try:
            first = jiter.from_json(self._bytes.split(b"\n", 1)[0])
        except ValueError as error:
            raise Unconvertible(str(error)) from None
        keys = self._by_name(list(first)) if isinstance(first, dict) else {}
        if wanted.keys() - keys.keys():  # a later row may have more
            keys = self._by_name(self._inferred(None).column_names) | keys
        return pa.schema([(keys.get(name, name), kind) for name, kind in wanted.items()])

    def _by_name(self, keys: Sequence[str]) -> dict[str, str]:
        """The keys by the names of their columns."""
        return {heading.name: heading.header for heading in self._keys(keys)}

    def _has(self, table: pa.Table, name: str) -> bool:
        """Whether any row has the key: Arrow adds those whose types were wanted."""
        return table[name].null_count < len(table) or json.dumps(name).encode() in self._bytes

    def _objects(self, apart: Collection[str]) -> pa.Table:
        """JSON lines read one by one."""
        lines = enumerate(self._bytes.splitlines(), self.line)
        rows = [_object(line, self.where, number) for number, line in lines if line.strip()]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {
            heading.header: _array(
                [row.get(heading.header) for row in rows], written=heading.name in apart
            )
            for heading in self._keys(list(names))
        }
        return pa.table(columns) if columns else pa.table({"": pa.nulls(len(rows))}).select([])


def _one_a_line(count: int, content: bytes) -> bool:
    """Whether there are so many lines, blank ones aside: Arrow minds no ends of lines."""
    if count == content.count(b"\n") + (not content.endswith(b"\n")):
        return True
    return count == sum(map(bool, map(bytes.strip, content.splitlines())))


def _object(line: bytes, where: str, number: int) -> dict[str, Any]:
    """A row of JSON lines; a CairnError where it is none."""
    try:
        found = jiter.from_json(line, catch_duplicate_keys=True)
    except ValueError as error:
        records.decoded(line, where, number)
        reason, _, place = str(error).partition(" at line 1 column ")
        raise CairnError(
            f"{where}: line {number:,} is no JSON object, at character {place or 1}: {reason}; "
            "write one object a line"
        ) from None
    if not isinstance(found, dict):
        text = line.decode()[:SHOWN]
        raise CairnError(
            f"{where}: line {number:,} is no JSON object, but {text}; write one object a line"
        )
    return {name: None if value != value else value for name, value in found.items()}  # noqa: PLR0124


def _array(values: list[Any], *, written: bool) -> pa.Array:
    """Values with the type that they have in common, else, or if so asked, as they were written."""
    present = {type(value) for value in values} - {type(None)}
    if not written and (present <= {int, float} or present in ({str}, {bool})):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, OverflowError):  # a whole number beyond 64 bits
            return pa.array([None if value is None else real(value) for value in values])
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.ExtensionArray.from_storage(JSON, pa.array(texts, type=pa.string()))


def real(value: float) -> float:
    """A number as a float, infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def parts(path: Path, block: Processed) -> Iterator[Part]:
    """The parts of a table, in order.

    Raises
    ------
    CairnError
        Where there is none, or no table: what is wrong, and on which line if it is known.
    """
    try:
        with path.open("rb") as file:
            if _is_tar(_head(file)):
                yield from _members(file, str(path), block)
            else:
                yield from _file(file, str(path), block)
    except FileNotFoundError:
        raise CairnError(f"{path}: no such file; run `dvc repro`") from None


def _head(file: IO[bytes]) -> bytes:
    """The first bytes of a file, which is left at its begin."""
    head = file.read(HEAD)
    file.seek(0)
    return head


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _members(file: IO[bytes], where: str, block: Processed) -> Iterator[Part]:
    """The parts of each file of a folder; a CairnError where two have other columns."""
    first: tuple[str, frozenset[str]] | None = None
    known: set[str] = set()
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in _files(archive, where):
                content = archive.extractfile(member)
                for part in _file(content, f"{where}, {member.name}", block) if content else ():
                    if part.form != "jsonl":  # where each row says which columns it has
                        has = part.where, frozenset(heading.name for heading in part.headings)
                        first = first or has
                        _alike(first, has)
                    notes = [note for note in part.notes if note not in known]
                    known.update(notes)
                    yield replace(part, notes=tuple(f"{member.name}: {note}" for note in notes))
    except tarfile.TarError as error:
        raise CairnError(f"{where}: a tar that is damaged or cut short: {error}") from None


def _files(archive: tarfile.TarFile, where: str) -> Iterator[tarfile.TarInfo]:
    """The files of a tar, hidden ones left out, as of a folder.

    Nothing is unpacked, so that a name may be absolute or lead upwards.

    Raises
    ------
    CairnError
        Where there are none, or one is a link: what it leads to is not in the tar, or would
        count twice.
    """
    is_empty = True
    for member in archive:
        if is_hidden(member.name) or member.isdir():
            continue
        if member.issym() or member.islnk():
            raise CairnError(
                f"{where}: {member.name!r} in the tar is a link to {member.linkname!r}; pack files "
                "alone, as `tar --dereference --hard-dereference` does, or give the folder"
            )
        if not member.isfile():
            raise CairnError(
                f"{where}: {member.name!r} in the tar is a device or a pipe; pack files alone, or "
                "give the folder"
            )
        is_empty = False
        yield member
    if is_empty:
        raise CairnError(f"{where}: the tar has no files, hidden ones aside")


def _alike(one: tuple[str, frozenset[str]], other: tuple[str, frozenset[str]]) -> None:
    """Raise a CairnError where two files have other columns."""
    for has, lacks in ((one, other), (other, one)):
        for column in sorted(has[1] - lacks[1]):
            raise CairnError(
                f"column {column!r} is in {has[0]}, but not in {lacks[0]}; give each file of a "
                "folder the same columns"
            )


def _file(file: IO[bytes], where: str, block: Processed) -> Iterator[Part]:
    """The parts of one file, whatever it is."""
    head = _head(file)
    unpack = next((UNPACK[mark] for mark in UNPACK if head.startswith(mark)), None)
    if head.startswith(b"PAR1"):
        yield from _parquet(file, where)
    elif unpack is None:
        yield from _text(file, where, block)
    else:
        try:
            with closing(unpack(file)) as stream:
                yield from _text(stream, where, block)
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise CairnError(f"{where}: compressed, but damaged or cut short: {error}") from None


def _parquet(file: IO[bytes], where: str) -> Iterator[Part]:
    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            part = Part("parquet", schema.empty_table(), where, names=tuple(schema.names))
            part = replace(part, index=_index(schema))
            first = replace(part, notes=header.notes(part.headings))
            count = max(1, min(ROWS, CELLS_OF_PARQUET // max(1, len(schema.names))))
            rows = (pa.table(batch) for batch in table.iter_batches(count))
            yield replace(first, content=next(rows, part.content))
            for content in rows:
                yield replace(part, content=content)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CairnError(f"{where}: Parquet, but damaged or cut short: {reason}") from None


def _index(schema: pa.Schema) -> frozenset[int]:
    """The places of the columns that pandas wrote as the index of a frame."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return frozenset(place for place, name in enumerate(schema.names) if name in index)


def _text(stream: IO[bytes], where: str, block: Processed) -> Iterator[Part]:
    """The parts of a file of lines: of JSON if it begins with an object, else CSV."""
    chunks = _utf8(stream, where, block.encoding)
    first, is_whole = _first(chunks)
    _foreign(first, where)
    records.textual(first[: records.LONGEST], where, 1)
    end = b"\n" if b"\n" in first or b"\r" not in first else b"\r"
    text = Text(where, first, chunks, end, is_whole)
    yield from _json_lines(text) if first.lstrip().startswith(b"{") else _csv(text, block)


class Text(NamedTuple):
    """A file of lines.

    Attributes
    ----------
    first, rest
        The begin, with all of a header and some rows, and the chunks after it, as UTF-8.
    end
        Of a line.
    is_whole
        Whether there is no rest.
    """

    where: str
    first: bytes
    rest: Iterator[bytes]
    end: bytes
    is_whole: bool


def _json_lines(text: Text) -> Iterator[Part]:
    """The parts of a file of JSON lines, which all have the names that the first lines have."""
    part = Part("jsonl", b"", text.where, names=_first_keys(text.first))
    size = _size(text.first[:SAMPLE], len(part.names), CELLS_OF_JSON)
    notes = header.notes(part.headings)
    chunks = records.pieces(chain([text.first], text.rest), size)
    for number, (content, line) in enumerate(records.blocks(chunks, text.where, text.end, 1)):
        yield replace(part, content=content, line=line, notes=() if number else notes)


def _csv(text: Text, block: Processed) -> Iterator[Part]:
    """The parts of a CSV file."""
    separator = SEPARATOR.match(text.first)
    named = separator[1].decode() if separator else None
    body = text.first[separator.end() :] if separator else text.first
    sample = body[: _sampled(body)]
    is_whole = text.is_whole and len(sample) == len(body)
    layout = _layout(sample, text.where, block.delimiter or named, is_whole=is_whole)
    rows = delimiter.records(layout.plain(sample), layout.delimiter, is_whole=is_whole)
    found = columns(rows, block, text.where, _missing(block))
    stop = records.end_of_header(body, layout.openers) if found.has_header else 0
    part = Part(
        "csv",
        b"",
        text.where,
        1 + text.first.count(text.end, 0, len(text.first) - len(body) + stop),
        found.names,
        Dialect(layout.delimiter, block.decimal, _missing(block)),
        found.index,
        found.is_trailing,
    )
    chunks = records.pieces(chain([body[stop:]], text.rest), _size(sample, len(rows[0]), CELLS))
    cut = records.blocks(chunks, text.where, text.end, part.line, layout.openers)
    content, line = next(cut, (b"", part.line))  # a header and no rows are a table, too
    notes = (*_layout_notes(layout, named), *found.notes)
    yield replace(part, content=layout.plain(content), line=line, notes=notes)
    for content, line in cut:
        yield replace(part, content=layout.plain(content), line=line)


def _sampled(first: bytes) -> int:
    """How many bytes from the begin of CSV show how it is written: some rows of a wide table."""
    return min(records.LONGEST, max(SAMPLE, SAMPLE_ROWS * records.end_of_header(first, OPENERS)))


def _layout(sample: bytes, where: str, given: str | None, *, is_whole: bool) -> Layout:
    """How a file is written; a CairnError where it is one column, or its header is no CSV."""
    top = sample[: records.end_of_header(sample, given.encode() + b"\r\n" if given else OPENERS)]
    if len(top) >= records.LONGEST:
        raise records.endless(where, 1)
    found = delimiter.layout(sample, is_whole=is_whole, given=given)
    fields = _fields(found.plain(top) if found else top, found.delimiter if found else ",", where)
    if found is None or (len(fields) == 1 and given):
        raise CairnError(f"{where}: one column only, {fields[0][:SHOWN]!r}; {SEPARATE}")
    return found


def _fields(line: bytes, sign: str, where: str) -> list[str]:
    """The fields of a header; a CairnError where it is no CSV."""
    csv.field_size_limit(records.LONGEST)
    text = records.decoded(line, where, 1).strip("\r\n")
    try:
        return next(csv.reader([text], delimiter=sign, strict=True))
    except csv.Error as error:
        raise CairnError(f"{where}: the header is no CSV: {error}; close each quote") from None


def _layout_notes(layout: Layout, named: str | None) -> tuple[str, ...]:
    """What was decided about how a file is written."""
    word = delimiter.word(layout.delimiter)
    texts = {
        f"the first line, sep={named}, names the delimiter": named == layout.delimiter,
        f"columns are separated by {word}": named is None and layout.delimiter != ",",
        "each row is in quotes, which are taken away": layout.is_wrapped,
    }
    return tuple(text for text, is_so in texts.items() if is_so)


def _size(sample: bytes, fields: int, most: int) -> int:
    """How many bytes of text make a part of so many cells: short ones grow most in memory."""
    lines = 1 + sample.count(b"\n") + sample.count(b"\r")
    return max(1, min(BYTES, most * len(sample) // (max(1, fields) * lines)))


def _missing(block: Processed) -> tuple[str, ...]:
    """Texts that stand for no value."""
    return MISSING_TEXTS if block.missing is None else tuple(block.missing)


def _first_keys(content: bytes) -> tuple[str, ...]:
    """The keys of the first JSON lines, which may be broken: reading them says so."""
    keys: dict[str, None] = {}
    for line in content[:HEAD_OF_JSON].splitlines():
        with suppress(ValueError):
            row = jiter.from_json(line)
            keys |= dict.fromkeys(row if isinstance(row, dict) else ())
    return tuple(keys)


def _first(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    """The first chunks of a text, with all of a header and some rows, and whether that is all."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) > SAMPLE and len(first) > HEAD + _sampled(first):
            return first, False
    return first, True


def _foreign(first: bytes, where: str) -> None:
    """Raise a CairnError where a text is none, or none of a table."""
    known = next((what for mark, what in OTHERS.items() if first.startswith(mark)), None)
    start = first.lstrip()[:1]
    if known:
        raise CairnError(f"{where}: {known}")
    if _is_tar(first):
        raise CairnError(f"{where}: a compressed tar; unpack it, and give the folder")
    if not start:
        raise CairnError(f"{where}: empty; it needs a header and rows")
    if ARFF.match(first):
        raise CairnError(f"{where}: an ARFF file, as Weka has them; save it as CSV")
    if start == b"[":
        raise CairnError(
            f"{where}: a JSON list; write one object a line (JSON lines), as `jq -c '.[]'` and "
            "pandas' to_json(orient='records', lines=True) do"
        )
    if start == b"<":
        text = first.lstrip()[:SHOWN].split(b"\n")[0].decode(errors="replace")
        raise CairnError(f"{where}: a page of HTML or XML, not a table: {text}")


def _utf8(stream: IO[bytes], where: str, encoding: str) -> Iterator[bytes]:
    """Chunks of the text as UTF-8, without a mark in front."""
    raw = iter(lambda: bytes(stream.read(BYTES)), b"")
    start = next(raw, b"")
    is_json = start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
    if is_json or start.startswith(codecs.BOM_UTF8):
        encoding = "utf-8"  # JSON has no other
    raw = chain([start], raw)
    chunks = raw if encoding == "utf-8" else _recoded(raw, where, encoding)
    first = next(chunks, b"")
    while len(first) < len(codecs.BOM_UTF8) and (more := next(chunks, b"")):
        first += more
    if encoding == "utf-8" and first.startswith(MARKS):
        raise CairnError(
            f"{where}: line 1 is not UTF-8 text (it begins with the mark of UTF-16); set "
            "processed.encoding: utf-16"
        )
    yield first.removeprefix(codecs.BOM_UTF8)
    yield from chunks


def _recoded(chunks: Iterator[bytes], where: str, encoding: str) -> Iterator[bytes]:
    """Chunks of a text of another encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    for chunk in chain(chunks, [b""]):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            raise CairnError(
                f"{where}: after line {line:,} not {encoding} text, as processed.encoding says: "
                f"{getattr(error, 'reason', error)}; {advice(chunk, getattr(error, 'start', 0))}"
            ) from None
        line += text.count("\n")
        if text:
            yield text.encode(errors="replace")


def named(table: pa.Table, headings: Sequence[Heading]) -> pa.Table:
    """The table under identifiers."""
    columns = [_plain(values) for values in table.columns]
    fields = [
        pa.field(heading.name, values.type, metadata=heading.metadata)
        for heading, values in zip(headings, columns, strict=True)
    ]
    if not fields:
        return table
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values under the one type of those that hold the same: int64, float64, string, …."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(values.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.string())
    if pa.types.is_float16(kind):
        return values.cast(pa.float32())
    if pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
        return _number(values)
    return values


def _number(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as int64 where that holds each of them, else as float64."""
    try:
        return values.cast(pa.int64())
    except pa.ArrowInvalid:
        return values.cast(pa.float64(), safe=False)
