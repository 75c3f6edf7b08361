"""uvicorn's HTTP protocol, with the four differences that the service makes to it.

A request that is no HTTP gets an error body like all others. The head of a request has a limit of
size and of time. An offer to upgrade to another protocol is ignored. And what is whole goes
through in one piece: uvicorn sends the head and the body of an answer by two system calls, which
take longer than the model, and has a body waited for even where it is there.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import termios
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.asgi import CLOSE, FAST_PATH
from service.http.compat import FastPath

BAD_REQUEST = {
    "error": "the request is not HTTP/1.1, or its headers are too long; check the request line and "
    "the headers",
    "detail": [],
}
# Bytes of a request's line and headers; uvicorn would keep whatever comes.
MAX_HEAD = 2**16


def adapt(protocol: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """Return our version of a protocol of uvicorn; h11's has only the first difference."""
    if issubclass(protocol, HttpToolsProtocol):
        return Http
    return type(protocol.__name__, (Plain, protocol), {})


class Plain:
    """A protocol of uvicorn whose own error is like the service's."""

    conn: Any
    cycle: Any
    transport: Any

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for long, but for what has come on it."""
        close_unless_used(self.transport)

    def has_part(self) -> bool:
        """Whether a part of a request's head has come."""
        return bool(self.conn.trailing_data[0])

    def send_400_response(self, _: str) -> None:
        """Refuse what is no HTTP."""
        cycle = self.cycle
        if cycle is not None and not (cycle.more_body or cycle.response_complete):
            cycle.keep_alive = False  # the answer to what came before is not to be overtaken
            self.transport.pause_reading()
            return
        body = orjson.dumps(BAD_REQUEST)
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head % len(body) + body)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: such a request gets its answer, and whoever sends it fills no log."""


class Http(Plain, HttpToolsProtocol):
    """httptools' protocol, with all of the differences.

    Attributes
    ----------
    head
        Bytes that have come of a head that is not complete.
    since
        When the first of them came, or the connection was made; None while none is awaited.
    """

    head = 0
    since: float | None = None

    def has_part(self) -> bool:
        """Whether a part of a request's head has come."""
        return self.since is not None and (self.head > 0 or self.cycle is not None)

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a head."""
        self.since = time.monotonic()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a head that is too long."""
        self._unset_keepalive_if_required()
        self._parse(data)
        # uvicorn makes the scope when a head begins, and the cycle when it is complete.
        if self.cycle is not None and self.cycle.scope is self.scope:
            self.head, self.since = 0, None
            return
        if self.since is None:  # this may be the end of a body, too
            self.since = time.monotonic()
            return
        self.head += len(data)
        if self.head > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("")

    def _parse(self, data: bytes) -> None:
        """Feed the parser; a request that offers to upgrade is parsed again without the offer.

        httptools takes such a request to end with its head, whatever body follows: the body would
        be the next request. So its head is fed to a new parser, all of it but the offer, and then
        what follows, which that parser reads as the head says.
        """
        rest: bytes | memoryview = data
        try:
            while True:
                try:
                    self.parser.feed_data(rest)
                    break
                except httptools.HttpParserUpgrade as offer:
                    rest = memoryview(rest)[offer.args[0] :]
                    self._ignore_offer()
        except httptools.HttpParserError:
            self.send_400_response("")

    def _ignore_offer(self) -> None:
        """Parse the head that has come once more, without its offer to upgrade.

        Raises
        ------
        httptools.HttpParserError
            The request is a CONNECT, which has no other meaning.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("this is no proxy")
        version = self.parser.get_http_version().encode()
        head = [b"%s %s HTTP/%s\r\n" % (method, self.url, version)]
        head += [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(b"".join((*head, b"\r\n")))

    def _should_upgrade(self) -> bool:
        """Have uvicorn's callbacks pass over a head with an offer; they ask where there is one."""
        return True

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        cycle.scope["extensions"] = {FAST_PATH: FastPath(cycle)}
        super()._start_asgi_task(cycle, app)


def end_late(connections: Iterable[Any], seconds: float) -> None:
    """End the connections on which a head has been coming for longer."""
    now = time.monotonic()
    for connection in list(connections):
        since = getattr(connection, "since", None)
        # The rest of it may have come while this process did not run.
        if since is not None and now - since > seconds:
            close_unless_used(connection.transport)


def end_idle(connections: Iterable[Any]) -> None:
    """Close the connections that no request is on; have the others close after their answer."""
    for connection in list(connections):
        cycle = connection.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.response_started and CLOSE not in cycle.default_headers:
                cycle.default_headers = [*cycle.default_headers, CLOSE]
        elif not connection.has_part():
            close_unless_used(connection.transport)


def close_unless_used(transport: Any) -> None:
    """Close a connection, unless bytes of it are in the kernel, to be read or to be sent.

    The client sees the end at once: a transport closes when the event loop comes to it, and what is
    sent until then is lost.
    """
    if transport.is_closing() or transport.get_write_buffer_size():
        return
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as peer:
        if any(fcntl.ioctl(peer, termios.FIONREAD, bytes(4))):
            return
        with suppress(OSError):  # the client is gone
            peer.shutdown(socket.SHUT_WR)
    transport.close()
