"""Where a function runs over the parts of a table: in threads here, or on a Dask cluster."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from cairn.params.compute import Compute

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Runs a function over parts."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results, in the order of the items, of which only a few are in memory at a time."""

    def joblib(self, *shared: NDArray[Any]) -> AbstractContextManager[None]:
        """While it lasts, joblib's parallel calls that take the shared arrays run here."""


@contextmanager
def open_engine(block: Compute) -> Iterator[Engine]:
    """The engine that params.yaml asks for."""
    if block.engine == "dask":
        # An optional extra.
        from cairn.compute import dask  # noqa: PLC0415

        with dask.open_engine(block) as found:
            yield found
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield Local(pool)


class Local:
    """Threads of this process; Arrow and NumPy let them run side by side."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As Engine.map."""
        return ordered(lambda item: self._pool.submit(function, item), items, os.cpu_count() or 1)

    def joblib(self, *_: NDArray[Any]) -> AbstractContextManager[None]:
        """As Engine.joblib: as joblib is set."""
        return nullcontext()


def ordered(submit: Callable[[Item], Any], items: Iterable[Item], most: int) -> Iterator[Any]:
    """The results of what was submitted, in order, at most so many at a time."""
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
