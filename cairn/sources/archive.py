"""Many files as one tar: the same names and bytes always make the same archive."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from cairn.console import CairnError

CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Piece:
    """Some bytes of the archive.

    Attributes
    ----------
    size
        How many.
    read
        Those from an offset on, in chunks.
    """

    size: int
    read: Callable[[int], Iterator[bytes]]


@dataclass(frozen=True)
class Member:
    """A file of the archive: its name from the top of the folder, and its bytes."""

    name: str
    content: Piece


def size(members: Sequence[Member]) -> int:
    """How many bytes the archive will have."""
    return sum(piece.size for piece in pieces(members))


def chunks(members: Sequence[Member], offset: int = 0) -> Iterator[bytes]:
    """The archive's bytes from an offset on."""
    for piece in pieces(members):
        if offset < piece.size:
            yield from piece.read(offset)
        offset = max(0, offset - piece.size)


def pieces(members: Sequence[Member]) -> Iterator[Piece]:
    """What the archive is made of: header, content and padding of each member, then the end."""
    total = 0
    for member in members:
        head = header(member)
        rest = -member.content.size % tarfile.BLOCKSIZE
        yield given(head)
        yield member.content
        yield given(bytes(rest))
        total += len(head) + member.content.size + rest
    least = 2 * tarfile.BLOCKSIZE
    yield given(bytes(least + -(total + least) % tarfile.RECORDSIZE))


def header(member: Member) -> bytes:
    """A member's header, which says nothing of whose the file was, nor from when."""
    entry = tarfile.TarInfo(member.name)  # mode 0644, nobody's, from 1970
    entry.size = member.content.size
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def given(content: bytes) -> Piece:
    """A piece that is here already."""
    return Piece(len(content), lambda offset: iter((content[offset:],)))


def hidden(name: str) -> bool:
    """Whether a file is none of the data: `.git/…`, `_SUCCESS`, and what lies below such names."""
    parts = PurePosixPath(name).parts
    return any(part.startswith((".", "_")) and part != ".." for part in parts)


def members(folder: Path) -> list[Member]:
    """The regular files below a folder in the order of their names, hidden ones left out.

    Raises
    ------
    CairnError
        Where there are none, or a link leads to a folder.
    """
    found = sorted((path.relative_to(folder).as_posix(), path) for path in walk(folder))
    if not found:
        raise CairnError(f"raw.source: no files in {folder}, hidden ones aside")
    return [Member(name, file(path)) for name, path in found]


def walk(folder: Path) -> Iterator[Path]:
    """The regular files below a folder, hidden ones left out."""
    for entry in folder.iterdir():
        if hidden(entry.name):
            continue
        mode = entry.stat().st_mode
        if stat.S_ISDIR(mode):
            if entry.is_symlink():
                raise CairnError(
                    f"raw.source: {entry} is a link to a folder, which is not followed; "
                    "put a folder or links to files in its place"
                )
            yield from walk(entry)
        elif stat.S_ISREG(mode):
            yield entry


def file(path: Path) -> Piece:
    """A file's bytes, as many as it has now."""
    count = path.stat().st_size
    return Piece(count, partial(read, path, count))


def read(path: Path, count: int, offset: int) -> Iterator[bytes]:
    """A file's bytes from an offset on; raises CairnError unless it has so many as it had."""
    with path.open("rb") as opened:
        opened.seek(offset)
        while chunk := opened.read(CHUNK):
            offset += len(chunk)
            if offset > count:
                break
            yield chunk
    if offset != count:
        raise CairnError(f"raw.source: {path} changed while it was read; run it again")
