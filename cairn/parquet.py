"""Reads and writes Parquet by row groups, so that memory never holds all of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq


def groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the row groups of a file, in order; with all columns, or with those."""
    with pq.ParquetFile(path) as file:
        for index in range(file.num_row_groups):
            yield file.read_row_group(index, columns)


class Writer:
    """Writes a file, one row group a table; where the `with` block fails it writes none.

    Attributes
    ----------
    path
        Of the file.
    rows, columns
        What has been written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = self.columns = 0
        self._part = path.with_suffix(".part")
        self._file: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, table: pa.Table) -> None:
        """Add a table; one without rows only sets the columns."""
        if self._file is None:
            # Few numbers occur twice, and looking for them takes as long as all the rest.
            texts = [f.name for f in table.schema if not pa.types.is_floating(f.type)]
            self._file = pq.ParquetWriter(self._part, table.schema, use_dictionary=texts)
            self.columns = table.num_columns
        if len(table):
            self._file.write_table(table, row_group_size=len(table))
            self.rows += len(table)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is None:
            return
        self._file.close()
        if kind is None:
            self._part.replace(self.path)
        else:
            self._part.unlink()
