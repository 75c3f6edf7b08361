"""Writes a stream to a file: all of it or an error, resumed where it broke off.

The bytes transferred so far are in the file. Beside it lies a checkpoint that says which source
they are a part of, and which version of it, by the server's own word. Only while the server still
has that version are bytes added to them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cairn.console import EVERY, patience, repeated, say
from cairn.errors import CairnError
from cairn.sources.base import Stream, TransferError, Version, VersionError

# Seconds before the next attempt. All of them are there again once more bytes have come, which
# tenacity cannot do: it counts attempts, and knows of no progress between them.
PAUSES = (1.0, 2.0, 4.0, 8.0)

# Opens the source at an offset, if it still has that version.
Opener = Callable[[Version | None, int], AbstractContextManager[Stream]]


@dataclass(frozen=True)
class Checkpoint:
    """Says what the file beside it is a part of: digest of the address, and version."""

    origin: str
    version: Version


def download(opener: Opener, origin: str, part: Path) -> None:
    """Write a source to a file, with as many attempts as bring it further.

    Parameters
    ----------
    origin
        Digest of the address, without passwords.
    part
        May have some of the bytes already.

    Raises
    ------
    CairnError
        Where the source cannot be had, or breaks off again and again; the bytes are kept if the
        next run can resume.
    """
    most, pauses = 0, list(PAUSES)
    while True:
        try:
            resume(opener, origin, part)
        except TransferError as error:
            size = size_of(part)
            if isinstance(error, VersionError):
                reset(part)
            if size > most:
                most, pauses = size, list(PAUSES)
            if not pauses:
                raise CairnError(f"raw.source: {error}; {advise(part)}") from None
            event = (
                "the source changed"
                if isinstance(error, VersionError)
                else f"broke off at {size:,} bytes"
            )
            say(f"raw: {event}; trying again in {pauses[0]:.0f} s")
            time.sleep(pauses.pop(0))
        else:
            checkpoint_path(part).unlink(missing_ok=True)
            return


def advise(part: Path) -> str:
    """Say what to do next, and where that resumes."""
    if not checkpoint_path(part).exists():
        return "run it again"
    return f"run it again to resume at {size_of(part):,} bytes"


def resume(opener: Opener, origin: str, part: Path) -> None:
    """Make one attempt to complete the file; raise a TransferError unless it is complete then."""
    version, offset = read_progress(part, origin)
    with ExitStack() as stack:
        with patience("raw: waiting for the source", EVERY):
            stream = stack.enter_context(opener(version, offset))
        if stream.start == 0:
            reset(part)
            write_checkpoint(part, Checkpoint(origin, stream.version))
        elif version is None or stream.start != offset or not version.agrees(stream.version):
            raise VersionError("the server sent a different part than requested")
        else:
            say(f"raw: resuming at {offset:,} bytes")
        with report_progress(part, stream.version.size):
            write_chunks(part, stream.start, stream.chunks)
    check_size(part, stream.version.size)


def read_progress(part: Path, origin: str) -> tuple[Version | None, int]:
    """Read which version the file is a part of, if any, and where to resume.

    That is before its last byte, so that the server is asked also where nothing is missing.
    """
    checkpoint = read_checkpoint(part)
    size = size_of(part)
    if checkpoint is None or checkpoint.origin != origin:
        return None, 0
    if not 1 < size <= (checkpoint.version.size or 0):
        return None, 0
    return checkpoint.version, size - 1


def write_chunks(part: Path, start: int, chunks: Iterator[bytes]) -> None:
    """Write chunks to a file from an offset on."""
    with part.open("r+b") as file:
        file.seek(start)
        file.writelines(chunks)


def check_size(part: Path, expected: int | None) -> None:
    """Raise a TransferError unless the file is as long as the server announced."""
    size = size_of(part)
    if expected is None or size == expected:
        return
    kind = TransferError if size < expected else VersionError
    raise kind(f"the server announced {expected:,} bytes and sent {size:,}")


def reset(part: Path) -> None:
    """Empty the file; its checkpoint goes first, lest it describe other bytes."""
    checkpoint_path(part).unlink(missing_ok=True)
    part.write_bytes(b"")


def checkpoint_path(part: Path) -> Path:
    """Return the path of a file's checkpoint."""
    return part.with_name(f"{part.name}.json")


def write_checkpoint(part: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint where the server can be held to the version."""
    if checkpoint.version.size is not None and checkpoint.version.mark:
        checkpoint_path(part).write_text(json.dumps(asdict(checkpoint)), encoding="utf-8")


def read_checkpoint(part: Path) -> Checkpoint | None:
    """Read a file's checkpoint; None where there is none that can be read."""
    try:
        content = json.loads(checkpoint_path(part).read_text(encoding="utf-8"))
        return Checkpoint(content["origin"], Version(**content["version"]))
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def report_progress(path: Path, total: int | None = None) -> Iterator[None]:
    """Print every ten seconds how far a file has grown, of how many bytes, and how fast."""
    before, start = size_of(path), time.monotonic()

    def report() -> None:
        size = size_of(path)
        speed = (size - before) / (time.monotonic() - start)
        say(f"raw: {format_progress(size, total, speed)}")

    with repeated(report, EVERY):
        yield


def format_progress(size: int, total: int | None, speed: float) -> str:
    """Format how far a transfer is; `speed` in bytes a second."""
    of_total = "" if total is None else f" of {total:,}"
    return f"{size:,}{of_total} bytes, {speed / 1e6:.1f} MB/s"
