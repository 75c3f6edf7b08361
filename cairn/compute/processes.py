"""Run tasks in processes of this machine, where Python itself is slow and threads would take turns.

They are forked from a server that has imported what they need, while this process imported its own
modules, so one starts in milliseconds. Neither their number nor which of them runs a task changes a
bit of a result.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Protocol, TypeVar

from threadpoolctl import threadpool_limits

from cairn.errors import CairnError

MAX_PROCESSES = 8  # there are some tens of short tasks
# Bytes of a table that is copied into each task; with more rows, little of the time is Python's.
LARGEST = 2**25

Item = TypeVar("Item")
Result = TypeVar("Result")


class Run(Protocol):
    """Calls a function for each item, in any order; the results come in the order of the items."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Return the results as they come, in order."""


def here(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Run tasks in this process, one after the other."""
    return map(function, items)


def fits(size: int) -> bool:
    """Tell whether a table of so many bytes is small enough to copy it to processes."""
    return size <= LARGEST


def prepare(*modules: str) -> None:
    """Have the server of processes import modules, without waiting for it."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    with suppress(OSError):  # such as no folder for its socket; the pool handles that
        forkserver.ensure_running()


@contextmanager
def pool() -> Iterator[Run]:
    """Open as many processes as there are cores, from the first call to the end of the block.

    The processes end with the block, however it ends. Functions and items are pickled, functions by
    the name of their module. The warnings of a task are issued in this process. If the machine
    starts no processes, such as without a folder for the server's socket, tasks run in this one.

    Raises
    ------
    CairnError
        If a process ends before its task, such as for want of memory.
    """
    with ExitStack() as stack:
        try:
            yield Pool(stack).run
        except BrokenProcessPool:
            raise CairnError(
                "a process of this stage was killed, as the system does when memory runs out; give "
                "it more memory, or use fewer rows"
            ) from None


class Pool:
    """Processes that start with the first call, and end with a stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Run tasks as Run; they begin at once."""
        if self._executor is None:
            return here(function, items)
        return _replay_warnings(self._executor.map(partial(_run_isolated, function), items))

    @cached_property
    def _executor(self) -> ProcessPoolExecutor | None:
        """The processes; None if none of them starts."""
        # It imports NumPy, which should happen beside the server, not before it.
        from joblib import cpu_count  # noqa: PLC0415

        context = multiprocessing.get_context("forkserver")
        try:
            life, end = context.Pipe(duplex=False)
            self._stack.enter_context(life)
            number = min(cpu_count(), MAX_PROCESSES)
            executor = ProcessPoolExecutor(number, context, _start, (life,))
            self._stack.callback(executor.shutdown, cancel_futures=True)
            self._stack.enter_context(end)  # closed first, which ends the tasks that still run
            executor.submit(os.getpid).result()
        except (OSError, NotImplementedError, BrokenProcessPool):
            return None
        return executor


def _replay_warnings(outcomes: Iterator[tuple[Result, list[Warning | str]]]) -> Iterator[Result]:
    """Yield the results, and issue the warnings of their tasks again."""
    for result, messages in outcomes:
        for message in messages:
            warnings.warn(message, stacklevel=2)
        yield result


def _run_isolated(
    function: Callable[[Item], Result], item: Item
) -> tuple[Result, list[Warning | str]]:
    """Run a task on one thread, as there is a process per core; return its warnings, too."""
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()  # scikit-learn copies each filter for every tree of a forest
        warnings.simplefilter("always")
        result = function(item)
    return result, [each.message for each in caught]


def _start(life: Connection) -> None:
    """End a process when its stage ends, even if killed, and at Ctrl-C without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with, args=(life,), daemon=True).start()


def _end_with(life: Connection) -> None:
    """Wait until the other end is closed; nothing is ever sent."""
    wait([life])
    os._exit(1)
