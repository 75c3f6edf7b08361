"""How many files, and so how many connections, this process may have open."""

from __future__ import annotations

import resource
from contextlib import suppress

OTHERS = 128  # what is open beside the connections, and some to spare
LEAST = 16


def allow_connections(asked: int) -> int:
    """Raise the limit of open files as far as it goes, for so many connections.

    Returns
    -------
    int
        How many connections there may be: those that were asked for, or fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = asked + OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # no right to
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return asked
    return min(asked, max(soft - OTHERS, LEAST))
