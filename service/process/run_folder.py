"""The folder of a run: the supervisor and its workers leave small files for each other there.

Standard library only, so that the supervisor stays small.
"""

from __future__ import annotations

import os
from pathlib import Path

RUN = "CAIRN_RUN"  # the variable in which the workers are given the folder
SUPERVISOR = "supervisor"  # file: the supervisor's process id
STOPPING = "stopping"  # file there once all workers are to end: how many seconds they may drain


def find_folder() -> Path | None:
    """Return the folder of this run; None where there is no supervisor."""
    return Path(os.environ[RUN]) if RUN in os.environ else None


def locate_ready_file(path: Path, process: int) -> Path:
    """Return the file in which a ready worker puts how many seconds its end may take."""
    return path / f"ready-{process}"


def read_stopping() -> str | None:
    """Return the seconds to drain once all workers are to end; empty: as the settings say."""
    path = find_folder()
    try:
        return (path / STOPPING).read_text() if path else None
    except OSError:
        return None


def is_orphaned() -> bool:
    """Tell whether the supervisor of this worker has ended."""
    try:
        path = find_folder()
        return path is not None and os.getppid() != int((path / SUPERVISOR).read_text())
    except OSError:  # it took its folder with it
        return True
