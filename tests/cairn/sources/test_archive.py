from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.errors import CairnError
from cairn.sources import archive
from cairn.sources.archive import Member

# Names that a folder may have, long ones too, in order.
NAMES = st.lists(
    st.from_regex(r"[a-zé]{1,4}(/[a-z0-9]{1,120}){0,2}\.csv", fullmatch=True),
    min_size=1,
    max_size=4,
    unique=True,
).map(sorted)


def packed(folder: Path) -> bytes:
    return b"".join(archive.chunks(archive.members(folder)))


def unpacked(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as opened:
        files = {entry: opened.extractfile(entry) for entry in opened}
        return {entry.name: file.read() for entry, file in files.items() if file}


def make(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def names(folder: Path) -> list[str]:
    return [member.name for member in archive.members(folder)]


@given(names=NAMES, contents=st.lists(st.binary(max_size=1100), min_size=4), data=st.data())
def test_it_is_a_tar_of_those_bytes_from_any_offset(
    names: list[str], contents: list[bytes], data: st.DataObject
) -> None:
    files = dict(zip(names, contents, strict=False))
    members = [Member(name, archive.bytes_piece(content)) for name, content in files.items()]
    tar = b"".join(archive.chunks(members))
    assert unpacked(tar) == files
    assert list(unpacked(tar)) == names
    assert archive.size(members) == len(tar)
    assert len(tar) % tarfile.RECORDSIZE == 0
    offset = data.draw(st.integers(0, len(tar)))
    assert b"".join(archive.chunks(members, offset)) == tar[offset:]


def test_the_same_files_in_another_folder_at_another_time_are_the_same_bytes(
    tmp_path: Path,
) -> None:
    one = make(tmp_path / "one", b=b"2", a__c=b"1")
    two = make(tmp_path / "two", a__c=b"1", b=b"2")
    os.utime(one / "b", (1, 1))
    (one / "b").chmod(0o600)
    assert packed(one) == packed(two)
    with tarfile.open(fileobj=io.BytesIO(packed(one))) as opened:
        entry = opened.getmembers()[0]
    assert (entry.name, entry.mtime, entry.uid, entry.gid, entry.mode) == ("a/c", 0, 0, 0, 0o644)
    assert (entry.uname, entry.gname) == ("", "")


def test_files_come_by_name_and_hidden_ones_not_at_all(tmp_path: Path) -> None:
    make(tmp_path, b=b"", a__b=b"", year__x=b"", _SUCCESS=b"", _tmp__x=b"")
    make(tmp_path / ".git", x=b"")
    make(tmp_path, **{"a.csv": b"", "a__.part": b""})
    assert names(tmp_path) == ["a.csv", "a/b", "b", "year/x"]


def test_a_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).write_bytes(b"1")
    assert unpacked(packed(tmp_path)) == {"\udcff.csv": b"1"}


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", x=b"bytes")
    folder = make(tmp_path / "folder", a=b"")
    (folder / "b").symlink_to(tmp_path / "elsewhere" / "x")
    assert unpacked(packed(folder)) == {"a": b"", "b": b"bytes"}


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    make(tmp_path, a=b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(CairnError, match=r"raw\.source: .*loop is a link to a folder"):
        archive.members(tmp_path)


def test_a_link_to_nothing_is_not_left_out_in_silence(tmp_path: Path) -> None:
    make(tmp_path, a=b"")
    (tmp_path / "b").symlink_to("none")
    with pytest.raises(FileNotFoundError):
        archive.members(tmp_path)


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, a=b"")
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("files", [{}, {"_SUCCESS": b""}])
def test_a_folder_without_files_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(CairnError, match=r"raw\.source: no files in .* except hidden ones"):
        archive.members(make(tmp_path, **files))


@pytest.mark.parametrize("now", [b"", b"1", b"123"])
def test_a_file_that_changes_its_size_meanwhile_is_an_error(now: bytes, tmp_path: Path) -> None:
    members = archive.members(make(tmp_path, a=b"12"))
    (tmp_path / "a").write_bytes(now)
    with pytest.raises(CairnError, match="a changed while it was read"):
        list(archive.chunks(members))
