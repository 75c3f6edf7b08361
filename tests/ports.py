"""Ports on loopback: free ones, taken ones, and waiting for either."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable

PATIENCE = 120.0  # seconds for what is waited for: a bound for a hang, not for a slow machine
GIVEN: set[int] = set()  # here before: its server may not listen yet


def own_ports() -> range:
    """Return the ports of this process among those of the run, below those of clients."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    width = 18_000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return range(12_000 + worker * width, 12_000 + (worker + 1) * width)


def free_ports(count: int = 12) -> int:
    """The first of so many free ports in a row."""
    mine = own_ports()
    starts = range(mine.start, mine.stop - count, count)
    for first in random.sample(starts, min(200, len(starts))):
        ports = range(first, first + count)
        if GIVEN.isdisjoint(ports) and all(map(free, ports)):
            GIVEN.update(ports)
            return first
    raise OSError("no free ports")


def free(port: int) -> bool:
    """Whether a port of loopback can be had."""
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Whether anything takes connections on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    """Wait for an event."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for an event in an event loop, which goes on meanwhile."""
    while not condition():  # noqa: ASYNC110, other threads and libraries set no asyncio.Event
        await asyncio.sleep(0.001)
