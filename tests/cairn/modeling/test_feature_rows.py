from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

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
