"""How a stage talks to the person who runs it: one line a step, one line an error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from threading import Event, Thread


class CairnError(Exception):
    """Something the user can mend; its text says what is wrong and what to do next."""


def say(text: str) -> None:
    """Print one line of progress at once, also through a pipe."""
    print(text, flush=True)


@contextmanager
def patience(text: str, every: float = 10.0) -> Iterator[None]:
    """Say again every so many seconds that the block is still at it, and for how long."""
    done = Event()

    def repeat() -> None:
        start = time.monotonic()
        while not done.wait(every):
            say(f"{text}, for {time.monotonic() - start:.0f} s")

    speaker = Thread(target=repeat, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; end with its error and code 1, and a traceback for bugs only."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a column's name may not be in its encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except CairnError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}: {error.filename or 'no file named'}")
