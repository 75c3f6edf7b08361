from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from stages import raw
from stages.console import CairnError
from stages.paths import RAW
from tests.small import PARAMS

BYTES = b'\xef\xbb\xbfa,"b"\r\n1,\xff\r\n'  # a mark, CRLF, a byte that is not UTF-8
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_bytes(BYTES)
    return tmp_path


def settings(source: str, sha256: str | None = None) -> None:
    content = {**PARAMS, "raw": {"source": source, "sha256": sha256}}
    Path("params.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_is_kept_byte_for_byte(sha256: str | None) -> None:
    settings("mine.csv", sha256)
    raw.main()
    assert RAW.read_bytes() == BYTES


def test_another_file_than_the_one_asked_for_is_refused_and_not_kept() -> None:
    settings("mine.csv", "0" * 64)
    with pytest.raises(CairnError, match=f"raw.sha256: the source has {SHA256}, .* 000"):
        raw.main()
    assert list(RAW.parent.iterdir()) == []


def test_a_refused_file_leaves_the_one_before() -> None:
    settings("mine.csv")
    raw.main()
    Path("mine.csv").write_bytes(b"other")
    settings("mine.csv", SHA256)
    with pytest.raises(CairnError):
        raw.main()
    assert RAW.read_bytes() == BYTES


@pytest.mark.parametrize(
    ("name", "rows", "columns"), [("breast_cancer", 569, 31), ("iris", 150, 5), ("wine", 178, 14)]
)
def test_a_shipped_table_is_its_columns_then_the_target(name: str, rows: int, columns: int) -> None:
    raw.fetch(f"sklearn:{name}", Path("t.csv"))
    header, *lines = Path("t.csv").read_bytes().split(b"\n")
    assert header.count(b",") == columns - 1
    assert header.endswith(b",target")
    assert len(lines) == rows + 1  # and an end of line after the last
    assert lines[-1] == b""


@pytest.mark.parametrize("source", ["sklearn:boston", "sklearn:", "sklearn:iris "])
def test_an_unknown_shipped_table_is_named_with_those_that_are_known(source: str) -> None:
    with pytest.raises(CairnError) as error:
        raw.fetch(source, Path("t.csv"))
    assert f"raw.source: got {source}; allowed: sklearn:{{breast_cancer," in str(error.value)


@pytest.mark.parametrize("source", ["none.csv", ".", "s3://bucket/table.csv"])
def test_a_source_that_is_no_file_is_named_with_what_is_allowed(source: str) -> None:
    with pytest.raises(CairnError) as error:
        raw.fetch(source, Path("t.csv"))
    assert f"raw.source: no file '{source}'; allowed: the path of a CSV file" in str(error.value)
    assert "sklearn:iris" in str(error.value)


def test_an_empty_file_is_refused() -> None:
    Path("mine.csv").write_bytes(b"")
    settings("mine.csv")
    with pytest.raises(CairnError, match=r"mine\.csv is empty"):
        raw.main()
    assert not RAW.exists()
