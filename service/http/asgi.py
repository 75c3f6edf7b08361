"""The parts of ASGI that the service uses: headers, a body within limits, an answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from random import getrandbits
from typing import Any, NamedTuple

from service.http.errors import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")
# Our extension of ASGI: compat.FastPath.
FAST_PATH = "cairn.fast_path"
NO_CONTENT = 204
RETRY = (b"retry-after", b"1")
# How many bodies of the greatest length may be on their way at once.
LONG_BODIES = 8
PLAIN_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Reply(NamedTuple):
    """The answer to a request."""

    status: int
    body: bytes
    headers: Sequence[Header] = (JSON,)


def read_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return a request's headers; of one that comes twice, the last."""
    return dict(scope["headers"])


def choose_request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the client's X-Request-ID if it is short and plain, else one of our own."""
    chosen_id = headers.get(b"x-request-id")
    if chosen_id and PLAIN_ID.fullmatch(chosen_id):
        return chosen_id
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
        self._pending = 0

    async def read(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Read the body of a request.

        Raises
        ------
        Refused
            413 as soon as it is known to be over the limit, 408 where it does not come in time,
            429 where all the bodies that come just now are too much, 499 where the client goes
            away.
        """
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.limit:
            raise self._refuse_length()
        fast_path = find_fast_path(scope)
        body: bytes | None = fast_path.read_body() if fast_path else None
        if body is not None:
            if len(body) > self.limit:
                raise self._refuse_length()
            return body
        try:
            async with asyncio.timeout(self.seconds):
                return await self._read_parts(receive)
        except TimeoutError:
            error = f"the body did not arrive within {self.seconds:g} s"
            raise Refused(408, error, headers=(CLOSE,)) from None

    async def _read_parts(self, receive: Receive) -> bytes:
        """Read a body that comes in parts."""
        parts: list[bytes] = []
        size, more = 0, True
        try:
            while more:
                message = await receive()
                parts.append(_read_part(message))
                size += len(parts[-1])
                self._pending += len(parts[-1])
                more = message.get("more_body", False)
                if size > self.limit:
                    raise self._refuse_length()
                if more and self._pending > LONG_BODIES * self.limit:
                    error = "too many long requests at once; try again"
                    raise Refused(429, error, headers=(CLOSE, RETRY))
            return b"".join(parts)
        finally:
            self._pending -= size

    def _refuse_length(self) -> Refused:
        # The rest of the body is not worth reading.
        error = f"the body is over {self.limit:,} bytes; send fewer rows at once"
        return Refused(413, error, headers=(CLOSE,))


def _read_part(message: Message) -> bytes:
    """Return the next part of a body."""
    if message["type"] == "http.disconnect":
        raise Refused(499, "the client went away")
    return message.get("body", b"")  # type: ignore[no-any-return]


async def respond(scope: Scope, send: Send, reply: Reply, extra: Header) -> None:
    """Send an answer, with one more header beside its own."""
    headers = [*reply.headers, extra]
    if reply.status != NO_CONTENT:  # whose head ends it (RFC 9110, 8.6)
        headers.append((b"content-length", b"%d" % len(reply.body)))
    fast_path = find_fast_path(scope)
    if fast_path and fast_path.send(reply.status, headers, reply.body):
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def find_fast_path(scope: Scope) -> Any:
    """Return the extension that reads and writes in one piece; None where there is none."""
    extensions = scope.get("extensions")
    return extensions.get(FAST_PATH) if extensions else None
