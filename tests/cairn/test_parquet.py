from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cairn import parquet

TABLE = pa.table({"a": pa.array([1.5, None, 3], pa.float32()), "c": ["x", "y", None]})


def test_each_table_that_is_written_is_a_group_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with parquet.Writer(path) as writer:
        for part in (TABLE, TABLE.slice(0, 0), TABLE.slice(1)):
            writer.write(part)
        assert not path.exists()
    assert (writer.rows, writer.columns) == (5, 2)
    assert [part.to_pydict() for part in parquet.groups(path)] == [
        TABLE.to_pydict(),
        TABLE.slice(1).to_pydict(),
    ]
    assert [part.column_names for part in parquet.groups(path, ["c"])] == [["c"], ["c"]]


def test_a_table_without_rows_says_what_its_columns_are(tmp_path: Path) -> None:
    with parquet.Writer(tmp_path / "t.parquet") as writer:
        writer.write(TABLE.slice(0, 0))
    assert pq.read_schema(tmp_path / "t.parquet").names == ["a", "c"]
    assert list(parquet.groups(tmp_path / "t.parquet")) == []


def write_and_fail(path: Path) -> None:
    with parquet.Writer(path) as writer:
        writer.write(TABLE)
        raise ZeroDivisionError


def test_where_the_block_fails_the_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path)
    assert list(tmp_path.iterdir()) == []
    with parquet.Writer(path) as writer:
        writer.write(TABLE.slice(1))
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]
    assert path.read_bytes() == before


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with parquet.Writer(tmp_path / f"{name}.parquet") as writer:
            writer.write(TABLE)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_block_that_writes_nothing_makes_no_file(tmp_path: Path) -> None:
    with parquet.Writer(tmp_path / "t.parquet"):
        pass
    assert list(tmp_path.iterdir()) == []
