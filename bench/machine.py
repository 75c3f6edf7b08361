"""Describe the machine that gave a result."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TRACKED = Path("/proc/sys/net/netfilter/nf_conntrack_count")
TURNS = 20_000  # of a loop that takes about a millisecond
SLOW = 1.4  # times as long as the quickest


def describe_machine() -> dict[str, str | int | None]:
    """Processor, cores, memory in GiB, system and Python."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": read_processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages * size / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def read_processor() -> str:
    """Read the processor's name, as far as the system shows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def is_tracking() -> bool:
    """Tell whether the kernel tracks connections, as the rules that Docker's engine makes ask for.

    Each request then takes 20 to 30 µs more. The rules stay when the engine has ended.
    """
    try:
        return int(TRACKED.read_text(encoding="ascii")) > 0
    except FileNotFoundError:
        return False


def measure_slow_share(core: int, seconds: float = 3.0) -> float:
    """Measure for which share of the time a core is slowed down by what others do on it.

    The core of a virtual machine is often one of two that share a real one, with another customer
    on the other. Such a core takes twice as long for everything, now and then for a while, and a
    p99 then tells more about that customer than about the server.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        end, durations = time.perf_counter() + seconds, []
        while time.perf_counter() < end:
            start, total = time.thread_time(), 0
            for turn in range(TURNS):
                total += turn
            durations.append(time.thread_time() - start)
    finally:
        os.sched_setaffinity(0, cores)
    return compute_slow_share(durations)


def compute_slow_share(durations: list[float]) -> float:
    """Compute the share of all time that is in durations well above those of the quickest tenth.

    >>> compute_slow_share([1.0, 1.0, 1.0, 2.0])
    0.4
    """
    limit = SLOW * sorted(durations)[len(durations) // 10]
    return round(sum(each for each in durations if each > limit) / sum(durations), 3)


def read_versions(*names: str) -> dict[str, str]:
    """Read the installed versions of these distributions."""
    return {name: metadata.version(name) for name in names}


def list_required(*names: str) -> set[str]:
    """Return the names of distributions and of all that they need, as installed here."""
    queue = [(name, "") for name in names]
    seen = set(queue)
    while queue:
        name, extra = queue.pop()
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                new = {(requirement.name, each) for each in ("", *requirement.extras)} - seen
                seen |= new
                queue += new
    return {canonicalize_name(name) for name, _ in seen}
