"""Models fetched from a real S3 server, the embedded store of a project."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import tarfile
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from cairn.errors import CairnError
from service.bento import fetch
from service.process import run_folder
from tests.conftest import Project
from tests.ports import free_ports

pytestmark = pytest.mark.slow
KEY = f"models/{os.getpid()}.bentomodel"  # other processes have tests of the same bucket
URI = f"s3://cairn/{KEY}"


@dataclass(frozen=True)
class Bucket:
    """Where the objects are put, and the folder that a run of the service would have."""

    client: Any
    folder: Path

    def put(self, content: bytes) -> str:
        """Put an object at URI; returns its SHA-256."""
        self.client.put_object(Bucket="cairn", Key=KEY, Body=content)
        return hashlib.sha256(content).hexdigest()


@pytest.fixture
def bucket(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    variables = {
        **project.s3(),
        "AWS_REQUEST_CHECKSUM_CALCULATION": "WHEN_REQUIRED",
        run_folder.RUN: str(tmp_path),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    session = botocore.session.get_session()
    client = session.create_client(
        "s3", region_name="us-east-1", endpoint_url=variables["AWS_ENDPOINT_URL"]
    )
    yield Bucket(client, tmp_path)
    client.close()


def packed(**files: bytes) -> bytes:
    """An archive as `bentoml models export` makes them."""
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return into.getvalue()


def left(bucket: Bucket) -> set[str]:
    return {path.name for path in bucket.folder.iterdir()} - {"model.lock"}


def test_a_model_with_the_right_hash_is_unpacked_once_for_all_workers(bucket: Bucket) -> None:
    sha256 = bucket.put(packed(model=b"bytes"))
    folder = fetch.fetch_model(URI, sha256)
    assert (folder / "model").read_bytes() == b"bytes"
    bucket.client.delete_object(Bucket="cairn", Key=KEY)
    assert fetch.fetch_model(URI, sha256) == folder
    assert left(bucket) == {"model"}


def test_another_hash_is_refused_before_it_is_opened(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: Any) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(fetch, "unpack", opened)
    actual = bucket.put(packed(model=b"bytes"))
    with pytest.raises(CairnError, match=rf"^MODEL_SHA256: {URI} is another file, {actual}"):
        fetch.fetch_model(URI, "0" * 64)
    assert left(bucket) == set()


def test_what_is_not_there_is_named(bucket: Bucket) -> None:
    with pytest.raises(CairnError, match=r"^MODEL_URI: s3://cairn/none cannot be fetched: .*none"):
        fetch.fetch_model("s3://cairn/none", "0" * 64)
    assert left(bucket) == set()


def test_wrong_credentials_are_reported(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = bucket.put(packed(model=b"bytes"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(CairnError, match=r"^MODEL_URI: .* cannot be fetched: ") as error:
        fetch.fetch_model(URI, sha256)
    assert "wrong" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_ACCESS_KEY_ID", "secret\n", "AWS_ACCESS_KEY_ID contains a space, a line break"),
        ("AWS_SESSION_TOKEN", "se cret", "AWS_SESSION_TOKEN contains a space"),
        ("AWS_ENDPOINT_URL", "secret", "AWS_ENDPOINT_URL must begin with http"),
    ],
)
def test_what_the_client_would_not_survive_is_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(CairnError, match=f"^{message}") as error:
        fetch.check_environment({name: value})
    assert "secret" not in str(error.value)


def test_a_damaged_archive_is_reported(bucket: Bucket) -> None:
    archive = packed(model=bytes(range(256)) * 99)
    sha256 = bucket.put(archive[:200] + b"damaged" + archive[207:])
    with pytest.raises(CairnError, match=r"^MODEL_URI: this is not an export of a model: "):
        fetch.fetch_model(URI, sha256)


@pytest.mark.usefixtures("bucket")
def test_a_store_that_does_not_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)}")
    with pytest.raises(CairnError, match=r"^MODEL_URI: .* cannot be fetched: "):
        fetch.fetch_model(URI, "0" * 64)


def test_what_is_no_archive_is_reported(bucket: Bucket) -> None:
    sha256 = bucket.put(b"not an archive")
    with pytest.raises(CairnError, match=r"^MODEL_URI: this is not an export of a model: "):
        fetch.fetch_model(URI, sha256)
    assert left(bucket) == set()


def test_an_archive_writes_nowhere_else(bucket: Bucket) -> None:
    sha256 = bucket.put(packed(**{"..__..__outside": b"bytes"}))
    with pytest.raises(CairnError, match=r"^MODEL_URI: this is not an export of a model: "):
        fetch.fetch_model(URI, sha256)
    assert not (bucket.folder.parent / "outside").exists()
    assert left(bucket) == set()


# Archives that nobody's S3 is needed for.
LIMIT = 2**20


def write_archive(folder: Path, *entries: tarfile.TarInfo, **files: bytes) -> Path:
    """Write an archive of these files, and of entries of zeros."""
    path = folder / "archive"
    with tarfile.open(path, "w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in entries:
            archive.addfile(entry, Zeros())
    return path


class Zeros(io.RawIOBase):
    """A file without end."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def make_entry(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry


