"""Standard input, output and error of a process whose parent closed some of them, or is gone.

The service answers without them: its log lines are dropped, and counted in
`cairn_log_lines_dropped`. Standard library only, so that the supervisor stays small.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def open_missing() -> None:
    """Open /dev/null in the place of each that is closed; for the beginning of a program.

    The next file or socket would get its number, and with it what is printed: the listening socket
    that of stdout, and log lines would go to a client.
    """
    streams = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
    for number, stream in enumerate(streams):
        if stream is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # noqa: FBT003, its own signature


def flush() -> None:
    """Write what is printed and waits, as far as anybody reads it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
