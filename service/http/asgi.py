"""What an answer is, and the parts of ASGI that the service uses beside its own protocol.

Over HTTP requests come by `service.http.protocol`. Another server, or BentoML in this process, may
hand them over as ASGI has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple

import orjson

from service.http.errors import Refused
from service.http.request import Request

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
JSON_HEADERS = (JSON,)
CLOSE = (b"connection", b"close")
NO_CONTENT = 204
RETRY = (b"retry-after", b"1")


class Reply(NamedTuple):
    """The answer to a request."""

    status: int
    body: bytes
    headers: Sequence[Header] = JSON_HEADERS


def make_request(scope: Scope) -> Request:
    """Make a request, without its body yet, of what ASGI has of it."""
    client = scope.get("client")
    return Request(
        scope["method"],
        scope["path"],
        scope["query_string"],
        dict(scope["headers"]),
        client[0] if client else None,
    )


async def read_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """Read a body, within a limit of bytes and of seconds.

    Raises
    ------
    Refused
        413 as soon as it is known to be over the limit, 408 where it does not come in time, 499
        where the client goes away.
    """
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(499, "the client went away")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limit:
                    raise refuse_length(limit)
    except TimeoutError:
        raise refuse_late(seconds) from None
    return bytes(body)


def refuse_length(limit: int) -> Refused:
    """Return what is raised for a body over the limit, whose rest is not worth reading."""
    error = f"the body is over {limit:,} bytes; send fewer rows at once"
    return Refused(413, error, headers=(CLOSE,))


def refuse_late(seconds: float) -> Refused:
    """Return what is raised for a body that does not come."""
    error = f"the body did not arrive within {seconds:g} s"
    return Refused(408, error, headers=(CLOSE,))


def reply_refused(refused: Refused) -> Reply:
    """Return the answer to a request that is refused."""
    detail = [problem.model_dump() for problem in refused.detail]
    body = orjson.dumps({"error": refused.error, "detail": detail})
    return Reply(refused.status, body, (JSON, *refused.headers))


async def respond(send: Send, reply: Reply, request: Request) -> None:
    """Send an answer."""
    headers = [*reply.headers, (b"x-request-id", request.id)]
    if reply.status != NO_CONTENT:  # whose head ends it (RFC 9110, 8.6)
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
