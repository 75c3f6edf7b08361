"""A table as parts: CSV, JSON or Parquet, compressed or not, or a tar of such files."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import jiter
import pyarrow as pa
import pyarrow.parquet as pq

from cairn.errors import CairnError
from cairn.params.processed import Processed
from cairn.sources.archive import is_hidden
from cairn.tables import delimiter, header, json_list, records, unzip
from cairn.tables.columns import find_columns
from cairn.tables.delimiter import COMMON, RARE, SEPARATOR, Layout
from cairn.tables.encoding import suggest_encodings
from cairn.tables.missing import list_missing_texts
from cairn.tables.part import SHOWN, Dialect, Part
from cairn.tables.preamble import Preamble, find_preamble

BYTES = 2**25  # of text in a part
ROWS = 2**17  # of Parquet in a part
HEAD = 512
HEAD_OF_JSON = 2**18  # bytes of JSON lines whose keys name the columns of all
CELLS = 2**21  # of CSV in a part, where so many are fewer bytes than BYTES
CELLS_OF_JSON = 2**20  # which may all become objects of Python
CELLS_OF_PARQUET = 2**23
SAMPLE = 2**18  # bytes that show how a CSV file is written, or more
SAMPLE_ROWS = 20  # of a wide table, that show it
OPENERS = (COMMON + RARE).encode() + b" \r\n"
SEPARATE = (
    f"separate the columns by one of {' '.join(map(repr, COMMON))}, or set processed.delimiter"
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
# How files begin that people mistake for tables.
OTHERS = {
    **dict.fromkeys(UNPACK, TWICE),
    b"PAR1": "Parquet inside a compressed file; unpack it",
    unzip.MARK: "a zip archive inside a compressed file; unpack it",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV",
    b"%PDF": "a PDF document; use the table that it was made from",
    b"\x89PNG": "a PNG image; use a table",
    b"\xff\xd8\xff": "a JPEG image; use a table",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"SQLite format 3": "an SQLite database; set raw.query and raw.source: sqlite:///PATH",
    b"\x93NUMPY": "a NumPy array; write it as Parquet or CSV",
    b"\x04\x22\x4d\x18": "compressed with LZ4; allowed: gz, bz2, xz, zst",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"FEA1": "a Feather file; write it as Parquet",
    b"ORC": "an ORC file; write it as Parquet",
    b"Obj\x01": "an Avro file; write it as Parquet",
    b"\x89HDF": "an HDF5 file; write the table as Parquet",
    b"\x80\x04\x95": "a pickle; write the table as Parquet",
    b"$FL": "an SPSS file; save it as CSV",
    b"<stata_dta>": "a Stata file; save it as CSV",
    b"HEADER RECORD*******": "a SAS file; save it as CSV",
    b"RDX": "R data; write the table with write.csv",
    b"RDA": "R data; write the table with write.csv",
    b"X\n\x00\x00\x00": "R data; write the table with write.csv",
}
NESTED = re.compile(rb'\{\s*"[^"]*"\s*:\s*[\[{]')  # an object whose first value holds others
ARFF = re.compile(rb"(?:\s*%[^\r\n]*[\r\n]+|\s)*@relation\b", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table in a file.

    Attributes
    ----------
    path
        Of the file.
    params
        How params.yaml says that it is read.
    first
        Its first part, which tells the columns.
    """

    path: Path
    params: Processed
    first: Part

    def parts(self) -> Iterator[Part]:
        """Read all parts, from the first."""
        return read_parts(self.path, self.params)


def open_table(path: Path, params: Processed) -> Table:
    """Read the first part of a table; raises as `read_parts`."""
    with closing(read_parts(path, params)) as parts:
        return Table(path, params, next(parts))


def read_parts(path: Path, params: Processed) -> Generator[Part, None, None]:
    """Read the parts of a table, in order; there is one at least.

    Raises
    ------
    CairnError
        Where there is no file, or it is no table: what is wrong, and on which line if that is
        known.
    """
    try:
        with path.open("rb") as file:
            if _is_tar(_peek(file)):
                yield from _read_tar(file, str(path), params)
            else:
                yield from _read_file(file, str(path), params)
    except FileNotFoundError:
        raise CairnError(f"{path}: no such file; run `dvc repro`") from None


def _peek(file: IO[bytes]) -> bytes:
    """Read the first bytes of a file, and leave it at its beginning."""
    head = file.read(HEAD)
    file.seek(0)
    return head


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _read_tar(file: IO[bytes], where: str, params: Processed) -> Iterator[Part]:
    """Read the parts of each file of a folder; raise a CairnError where columns differ."""
    first: _FileColumns | None = None
    known: set[str] = set()
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in _list_files(archive, where):
                for part in _read_member(archive, member, where, params):
                    if part.form != "jsonl":  # where each row says which columns it has
                        columns = _FileColumns(part.where, frozenset(h.name for h in part.headings))
                        first = first or columns
                        _check_columns(first, columns)
                    notes = [note for note in part.notes if note not in known]
                    known.update(notes)
                    yield replace(part, notes=tuple(f"{member.name}: {note}" for note in notes))
    except tarfile.TarError as error:
        raise CairnError(f"{where}: the tar is damaged or cut short: {error}") from None


