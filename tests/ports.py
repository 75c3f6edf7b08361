"""Ports that nothing listens on."""

from __future__ import annotations

import random
import socket
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
