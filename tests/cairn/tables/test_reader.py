from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import tarfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cairn.contract import MISSING_TEXTS
from cairn.errors import CairnError
from cairn.tables import reader, records
from cairn.tables.part import Part, Unconvertible, to_float
from tests.cairn.tables import tables
from tests.cairn.tables.tables import PACK, ROWS, as_csv, as_lines, as_parquet, as_tar, as_zip

TEXTS = {name: pa.string() for name in ("id", "c", "day", "time", "y")}


def parts(content: bytes | str, folder: Path, **params: Any) -> list[Part]:
    path = folder / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(reader.read_parts(path, tables.make_params(**params)))


def rows(content: bytes | str, folder: Path, **params: Any) -> list[dict[str, Any]]:
    """All rows, texts as texts."""
    result = [part.read(TEXTS).to_pylist() for part in parts(content, folder, **params)]
    return [row for part in result for row in part]


EXPECTED = [{"n" if name == "n (cm)" else name: row[name] for name in row} for row in ROWS]


@pytest.mark.parametrize(
    "content",
    [
        as_csv(ROWS),
        as_csv(ROWS, quoting=csv.QUOTE_ALL),
        as_csv(ROWS).replace(b"\n", b"\r\n").replace(b'"quoted""\r\n', b'"quoted""\n'),
        b"\xef\xbb\xbf" + as_csv(ROWS),
        b"\n\n" + as_csv(ROWS),
        as_csv(ROWS).rstrip(b"\n"),
        as_csv(ROWS, ";"),
        as_csv(ROWS, "\t"),
        as_csv(ROWS, "|"),
        as_lines(ROWS),
        b"\xef\xbb\xbf" + as_lines(ROWS),
        as_lines(ROWS).replace(b"\n", b"\r\n\n"),
        as_lines(ROWS).rstrip(b"\n"),
        json.dumps(ROWS).encode(),
        b"\xef\xbb\xbf" + json.dumps(ROWS, indent=1, ensure_ascii=False).encode() + b"\n",
        as_zip(**{"__MACOSX/._a.csv": b"\0", "data/": b"", "data/a.csv": as_csv(ROWS)}),
        as_zip(a=json.dumps(ROWS)),
        as_parquet(ROWS),
        *(pack(as_csv(ROWS)) for pack in PACK.values()),
        *(pack(as_lines(ROWS)) for pack in PACK.values()),
    ],
)
def test_the_same_rows_come_from_every_format(content: bytes, tmp_path: Path) -> None:
    assert rows(content, tmp_path) == EXPECTED


