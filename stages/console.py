"""How a stage talks to the person who runs it: one line a step, one line an error."""

from __future__ import annotations

import sys
from collections.abc import Callable


class CairnError(Exception):
    """Something the user can mend; its text says what is wrong and what to do next."""


def say(text: str) -> None:
    """Print one line of progress at once, also through a pipe."""
    print(text, flush=True)


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; end with its error and code 1, and a traceback for bugs only."""
    try:
        main()
    except CairnError as error:
        sys.exit(f"error: {error}")
