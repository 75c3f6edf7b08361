"""raw: fetch the table, from wherever it is, and keep it byte for byte."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cairn import console
from cairn.console import say
from cairn.errors import CairnError
from cairn.params.base import read_params
from cairn.params.raw import Raw
from cairn.paths import RAW
from cairn.sources import download, table


def main() -> None:
    """Fetch what params.yaml names into data/raw."""
    params = read_params(Raw)
    say(f"raw: fetching {table.mask(params.source)}")
    RAW.parent.mkdir(parents=True, exist_ok=True)
    replace(params)
    say(f"raw: {RAW.stat().st_size:,} bytes in {RAW}")


def replace(params: Raw) -> None:
    """Fetch the source beside the table, and put it in the table's place in one step."""
    part = RAW.with_name(f"{RAW.name}.part")
    with lock(part):
        try:
            table.fetch(params, part, os.environ)
            check(part, params.sha256)
            part.replace(RAW)
        finally:
            if not download.checkpoint_path(part).exists():
                part.unlink(missing_ok=True)


@contextmanager
def lock(part: Path) -> Iterator[None]:
    """Keep two runs at the same moment from writing the same file."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CairnError(
                f"another run is writing {part}; wait for it, or end it, and run this again"
            ) from None
        yield


def check(path: Path, sha256: str | None) -> None:
    """Raise a CairnError unless the file has this SHA-256; None allows any."""
    if sha256 is None:
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        raise CairnError(
            f"raw.sha256: the source has {actual}, params.yaml asks for {sha256}; "
            "write the new one if the file was meant to change, else restore the old file"
        )


if __name__ == "__main__":
    console.run(main)
