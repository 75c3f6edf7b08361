"""Inputs that are no table, or none that can be used, and what the error of each has to say."""

from __future__ import annotations

import gzip

from tests.cairn.tables.tables import ROWS, as_csv, as_parquet, as_zip, as_zstd

GOOD = "a,y\n1,0\n2,1\n"


ZIPPED = as_zip(**{"xl/workbook.xml": "<workbook/>"})
PARQUET, LONG = as_parquet(ROWS), as_csv(ROWS * 500)

# What is no table: the file is named, and the line where there is one.
FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "empty; it needs a header and rows"),
    "blank": ("\n \n\n", "empty; it needs a header and rows"),
    "header": ("a,y\n", "the table has a header but no rows; add rows"),
    "header without end": ("a,y", "a header but no rows"),
    "header and blank lines": ("a,y\n\n\n", "a header but no rows"),
    "Excel": (ZIPPED, "an Excel workbook; save the sheet as CSV"),
    "zip of two": (as_zip(a="", b=""), "a zip archive of 2 files: a, b; unpack it"),
    "zip of none": (as_zip(**{"a/": "", "__MACOSX/a": ""}), "a zip archive of 0 files; unpack it"),
    "zip cut short": (as_zip(a="a,y\n1,0\n")[:-9], "the zip archive cannot be read: "),
    "zip damaged": (as_zip(a="a,y\n1,0\n").replace(b"1,0", b"1,1"), "cut short: Bad CRC"),
    "zip twice": (as_zip(a=ZIPPED), "a zip archive inside a compressed file; unpack it"),
    "old Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an Excel workbook; save"),
    "PNG": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a PNG image; use a table"),
    "JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a JPEG image; use a table"),
    "PDF": (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "a PDF document; use the table"),
    "Arrow": (b"ARROW1\x00\x00", "an Arrow file; write it as Parquet"),
    "SQLite": (b"SQLite format 3\x00", "an SQLite database; set raw.query"),
    "NumPy": (b"\x93NUMPY\x01\x00", "a NumPy array; write it as Parquet or CSV"),
    "LZ4": (b"\x04\x22\x4d\x18\x64", "compressed with LZ4; allowed: gz, bz2, xz, zst"),
    "7z": (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    "ARFF": ("% iris\n\n@RELATION iris\n@ATTRIBUTE a REAL\n", "an ARFF file of Weka"),
    "R": (gzip.compress(b"RDX3\nX\n\x00\x00\x00"), "R data; write the table with write.csv"),
    "pickle": (b"\x80\x04\x95\x00", "a pickle; write the table as Parquet"),
    "one object": (
        '{"a": {"0": 1, "1": 2}, "y": {"0": 0, "1": 1}}',
        "one JSON object for all rows, as pandas' to_json() writes it; write one object per line",
    ),
    "one object of lists": ('{"n": 2, "rows": [[1, 0], [2, 1]]}\n', "one JSON object for all rows"),
    "HTML": ("<!DOCTYPE html>\n<html>a,y</html>\n", "a page of HTML or XML, not a table: <!DOC"),
    "XML": ("\n<?xml version='1.0'?>\n<a/>\n", "a page of HTML or XML"),
    "program": (b"\x7fELF\x02\x01\x01" + bytes(90), "line 1 has a zero byte, which text never has"),
    "NUL": ("a,y\n1,0\nx\0,1\n", "line 3 has a zero byte, which text never has; use a table"),
    "UTF-16": ("a,y\n1,0\n".encode("utf-16"), "line 1 is not UTF-8 text (it begins with the"),
    "UTF-16 without mark": (
        "a,y\n1,0\n".encode("utf-16-le"),
        "if this is UTF-16, set processed.encod",
    ),
    "Latin-1 header": ("gr\xf6,y\n1,0\n".encode("latin-1"), "line 1 is not UTF-8 text (invalid"),
    "Latin-1 text": ("a,y\n1,0\n\xf6,1\n".encode("latin-1"), "line 3 is not UTF-8 text"),
    "Latin-1 lines": ('{"a":"\xf6","y":1}\n'.encode("latin-1"), "line 1 is not UTF-8 text"),
    "gz cut short": (gzip.compress(LONG)[:-20], "the compressed file is damaged or cut short"),
    "gz cut at its begin": (b"\x1f\x8b\x08\x00", "the compressed file is damaged or cut short"),
    "gz damaged": (
        gzip.compress(LONG)[:60] + bytes(40),
        "the compressed file is damaged or cut short",
    ),
    "zst cut short": (as_zstd(LONG)[:-9], "the compressed file is damaged or cut short"),
    "gz twice": (gzip.compress(gzip.compress(LONG)), "compressed twice; unpack it once"),
    "zip in gz": (gzip.compress(ZIPPED), "a zip archive"),
    "Parquet in gz": (gzip.compress(PARQUET), "Parquet inside a compressed file; unpack it"),
    "Parquet cut short": (PARQUET[:-30], "the Parquet file is damaged or cut short"),
    "Parquet begun": (b"PAR1", "the Parquet file is damaged or cut short"),
    "long line": ("a,y\n1,0\n2," + "1" * 10_000_000 + "\n", "begins a record of over 4,194,304"),
    "long header": ("a" * 10_000_000 + ",y\n1,0\n", "begins a record of over 4,194,304 bytes"),
    "field more": ("a,y\n1,0\n2,1,3\n", "line 3 has 3 fields, but the header has 2; fix the line"),
    "field more throughout": ("a,y\n1,0,5\n1,1,3\n", "line 2 has 3 fields, but the header has 2"),
    "field less": ("a,b,y\n1,2,0\n\n2,1\n", "line 4 has 2 fields, but the header has 3"),
    "field less after lines in quotes": (
        'a,b,y\n"1\n",2,0\n2\n',
        "line 4 has 1 field, but the head",
    ),
    "field less after blank lines": (
        "\n\na,y\n1,0\n2\n",
        "line 5 has 1 field, but the header has 2",
    ),
    "field less, CR": ("a,y\r1,0\r2\r", "line 3 has 1 field, but the header has 2"),
    "field less, CRLF": ("a,y\r\n1,0\r\n2\r\n", "line 3 has 1 field, but the header has 2"),
    "field less after a long one": (
        f"a,y\n{'t' * 200_000},0\n2\n",
        "line 3 has 1 field, but the hea",
    ),
    "no header": ("1,0\n2,1\n3,0\n", "the first row looks like data, not like a header: '1', '0'"),
    "quote open": ('a,y\n1,0\n2,"1\n', "line 3 opens a quote that is never closed; close it"),
    "quote open early": ('a,y\n"1,0\n2,1\n', "line 2 opens a quote that is never closed"),
    "quote open and long": (f'a,y\n"1,0\n{"2,1," * 2_000_000}', "close the quote that is open"),
    "quote open in the header": ('"a,y\n1,0\n', "close each quote"),
    "one column": ("y\n0\n1\n", "only one column, 'y'; separate the columns by one of ',' ';'"),
    "other delimiter": ("a~y\n1~0\n2~1\n", "or set processed.delimiter"),
    "text": ("Dear reader\nhere is\n", "only one column, 'Dear reader'"),
    "JSON list of lists": ("[[1, 0], [2, 1]]\n", "a JSON list whose first value is no object"),
    "JSON list cut short": ('[{"a": 1, "y": 0},', "the JSON list has no end; the file"),
    "JSON list and more": ('[{"a": 1, "y": 0}]\n 7', "goes on behind its JSON list, with '7'"),
    "JSON list broken": ('[{"a": 1, "y": 0}, {"a": }]', "line 2 is not a JSON object: "),
    "JSON list mixed": ('[{"a": 1, "y": 0}, 5]', "line 2 is not a JSON object but"),
    "JSON list long": (f'[{{"a": "{"x" * 5_000_000}"}}', "begins a record of over 4,194,304"),
    "JSON over lines": ('{\n"a": 1,\n"y": 0\n}\n', "line 1 is not a JSON object: "),
    "JSON cut short": ('{"a":1,"y":0}\n{"a":', "line 2 is not a JSON object: EOF"),
    "JSON in quotes of Python": ("{'a': 1}\n", "at character 2; write one object per line"),
    "JSON number": ('{"a":1,"y":0}\n\n5\n', "line 3 is not a JSON object but 5; write one object"),
    "JSON twice": ('{"a":1,"y":0,"a":2}\n', "line 1 is not a JSON object: Detect"),
    "JSON two on a line": ('{"a":1,"y":0}{"a":1,"y":1}\n', "line 1 is not a JSON object: "),
    "JSON surrogate": ('{"a":"\\ud800","y":0}\n', "line 1 is not a JSON object"),
    "JSON without a row": ("{", "line 1 is not a JSON object"),
}  # fmt: skip

