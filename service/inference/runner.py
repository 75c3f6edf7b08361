"""How the model is run: at once where that takes microseconds, else in a thread, in groups.

What a run costs is measured when the model is loaded. A row that takes microseconds is run where
its request is read, and nothing is paid for the choice. A run that takes longer would hold up all
other requests: it goes to a thread, and if the model is quicker with many rows than with one
at a time, those that wait for the thread are run as one, as many as end within the latency allowed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cairn import onnx_runtime as ort
from cairn.inference import Predictions
from service.http.budget import TOO_MUCH, Quota

Features = NDArray[np.float32]
T = TypeVar("T")
Run = Callable[[Features, ort.RunOptions | None], Predictions]

# Seconds that a run may hold up all other requests, and what it costs to hand it to a thread: a
# run that is longer than that and takes more rows for little is quicker there, under load.
AT_ONCE = 0.0002
HAND_OVER = 0.0001
# Seconds of a run of several rows that is made where they are read, if one of them takes
# microseconds: to hand them over costs as much, and others wait for less than for two bodies.
SHORT = 0.001
# That a run was ended is no news for ONNX Runtime's own log.
FATAL = 4
# Rows of the second run that is measured, and the share of their cost one by one below which
# a group pays.
SOME = 16
PAYS = 0.75
RUNS = 5
# Of all bodies that wait for the thread: with what is made of one, within 512 MiB.
LONG_BYTES = 80 * 2**20
# Seconds after which a thread that runs Python lets another go on; by default it is 5 ms, by which
# each step of the event loop would be late while a long body is read.
SWITCH_SECONDS = 0.0005
# What is added to that thread's niceness where single rows are answered in the loop: on the one
# core of a container the loop would wait milliseconds for it, whatever Python's lock says.
NICENESS = 5


class Cost(NamedTuple):
    """What a run costs, seconds.

    Attributes
    ----------
    one
        A run of a single row.
    row
        Each further row of the same run.
    """

    one: float
    row: float

    def of(self, rows: int) -> float:
        """Return the cost of a run of so many rows."""
        return self.one + (rows - 1) * self.row

    def count_rows(self, seconds: float, fewest: int, most: int) -> int:
        """Return how many rows a run of so many seconds has, between these two numbers."""
        rows = 1 + (seconds - self.one) / self.row if self.row else most
        return int(min(max(rows, fewest), most))

    @property
    def is_immediate(self) -> bool:
        """Whether a single row is run where its request is read."""
        return self.one <= (HAND_OVER if self._has_gain else AT_ONCE)

    @property
    def is_grouped(self) -> bool:
        """Whether requests that wait are run as one."""
        return self._has_gain and not self.is_immediate

    @property
    def _has_gain(self) -> bool:
        return self.row <= PAYS * self.one


def measure_cost(run: Run, row: Features) -> Cost:
    """Measure what a run of a 1 × k row costs: the median of some, after one that warms up."""
    rows = np.repeat(row, SOME, axis=0)
    one, some = (
        median([_time_run(run, many) for _ in range(RUNS + 1)][1:]) for many in (row, rows)
    )
    return Cost(one, max(some - one, 0.0) / (SOME - 1))


def _time_run(run: Run, features: Features) -> float:
    start = time.thread_time()
    run(features, None)
    return time.thread_time() - start


def lower_priority() -> None:
    """Lower the priority of this thread; only Linux has one for each thread.

    A system that refuses loses nothing but time: the loop waits longer.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


class Job(NamedTuple):
    """Rows that wait for the thread, and who waits for them."""

    features: Features
    answer: asyncio.Future[Predictions]


class Runner:
    """Runs a model for concurrent requests.

    Parameters
    ----------
    run
        The model: n × k features, and options by which the run may be ended → predictions.
    cost
        What a run of it costs.
    latency
        The longest run that is made of several requests, seconds; 0: none is.
    """

    def __init__(self, run: Run, cost: Cost, latency: float) -> None:
        self.run = run
        self.cost = cost
        self.latency = latency if cost.is_grouped else 0.0
        self.budget = Quota(LONG_BYTES, TOO_MUCH)
        # One thread: ONNX Runtime's own are a setting, and two runs at once share the core.
        self._thread = ThreadPoolExecutor(
            max_workers=1,
            thread_name_prefix="model",
            initializer=lower_priority if cost.is_immediate else None,
        )
        self._steps = asyncio.Lock()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._options = ort.RunOptions()

    def describe(self) -> dict[str, Any]:
        """Describe how requests are run, and what was measured, for /model."""
        return {
            "requests_are_run": self._describe_manner(),
            "one_row_ms": round(self.cost.one * 1e3, 4),
            "each_further_row_ms": round(self.cost.row * 1e3, 4),
            "group_latency_ms": round(self.latency * 1e3, 4),
        }

    def _describe_manner(self) -> str:
        if self.cost.is_immediate:
            return "at once"
        return "in groups" if self.latency else "one by one"

    def is_immediate(self, rows: int) -> bool:
        """Tell whether so many rows may be run where their request is read."""
        return self.cost.is_immediate and self.cost.of(rows) <= SHORT

    def share_interpreter(self) -> None:
        """Have threads take turns at Python often enough for single rows beside long bodies."""
        sys.setswitchinterval(SWITCH_SECONDS)

    async def run_aside(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Do other work that takes long in the same thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def run_in_steps(self, steps: Generator[None, None, T]) -> T:
        """Take steps until they end, each in a turn of the event loop, after those of others."""
        async with self._steps:
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    return cast("T", end.value)
                await asyncio.sleep(0)

    async def predict(self, features: Features) -> Predictions:
        """Run the model aside, with other requests where that pays."""
        job = Job(features, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if not self._running:
            self._start_next()
        try:
            return await job.answer
        finally:
            # A run that nobody waits for any more would keep others from the thread.
            if self._running and all(other.answer.done() for other in self._running):
                self._options.terminate = True

    def _start_next(self) -> None:
        """Send the thread the next group, if any request waits."""
        group = self._running = self._take_group()
        if group:
            self._options = ort.RunOptions()
            self._options.log_severity_level = FATAL
            features = np.concatenate([job.features for job in group])
            done = asyncio.get_running_loop().run_in_executor(
                self._thread, self.run, features, self._options
            )
            done.add_done_callback(lambda future: self._distribute(group, future))

    def _take_group(self) -> list[Job]:
        """Take the next jobs that run as one, without those that nobody waits for any more."""
        group: list[Job] = []
        rows = 0
        while self._waiting:
            job = self._waiting[0]
            rows += len(job.features)
            if group and self.cost.of(rows) > self.latency:
                break
            self._waiting.popleft()
            if job.answer.done():
                rows -= len(job.features)
            else:
                group.append(job)
        return group

    def _distribute(self, group: list[Job], done: asyncio.Future[Predictions]) -> None:
        """Give each request its part of the thread's predictions."""
        error = done.exception()
        start = 0
        for job in group:
            end = start + len(job.features)
            if not job.answer.done():
                if error:
                    job.answer.set_exception(error)
                else:
                    labels, probabilities = done.result()
                    job.answer.set_result(Predictions(labels[start:end], probabilities[start:end]))
            start = end
        self._start_next()
