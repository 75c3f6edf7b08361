from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn import parquet
from cairn.modeling.feature_rows import read_rows


def test_a_part_is_read_group_by_group_in_the_order_of_its_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "b": np.array([1.5, 2.5, np.nan], dtype=np.float32),
            "y": np.array([1, 0, 2]),
            "a": np.array([3.5, np.nan, 4.5], dtype=np.float32),
        }
    )
    with parquet.Writer(tmp_path / "part.parquet") as writer:
        writer.write(table[:2])
        writer.write(table[2:])
    rows = read_rows("train", tmp_path / "part.parquet", "y")
    assert rows.names == ("b", "a")
    assert rows.features.flags["C_CONTIGUOUS"]
    expected = np.array([[1.5, 3.5], [2.5, np.nan], [np.nan, 4.5]], dtype=np.float32)
    np.testing.assert_array_equal(rows.features, expected)
    assert rows.features.dtype == np.float32
    assert rows.classes.tolist() == [1, 0, 2]


GROUPS = (2, 1, 4)  # rows of each row group


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "part.parquet"
    rows = np.arange(sum(GROUPS))
    table = pa.table({"a": rows.astype(np.float32) / 2, "y": rows})
    with parquet.Writer(path) as writer:
        for end, count in zip(np.cumsum(GROUPS), GROUPS, strict=True):
            writer.write(table[end - count : end])
    return path


@given(st.sets(st.integers(0, sum(GROUPS) - 1)).map(sorted))
def test_only_the_rows_that_are_wanted_are_read(part: Path, wanted: Sequence[int]) -> None:
    rows = read_rows("evaluate", part, "y", np.array(wanted, dtype=np.int64))
    assert rows.classes.tolist() == wanted
    assert rows.features.ravel().tolist() == [row / 2 for row in wanted]
    every = read_rows("evaluate", part, "y").at(np.array(wanted, dtype=np.int64))
    np.testing.assert_array_equal(every.features, rows.features)
    np.testing.assert_array_equal(every.classes, rows.classes)
