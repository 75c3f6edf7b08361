"""How a stage talks to the person who runs it: one line a step, one line an error."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import TextIOWrapper
from threading import Event, Thread
from typing import Self

from cairn.errors import CairnError

EVERY = 10.0  # seconds between two lines of progress


def say(text: str) -> None:
    """Print one line of progress at once, also through a pipe."""
    print(text, flush=True)


@contextmanager
def patience(text: str, every: float = EVERY) -> Iterator[None]:
    """Print every so many seconds that the `with` block is still running, and for how long."""
    start = time.monotonic()
    with repeated(lambda: say(f"{text}, {time.monotonic() - start:.0f} s so far"), every):
        yield


@contextmanager
def repeated(action: Callable[[], None], every: float = EVERY) -> Iterator[None]:
    """Call a function every so many seconds until the `with` block ends."""
    done = Event()

    def repeat() -> None:
        while not done.wait(every):
            action()

    speaker = Thread(target=repeat, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()


class Progress:
    """Prints how many rows are done and how fast, where it takes long.

    Parameters
    ----------
    stage
        Begins each line.
    every
        Seconds from one line to the next.
    """

    def __init__(self, stage: str, every: float = EVERY) -> None:
        self.rows = 0
        self._stage, self._every = stage, every
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def add(self, rows: int) -> None:
        """Count more rows, and print a line if it is time."""
        self.rows += rows
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._print("so far")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and time.monotonic() - self._start >= self._every:
            self._print("in all")

    def _print(self, when: str) -> None:
        seconds = time.monotonic() - self._start
        say(
            f"{self._stage}: {self.rows:,} rows {when}, {self.rows / seconds:,.0f} rows/s, "
            f"{seconds:.0f} s"
        )


class Bar:
    """A progress bar with a note; a line every so often where there is no terminal.

    Parameters
    ----------
    stage
        What it begins with.
    total, unit
        How many of what there are.
    every
        Seconds from one line to the next.
    """

    def __init__(self, stage: str, total: int, unit: str, every: float = EVERY) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - the service, which imports this module, has none

        self._bar = tqdm(
            total=total,
            desc=stage,
            unit=f" {unit}",
            file=sys.stdout,
            disable=not sys.stdout.isatty(),
            dynamic_ncols=True,
            leave=False,
            mininterval=0,  # a step takes long
        )
        self._stage, self._total, self._unit = stage, total, unit
        self._done, self._note = 0, ""
        self._start = time.monotonic()
        self._speaker: AbstractContextManager[None] = (
            repeated(self._print, every) if self._bar.disable else nullcontext()
        )

    def __enter__(self) -> Self:
        self._speaker.__enter__()
        return self

    def to(self, done: int, note: str = "") -> None:
        """Move the bar to where so many are done."""
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._done)
        self._done, self._note = done, note

    def __exit__(self, *_: object) -> None:
        self._speaker.__exit__(None, None, None)
        self._bar.close()

    def _print(self) -> None:
        seconds = time.monotonic() - self._start
        text = f"{self._stage}: {self._done:,} of {self._total:,} {self._unit}, {seconds:.0f} s"
        say(f"{text}; {self._note}" if self._note else text)


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; end with its error and code 1, and a traceback for bugs only."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a column's name may not be in its encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        _import(main)()
    except CairnError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; the next run redoes what was not finished", file=sys.stderr)
        sys.exit(130)  # as a shell has it
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}: {error.filename or 'no file named'}")


def _import(main: Callable[[], None]) -> Callable[[], None]:
    """Find the same function in its module under the name that others import it by.

    `python -m stages.x` runs the module as `__main__`. What is pickled under that name means
    another module in every other process, and is another class than the one imported here.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if main.__module__ != "__main__" or spec is None:
        return main
    function: Callable[[], None] = getattr(importlib.import_module(spec.name), main.__qualname__)
    return function
