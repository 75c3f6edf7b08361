"""The folder of a run: the supervisor and its workers leave notes for each other there.

A note is a symbolic link, and its text is what the link names. It needs no room for data, so it can
be left on a disk that is full, and it is there as a whole or not at all.

Standard library only, so that the supervisor stays small.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

RUN = "CAIRN_RUN"  # the variable in which the workers are given the folder
SUPERVISOR = "supervisor"  # note: the supervisor's process id
STOPPING = "stopping"  # note, there once all workers are to end: how many seconds they may drain

MARK = "="  # a link names something


def find_folder() -> Path | None:
    """Return the folder of this run; None where there is no supervisor."""
    return Path(os.environ[RUN]) if RUN in os.environ else None


def use_for_temporary_files() -> None:
    """Have this process make its temporary files in the folder of this run, if there is one.

    The folder goes with the run, even where a worker was killed. Besides, Python would look for a
    place by writing to each, and find none where the only one is full: BentoML makes an empty
    folder in each worker.
    """
    if folder := find_folder():
        tempfile.tempdir = str(folder)


def map_file(path: Path, size: int) -> mmap.mmap:
    """Map a file that processes share, all of which the disk keeps room for.

    Where a mapped page finds none later, on a disk that others filled, the kernel ends the process
    (SIGBUS). What the file has already stays as it is.

    Raises
    ------
    OSError
        There is no room for it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        else:  # macOS
            os.ftruncate(file, size)
        return mmap.mmap(file, size)
    finally:
        os.close(file)


def write_note(path: Path, text: str) -> None:
    """Leave a note, or replace it in one step."""
    part = path.with_name(f".{path.name}-{os.getpid()}")
    part.unlink(missing_ok=True)
    part.symlink_to(f"{MARK}{text}")
    part.replace(path)


def read_note(path: Path) -> str:
    """Return the text of a note; raise an OSError where there is none."""
    return str(path.readlink()).removeprefix(MARK)


def locate_ready_file(path: Path, process: int) -> Path:
    """Return the note in which a ready worker says how many seconds its end may take."""
    return path / f"ready-{process}"


def read_stopping() -> str | None:
    """Return the seconds to drain once all workers are to end; empty: as the settings say."""
    path = find_folder()
    try:
        return read_note(path / STOPPING) if path else None
    except OSError:
        return None


def is_orphaned() -> bool:
    """Tell whether the supervisor of this worker has ended."""
    try:
        path = find_folder()
        return path is not None and os.getppid() != int(read_note(path / SUPERVISOR))
    except OSError:  # it took its folder with it
        return True
