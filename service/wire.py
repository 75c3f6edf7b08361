"""uvicorn's HTTP protocol, with the two differences that the service makes to it.

A request that is no HTTP gets an error body like all others. And what is whole goes through in one
piece: uvicorn sends the head and the body of an answer by two system calls, which take longer than
the model, and asks for a task to wait for a body even where it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
            cycle.scope["extensions"] = {WHOLE: Exchange(cycle)}
            super()._start_asgi_task(cycle, app)

    return Whole


class Exchange:
    """A request and its response as uvicorn holds them; an extension of ASGI.

    Parameters
    ----------
    cycle
        uvicorn's own name for them.
    """

    __slots__ = ("_cycle",)

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle

    def body(self) -> bytes | None:
        """The body, if all of it is there; None where it has to be waited for."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        return body

    def send(self, status: int, headers: Sequence[Header], body: bytes) -> bool:
        """Send an answer; False where uvicorn's own way has to be taken.

        `headers` are those beside uvicorn's own; none may have a line break in it.
        """
        cycle = self._cycle
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
