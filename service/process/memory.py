"""A limit on the memory that one piece of work may add to this process."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATUS = Path("/proc/self/status")


@contextmanager
def limit_growth(size: int) -> Iterator[None]:
    """Have allocations fail, while the block runs, beyond so many bytes more than there are.

    The kernel counts what this process may write to and shares with no other. It holds for all
    threads. Where there is no such count (it is Linux's) there is no limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [count_private() + size, *(each for each in (soft, hard) if each >= 0)]
    if STATUS.exists():
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def count_private() -> int:
    """Count the bytes that `limit_growth` limits; 0 where nobody counts them."""
    if not STATUS.exists():
        return 0
    [kibibytes] = re.findall(r"^VmData:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    return int(kibibytes) * 1024
