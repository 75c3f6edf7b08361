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
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.console import CairnError
from stages.params import Processed
from stages.parsing import header
from stages.parsing.header import Heading
from stages.parsing.header import title as title  # callers know it as the table's
from stages.source.archive import hidden

BYTES = 2**25  # of text in a part
ROWS = 2**17  # of Parquet in a part
RECORD = 2**22  # bytes that one record may have
HEAD = 512
HEAD_OF_JSON = 2**18  # bytes of JSON lines whose keys name the columns of all
NEWLINE = b"\n"
QUOTE = ord('"')
SHOWN = 80  # characters of what came, in an error
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NAN", "+NaN", "+nan",
           "-NaN", "-nan", "-NAN", "None", "NULL", "Null", "null")  # fmt: skip
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
DELIMITERS = ",;\t|"
SEPARATE = (
    f"separate columns by one of {' '.join(map(repr, DELIMITERS))}, or set processed.delimiter"
)
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
}
JSON = pa.json_()  # a value of JSON lines, as it was written
Types = Mapping[str, pa.DataType]
Places = NDArray[np.int64]
NO_PLACES: Places = np.empty(0, dtype=np.int64)


class Unconvertible(Exception):
    """A value is not of the type that its column was asked for, or values have no type together."""


class Dialect(NamedTuple):
    """How CSV is written."""

    delimiter: str
    decimal: str


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
        convert = pa_csv.ConvertOptions(
            column_types={name: wanted[name] for name in names if name in wanted},
            null_values=MISSING,
            true_values=TRUE,
            false_values=FALSE,
            strings_can_be_null=True,
            decimal_point=self.dialect.decimal,
        )
        parse = pa_csv.ParseOptions(
            delimiter=self.dialect.delimiter, newlines_in_values=b'"' in self._bytes
        )
        read = pa_csv.ReadOptions(column_names=names, block_size=RECORD)
        try:
            return pa_csv.read_csv(pa.py_buffer(self._bytes), read, parse, convert)
        except pa.ArrowInvalid as error:
            if "conversion error" in str(error) and "UTF8" not in str(error):
                raise Unconvertible(str(error)) from None
            raise self._broken(str(error)) from None

    def _broken(self, reason: str) -> CairnError:
        """Why a part is no CSV, and on which line."""
        text = decoded(self._bytes, self.where, self.line)
        if "straddl" in reason:
            return _endless(self.where, self.line)
        csv.field_size_limit(RECORD)  # as Arrow's
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.dialect.delimiter)
        begin = self.line
        try:
            for row in rows:
                if row and len(row) != len(self.names):
                    return self._ragged(begin, len(row))
                begin = self.line + rows.line_num
        except csv.Error as error:
            reason = str(error)
        return CairnError(
            f"{self.where}: line {begin:,} or one after it is no CSV: {reason.splitlines()[0]}"
        )

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
        decoded(line, where, number)
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


def decoded(content: bytes, where: str, line: int) -> str:
    """Bytes that begin on this line as text; a CairnError where they are none."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        number = line + content.count(b"\n", 0, error.start)
        raise CairnError(_not_utf8(where, number, error.reason)) from None


def _not_utf8(where: str, line: int, reason: str) -> str:
    return (
        f"{where}: line {line:,} is not UTF-8 text ({reason}); set processed.encoding, "
        "such as cp1252, latin-1 or utf-16"
    )


def _endless(where: str, line: int) -> CairnError:
    return CairnError(
        f"{where}: line {line:,} or one after it begins a record of over {RECORD:,} bytes; close "
        "the quote that is open there, or give a table"
    )


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
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in _files(archive, where):
                content = archive.extractfile(member)
                for part in _file(content, f"{where}, {member.name}", block) if content else ():
                    if part.form != "jsonl":  # where each row says which columns it has
                        columns = part.where, frozenset(heading.name for heading in part.headings)
                        first = first or columns
                        _alike(first, columns)
                    yield part
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
        if hidden(member.name) or member.isdir():
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
            rows = (pa.table(batch) for batch in table.iter_batches(ROWS))
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
    starts = (block.delimiter or DELIMITERS).encode() + b"\r\n"
    first = _first(chunks, starts)
    _foreign(first, where)
    _textual(first[:RECORD], where, 1)
    end = b"\n" if b"\n" in first or b"\r" not in first else b"\r"
    if first.lstrip().startswith(b"{"):
        lines = _blocks(chain([first], chunks), where, end, 1)
        names: tuple[str, ...] | None = None
        for content, line in lines:
            begins = names is None
            names = _first_keys(content) if names is None else names
            part = Part("jsonl", content, where, line, names)
            yield replace(part, notes=header.notes(part.headings)) if begins else part
        return
    stop = _end_of_header(first, starts)
    top = decoded(first[:stop], where, 1).strip("\r\n")
    dialect = Dialect(block.delimiter or _delimiter(top), block.decimal)
    names = _names(top, dialect, where)
    line = 1 + first.count(end, 0, stop)
    starts = dialect.delimiter.encode() + b"\r\n"
    blocks = _blocks(chain([first[stop:]], chunks), where, end, line, starts)
    rows = next(blocks, (b"", line))  # a header and no rows are a table, too
    for number, (content, place) in enumerate(chain([rows], blocks)):
        part = Part("csv", content, where, place, names, dialect)
        yield part if number else replace(part, notes=header.notes(part.headings))


def _first_keys(content: bytes) -> tuple[str, ...]:
    """The keys of the first JSON lines, which may be broken: reading them says so."""
    keys: dict[str, None] = {}
    for line in content[:HEAD_OF_JSON].splitlines():
        with suppress(ValueError):
            row = jiter.from_json(line)
            keys |= dict.fromkeys(row if isinstance(row, dict) else ())
    return tuple(keys)


def _first(chunks: Iterator[bytes], starts: bytes) -> bytes:
    """The first chunks of a text, with all of a header."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) > RECORD or 0 < _end_of_header(first, starts) < len(first):
            break
    return first


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
    if start == b"[":
        raise CairnError(f"{where}: a JSON list; write one object a line (JSON lines)")
    if start == b"<":
        text = first.lstrip()[:SHOWN].split(b"\n")[0].decode(errors="replace")
        raise CairnError(f"{where}: a page of HTML or XML, not a table: {text}")


