"""Ports on loopback: free ones, taken ones, and waiting for either."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack


def free_ports(count: int = 12) -> int:
    """The first of so many free ports in a row, below those that the system gives to clients."""
    for first in random.sample(range(12_000, 30_000, count), 200):
        try:
            with ExitStack() as stack:
                for port in range(first, first + count):
                    taken = stack.enter_context(socket.socket())
                    taken.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise OSError("no free ports")


def listens(port: int) -> bool:
    """Whether anything takes connections on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], within: float = 30) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
