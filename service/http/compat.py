"""What the service reads and sets of uvicorn that is not its documented interface.

uvicorn takes an HTTP protocol as the setting `http`, but before there is a model; and BentoML's own
worker makes the server and its settings, and hands nobody a reference. So the server is found
behind the handler of SIGTERM; its settings are read at each connection, and can still be changed
then. Of the server's state our protocol uses what uvicorn's own use: `connections`, `tasks`,
`total_requests`, `default_headers`.
Nothing happens when this module is imported. tests/service/http/test_compat.py fails where one of
these seams moves.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from uvicorn import Server

from service.versions import check_version

LOWEST, BELOW = (0, 40), (0, 60)


def find_server() -> Server | None:
    """Return uvicorn's server of this process; None where none runs.

    `Server.capture_signals` has the server's own `handle_exit` handle SIGTERM.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, Server) else None


def configure(server: Server, *, graceful_seconds: int, connect: Callable[..., Any]) -> None:
    """Give uvicorn what BentoML's command line does not.

    Parameters
    ----------
    graceful_seconds
        How long requests in work may take to end.
    connect
        What makes the protocol of a connection.
    """
    check_version("uvicorn", LOWEST, BELOW, "the HTTP protocol of the service")
    server.config.timeout_graceful_shutdown = graceful_seconds
    server.config.http_protocol_class = connect  # type: ignore[assignment]


def list_sockets(server: Server) -> list[int]:
    """Return the numbers of the sockets that a server listens at; none before it has started."""
    servers = getattr(server, "servers", [])
    return [listener.fileno() for one in servers for listener in one.sockets]
