"""Objects and prefixes of a real S3 server."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cairn.s3 import Keys, open_client
from cairn.sources import archive, download, s3, table
from cairn.sources.base import VersionError
from cairn.sources.download import Checkpoint
from tests.cairn.sources.transfers import fails, fetch, params
from tests.conftest import clone, use_port
from tests.ports import free_ports

BYTES = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables with which a real S3 server is reached."""
    project = clone(tmp_path_factory.mktemp("store"))
    use_port(project, free_ports())
    project.run("python", "deploy/local/store.py", "start")
    try:
        yield project.s3()
    finally:
        project.run("python", "deploy/local/store.py", "stop")


@pytest.fixture(scope="module")
def client(store: dict[str, str]) -> Iterator[Any]:
    """A client of that server."""
    opened = open_client(
        connect_timeout=10,
        read_timeout=60,
        attempts=3,
        endpoint=store["AWS_ENDPOINT_URL"],
        keys=Keys(store["AWS_ACCESS_KEY_ID"], store["AWS_SECRET_ACCESS_KEY"]),
    )
    yield opened
    opened.close()


@pytest.fixture
def bucket(
    store: dict[str, str], client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., None]:
    """Puts objects, by key."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in store.items():
        monkeypatch.setenv(name, value)

    def put(objects: dict[str, bytes]) -> None:
        for key, content in objects.items():
            client.put_object(Bucket="cairn", Key=key, Body=content)

    return put


Put = Callable[[dict[str, bytes]], None]
slow = pytest.mark.slow


@slow
@pytest.mark.parametrize("key", ["t.csv", "a folder/50%/ü?.csv#1", "a//b@c"])
def test_an_object_of_s3_comes_byte_for_byte(bucket: Put, into: Path, key: str) -> None:
    bucket({key: BYTES})
    assert fetch(f"s3://cairn/{key}", into) == BYTES


@slow
def test_an_empty_object_of_s3_is_empty(bucket: Put, into: Path) -> None:
    bucket({"empty": b""})
    assert fetch("s3://cairn/empty", into) == b""


@slow
def test_all_below_a_prefix_are_what_the_folder_would_be(
    bucket: Put, into: Path, tmp_path: Path
) -> None:
    files = {"b.csv": b"2", "a/x.csv": BYTES, "a.csv": b"1" * 513}
    others = {"_SUCCESS": b"", ".part": b"x", "_tmp/y": b"y", "a/": b""}
    bucket({f"in/{name}": content for name, content in (files | others).items()})
    bucket({"inside.csv": b"none of it"})
    for name, content in files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    packed = b"".join(archive.chunks(archive.members(tmp_path / "folder")))
    assert fetch("s3://cairn/in/", into) == packed
    with tarfile.open(fileobj=io.BytesIO(packed)) as opened:
        assert opened.getnames() == ["a.csv", "a/x.csv", "b.csv"]


def cut(url: str, into: Path, count: int) -> None:
    """Leave what a run leaves that was ended after so many bytes."""
    with s3.open_stream(url, params(url), None, 0) as stream:
        checkpoint = Checkpoint(table.digest_origin(url, s3), stream.version)
        download.write_checkpoint(into, checkpoint)
        into.write_bytes(b"".join(stream.chunks)[:count])


@slow
@pytest.mark.parametrize("url", ["s3://cairn/half/1", "s3://cairn/half/"])
@pytest.mark.parametrize("count", [1, 2, 700, 5000, 10_000])
def test_s3_goes_on_where_it_was_ended(
    bucket: Put, into: Path, url: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket({"half/1": BYTES, "half/2": BYTES[::-1]})
    content = fetch(url, into)
    cut(url, into, count)
    assert fetch(url, into) == content
    assert (f"resuming at {count - 1:,} bytes" in capsys.readouterr().out) == (count > 1)


@slow
@pytest.mark.parametrize("url", ["s3://cairn/new/1", "s3://cairn/new/"])
def test_s3_begins_anew_where_something_changed(bucket: Put, into: Path, url: str) -> None:
    bucket({"new/1": BYTES, "new/2": b"2"})
    cut(url, into, 2000)
    bucket({"new/1": BYTES[::-1]})
    content = fetch(url, into)
    assert BYTES[::-1] in content
    assert BYTES[:1000] not in content.replace(BYTES[::-1], b"")


@slow
def test_an_object_that_changes_between_list_and_get_is_listed_again(
    bucket: Put, into: Path
) -> None:
    bucket({"late/1": b"one", "late/2": b"two"})
    url = "s3://cairn/late/"

    def interrupted() -> None:
        with s3.open_stream(url, params(url), None, 0) as stream:
            bucket({"late/2": b"new"})
            list(stream.chunks)

    with pytest.raises(VersionError):
        interrupted()
    assert b"new" in fetch(url, into)


@slow
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("s3://cairn/none.csv", "there is no such object; for all below a prefix, end it with `/`"),
        ("s3://cairn/none/", "no objects below this prefix"),
        ("s3://no-such-bucket/t.csv", "there is no such bucket"),
        ("s3://no-such-bucket/in/", "there is no such bucket"),
        ("s3://cairn", "allowed: s3://BUCKET/KEY or s3://BUCKET/PREFIX/"),
        ("s3:///t.csv", "allowed: s3://BUCKET/KEY or s3://BUCKET/PREFIX/"),
        ("s3://Bad_Bucket!/t.csv", 'Invalid bucket name "Bad_Bucket!"'),
    ],
)
def test_what_s3_has_not_is_an_error(bucket: Put, into: Path, url: str, problem: str) -> None:
    del bucket
    message = fails(url, into)
    assert message.startswith("raw.source: ")
    assert problem in message


@slow
@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("AWS_SECRET_ACCESS_KEY=hunter2", "these credentials do not allow it"),
        ("AWS_ACCESS_KEY_ID=hunter2", "these credentials do not allow it"),
        ("AWS_SESSION_TOKEN=hunter2\nline", "look for a line break"),
        ("AWS_ENDPOINT_URL=hunter2", "a wrong address in the AWS_ variables"),
        ("AWS_ENDPOINT_URL=http://127.0.0.1:1", "no connection to S3: Could not connect to"),
        ("AWS_PROFILE=none", "The config profile (none) could not be found"),
    ],
)
def test_a_setting_that_s3_does_not_take_is_an_error(
    bucket: Put, into: Path, monkeypatch: pytest.MonkeyPatch, setting: str, problem: str
) -> None:
    bucket({"t.csv": BYTES})
    monkeypatch.setenv(*setting.split("=", 1))
    message = fails("s3://cairn/t.csv", into)
    assert problem in message
    assert "hunter2" not in message


@slow
def test_without_credentials_it_asks_as_anybody(
    bucket: Put, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket({"t.csv": BYTES})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "403" in fails("s3://cairn/t.csv", into)


@slow
def test_a_profile_of_the_home_folder_will_do(
    bucket: Put, store: dict[str, str], into: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket({"t.csv": BYTES})
    for name in store:
        monkeypatch.delenv(name)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {store['AWS_ENDPOINT_URL']}\n"
    )
    (tmp_path / ".aws" / "credentials").write_text(
        f"[lab]\naws_access_key_id = {store['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {store['AWS_SECRET_ACCESS_KEY']}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert fetch("s3://cairn/t.csv", into) == BYTES
