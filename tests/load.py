"""Clients that hold a service to losing nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from threading import Thread
from types import TracebackType
from typing import NamedTuple, Self

import orjson

from service.process.lifecycle import LINGER_SECONDS
from tests.ports import PATIENCE
from tests.serving import MALIGNANT

ROWS = {"features": MALIGNANT}
PAUSE = 0.05
RESET_SECONDS = 5.0  # for the kernel to answer on loopback: a bound, not a measure
EARLY = "closed in use"  # what is lost where nobody may close yet, though no answer is
BODY = orjson.dumps(ROWS)
REQUEST = (
    b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n" % len(BODY)
) + BODY


class Loss(NamedTuple):
    """A request without a whole answer.

    Attributes
    ----------
    kind
        The name of the error.
    begun
        When its connection was begun.
    port
        The client's port of that connection.
    """

    kind: str
    begun: float
    port: int


class Load:
    """Steady load: keep-alive connections with a request every PAUSE seconds, until the block ends.

    A connection that is refused took no request, so the client waits and connects again. Where one
    was made and a request sent, anything but a whole answer is a loss, but for one thing: between
    two requests a server may close, and what the client has sent by then comes too late. A busy
    machine may hold up the client for as long as the server waits, so that alone is no fault. It is
    one where the server did not wait for LINGER_SECONDS.

    Attributes
    ----------
    answered, statuses
        How many requests were, and the statuses that they got.
    lost
        The requests without a whole answer.
    """

    def __init__(self, port: int, connections: int = 64) -> None:
        self.port = port
        self.connections = connections
        self.answered = 0
        self.statuses: set[int] = set()
        self.lost: list[Loss] = []
        self._ends = False
        self._thread = Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends = True
        self._thread.join(2 * PATIENCE)

    def wait_for(self, requests: int, within: float = PATIENCE) -> None:
        """Wait until so many more are answered."""
        wanted, deadline = self.answered + requests, time.monotonic() + within
        while self.answered < wanted:
            assert time.monotonic() < deadline, f"{self.answered} of {wanted}; {self.lost}"
            time.sleep(0.01)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self.connections)))

    async def _client(self) -> None:
        while not self._ends:
            begun = time.monotonic()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                await asyncio.sleep(PAUSE)
                continue
            try:
                await self._use(reader, writer, begun)
            finally:
                writer.close()

    async def _use(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: float
    ) -> None:
        """Ask until the connection may not be used again, or the block ends."""
        used, goes_on = begun, True
        port = writer.get_extra_info("sockname")[1]
        while goes_on and not self._ends:
            before = time.monotonic()
            writer.write(REQUEST)
            sent = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    goes_on = await self._read(reader)
            except (OSError, EOFError) as error:
                if not await came_late(error, writer):
                    self.lost.append(Loss(type(error).__name__, begun, port))
                elif sent - used < LINGER_SECONDS:
                    self.lost.append(Loss(EARLY, begun, port))
                return
            used = before
            await asyncio.sleep(PAUSE)

    async def _read(self, reader: asyncio.StreamReader) -> bool:
        """Read an answer; whether the connection may be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\r")[0])
        await reader.readexactly(length)
        self.answered += 1
        self.statuses.add(int(head.split()[1]))
        return b"\r\nconnection: close\r\n" not in head


async def came_late(error: Exception, writer: asyncio.StreamWriter) -> bool:
    """Whether the server had closed a connection before the request came that found its end.

    To that the kernel answers with a reset, which after an end is EPIPE. Where the server closes
    with the request in hand, nothing follows; where it has not read it, the reset comes alone.
    """
    if not isinstance(error, asyncio.IncompleteReadError) or error.partial:
        return False
    end = time.monotonic() + RESET_SECONDS
    while time.monotonic() < end:
        if code := writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return bool(code == errno.EPIPE)
        await asyncio.sleep(0.01)
    return False
