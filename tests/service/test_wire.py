from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn import Server

from service import wire
from service.wire import MAX_HEAD
from tests.ports import until
from tests.service.test_lifecycle import REQUEST, ask, serve

REFUSED = b"HTTP/1.1 400 Bad Request\r\n"


def served(use: Any) -> None:
    serve("uvloop", "httptools", use)


async def talk(port: int, *parts: bytes) -> bytes:
    """Send these parts, one after the other; all that comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * (MAX_HEAD + 1)],
        [b"GET / HTTP/1.1\r\nhost: x\r\na: ", *[b"x" * 4096] * (MAX_HEAD // 4096 + 1)],
        [b"GET / HTTP/1.1\r\nhost: x\r\n", *[b"a: b\r\n" * 1000] * (MAX_HEAD // 6000 + 1)],
        [b"GET /", b"x" * (MAX_HEAD + 1)],
        [b"\r\n" * (MAX_HEAD // 2 + 1)],
    ],
)
def test_a_head_that_is_too_long_is_refused(parts: list[bytes]) -> None:
    async def use(_: Server, port: int) -> None:
        assert (await talk(port, *parts)).startswith(REFUSED)
        assert (await ask(port)).endswith(b"ok")

    served(use)


def test_a_long_body_is_no_long_head() -> None:
    body = b"x" * (4 * MAX_HEAD)
    post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    last = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    async def use(_: Server, port: int) -> None:
        for parts in ([post + body, last], [post, body, last], [post + body + last]):
            assert (await talk(port, *parts)).count(b"HTTP/1.1 200 OK\r\n") == 2

    served(use)


@pytest.mark.parametrize("part", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n", b"\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(part: bytes) -> None:
    async def use(server: Server, port: int) -> None:
        waits = asyncio.create_task(talk(port, part))
        found = server.server_state.connections
        await until(lambda: [getattr(one, "head", None) for one in found] == [len(part)])
        await asyncio.sleep(0.05)
        wire.end_late(server.server_state.connections, 60)
        assert not waits.done()
        wire.end_late(server.server_state.connections, 0.01)
        assert await waits == b""

    served(use)


def test_one_that_waits_for_its_answer_or_its_next_request_is_not_late() -> None:
    async def use(server: Server, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        state = server.server_state

        async def taken(request: int) -> None:
            """Wait until it is in work, or on a machine that paused answered."""
            await until(lambda: bool(state.tasks) or state.total_requests >= request)

        for number in range(2):
            writer.write(REQUEST)
            await taken(number + 1)
            await asyncio.sleep(0.05)  # half of what the answer takes
            wire.end_late(server.server_state.connections, 0.01)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
            await asyncio.sleep(0.05)
            wire.end_late(server.server_state.connections, 0.01)
        writer.close()

    served(use)


def test_what_is_no_http_does_not_overtake_the_answer_to_what_came_before() -> None:
    async def use(_: Server, port: int) -> None:
        answer = await talk(port, REQUEST + b"rubbish\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"ok")

    served(use)
