"""The log: one JSON object a line on stdout, written by a thread so that no answer waits for it."""

from __future__ import annotations

import atexit
import logging
import os
import time
import traceback
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from threading import Event, Lock, Thread
from typing import Any

import orjson
from pythonjsonlogger.core import BaseJsonFormatter
from pythonjsonlogger.orjson import OrjsonFormatter

from cairn.errors import CairnError

# Lines that wait for a stalled stdout; beyond, they are dropped.
MOST_WAITING = 10_000
# How long lines gather before they are written, and the end waits for the rest; seconds. Those of
# longer would be written in a millisecond, by which requests of that moment were late.
EVERY = 0.02
LAST = 1.0
STDOUT = 1
# uvicorn's own line of each request, which it writes if anybody might read it; and what has
# nothing to say of a service that is well.
ACCESS = "uvicorn.access"
# What says why a worker cannot start.
SERVERS = ("uvicorn.error", "bentoml.serve")
QUIET = ("circus", "uvicorn", "bentoml.serve")
# Bytes of one write. Where several processes share a pipe, one of over 4,096 may be cut by others,
# and a line is seldom longer than what is left up to there.
UNSHARED = 2**16
SHARED = 3584

Line = Mapping[str, Any]
LINE = b'{"timestamp":"%b.%03d+00:00","level":"%b",%b\n'
LEVELS = {number: name.lower().encode() for name, number in logging.getLevelNamesMapping().items()}


# Not `logging.handlers.QueueHandler`: with python-json-logger behind it a line costs 13 µs of CPU
# instead of 1.2 (of some 80 for a request), and a full queue tells nobody how many lines it lost.
class Log:
    """Lines on their way to a file descriptor.

    Parameters
    ----------
    level
        The lowest that is written, as `logging` numbers them.
    descriptor
        Where they go.
    piece
        Bytes from which on a write ends with the line.
    """

    def __init__(self, level: int, descriptor: int = STDOUT, piece: int = UNSHARED) -> None:
        self.level = level
        self.dropped = 0
        self._descriptor = descriptor
        self._piece = piece
        self._waiting: deque[bytes] = deque()
        self._writing = Lock()
        self._has_waiting = Event()
        self._before = b""  # of the next write: what ends a line that was cut
        Thread(target=self._run, daemon=True, name="log").start()

    def log_event(self, level: int, line: Line) -> None:
        """Log one event, with the time that it is now."""
        if level >= self.level:
            self.add_event(level, dump_json(line))

    def add_event(self, level: int, fields: bytes) -> None:
        """Log one event that is worth it, whose fields are a JSON object already."""
        moment = time.time()
        head = _format_second(int(moment))
        self.add(LINE % (head, moment % 1 * 1000, LEVELS[level], fields[1:]))

    def add(self, line: bytes) -> None:
        """Have a line written, unless too many wait already."""
        waiting = len(self._waiting)
        if waiting < MOST_WAITING:
            self._waiting.append(line)
            if not waiting:
                self._has_waiting.set()
        else:
            self.dropped += 1

    def pop_dropped(self) -> int:
        """Return how many lines were dropped since the last call."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    def close(self) -> None:
        """Write what still waits, as far as that takes no longer than LAST."""
        last = Thread(target=self._write, daemon=True)
        last.start()
        last.join(LAST)

    def _run(self) -> None:
        while self._has_waiting.wait():
            self._has_waiting.clear()
            time.sleep(EVERY)
            self._write()

    def _write(self) -> None:
        with self._writing:
            while self._waiting:
                self._write_chunk(self._take_chunk())

    def _write_chunk(self, lines: bytes) -> None:
        """Write lines; drop what cannot be written: nobody reads, or the disk is full."""
        text = rest = self._before + lines
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self.dropped += min(rest.count(b"\n"), lines.count(b"\n"))
        if written := text[: len(text) - len(rest)]:
            self._before = b"" if written.endswith(b"\n") else b"\n"

    def _take_chunk(self) -> bytes:
        """Lines for one write."""
        some = [self._waiting.popleft()]
        size = len(some[0])
        while self._waiting and size < self._piece:
            some.append(self._waiting.popleft())
            size += len(some[-1])
        return b"".join(some)


def dump_json(content: Mapping[str, Any]) -> bytes:
    """Format a JSON object, which may hold NumPy's numbers."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


@lru_cache(maxsize=1)
def _format_second(moment: int) -> bytes:
    """Format a second as ISO 8601; to do so for each line would cost as much as the rest."""
    return datetime.fromtimestamp(moment, UTC).isoformat()[:19].encode()


class Handler(logging.Handler):
    """Sends the records of Python's own logging down the same way."""

    def __init__(self, log: Log, formatter: BaseJsonFormatter) -> None:
        super().__init__(log.level)
        self._log = log
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        try:
            self._log.add(self.format(record).encode() + b"\n")
        except Exception:  # noqa: BLE001, as every handler of logging does
            self.handleError(record)


class Formatter(OrjsonFormatter):
    """A record of Python's logging as the log's JSON.

    Parameters
    ----------
    with_messages
        Whether the messages of exceptions are shown: they may repeat what a client sent.
    """

    def __init__(self, *, with_messages: bool) -> None:
        super().__init__(
            "%(levelname)s %(message)s %(name)s",
            rename_fields={
                "levelname": "level", "message": "event", "name": "logger", "exc_info": "stack",
            },
        )  # fmt: skip
        self.with_messages = with_messages

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Put the time first, and write levels as events have them."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        return {"timestamp": stamp, **log_data, "level": log_data["level"].lower()}

    def formatException(self, ei: Any) -> str:  # noqa: N802, logging's name
        """Format the stack of an exception."""
        return format_stack(ei[1], with_messages=self.with_messages)


def format_stack(error: BaseException, *, with_messages: bool) -> str:
    """Format where an exception came from, and its name; its message only if allowed."""
    if with_messages:
        return "".join(traceback.format_exception(error))
    return "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__


def is_news(record: logging.LogRecord) -> bool:
    """Tell whether a record is more than the traceback of a CairnError, which has its line."""
    if record.exc_info and isinstance(record.exc_info[1], CairnError):
        return False
    text = record.getMessage()
    return not (text.startswith("Traceback") and f".{CairnError.__name__}: " in text)


def start_logging(level: str, *, with_messages: bool, is_shared: bool = False) -> Log:
    """Have this process log here, Python's logging with it.

    Parameters
    ----------
    level, with_messages
        As in Settings and in Formatter.
    is_shared
        Whether other processes write there too.
    """
    piece = SHARED if is_shared else UNSHARED
    log = Log(logging.getLevelNamesMapping()[level.upper()], piece=piece)
    root = logging.getLogger()
    root.handlers = [Handler(log, Formatter(with_messages=with_messages))]
    root.setLevel(log.level)
    for name in logging.Logger.manager.loggerDict:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    logging.getLogger(ACCESS).propagate = False
    for name in SERVERS:
        logging.getLogger(name).addFilter(is_news)
    logging.getLogger("bentoml").setLevel(logging.NOTSET)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(log.level, logging.WARNING))
    logging.captureWarnings(capture=True)
    atexit.register(log.close)
    return log