def _read_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, where: str, params: Processed
) -> Iterator[Part]:
    """Read the parts of a file of a tar."""
    content = archive.extractfile(member)
    return _read_file(content, f"{where}, {member.name}", params) if content else iter(())


def _list_files(archive: tarfile.TarFile, where: str) -> Iterator[tarfile.TarInfo]:
    """List the files of a tar, as of a folder without the hidden ones.

    Nothing is unpacked, so a name may be absolute or lead upwards.

    Raises
    ------
    CairnError
        Where there are none, or one is a link: its target is not in the tar, or would count
        twice.
    """
    is_empty = True
    for member in archive:
        if is_hidden(member.name) or member.isdir():
            continue
        if member.issym() or member.islnk():
            raise CairnError(
                f"{where}: {member.name!r} in the tar is a link to {member.linkname!r}; pack only "
                "files, as `tar --dereference --hard-dereference` does, or use the folder"
            )
        if not member.isfile():
            raise CairnError(
                f"{where}: {member.name!r} in the tar is a device or a pipe; pack only files, or "
                "use the folder"
            )
        is_empty = False
        yield member
    if is_empty:
        raise CairnError(
            f"{where}: the tar has no files except hidden ones; pack the table's files"
        )


class _FileColumns(NamedTuple):
    """The names of the columns of a file."""

    where: str
    names: frozenset[str]


def _check_columns(one: _FileColumns, other: _FileColumns) -> None:
    """Raise a CairnError where two files have different columns."""
    for longer, shorter in ((one, other), (other, one)):
        for name in sorted(longer.names - shorter.names):
            raise CairnError(
                f"column {name!r} is in {longer.where}, but not in {shorter.where}; all files of "
                "a folder need the same columns"
            )


