"""The path of a file, byte for byte, or of a folder, whose files become one tar."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.paths import RAW
from cairn.sources import archive
from cairn.sources.address import scheme_of
from cairn.sources.archive import Member
from cairn.sources.base import SourceNotFoundError, Stream, UrlPart, Version

FORM = "the path of a file or a folder"
SECRETS: frozenset[UrlPart] = frozenset()
TAKES_QUERY = False


def matches(address: str) -> bool:
    """Tell whether an address is a path: any text that is no URL."""
    return not scheme_of(address)


@contextmanager
def open_stream(
    address: str,
    params: Raw,
    version: Version | None,  # noqa: ARG001 - the protocol's
    offset: int,  # noqa: ARG001
) -> Iterator[Stream]:
    """Open a file or a folder; raise a SourceNotFoundError where there is neither."""
    path = Path(os.path.expanduser(address))  # noqa: PTH111 - keeps a ~user that it does not know
    if path.is_dir():
        members = list_members(path)
        yield Stream(Version(size=archive.size(members)), 0, archive.chunks(members))
    elif path.is_file():
        content = archive.file_piece(path)
        yield Stream(Version(size=content.size), 0, content.read(0))
    else:
        raise SourceNotFoundError(f"raw.source: no file {params.source!r}")


def list_members(folder: Path) -> Sequence[Member]:
    """List the files below a folder, unless the stage writes its output there."""
    if folder.resolve() in RAW.resolve().parents:
        raise CairnError(f"raw.source: the table is kept below {folder}; allowed: another folder")
    return archive.members(folder)
