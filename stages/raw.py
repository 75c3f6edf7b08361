"""raw: fetch the table and keep it byte for byte."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from stages import console, params
from stages.console import CairnError, say
from stages.paths import RAW

SHIPPED = ("breast_cancer", "digits", "iris", "wine")


def main() -> None:
    """Fetch what params.yaml names into data/raw."""
    block = params.load().raw
    say(f"raw: fetching {block.source}")
    RAW.parent.mkdir(parents=True, exist_ok=True)
    part = RAW.with_name(f"{RAW.name}.part")
    try:
        fetch(block.source, part)
        check(part, block.sha256)
        part.replace(RAW)
    finally:
        part.unlink(missing_ok=True)
    say(f"raw: {RAW.stat().st_size:,} bytes in {RAW}")


def fetch(source: str, into: Path) -> None:
    """Write the table that `source` names to `into`.

    Raises
    ------
    CairnError
        Where there is no such table, or nothing in it.
    """
    scheme, _, name = source.partition(":")
    if scheme == "sklearn":
        into.write_text(shipped(name), encoding="utf-8", newline="")
        return
    path = Path(os.path.expanduser(source))  # noqa: PTH111 - leaves alone a user it does not know
    if not path.is_file():
        raise CairnError(
            f"raw.source: no file {source!r}; allowed: the path of a CSV file, or "
            f"{', '.join(f'sklearn:{known}' for known in SHIPPED)}"
        )
    shutil.copyfile(path, into)
    if not into.stat().st_size:
        raise CairnError(f"raw.source: {source} is empty; it needs a header and rows")


def shipped(name: str) -> str:
    """A table that scikit-learn ships, as CSV: its columns, then `target`."""
    if name not in SHIPPED:
        raise CairnError(
            f"raw.source: got sklearn:{name}; allowed: sklearn:{{{','.join(SHIPPED)}}}"
        )
    from sklearn import datasets  # noqa: PLC0415 - a second that a file as source need not pay

    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    return str(frame.to_csv(index=False, lineterminator="\n"))


def check(path: Path, sha256: str | None) -> None:
    """Raise a CairnError unless the file has this SHA-256; None asks for nothing."""
    if sha256 is None:
        return
    with path.open("rb") as file:
        came = hashlib.file_digest(file, "sha256").hexdigest()
    if came != sha256:
        raise CairnError(
            f"raw.sha256: the source has {came}, params.yaml asks for {sha256}; "
            "give the new one if the file was meant to change, else bring the old file back"
        )


if __name__ == "__main__":
    console.run(main)
