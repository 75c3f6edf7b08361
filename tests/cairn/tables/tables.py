"""One table in every format that `processed` reads, and the stage run on it."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cairn.contract import Contract
from cairn.errors import CairnError
from cairn.params.processed import Processed
from cairn.paths import CONTRACT, PROCESSED, RAW, REPORT
from cairn.sources import archive
from cairn.tables import contract_file
from stages import processed
from tests.small import PARAMS

Rows = list[dict[str, Any]]

# Every kind of column, with missing values; dates as texts of ISO 8601.
ROWS: Rows = [
    {"id": "r1", "n (cm)": 0.5, "i": 3, "b": True, "c": "red", "code": 10, "day": "2024-02-29",
     "time": "2024-02-29T13:45:10", "y": "no"},
    {"id": "r2", "n (cm)": None, "i": None, "b": None, "c": None, "code": 20, "day": None,
     "time": None, "y": "yes"},
    {"id": None, "n (cm)": -2.25, "i": -7, "b": False, "c": "blue, dark", "code": 10,
     "day": "1969-12-31", "time": "1969-12-31T23:59:58", "y": "yes"},
    {"id": "r4", "n (cm)": 1e6, "i": 16777216, "b": True, "c": 'a "quoted"\nname', "code": 30,
     "day": "0099-01-01", "time": "2024-01-01T00:00:00", "y": "no"},
    {"id": "r4", "n (cm)": 0.1, "i": 0, "b": False, "c": "red", "code": None,
     "day": "2024-01-01", "time": "2024-06-30T12:00:00", "y": "no"},
]  # fmt: skip


def as_csv(rows: Rows, delimiter: str = ",", quoting: Any = csv.QUOTE_MINIMAL) -> bytes:
    """The rows as CSV, a missing value as nothing."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerows([list(rows[0]), *(list(row.values()) for row in rows)])
    return file.getvalue().encode()


def as_lines(rows: Rows) -> bytes:
    """The rows as JSON lines."""
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def as_parquet(rows: Rows, **types: pa.DataType) -> bytes:
    """The rows as Parquet, columns with these types."""
    columns = {
        name: pa.array([row[name] for row in rows], type=types.get(name)) for name in rows[0]
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def as_tar(files: dict[str, bytes], folder: Path) -> bytes:
    """Files as `raw` packs a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return b"".join(archive.chunks(archive.members(folder)))


def as_zip(**files: str | bytes) -> bytes:
    """A zip archive of files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def as_zstd(content: bytes) -> bytes:
    """Content compressed by Zstandard."""
    file = pa.BufferOutputStream()
    with pa.CompressedOutputStream(file, "zstd") as compressed:
        compressed.write(content)
    return bytes(file.getvalue())


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": as_zstd,
}


def make_params(**params: Any) -> Processed:
    """Make the params of `processed`, with these values changed."""
    return Processed.model_validate({**PARAMS["processed"], "drop": [], **params})


def run(table: str | bytes, **params: Any) -> tuple[Contract, pd.DataFrame, dict[str, Any]]:
    """Run the stage: the contract, the rows and the report that it leaves."""
    RAW.parent.mkdir(parents=True, exist_ok=True)
    RAW.write_bytes(table if isinstance(table, bytes) else table.encode())
    own = make_params(**params).model_dump()
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, "processed": own}))
    processed.main()
    return contract_file.read(CONTRACT), pd.read_parquet(PROCESSED), json.loads(REPORT.read_bytes())


def refused(table: str | bytes, **params: Any) -> str:
    """Run the stage, which ends with a line for each problem and leaves nothing new."""
    before = CONTRACT.read_bytes() if CONTRACT.exists() else None
    with pytest.raises(CairnError) as error:
        run(table, **params)
    assert not list(PROCESSED.parent.glob("table.*"))
    assert (CONTRACT.read_bytes() if CONTRACT.exists() else None) == before
    assert all(map(str.strip, str(error.value).splitlines()))
    return str(error.value)


def edit(change: dict[str, dict[str, Any]], **top: Any) -> None:
    """Edit the contract as people do: keys of columns by name, and others."""
    content = yaml.safe_load(CONTRACT.read_text())
    content.update(top)
    for column in content["columns"]:
        column.update(change.get(column["name"], {}))
    CONTRACT.write_text(yaml.safe_dump(content))


def run_again(content: str | bytes, **params: Any) -> tuple[Contract, pd.DataFrame, dict[str, Any]]:
    """Run the stage as DVC does, which takes away the rows that it made before."""
    PROCESSED.unlink(missing_ok=True)
    return run(content, **params)


def refused_again(content: str | bytes, **params: Any) -> str:
    PROCESSED.unlink(missing_ok=True)
    return refused(content, **params)