def _utf8(stream: IO[bytes], where: str, encoding: str) -> Iterator[bytes]:
    """Chunks of the text as UTF-8, without a mark in front."""
    raw = iter(lambda: bytes(stream.read(BYTES)), b"")
    start = next(raw, b"")
    if start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
        encoding = "utf-8"  # JSON has no other
    raw = chain([start], raw)
    chunks = raw if encoding == "utf-8" else _recoded(raw, where, encoding)
    first = next(chunks, b"")
    while len(first) < len(codecs.BOM_UTF8) and (more := next(chunks, b"")):
        first += more
    if encoding == "utf-8" and first.startswith(MARKS):
        raise CairnError(_not_utf8(where, 1, "it begins with the mark of UTF-16"))
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
                f"{getattr(error, 'reason', error)}"
            ) from None
        line += text.count("\n")
        if text:
            yield text.encode(errors="replace")


def _blocks(
    chunks: Iterator[bytes], where: str, end: bytes, line: int, starts: bytes = b""
) -> Iterator[tuple[bytes, int]]:
    """The text cut at ends of records, each block with the number of its first line.

    Parameters
    ----------
    end
        Of a line.
    line
        The number of the first.
    starts
        What may stand before a quote that opens a field of CSV; none: quotes mean nothing.
    """
    rest = b""
    for chunk in chunks:
        text = rest + chunk
        cut = _cut(text, end, starts)
        rest = text[cut:]
        if len(rest) > RECORD:
            raise _endless(where, line + text.count(end, 0, cut))
        if cut:
            yield _textual(text[:cut], where, line), line
            line += text.count(end, 0, cut)
    if rest:
        _closed(rest, where, end, line, starts)
        yield _textual(rest, where, line), line


def _closed(record: bytes, where: str, end: bytes, line: int, starts: bytes) -> None:
    """Raise a CairnError where the last record of CSV has a quote that is not closed."""
    quotes = _quotes(record, starts) if starts else NO_PLACES
    if len(quotes) % 2:
        number = line + record.count(end, 0, int(quotes[-1]))
        raise CairnError(f"{where}: line {number:,} has a quote that is not closed; close it")


def _textual(content: bytes, where: str, line: int) -> bytes:
    """The content; a CairnError where a byte of it is no text."""
    place = content.find(b"\0")
    if place >= 0:
        raise CairnError(
            f"{where}: line {line + content.count(NEWLINE, 0, place):,} has a byte 0, which no "
            "text has; give a table, no binary file, and for UTF-16 set processed.encoding"
        )
    return content


def _cut(text: bytes, end: bytes, starts: bytes) -> int:
    """Where the last whole record ends: after an end of line that is in no quotes."""
    quotes = _quotes(text, starts) if starts else NO_PLACES
    place = text.rfind(end)
    while place >= 0:
        before = np.searchsorted(quotes, place)
        if before % 2 == 0:
            return place + 1
        place = text.rfind(end, 0, int(quotes[before - 1]))
    return 0


def _quotes(text: bytes, starts: bytes) -> Places:
    """Where quoted texts begin and end, in turn.

    A quote amid a field that did not begin with one is a sign like any other, as 5" is.
    """
    if b'"' not in text:
        return NO_PLACES
    codes = np.frombuffer(text, dtype=np.uint8)
    places = np.flatnonzero(codes == QUOTE)
    opening = places[::2]
    before = codes[opening[opening > 0] - 1]
    if np.isin(before, list(starts + b'"')).all():
        return places
    return np.array(_strays_aside(text, places.tolist(), starts), dtype=np.int64)


def _strays_aside(text: bytes, places: Sequence[int], starts: bytes) -> list[int]:
    """As `_quotes`, one quote after the other."""
    found: list[int] = []
    done = -1
    for place in places:
        if place <= done:
            continue
        if len(found) % 2 == 0:
            if place == 0 or text[place - 1] in starts:
                found.append(place)
        elif text[place + 1 : place + 2] == b'"':
            done = place + 1
        else:
            found.append(place)
    return found


def _end_of_header(first: bytes, starts: bytes) -> int:
    """Where the header ends: after the first end of line that is in no quotes, blank ones aside."""
    quotes = _quotes(first[:RECORD], starts)
    blank = len(first) - len(first.lstrip(b"\r\n"))
    for found in re.compile(rb"\r\n|\r|\n").finditer(first, blank):
        if np.searchsorted(quotes, found.start()) % 2 == 0:
            return found.end()
    return len(first)


def _delimiter(header: str) -> str:
    """The delimiter that the header has most of, outside quotes; a comma where there is none."""
    plain = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=plain.count)


def _names(header: str, dialect: Dialect, where: str) -> tuple[str, ...]:
    """The names in the header."""
    if len(header) > RECORD:
        raise _endless(where, 1)
    csv.field_size_limit(RECORD)
    try:
        names = next(csv.reader([header], delimiter=dialect.delimiter, strict=True))
    except csv.Error as error:
        raise CairnError(f"{where}: the header is no CSV: {error}; close each quote") from None
    if len(names) == 1:
        raise CairnError(f"{where}: one column only, {names[0][:SHOWN]!r}; {SEPARATE}")
    return tuple(names)


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
