"""Run functions over the parts of a table: in threads of this process, or on a Dask cluster."""

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
        """Yield the results in the order of the items, a few of which are in memory at a time."""

    def joblib(self, *shared: NDArray[Any]) -> AbstractContextManager[None]:
        """Run joblib's parallel calls that take the shared arrays here, while it lasts."""


@contextmanager
def open_engine(params: Compute) -> Iterator[Engine]:
    """Open the engine that params.yaml asks for."""
    if params.engine == "dask":
        # An optional extra.
        from cairn.compute import dask  # noqa: PLC0415

        with dask.open_engine(params) as cluster:
            yield cluster
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield Local(pool)


class Local:
    """Threads of this process; Arrow and NumPy let them run side by side."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Map a function as Engine.map."""
        return run_ordered(
            lambda item: self._pool.submit(function, item), items, os.cpu_count() or 1
        )

    def joblib(self, *_: NDArray[Any]) -> AbstractContextManager[None]:
        """Leave joblib's configuration as it is."""
        return nullcontext()


def run_ordered(submit: Callable[[Item], Any], items: Iterable[Item], limit: int) -> Iterator[Any]:
    """Submit items and yield their results in order, with at most `limit` ahead."""
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) > limit:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
