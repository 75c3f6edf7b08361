"""Models fetched from a real S3 server, the embedded store of a project."""

from __future__ import annotations

import hashlib
import io
import tarfile
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
KEY = "models/small.bentomodel"
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
    whole = packed(model=bytes(range(256)) * 99)
    sha256 = bucket.put(whole[:200] + b"damaged" + whole[207:])
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
