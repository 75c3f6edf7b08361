"""What the supervisor and its workers tell each other, by small files in a folder of this run.

Standard library only, so that the supervisor stays small.
"""

from __future__ import annotations

import os
from pathlib import Path

RUN = "CAIRN_RUN"  # the variable in which the workers are given the folder
SUPERVISOR = "supervisor"  # file: the supervisor's process id
STOPPING = "stopping"  # file there once all workers are to end: how many seconds they may drain


def folder() -> Path | None:
    """The folder of this run; None where there is no supervisor."""
    return Path(os.environ[RUN]) if RUN in os.environ else None


def ready_file(where: Path, process: int) -> Path:
    """The file by which a worker says that it was ready, and how many seconds its end may take."""
    return where / f"ready-{process}"


def stopping() -> str | None:
    """Once all workers are to end, how many seconds they may drain, empty: as they were told."""
    where = folder()
    try:
        return (where / STOPPING).read_text() if where else None
    except OSError:
        return None


def orphaned() -> bool:
    """Tell whether the supervisor of this worker has ended."""
    try:
        where = folder()
        return where is not None and os.getppid() != int((where / SUPERVISOR).read_text())
    except OSError:  # it took its folder with it
        return True
