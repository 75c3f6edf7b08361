"""uvicorn's HTTP protocol, with the two differences that the service makes to it.

A request that is no HTTP gets an error body like all others. And an answer that is whole goes out
in one piece: uvicorn sends its head and its body by two system calls, which take longer than the
model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.asgi import CLOSE, WHOLE, Header

BAD_REQUEST = {"error": "this is no HTTP/1.1; check the request line and the headers", "detail": []}


def adapt(protocol: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """That HTTP protocol of uvicorn, with those differences; the second if it is httptools'."""
    base: Any = protocol

    class Adapted(base):  # type: ignore[misc]
        def send_400_response(self, _: str) -> None:
            body = orjson.dumps(BAD_REQUEST)
            head = (
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head % len(body) + body)
            self.transport.close()

        def _unsupported_upgrade_warning(self) -> None:
            """Say nothing: such a request gets its answer, and whoever sends it fills no log."""

    if not issubclass(protocol, HttpToolsProtocol):
        return Adapted

    class Whole(Adapted):
        def _start_asgi_task(self, cycle: Any, app: Any) -> None:
            cycle.scope["extensions"] = {WHOLE: partial(send_whole, cycle)}
            super()._start_asgi_task(cycle, app)

    return Whole


def send_whole(cycle: Any, status: int, headers: Sequence[Header], body: bytes) -> bool:
    """Send an answer in one piece; False where uvicorn's own way has to be taken.

    Parameters
    ----------
    cycle
        uvicorn's request and response.
    headers
        What it has beside uvicorn's own; none may have a line break in it.
    """
    if cycle.flow.write_paused or cycle.disconnected or cycle.response_started:
        return False
    # They refer to each other: left so, they would stay until the garbage collector comes.
    del cycle.scope["extensions"]
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    content = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        content += (name, b": ", value, b"\r\n")
    if CLOSE in headers or CLOSE in cycle.default_headers:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        content.append(b"connection: close\r\n")
    content.append(b"\r\n")
    if cycle.scope["method"] != "HEAD":
        content.append(body)
    cycle.transport.write(b"".join(content))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