def _read_file(file: IO[bytes], where: str, params: Processed) -> Iterator[Part]:
    """Read the parts of one file, whatever it is."""
    head = _peek(file)
    unpack = next((UNPACK[mark] for mark in UNPACK if head.startswith(mark)), None)
    if head.startswith(unzip.MARK):
        unpack = partial(unzip.open_only_file, where=where)
    if head.startswith(b"PAR1"):
        yield from _read_parquet(file, where)
    elif unpack is None:
        yield from _read_text(file, where, params)
    else:
        try:
            with closing(unpack(file)) as stream:
                yield from _read_text(stream, where, params)
        except (EOFError, OSError, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
            raise CairnError(
                f"{where}: the compressed file is damaged or cut short: {error}"
            ) from None


def _read_parquet(file: IO[bytes], where: str) -> Iterator[Part]:
    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            part = Part("parquet", schema.empty_table(), where, names=tuple(schema.names))
            part = replace(part, index=_find_pandas_index(schema))
            first = replace(part, notes=header.describe_names(part.headings))
            count = max(1, min(ROWS, CELLS_OF_PARQUET // max(1, len(schema.names))))
            rows = (pa.table(batch) for batch in table.iter_batches(count))
            yield replace(first, content=next(rows, part.content))
            for content in rows:
                yield replace(part, content=content)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CairnError(f"{where}: the Parquet file is damaged or cut short: {reason}") from None


def _find_pandas_index(schema: pa.Schema) -> frozenset[int]:
    """Find the columns that pandas wrote as the index of a frame."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return frozenset(number for number, name in enumerate(schema.names) if name in index)


def _read_text(stream: IO[bytes], where: str, params: Processed) -> Iterator[Part]:
    """Read the parts of a file of lines: JSON if it begins with an object or a list, else CSV."""
    chunks = _read_utf8(stream, where, params.encoding)
    first, is_complete = _read_beginning(chunks)
    _refuse_other_formats(first, where)
    if json_list.START.match(first):
        chunks = json_list.to_lines(chain([first], chunks), where)
        where = f"{where}: the list's objects as lines"
        first, is_complete = _read_beginning(chunks)
    records.check_text(first[: records.LONGEST], where, 1)
    end = b"\n" if b"\n" in first or b"\r" not in first else b"\r"
    text = Text(where, first, chunks, end, is_complete)
    yield from _cut_json(text) if first.lstrip().startswith(b"{") else _cut_csv(text, params)


class Text(NamedTuple):
    """A file of lines.

    Attributes
    ----------
    first, rest
        The beginning, with a complete header and some rows, and the chunks after it, as UTF-8.
    end
        What ends a line.
    is_complete
        Whether there is no rest.
    """

    where: str
    first: bytes
    rest: Iterator[bytes]
    end: bytes
    is_complete: bool


def _cut_json(text: Text) -> Iterator[Part]:
    """Cut a file of JSON lines into parts, which all have the names of the first lines."""
    _refuse_columns(text)
    part = Part("jsonl", b"", text.where, names=_read_first_keys(text.first))
    size = _choose_size(text.first[:SAMPLE], len(part.names), CELLS_OF_JSON)
    notes = header.describe_names(part.headings)
    chunks = records.split_chunks(chain([text.first], text.rest), size)
    blocks = records.cut_blocks(chunks, text.where, text.end, 1)
    for number, (content, line) in enumerate(blocks):
        yield replace(part, content=content, line=line, notes=() if number else notes)


def _refuse_columns(text: Text) -> None:
    """Raise a CairnError where all of a file is one object, which holds the columns or the rows."""
    line = text.first.strip()
    if b"\n" in line or b"\r" in line:
        return
    holds_more = NESTED.match(line) is not None
    with suppress(ValueError):
        row = jiter.from_json(line)
        holds_more = isinstance(row, dict) and any(isinstance(v, list | dict) for v in row.values())
    if holds_more:
        raise CairnError(
            f"{text.where}: one JSON object for all rows, as pandas' to_json() writes it; write "
            "one object per line (JSON lines), as to_json(orient='records', lines=True) does"
        )


# Polars and DuckDB parse CSV in half of Arrow's CPU time (129 MB: 0.6, 0.9 and 1.4 s), but they
# would replace `Part.read` only, and not what is here. One line with a field too many makes
# DuckDB 2.0 read all lines as one column, without an error; Polars 2.1 fills a short line with
# nulls, names no line in its errors, and reads the code 01067 as 1067. DuckDB does not decode
# cp1252, Polars does not read Excel's sep= line, R's header or the line ends of old Macs, and
# neither reads columns that blanks align.
def _cut_csv(text: Text, params: Processed) -> Iterator[Part]:
    """Cut a CSV file into parts."""
    separator = SEPARATOR.match(text.first)
    named = separator[1].decode() if separator else None
    body = text.first[separator.end() :] if separator else text.first
    is_named = params.header == "auto"
    above = find_preamble(body[:SAMPLE], params.target) if is_named else Preamble()
    body = body[above.size :]
    sample = body[: _choose_sample(body)]
    is_complete = text.is_complete and len(sample) == len(body)
    layout = _find_layout(sample, text.where, params.delimiter or named, is_complete=is_complete)
    rows = delimiter.read_records(
        layout.to_plain(sample), layout.delimiter, is_complete=is_complete
    )
    missing = list_missing_texts(params.missing)
    columns = find_columns(rows, params, text.where, missing)
    stop = records.find_header_end(body, layout.openers) if columns.has_header else 0
    part = Part(
        "csv",
        b"",
        text.where,
        1 + text.first.count(text.end, 0, len(text.first) - len(body) + stop),
        columns.names,
        Dialect(layout.delimiter, params.decimal, missing),
        columns.index,
        columns.is_trailing,
    )
    size = _choose_size(sample, len(rows[0]), CELLS)
    chunks = records.split_chunks(chain([body[stop:]], text.rest), size)
    blocks = records.cut_blocks(chunks, text.where, text.end, part.line, layout.openers)
    content, line = next(blocks, (b"", part.line))  # a header and no rows are a table, too
    notes = (*filter(None, [above.note]), *_describe_layout(layout, named), *columns.notes)
    yield replace(part, content=layout.to_plain(content), line=line, notes=notes)
    for content, line in blocks:
        yield replace(part, content=layout.to_plain(content), line=line)


def _choose_sample(first: bytes) -> int:
    """Choose how many bytes show how CSV is written: enough for some rows of a wide table."""
    return min(records.LONGEST, max(SAMPLE, SAMPLE_ROWS * records.find_header_end(first, OPENERS)))


def _find_layout(sample: bytes, where: str, required: str | None, *, is_complete: bool) -> Layout:
    """Find how a file is written.

    Raises
    ------
    CairnError
        Where it is one column, or its header is no CSV.
    """
    openers = required.encode() + b"\r\n" if required else OPENERS
    top = sample[: records.find_header_end(sample, openers)]
    if len(top) >= records.LONGEST:
        raise records.explain_length(where, 1)
    layout = delimiter.find_layout(sample, is_complete=is_complete, required=required)
    if layout:  # a quote behind a blank opens no field, unless blanks separate them
        top = sample[: records.find_header_end(sample, layout.openers)]
    sign = layout.delimiter if layout else ","
    fields = _split_header(layout.to_plain(top) if layout else top, sign, where)
    if layout is None or (len(fields) == 1 and required):
        raise CairnError(f"{where}: only one column, {fields[0][:SHOWN]!r}; {SEPARATE}")
    return layout


def _split_header(line: bytes, sign: str, where: str) -> list[str]:
    """Split a header into fields; raise a CairnError where it is no CSV."""
    csv.field_size_limit(records.LONGEST)
    text = records.decode(line, where, 1).strip("\r\n")
    try:
        return next(csv.reader([text], delimiter=sign, strict=True))
    except csv.Error as error:
        raise CairnError(
            f"{where}: the header is not valid CSV: {error}; close each quote"
        ) from None


def _describe_layout(layout: Layout, named: str | None) -> tuple[str, ...]:
    """Describe what was decided about how a file is written."""
    word = delimiter.name_delimiter(layout.delimiter)
    texts = {
        f"the first line, sep={named}, names the delimiter": named == layout.delimiter,
        f"columns are separated by {word}": named is None and layout.delimiter != ",",
        "each row is in quotes; the quotes are removed": layout.is_wrapped,
    }
    return tuple(text for text, is_so in texts.items() if is_so)


def _choose_size(sample: bytes, fields: int, most: int) -> int:
    """Choose how many bytes of text make a part: short cells grow most in memory."""
    lines = 1 + sample.count(b"\n") + sample.count(b"\r")
    return max(1, min(BYTES, most * len(sample) // (max(1, fields) * lines)))


def _read_first_keys(content: bytes) -> tuple[str, ...]:
    """Read the keys of the first JSON lines; that a line is broken is reported later."""
    keys: dict[str, None] = {}
    for line in content[:HEAD_OF_JSON].splitlines():
        with suppress(ValueError):
            row = jiter.from_json(line)
            keys |= dict.fromkeys(row if isinstance(row, dict) else ())
    return tuple(keys)


def _read_beginning(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    """Read the first chunks of a text, with a complete header and some rows; tell if it ends."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) > SAMPLE and len(first) > HEAD + _choose_sample(first):
            return first, False
    return first, True


def _refuse_other_formats(first: bytes, where: str) -> None:
    """Raise a CairnError where a file is of another format, or empty."""
    known = next((what for mark, what in OTHERS.items() if first.startswith(mark)), None)
    start = first.lstrip()[:1]
    if known:
        raise CairnError(f"{where}: {known}")
    if _is_tar(first):
        raise CairnError(f"{where}: a compressed tar; unpack it, and use the folder")
    if not start:
        raise CairnError(f"{where}: the file is empty; it needs a header and rows")
    if ARFF.match(first):
        raise CairnError(f"{where}: an ARFF file of Weka; save it as CSV")
    if start == b"[" and not json_list.START.match(first):
        raise CairnError(
            f"{where}: a JSON list whose first value is no object; write one object for each row, "
            "as pandas' to_json(orient='records') does"
        )
    if start == b"<":
        text = first.lstrip()[:SHOWN].split(b"\n")[0].decode(errors="replace")
        raise CairnError(f"{where}: a page of HTML or XML, not a table: {text}")


def _read_utf8(stream: IO[bytes], where: str, encoding: str) -> Iterator[bytes]:
    """Read chunks of the text as UTF-8, without a byte-order mark."""
    raw = iter(lambda: bytes(stream.read(BYTES)), b"")
    start = next(raw, b"")
    is_json = start.removeprefix(codecs.BOM_UTF8).lstrip().startswith((b"{", b"["))
    if is_json or start.startswith(codecs.BOM_UTF8):
        encoding = "utf-8"  # JSON has no other
    raw = chain([start], raw)
    chunks = raw if encoding == "utf-8" else _to_utf8(raw, where, encoding)
    first = next(chunks, b"")
    while len(first) < len(codecs.BOM_UTF8) and (more := next(chunks, b"")):
        first += more
    if encoding == "utf-8" and first.startswith(MARKS):
        raise CairnError(
            f"{where}: line 1 is not UTF-8 text (it begins with the byte-order mark of UTF-16); "
            "set processed.encoding: utf-16"
        )
    yield first.removeprefix(codecs.BOM_UTF8)
    yield from chunks


def _to_utf8(chunks: Iterator[bytes], where: str, encoding: str) -> Iterator[bytes]:
    """Convert chunks of a text from another encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    for chunk in chain(chunks, [b""]):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            raise CairnError(
                f"{where}: the text after line {line:,} is not {encoding}, which "
                f"processed.encoding names: {getattr(error, 'reason', error)}; "
                f"{suggest_encodings(chunk, getattr(error, 'start', 0))}"
            ) from None
        line += text.count("\n")
        if text:
            yield text.encode(errors="replace")
