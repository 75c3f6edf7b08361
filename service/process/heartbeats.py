"""Heartbeats: when each worker's event loop last ran, in a table that the supervisor watches.

Standard library only, so that the supervisor stays small.
"""

from __future__ import annotations

import mmap
import time
from pathlib import Path
from typing import NamedTuple

from service.process import run_folder

FILE = "heartbeats"  # in the folder of the run
FIELDS = 2  # of a worker: how long it may hang, and the moment; float64 each


class Heartbeat(NamedTuple):
    """The last sign of life of a worker.

    Attributes
    ----------
    limit
        Seconds after which it is taken to hang; 0: it never is.
    moment
        When it was, by the clock that all processes share; 0 while the worker is not up.
    """

    limit: float
    moment: float


class Heartbeats:
    """The heartbeats of all workers, one slot for each.

    Parameters
    ----------
    memory
        Where they are.
    """

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self._table = memoryview(memory).cast("B").cast("d")

    def beat(self, index: int, limit: float) -> None:
        """Give a sign of life of a worker; `limit` as in Heartbeat."""
        self._table[index * FIELDS] = limit
        self._table[index * FIELDS + 1] = time.monotonic()

    def stop(self, index: int) -> None:
        """Note that a worker is not up any more."""
        self._table[index * FIELDS + 1] = 0.0

    def read(self, index: int) -> Heartbeat:
        """Return the last heartbeat of a worker."""
        return Heartbeat(*self._table[index * FIELDS : (index + 1) * FIELDS])

    def count(self) -> int:
        """Count the workers that are up, and do not hang."""
        now = time.monotonic()
        beats = [self.read(index) for index in range(len(self._table) // FIELDS)]
        return sum(
            beat.moment > 0 and (not beat.limit or now - beat.moment <= beat.limit)
            for beat in beats
        )


def open_heartbeats(workers: int, folder: Path | None) -> Heartbeats:
    """Open the table: in a file that workers and supervisor share; None: in memory.

    Raises
    ------
    OSError
        There is no room for it.
    """
    size = workers * FIELDS * 8
    if folder is None:
        return Heartbeats(bytearray(size))
    return Heartbeats(run_folder.map_file(folder / FILE, size))


class Watch:
    """Tells which workers hang: whose heartbeat stays the same while the supervisor itself runs.

    On a busy machine, or where all of a container pauses, both may not run for long; that is no
    sign of a worker that hangs. So no turn of the supervisor counts for more than `turn`.

    Parameters
    ----------
    heartbeats
        Those of the workers.
    turn
        The longest that one turn of the supervisor takes while it runs, seconds.
    """

    def __init__(self, heartbeats: Heartbeats, turn: float) -> None:
        self._heartbeats = heartbeats
        self._turn = turn
        self._last = time.monotonic()
        self._idle: dict[int, tuple[float, float]] = {}  # index → moment, seconds since

    def find_hung(self, indices: set[int]) -> list[int]:
        """Return which of these workers hang; called at each turn of the supervisor."""
        now = time.monotonic()
        ran, self._last = min(now - self._last, self._turn), now
        self._idle = {index: self._add_time(index, ran) for index in indices}
        return [
            index
            for index, (moment, idle) in self._idle.items()
            if moment and 0 < self._heartbeats.read(index).limit < idle
        ]

    def _add_time(self, index: int, ran: float) -> tuple[float, float]:
        """Return the moment of a worker's last heartbeat, and how long it has been the last."""
        before, idle = self._idle.get(index, (0.0, 0.0))
        moment = self._heartbeats.read(index).moment
        return moment, idle + ran if moment == before else 0.0
