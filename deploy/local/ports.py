"""Finds free ports of loopback, and keeps two stores from choosing the same."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

FIRST = 8333
LAST = 65_535
EPHEMERAL = 32_768  # from here on systems give ports to clients
SHOWN = 60  # characters of what was typed
ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def parse(text: str) -> int:
    """Parse the number of a port.

    Raises
    ------
    ValueError
        Where it is none: the text, and what is allowed.
    """
    if text.isascii() and text.isdigit() and len(text) <= len(str(LAST)) and 0 < int(text) <= LAST:
        return int(text)
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    raise ValueError(f"got {shown!r}; allowed: a whole number from 1 to {LAST}, such as 3001")


def runs(first: int, count: int) -> Iterator[range]:
    """Yield runs of ports to try: the one from `first`, then those from FIRST upwards."""
    others = (start for start in range(FIRST, EPHEMERAL - count, count) if start != first)
    return (range(start, start + count) for start in chain((first,), others))


def first_busy(ports: Iterable[int]) -> int | None:
    """Return the first of these ports that a server cannot have on loopback; None: all are free."""
    return next((port for port in ports if not is_free(port)), None)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server can listen at a host's port, and nothing answers there on loopback.

    Raises
    ------
    OSError
        Where this machine has no such host.
    """
    # A server at ::1 leaves 127.0.0.1 free, but `localhost` would lead to it.
    return can_listen(port, host) and not any(
        answers(family, address, port) for family, address in ADDRESSES
    )


def can_listen(port: int, host: str) -> bool:
    """Return whether a server could listen at a port of a host."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        # Remains of connections that have ended are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def answers(family: socket.AddressFamily, address: str, port: int) -> bool:
    """Return whether anything accepts connections there."""
    with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((address, port)) == 0
    return False


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep the stores of a user from choosing ports at the same moment."""
    path = Path(tempfile.gettempdir(), f"cairn-ports-{os.getuid()}.lock")
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
