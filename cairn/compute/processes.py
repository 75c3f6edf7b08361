"""Processes of this machine, for work in which Python itself takes long: threads would take turns.

They are forked from a server that has imported what they need, so that one starts in milliseconds,
and that imports it while this process imports its own. Which of them does what, and how many there
are, changes no bit of a result.
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

from cairn.console import CairnError

MOST = 8  # processes: there are some tens of short tasks
# Bytes of a table that is copied into each task; with more rows, the time is not Python's own.
LARGEST = 2**25

Item = TypeVar("Item")
Result = TypeVar("Result")


class Run(Protocol):
    """Calls a function for each item, in any order; the results come in that of the items."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Return the results as they come, in order."""


def here(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Run in this process, one after the other."""
    return map(function, items)


def fits(size: int) -> bool:
    """Whether a table of so many bytes is small enough to be copied to processes."""
    return size <= LARGEST


def prepare(*modules: str) -> None:
    """Have the server of processes import modules, without waiting for it."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    with suppress(OSError):  # such as no place for its socket: the pool sees that as well
        forkserver.ensure_running()


@contextmanager
def pool() -> Iterator[Run]:
    """As many processes as there are cores, from the first call to the end of the block.

    However the block ends, they end. Functions and items are pickled: functions by the name of
    their module. What a task warns of is warned of here. Where this machine starts no processes,
    such as without a place for the server's socket, the tasks run here.

    Raises
    ------
    CairnError
        Where a process ends before its task, as one does for which there is no memory.
    """
    with ExitStack() as stack:
        try:
            yield Pool(stack).run
        except BrokenProcessPool:
            raise CairnError(
                "a process of this stage was ended from outside, as the system does where memory "
                "runs out; give it more memory, or take fewer rows"
            ) from None


class Pool:
    """Processes that start when they are first asked, and end with a stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As Run; the tasks begin at once."""
        if self._executor is None:
            return here(function, items)
        return _results(self._executor.map(partial(_alone, function), items))

    @cached_property
    def _executor(self) -> ProcessPoolExecutor | None:
        """The processes; None where not one of them starts."""
        # It brings NumPy with it, which is to be imported beside the server, and not before.
        from joblib import cpu_count  # noqa: PLC0415

        context = multiprocessing.get_context("forkserver")
        try:
            life, own = context.Pipe(duplex=False)
            self._stack.enter_context(life)
            number = min(cpu_count(), MOST)
            executor = ProcessPoolExecutor(number, context, _start, (life,))
            self._stack.callback(executor.shutdown, cancel_futures=True)
            self._stack.enter_context(own)  # closed first: what still runs then ends
            executor.submit(os.getpid).result()
        except (OSError, NotImplementedError, BrokenProcessPool):
            return None
        return executor


def _results(found: Iterator[tuple[Result, list[Warning | str]]]) -> Iterator[Result]:
    """The results; what was warned of on the way is warned of again."""
    for result, messages in found:
        for message in messages:
            warnings.warn(message, stacklevel=2)
        yield result


def _alone(function: Callable[[Item], Result], item: Item) -> tuple[Result, list[Warning | str]]:
    """A result on one thread, for there are as many processes as cores, and what it warns of."""
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()  # scikit-learn copies each filter for every tree of a forest
        warnings.simplefilter("always")
        result = function(item)
    return result, [each.message for each in caught]


def _start(life: Connection) -> None:
    """End a process when its stage does, were it killed, and at Ctrl-C without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with, args=(life,), daemon=True).start()


def _end_with(life: Connection) -> None:
    """Wait for the other end to be closed; nothing is ever sent."""
    wait([life])
    os._exit(1)
