"""Packs files into one tar: the same names and bytes always give the same archive."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from cairn.errors import CairnError

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
    """Return how many bytes the archive will have."""
    return sum(piece.size for piece in pieces(members))


def chunks(members: Sequence[Member], offset: int = 0) -> Iterator[bytes]:
    """Yield the archive's bytes from an offset on."""
    for piece in pieces(members):
        if offset < piece.size:
            yield from piece.read(offset)
        offset = max(0, offset - piece.size)


def pieces(members: Sequence[Member]) -> Iterator[Piece]:
    """Yield the parts of the archive: header, content and padding of each member, then the end."""
    total = 0
    for member in members:
        head = header(member)
        padding = -member.content.size % tarfile.BLOCKSIZE
        yield bytes_piece(head)
        yield member.content
        yield bytes_piece(bytes(padding))
        total += len(head) + member.content.size + padding
    end = 2 * tarfile.BLOCKSIZE
    yield bytes_piece(bytes(end + -(total + end) % tarfile.RECORDSIZE))


def header(member: Member) -> bytes:
    """Format a member's header, which names no owner and no time."""
    entry = tarfile.TarInfo(member.name)  # mode 0644, nobody's, from 1970
    entry.size = member.content.size
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def bytes_piece(content: bytes) -> Piece:
    """Return the piece of bytes that are in memory."""
    return Piece(len(content), lambda offset: iter((content[offset:],)))


def is_hidden(name: str) -> bool:
    """Tell whether a file is none of the data: `.git/…`, `_SUCCESS`, and all below such names."""
    parts = PurePosixPath(name).parts
    return any(part.startswith((".", "_")) and part != ".." for part in parts)


def members(folder: Path) -> list[Member]:
    """List the regular files below a folder in the order of their names, without hidden ones.

    Raises
    ------
    CairnError
        Where there are none, or a link leads to a folder.
    """
    files = sorted((path.relative_to(folder).as_posix(), path) for path in walk(folder))
    if not files:
        raise CairnError(f"raw.source: no files in {folder} except hidden ones")
    return [Member(name, file_piece(path)) for name, path in files]


def walk(folder: Path) -> Iterator[Path]:
    """Yield the regular files below a folder, without hidden ones."""
    for entry in folder.iterdir():
        if is_hidden(entry.name):
            continue
        mode = entry.stat().st_mode
        if stat.S_ISDIR(mode):
            if entry.is_symlink():
                raise CairnError(
                    f"raw.source: {entry} is a link to a folder, which is not followed; "
                    "put a folder or links to files there instead"
                )
            yield from walk(entry)
        elif stat.S_ISREG(mode):
            yield entry


def file_piece(path: Path) -> Piece:
    """Return the piece of a file's bytes, as many as it has now."""
    size = path.stat().st_size
    return Piece(size, partial(read, path, size))


def read(path: Path, size: int, offset: int) -> Iterator[bytes]:
    """Yield a file's bytes from an offset on; raise a CairnError unless it still has that size."""
    with path.open("rb") as opened:
        opened.seek(offset)
        while chunk := opened.read(CHUNK):
            offset += len(chunk)
            if offset > size:
                break
            yield chunk
    if offset != size:
        raise CairnError(f"raw.source: {path} changed while it was read; run it again")