def refuse(archive: Path, limit: int = LIMIT) -> str:
    """The one line with which an archive is refused; no more than the limit was unpacked."""
    into = archive.with_name("into")
    with pytest.raises(CairnError) as error:
        fetch.unpack(archive, into, limit)
    assert sum(path.stat().st_size for path in into.rglob("*")) <= limit
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_unpacks_to_more_than_is_allowed_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, make_entry("model.onnx", 100 * LIMIT))
    assert archive.stat().st_size < LIMIT / 10
    assert refuse(archive) == (
        f"MODEL_URI: this export unpacks to more than {LIMIT} bytes; if the model is that large, "
        "set MAX_MODEL_BYTES"
    )


def test_many_small_files_are_counted_together(tmp_path: Path) -> None:
    entries = [make_entry(f"plots/{number}", 10_000) for number in range(200)]
    assert "unpacks to more than" in refuse(write_archive(tmp_path, *entries))


def test_files_without_end_are_refused(tmp_path: Path) -> None:
    entries = [make_entry(f"plots/{number}", 0) for number in range(fetch.MOST_ENTRIES + 1)]
    assert "more than plain files" in refuse(write_archive(tmp_path, *entries), 100 * LIMIT)


def test_a_long_file_that_would_be_parsed_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, make_entry("contract.json", fetch.LONGEST + 1))
    assert "'contract.json' in it has more than" in refuse(archive, 100 * LIMIT)
    fetch.unpack(
        write_archive(tmp_path, make_entry("model.onnx", fetch.LONGEST + 1)),
        tmp_path / "graph",
        100 * LIMIT,
    )


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_description_of_an_entry_is_not_read_into_memory(tmp_path: Path, kind: bytes) -> None:
    archive = write_archive(tmp_path, make_entry("name", 50 * LIMIT, kind))
    tracemalloc.start()
    try:
        assert "description of an entry is too long" in refuse(archive, 100 * LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 10 * LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_SPARSE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    assert "archive" not in refuse(write_archive(tmp_path, make_entry("model.onnx", 0, kind)))


def test_folders_in_folders_without_end_are_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, make_entry("a/" * 120 + "b", 1))
    assert "more than plain files in its own folders" in refuse(archive)


def test_xz_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**30}]
    # The dictionary that its header asks for is all that counts; to pack takes ten times as much.
    packed = bytearray(lzma.compress(bytes(100), filters=[{**filters[0], "dict_size": 2**23}]))
    header = bytes(packed[12:24])
    size = header.index(bytes([0x21, 0x01, 22])) + 2  # LZMA2, one byte of properties: 8 MiB
    changed = header[:size] + bytes([36]) + header[size + 1 : 8]  # 1 GiB
    packed[12:24] = changed + zlib.crc32(changed).to_bytes(4, "little")
    path = tmp_path / "archive"
    path.write_bytes(packed)
    assert "Memory usage limit" in refuse(path)


def test_an_archive_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, **{"model.onnx": os.urandom(50_000)})
    archive.write_bytes(archive.read_bytes()[:30_000])
    assert "not an export of a model" in refuse(archive)


def test_a_longer_object_than_is_allowed_is_not_fetched_to_its_end(bucket: Bucket) -> None:
    sha256 = bucket.put(bytes(2 * LIMIT))
    with pytest.raises(CairnError, match=rf"{URI} cannot be fetched: it has more than {LIMIT} b"):
        fetch.fetch_model(URI, sha256, LIMIT)
    assert left(bucket) == set()