@pytest.mark.parametrize(("delimiter", "knob"), [("~", "~"), (",", ",")])
def test_any_delimiter_can_be_given(delimiter: str, knob: str, tmp_path: Path) -> None:
    assert rows(as_csv(ROWS, delimiter), tmp_path, delimiter=knob) == EXPECTED


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "utf-16-le", "utf-8-sig"])
@pytest.mark.parametrize("size", [3, 2**20])
def test_any_encoding_can_be_given(
    encoding: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    content = "größe (µm),y\n1,ä\n2,ö\n".encode(encoding)
    result = rows(content, tmp_path, encoding=encoding)
    assert result == [{"größe": 1, "y": "ä"}, {"größe": 2, "y": "ö"}]


@pytest.mark.parametrize("encoding", ["utf-16", "ascii", "cp1252", "shift_jis"])
def test_an_encoding_that_the_text_has_not_is_named(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(CairnError, match=f"after line . is not {encoding}, which processed.encod"):
        parts(b"a,y\n1,\x81\n2,\x9d", tmp_path, encoding=encoding)


def test_a_folder_is_the_rows_of_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    files = {
        "b.jsonl": as_lines(ROWS[2:3]),
        "a/1.csv.gz": gzip.compress(as_csv(ROWS[:1])),
        "a/2.csv": as_csv(ROWS[1:2], ";"),
        "c.parquet": as_parquet(ROWS[3:]),
    }
    assert rows(as_tar(files, tmp_path / "folder"), tmp_path) == EXPECTED


def test_files_of_a_folder_with_other_columns_are_named(tmp_path: Path) -> None:
    files = {"1.csv": b"a,b,y\n1,2,0\n", "2.csv": b"b,a,y\n1,2,0\n", "3.csv": b"a,c,y\n1,2,0\n"}
    path = tmp_path / "table"
    with pytest.raises(CairnError) as error:
        parts(as_tar(files, tmp_path / "folder"), tmp_path)
    assert f"column 'b' is in {path}, 1.csv, but not in {path}, 3.csv; all" in str(error.value)


def test_an_error_names_the_file_of_the_folder_and_its_line(tmp_path: Path) -> None:
    content = as_tar({"1.csv": b"a,y\n1,0\n", "2.csv": b"a,y\n1,0\n2\n"}, tmp_path / "folder")
    with pytest.raises(
        CairnError, match=r"table, 2\.csv: line 3 has 1 field, but the header has 2"
    ):
        rows(content, tmp_path)


def test_a_tar_that_is_cut_short_or_compressed_is_named(tmp_path: Path) -> None:
    complete = as_tar({"1.csv": as_csv(ROWS * 100), "2.csv": as_csv(ROWS)}, tmp_path / "folder")
    with pytest.raises(CairnError, match="the tar is damaged or cut short"):
        rows(complete[:2000], tmp_path)
    with pytest.raises(CairnError, match="a compressed tar; unpack it, and use the folder"):
        rows(gzip.compress(complete), tmp_path)


def test_folders_in_a_tar_are_no_files(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        entry = tarfile.TarInfo("folder/1.csv")
        entry.size = len(as_csv(ROWS))
        archive.addfile(entry, io.BytesIO(as_csv(ROWS)))
    assert rows(file.getvalue(), tmp_path) == EXPECTED


def tar(*members: tuple[str, bytes, str]) -> bytes:
    """A tar of members, each a name, a type of tarfile's, and where it leads if it is a link."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, target in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            content = as_csv(ROWS) if kind == tarfile.REGTYPE else b""
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


FILE = ("1.csv", tarfile.REGTYPE, "")
LINK = "in the tar is a link to {}; pack only files, as `tar --dereference"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([FILE, ("2.csv", tarfile.SYMTYPE, "1.csv")], "'2.csv' " + LINK.format("'1.csv'")),
        ([FILE, ("2.csv", tarfile.LNKTYPE, "1.csv")], "'2.csv' " + LINK.format("'1.csv'")),
        ([("a", tarfile.SYMTYPE, "b"), ("b", tarfile.SYMTYPE, "a")], "'a' " + LINK.format("'b'")),
        ([FILE, ("2.csv", tarfile.SYMTYPE, "/etc/passwd")], LINK.format("'/etc/passwd'")),
        ([FILE, ("a\nb", tarfile.LNKTYPE, "../no\n")], "'a\\nb' " + LINK.format("'../no\\n'")),
        (
            [FILE, ("tty", tarfile.CHRTYPE, "")],
            "'tty' in the tar is a device or a pipe; pack only files",
        ),
        ([FILE, ("pipe", tarfile.FIFOTYPE, "")], "'pipe' in the tar is a device or a pipe; pack"),
        ([("._1.csv", tarfile.REGTYPE, "")], "the tar has no files except hidden ones"),
    ],
)
def test_what_is_no_file_of_a_tar_is_named(
    members: list[tuple[str, bytes, str]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CairnError) as error:
        rows(tar(*members), tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["/abs/1.csv", "../1.csv", "./1.csv", "a/../1.csv", "./a/b.csv"])
def test_a_file_of_a_tar_may_have_any_name(name: str, tmp_path: Path) -> None:
    hidden = [(f"{name}/../._1.csv", tarfile.REGTYPE, ""), (".last", tarfile.SYMTYPE, "1.csv")]
    assert rows(tar((name, tarfile.REGTYPE, ""), *hidden), tmp_path) == EXPECTED


def test_without_a_table_it_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match="no such file; run `dvc repro`"):
        list(reader.read_parts(tmp_path / "table", tables.make_params()))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 40, 10**6])
@pytest.mark.parametrize(
    "content",
    [
        'a,b,y\n1,"two\nlines",0\n2,"a ""b""\n\n,c",1\n3,"",0\n',
        'a,b,y\r\n1,"two\r\nlines",0\r\n2,x,1\r\n',
        "a,b,y\r1,x,0\r2,z,1\r",
        'a,b,y\n1,5" pipe,0\n2,"6"" pipe\n""",1\n3,7" pipe,0\n4,"x"y"z,1\n',
        'a,"b\nc",y\n1,2,0\n\n\n3,4,1',
    ],
)
def test_borders_between_parts_are_between_records(
    content: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = rows(content, tmp_path)
    monkeypatch.setattr(reader, "BYTES", size)
    result = parts(content, tmp_path)
    assert [row for part in result for row in part.read(TEXTS).to_pylist()] == complete
    assert len(result) > 1 or size > 3


FIELDS = st.text(st.sampled_from('ab,;" \n\r"5é'), max_size=6)


@given(
    cells=st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=12),
    strays=st.booleans(),
    size=st.integers(1, 30),
    longest=st.integers(40, 90),
)
def test_no_size_of_the_parts_changes_a_row(
    cells: list[tuple[str, str]],
    strays: bool,  # noqa: FBT001
    size: int,
    longest: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\r\n").writerows([("c", "y"), *cells])
    text = file.getvalue() + ('5" pipe,6" x\n' if strays else "")
    if strays:
        cells = [*cells, ('5" pipe', '6" x')]
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BYTES", size)
        patch.setattr(records, "LONGEST", longest)
        result = rows(text, folder)
    assert result == [
        {"c": None if c in MISSING_TEXTS else c, "y": None if y in MISSING_TEXTS else y}
        for c, y in cells
    ]


@pytest.mark.parametrize("longest", range(20, 40))
def test_an_end_of_line_in_quotes_stays_as_it_is_wherever_it_lies(
    longest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LONGEST", longest)
    assert {row["c"] for row in rows("c,y\n" + '"a\r\nb",0\r\n' * 20, tmp_path)} == {"a\r\nb"}


EXCEL = b"sep=;\r\nn;c;y\r\n1;x;0\r\n2;y, z;1\r\n"
NAMED = [{"n": 1, "c": "x", "y": 0}, {"n": 2, "c": "y, z", "y": 1}]
WRITTEN: dict[str, tuple[bytes, list[str]]] = {
    "Excel's first line": (EXCEL, ["the first line, sep=;, names the delimiter"]),
    "Excel's rows in quotes": (
        b'"n,c,y"\r\n"1,x,0"\r\n"2,""y, z"",1"\r\n',
        ["each row is in quotes; the quotes are removed"],
    ),
    "a delimiter at the end": (
        b'n,c,y,\n1,x,0,\n2,"y, z",1,\n',
        ["each line ends with a delimiter"],
    ),
    "a delimiter at the end of rows": (
        b'n,c,y\n1,x,0,\n2,"y, z",1,\n',
        ["each row ends with a delimiter"],
    ),
    "tabs": (b"n\tc\ty\n1\tx\t0\n2\ty, z\t1\n", ["columns are separated by tabs"]),
    "colons": (b"n:c:y\n1:x:0\n2:y, z:1\n", ["columns are separated by ':'"]),
    "blanks": (b'n  c  y\n 1  x  0\n 2  "y, z"  1\n', ["columns are separated by blanks"]),
    "blanks before quotes": (b'"n", "c", "y"\n1, "x", 0\n2, "y, z", 1\n', []),
    "a mark in front": (b'\xef\xbb\xbfn,"c",y\n1,x,0\n2,"y, z",1\n', []),
    "headers with blanks and lines": (b' n ,"\nc",y \n1,x,0\n2,"y, z",1\n', []),
    "CR": (b'n,c,y\r1,x,0\r2,"y, z",1\r', []),
}


@pytest.mark.parametrize("size", [1, 5, 10**6])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_table_is_read_however_it_is_written(
    name: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    content, notes = WRITTEN[name]
    result = parts(content, tmp_path)
    assert [row for part in result for row in part.read().to_pylist()] == NAMED
    assert [list(part.notes) for part in result] == [notes, *([] for _ in result[1:])]


def test_row_names_of_r_are_an_index(tmp_path: Path) -> None:
    content = '"n" "y"\n"r1" 1.5 "a b"\n"r2" 2.5 "c"\n"r3" 3.5 "a b"\n'
    [part] = parts(content, tmp_path)
    assert part.read().to_pylist()[0] == {"rownames": "r1", "n": 1.5, "y": "a b"}
    assert metadata(part)["rownames"] == {"header": "rownames", "index": "1"}
    [part] = parts('"","n","y"\n"1",1.5,"a"\n"2",2.5,"b"\n', tmp_path)
    assert metadata(part)["index"] == {"header": "", "index": "1"}


def test_a_file_without_a_header_has_all_of_its_rows(tmp_path: Path) -> None:
    content = "1,x,0\n2,x,1\n3,z,0\n"
    with pytest.raises(CairnError, match="the first row looks like data"):
        parts(content, tmp_path)
    assert [row["column_3"] for row in rows(content, tmp_path, header="none")] == [0, 1, 0]
    assert rows(content, tmp_path, header=["n", "c (m)", "x"])[0] == {"n": 1, "c": "x", "x": 0}
    with pytest.raises(CairnError, match="line 4 has 2 fields"):
        rows(content + "4,x\n", tmp_path, header="none")


def test_a_value_after_the_last_delimiter_is_named_where_others_have_none(tmp_path: Path) -> None:
    content = "a,y,\n" + "1,0,\n" * 2000
    assert len(rows(content, tmp_path)) == 2000
    with pytest.raises(CairnError, match="line 2,002 has 3 fields, but the header has 2"):
        rows(content + "1,0,5\n", tmp_path)
    with pytest.raises(CairnError, match="line 2,002 has 2 fields"):
        rows(content + "1,0\n", tmp_path)


def test_a_note_of_several_files_comes_once(tmp_path: Path) -> None:
    files = {"1.csv": b"a;y\n1;0\n", "2.csv": b"a;y\n2;0\n", "3.csv": b"y,a,a\n1,3,4\n"}
    with pytest.raises(CairnError, match="column 'a_2' is in"):
        parts(as_tar(files, tmp_path / "f"), tmp_path)
    files["3.csv"] = b"y\ta\n1\t3\n"
    result = parts(as_tar(files, tmp_path / "f"), tmp_path)
    assert [list(part.notes) for part in result] == [
        ["1.csv: columns are separated by ';'"],
        [],
        ["3.csv: columns are separated by tabs"],
    ]


def test_text_of_another_encoding_is_never_bytes(tmp_path: Path) -> None:
    for row in range(2):
        lines = ["a,y", "x,0", "x,1"]
        lines[row + 1] = "ö,0"
        [part] = parts("\n".join([*lines, ""]).encode("cp1252"), tmp_path)
        with pytest.raises(CairnError, match=f"line {row + 2} is not UTF-8.*encoding: cp1252"):
            part.read_loosely(["a"])


def test_parts_of_short_cells_are_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CELLS", 1000)
    result = parts("a,y\n" + "1,0\n" * 5000 + "2,1\n" * 5000, tmp_path)
    assert max(len(part.read()) for part in result) <= 1000
    wide = ",".join(["x" * 99] * 10)
    result = parts(f"{wide}\n" + f"{wide}\n" * 300, tmp_path, header="first")
    assert sum(len(part.read()) for part in result) == 300
    assert max(len(part.read()) for part in result) <= 150
    monkeypatch.setattr(reader, "CELLS_OF_JSON", 1000)
    result = parts('{"a":1,"y":0}\n' * 5000, tmp_path)
    assert max(len(part.read()) for part in result) <= 500


CELLS = st.text(st.sampled_from('abx1 .,;|\t"\n()é%'), max_size=5)


@given(
    table_=st.integers(2, 4).flatmap(
        lambda width: st.lists(
            st.lists(CELLS, min_size=width, max_size=width), min_size=2, max_size=8
        )
    ),
    how=st.fixed_dictionaries(
        {
            "delimiter": st.sampled_from(",;\t|"),
            "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
            "lineterminator": st.sampled_from(["\n", "\r\n"]),
        }
    ),
    size=st.integers(1, 40),
)
def test_any_headers_and_cells_are_read_as_the_csv_module_does(
    table_: list[list[str]],
    how: dict[str, Any],
    size: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    names, *cells = table_
    file = io.StringIO(newline="")
    csv.writer(file, **how).writerows(table_)
    assume(file.getvalue().strip())  # only tabs are no table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BYTES", size)
        folder = tmp_path_factory.getbasetemp()
        result = parts(file.getvalue(), folder, delimiter=how["delimiter"], header="first")
    columns = result[0].headings
    read = [
        list(row.values())
        for part in result
        for row in part.read_loosely([column.name for column in columns]).to_pylist()
    ]
    kept = len(columns)
    assert [column.header for column in columns] == names[:kept]
    assert not any("".join(row[kept:]).strip() for row in table_)  # a delimiter ends each line
    assert read == [[None if v in MISSING_TEXTS else v for v in row[:kept]] for row in cells]


def test_line_numbers_go_on_from_part_to_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", 7)
    with pytest.raises(CairnError, match="line 7 has 1 field, but the header has 2"):
        rows('\na,y\n"1\n",0\n\n2,1\n3\n', tmp_path)
    *_, last = parts('{"y":1}\n\n{"y":2}\n{y}\n', tmp_path)
    with pytest.raises(CairnError, match=r"line 4 is not a JSON object: .* at character 2"):
        last.read_loosely()


def test_no_more_of_a_table_is_read_than_its_next_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", 2**10)
    path = tmp_path / "table"
    path.write_bytes(gzip.compress(as_csv(ROWS * 5000))[:-9])
    result = reader.read_parts(path, tables.make_params())
    assert all(len(next(result).read(TEXTS)) < 40 for _ in range(50))
    with pytest.raises(CairnError, match="cut short"):
        list(result)


def test_parquet_comes_by_many_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ROWS", 2)
    result = parts(as_parquet(ROWS), tmp_path)
    assert [len(part.read()) for part in result] == [2, 2, 1]
    assert {part.names for part in result} == {tuple(ROWS[0])}
    monkeypatch.setattr(reader, "CELLS_OF_PARQUET", len(ROWS[0]))
    assert [len(part.read()) for part in parts(as_parquet(ROWS), tmp_path)] == [1] * 5


def test_a_part_can_be_sent_to_another_process(tmp_path: Path) -> None:
    for content in (as_csv(ROWS), as_lines(ROWS), as_parquet(ROWS)):
        [part] = parts(content, tmp_path)
        assert pickle.loads(pickle.dumps(part)).read().equals(part.read())  # noqa: S301


def test_a_value_that_is_not_of_its_type_is_read_as_it_was_written(tmp_path: Path) -> None:
    [part] = parts("a,y\n1,0\nx,1\n", tmp_path)
    with pytest.raises(Unconvertible):
        part.read({"a": pa.float64()})
    assert part.read_loosely(["a"])["a"].to_pylist() == ["1", "x"]
    [part] = parts('{"a":1,"b":[],"y":0}\n{"a":"x","y":1}\n{"a":null,"y":0.5}\n', tmp_path)
    for types in ({}, {"a": pa.float64()}, {"y": pa.int64()}):
        with pytest.raises(Unconvertible):
            part.read(types)
    result = part.read_loosely(["y"])
    assert result["a"].cast(pa.string()).to_pylist() == ["1", '"x"', None]
    assert result["y"].cast(pa.string()).to_pylist() == ["0", "1", "0.5"]
    assert part.read_loosely()["y"].to_pylist() == [0, 1, 0.5]


@pytest.mark.parametrize(
    ("values", "type_", "kept"),
    [
        ([1, None], pa.int8(), pa.int8()),
        ([1, None], pa.uint64(), pa.int64()),
        ([2**63], pa.uint64(), pa.float64()),
        ([Decimal(1), None], pa.decimal128(18, 0), pa.int64()),
        ([Decimal(1), None], pa.decimal128(18, 4), pa.int64()),
        ([Decimal("1.5"), None], pa.decimal128(18, 4), pa.float64()),
        ([1.5, None], pa.float16(), pa.float32()),
        (["x", None], pa.large_string(), pa.string()),
        (["x", None], pa.string_view(), pa.string()),
        (["x", None], pa.dictionary(pa.int8(), pa.string()), pa.string()),
        ([1, None], pa.dictionary(pa.int8(), pa.int64()), pa.int64()),
    ],
)
def test_types_of_parquet_that_hold_the_same_are_one(
    values: list[Any], type_: pa.DataType, kept: pa.DataType, tmp_path: Path
) -> None:
    [part] = parts(as_parquet([{"a": v, "y": 0} for v in values], a=type_), tmp_path)
    result = part.read()["a"]
    assert result.type == kept
    assert result.to_pylist() == values


def test_a_key_that_no_row_has_is_no_column_of_json_lines(tmp_path: Path) -> None:
    [part] = parts('{"a":1,"b":null}\n{"a":2}\n', tmp_path)
    types = dict.fromkeys("abc", pa.float64())
    assert part.read(types).column_names == ["a", "b"]
    assert part.read(types)["b"].null_count == 2


def metadata(part: Part) -> dict[str, dict[str, str]]:
    """What each field says of its column."""
    return {
        field.name: {key.decode(): value.decode() for key, value in field.metadata.items()}
        for field in part.read().schema
    }


def test_each_field_keeps_the_header_and_the_unit_in_every_format(tmp_path: Path) -> None:
    rows_ = [{"a.b": 1, "n (cm)": 0.5, "y": 0}]
    expected = {
        "a_b": {"header": "a.b"},
        "n": {"header": "n (cm)", "unit": "cm"},
        "y": {"header": "y"},
    }
    for content in (as_csv(rows_), as_lines(rows_), as_parquet(rows_)):
        [part] = parts(content, tmp_path)
        assert metadata(part) == expected
        assert part.form == "csv" or metadata(replace(part, names=())) == expected


@pytest.mark.parametrize("size", [1, 10**6])
def test_two_headers_of_one_name_are_two_columns_in_every_part(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    result = parts("x,x,y\n1,a,0\n2,b,1\n", tmp_path)
    read = [part.read({"x": pa.float64(), "x_2": pa.string()}) for part in result]
    assert pa.concat_tables(read).to_pylist() == [
        {"x": 1, "x_2": "a", "y": 0},
        {"x": 2, "x_2": "b", "y": 1},
    ]
    assert metadata(result[-1])["x_2"] == {"header": "x"}
    assert result[0].notes == ("repeated headers: 'x' is x_2",)
    assert not any(part.notes for part in result[1:])


@pytest.mark.parametrize("size", [1, 10**6])
def test_keys_of_json_lines_have_the_same_name_in_every_part(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    content = '{"a b":1,"a_b":"x","":3,"y":0}\n{"a_b":"y","y":1}\n{"":4,"c":5,"y":1,"a b":2}\n'
    result = parts(content, tmp_path)
    assert result[0].notes[1] == "repeated headers: 'a_b' is a_b_2"
    expected = [
        {"a_b": 1, "a_b_2": "x", "column_3": 3, "y": 0},
        {"a_b_2": "y", "y": 1},
        {"a_b": 2, "column_3": 4, "y": 1, "c": 5},
    ]
    for read in (lambda part: part.read({"a_b_2": pa.string()}), Part.read_loosely):
        read_rows = [row for part in result for row in read(part).to_pylist()]
        assert [
            {name: value for name, value in row.items() if value is not None} for row in read_rows
        ] == expected


def test_a_late_key_that_would_be_another_column_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", 1)
    monkeypatch.setattr(reader, "HEAD_OF_JSON", 20)
    _, last = parts('{"a b":1,"y":0}\n{"a_b":1,"y":0}\n', tmp_path)
    for read in (last.read, last.read_loosely):
        with pytest.raises(CairnError, match="line 2 or a later one has the key 'a_b'"):
            read()


def test_the_index_of_pandas_is_known_in_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "y": [0, 1]}, index=["r1", "r2"])
    path = tmp_path / "frame"
    for name, expected in ((None, "index_level_0"), ("customer", "customer")):
        frame.rename_axis(name).to_parquet(path)
        [part] = parts(path.read_bytes(), tmp_path)
        kept = {column for column, details in metadata(part).items() if details.get("index") == "1"}
        assert kept == {expected}
        assert part.read()[expected].to_pylist() == ["r1", "r2"]
    frame.reset_index(drop=True).to_parquet(path)
    [part] = parts(path.read_bytes(), tmp_path)
    assert list(metadata(part)) == ["a", "y"]


def test_the_nameless_column_of_pandas_is_an_index_in_csv(tmp_path: Path) -> None:
    [part] = parts(pd.DataFrame({"a": [1, 2], "y": [0, 1]}).to_csv(), tmp_path)
    assert metadata(part)["index"] == {"header": "", "index": "1"}
    assert part.notes == ("headers without a name: column 1 is index",)


def test_a_number_too_large_for_a_float_is_infinite() -> None:
    assert [to_float(10**400), to_float(-(10**400)), to_float(7)] == [np.inf, -np.inf, 7]
