"""The few words of ASGI that the service speaks: headers, a body within limits, an answer."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from random import getrandbits
from typing import Any, NamedTuple

from service.errors import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")
# The extension of ASGI by which an answer goes out in one piece (wire.py).
WHOLE = "cairn.whole"
RETRY = (b"retry-after", b"1")
# How many bodies of the greatest length may be on their way at once.
TOGETHER = 8
SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Reply(NamedTuple):
    """What a request is answered."""

    status: int
    body: bytes
    headers: Sequence[Header] = (JSON,)


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """A request's headers; of one that comes twice the last."""
    return dict(scope["headers"])


def request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The client's X-Request-ID if it is short and plain, else one of our own."""
    given = headers.get(b"x-request-id")
    if given and SANE_ID.fullmatch(given):
        return given
    return b"%032x" % getrandbits(128)


class Bodies:
    """Reads the bodies of requests, within limits of size, of time and of memory.

    Parameters
    ----------
    limit
        The longest body, bytes.
    seconds
        How long one may take to come.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._held = 0
        self._due: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The body of a request.

        Raises
        ------
        Refused
            413 as soon as it is known to be over the limit, 408 where it does not come in time,
            429 where all the bodies that come just now are too much, 499 where the client goes
            away.
        """
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.limit:
            raise self._too_long()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101, a coroutine runs in a task
        self._due[task] = time.monotonic() + self.seconds
        try:
            message = await receive()
            first = _part(message)
            if message.get("more_body"):
                return await self._rest(first, receive)
            if len(first) > self.limit:
                raise self._too_long()
            return first  # noqa: TRY300, the common way
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            error = f"the body did not come within {self.seconds:g} s"
            raise Refused(408, error, headers=(CLOSE,)) from None
        finally:
            del self._due[task]
            self._late.discard(task)

    async def _rest(self, part: bytes, receive: Receive) -> bytes:
        """A body that comes in parts, of which this is the first."""
        parts: list[bytes] = []
        size, more = 0, True
        try:
            while True:
                parts.append(part)
                size += len(part)
                self._held += len(part)
                if size > self.limit:
                    raise self._too_long()
                if self._held > TOGETHER * self.limit:
                    error = "too many long requests at once; send it again"
                    raise Refused(429, error, headers=(CLOSE, RETRY))
                if not more:
                    return b"".join(parts)
                message = await receive()
                part, more = _part(message), bool(message.get("more_body"))
        finally:
            self._held -= size

    def sweep(self) -> None:
        """End the reading of bodies that are late: a timer for each would cost as much as it."""
        now = time.monotonic()
        for task, due in self._due.items():
            if due < now:
                self._late.add(task)
                task.cancel()

    def _too_long(self) -> Refused:
        # The rest of the body is not worth reading.
        error = f"the body is over {self.limit:,} bytes; send fewer rows at once"
        return Refused(413, error, headers=(CLOSE,))


def _part(message: Message) -> bytes:
    """The next part of a body."""
    if message["type"] == "http.disconnect":
        raise Refused(499, "the client went away")
    return message.get("body", b"")  # type: ignore[no-any-return]


async def respond(scope: Scope, send: Send, reply: Reply, extra: Header) -> None:
    """Send an answer, with one more header beside its own."""
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body)), extra]
    extensions = scope.get("extensions")
    if extensions and WHOLE in extensions and extensions[WHOLE](reply.status, headers, reply.body):
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