# Columns that cannot be used: each is named, with what to do.
COLUMNS: dict[str, tuple[str, str]] = {
    "no value": ("a,y\n,0\n,1\n", "no column is left besides the target 'y'"),
    "no target": ("a,b\n1,0\n2,1\n", "processed.target: got 'y'; the columns are a, b"),
    "no target beside an index": (",b\n1,0\n2,1\n", "got 'y'; the columns are index, b"),
    "no target of many": (f"{','.join(f'x{n}' for n in range(150))}\n", "x99 and 50 more"),
    "nearly a target": ("a,Y\n1,0\n2,1\n", "processed.target: got 'y'; the columns are a, Y"),
    "a target misspelled": ("a,my\n1,0\n2,1\n", "got 'y'; did you mean 'my'?"),
    "only a target": ('{"y":0}\n{"y":1}\n', "no column is left besides the target 'y'"),
    "one class": ("a,y\n1,1\n2,1\n", "target 'y' has only the label 1; Cairn needs two classes"),
    "no class": ("a,y\n1,\n2,\n", "no row is left, for each lacks a label"),
    "classes of fractions": ("a,y\n1,0.5\n2,1\n", "target 'y' is a number: 2 different values, fr"),
    "classes of dates": (
        "a,y\n1,2024-01-01\n2,2024-01-02\n",
        "cannot be classes (dates); a class is",
    ),
    "endless class": ("a,y\n1,inf\n2,1\n", "target 'y' is a number: 2 different values, from 1 to"),
    "nested": (
        '{"a":{"b":1},"y":0}\n{"a":{"b":2},"y":1}\n',
        "a: left out: its values are lists, objects",
    ),
    "lists": ('{"a":[1,2],"y":0}\n{"a":[3],"y":1}\n', "a: left out: its values are lists, objects"),
    "mixed": ('{"a":1,"y":0}\n{"a":"x","y":1}\n', "a: left out: its values are lists, objects"),
    "mixed target": (
        '{"a":1,"y":0}\n{"a":2,"y":"x"}\n',
        "target 'y' has values that cannot be cla",
    ),
    "names": (
        "a,y\n" + "".join(f"t{n},{n % 2}\n" for n in range(101)),
        "a: left out: 101 different texts in 101 rows",
    ),
}  # fmt: skip
