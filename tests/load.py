"""Clients that hold a service to losing nothing."""

from __future__ import annotations

import asyncio
import time
from threading import Thread
from types import TracebackType
from typing import Self

import orjson

from tests.ports import PATIENCE
from tests.serving import MALIGNANT

ROWS = {"features": MALIGNANT}
PAUSE = 0.05
BODY = orjson.dumps(ROWS)
REQUEST = (
    b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n" % len(BODY)
) + BODY


class Load:
    """Steady load: keep-alive connections with a request every PAUSE seconds, until the block ends.

    A connection that is refused took no request, so the client waits and connects again. Where one
    was made and a request sent, anything but a whole answer is a loss.

    Attributes
    ----------
    answered, statuses
        How many requests were, and the statuses that they got.
    lost
        Of each request without a whole answer the error and when its connection was begun.
    """

    def __init__(self, port: int, connections: int = 64) -> None:
        self.port = port
        self.connections = connections
        self.answered = 0
        self.statuses: set[int] = set()
        self.lost: list[tuple[str, float]] = []
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
                again = True
                while again:
                    again = await self._ask(reader, writer, begun)
                    await asyncio.sleep(PAUSE)
                    again = again and not (self._ends or reader.at_eof())
            finally:
                writer.close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: float
    ) -> bool:
        """Send a request and read its answer; whether the connection may be used again."""
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(REQUEST)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].split(b"\r")[0])
                await reader.readexactly(length)
        except (OSError, EOFError) as error:
            self.lost.append((type(error).__name__, begun))
            return False
        self.answered += 1
        self.statuses.add(int(head.split()[1]))
        return b"\r\nconnection: close\r\n" not in head
