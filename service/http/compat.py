"""What the service patches and reads of uvicorn that is not its documented interface.

BentoML makes uvicorn's server and hands nobody a reference, so the server is found behind the
handler of SIGTERM; its settings are read at each connection, so they can still be changed then.
`protocol` subclasses uvicorn's protocol for httptools and overrides hooks of it that are private.
Nothing happens when this module is imported. tests/service/http/test_compat.py fails where one of
these seams moves.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any

from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.http.asgi import CLOSE, Header
from service.versions import check_version

LOWEST, BELOW = (0, 40), (0, 60)


def find_server() -> Server | None:
    """Return uvicorn's server of this process; None where none runs.

    `Server.capture_signals` has the server's own `handle_exit` handle SIGTERM.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, Server) else None


def configure(
    server: Server,
    *,
    keep_alive_seconds: int,
    graceful_seconds: int,
    adapt: Callable[[Any], Any],
) -> None:
    """Give uvicorn what BentoML's command line does not.

    Parameters
    ----------
    keep_alive_seconds, graceful_seconds
        How long a connection without a request stays open, and requests in work may take to end.
    adapt
        From uvicorn's HTTP protocol to the one that is used.
    """
    check_version("uvicorn", LOWEST, BELOW, "the HTTP protocol of the service")
    config = server.config
    config.timeout_keep_alive = keep_alive_seconds
    config.timeout_graceful_shutdown = graceful_seconds
    config.ws_protocol_class = None
    config.http_protocol_class = adapt(config.http_protocol_class)


def wrap_application(server: Server, wrap: Callable[[Any], Any]) -> None:
    """Put an application in front of the one that uvicorn calls, and of its middlewares.

    BentoML adds middlewares of its own around any that a service asks for; together they take
    longer than the model.
    """
    server.config.loaded_app = wrap(server.config.loaded_app)


def announce_close(server: Server) -> None:
    """Have each answer from now on say that its connection ends: new ones, and those in work."""
    server.config.encoded_headers.append(CLOSE)
    server.server_state.default_headers.append(CLOSE)


class FastPath:
    """Reads and writes what is complete in one piece; an extension of ASGI.

    ASGI has the head and the body of an answer sent by two calls (django/asgiref#445), which
    uvicorn makes two system calls of; together they take longer than the model. And it has a body
    waited for even where all of it is there.

    Parameters
    ----------
    cycle
        A request and its response, as uvicorn's httptools protocol keeps them.
    """

    __slots__ = ("_cycle",)

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle

    def read_body(self) -> bytes | None:
        """Return the body, if all of it is there; None where it has to be waited for."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        return body

    def send(self, status: int, headers: Sequence[Header], body: bytes) -> bool:
        """Send an answer; return False where it has to be sent in uvicorn's own way.

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
