"""What clients may take of a worker, and that none of them keeps the others waiting."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import orjson
import pytest

from service.http.asgi import Reply
from service.http.framing import MAX_HEAD
from service.http.protocol import BODIES, LONG_BODIES, LONG_ENOUGH
from service.http.request import Request
from service.process.lifecycle import Site
from service.process.settings import read_settings
from tests.ports import PATIENCE, until
from tests.service.process.test_lifecycle import REQUEST, Answerer, answer_late, ask, serve

READ = 2**18  # bytes that uvloop reads at once
SMALL = read_settings({"MAX_BODY_BYTES": "1024", "MAX_CONCURRENCY": "1"})
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
CHUNKS = b"%b / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


def answer_ok(_: Request) -> Reply:
    return Reply(200, b"ok")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def send_until_the_end(port: int, first: bytes, more: bytes) -> tuple[int, bytes]:
    """Send the same over and over; how much until the server wanted no more, and its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = len(first)
    writer.write(first)
    while not (answer := reader._buffer) and not reader.at_eof():  # type: ignore[attr-defined]
        writer.write(more)
        sent += len(more)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await reader.read()
    writer.close()
    return sent, answer


@pytest.mark.parametrize(
    ("first", "more", "expected"),
    [
        (CHUNKS % b"POST" + b"0\r\n", b"a: b\r\n" * 100, 400),
        (CHUNKS % b"POST" + b"0\r\na: ", b"x" * 1000, 400),
        (CHUNKS % b"POST" + b"1;", b"x" * 1000, 400),
        (CHUNKS % b"GET", b"3e8\r\n" + b"x" * 1000 + b"\r\n", 413),
        (CHUNKS % b"POST", b"1\r\nx\r\n" * 100, 413),
        (CHUNKS % b"POST", b"1;" + b"e" * 500 + b"\r\nx\r\n", 413),
        (b"GET / HTTP/1.1\r\nhost: x\r\n", b"a: b\r\n" * 100, 431),
        (b"GET /", b"x" * 1000, 431),
    ],
)
def test_what_has_no_end_is_refused_after_a_while(first: bytes, more: bytes, expected: int) -> None:
    async def use(site: Site, port: int) -> None:
        sent, answer = await send_until_the_end(port, first, more)
        assert status(answer) == expected
        assert set(orjson.loads(answer.partition(b"\r\n\r\n")[2])) == {"error", "detail"}
        # As much again may be in the buffers of both sides.
        assert sent < SMALL.max_body_bytes * 7 + MAX_HEAD + 2 * 10 * READ
        await until(lambda: not site.server.server_state.connections)
        assert site.pool.memory.in_use == site.pool.bodies.in_use == 0

    serve("uvloop", use, Answerer(answer_ok), SMALL)


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        yield client


def test_requests_that_nobody_reads_the_answers_of_are_not_read_on() -> None:
    """Endless requests on one connection end in what both kernels hold."""
    long = b"x" * 10_000
    many = REQUEST * 200
    most = 64 * 2**20

    def send(port: int) -> tuple[int, int]:
        with connected(port) as client:
            client.settimeout(2)  # nothing moves: both ends wait
            sent = 0
            with suppress(TimeoutError):
                while sent < most:
                    sent += client.send(many[sent % len(REQUEST) :])
            client.settimeout(PATIENCE)
            client.shutdown(socket.SHUT_WR)
            answers, count = b"", 0
            while part := client.recv(2**20):
                answers += part
                if (start := answers.rfind(b"HTTP/1.1")) > 0:
                    count += answers[:start].count(b"HTTP/1.1 200 OK\r\n")
                    answers = answers[start:]
            assert answers.endswith(long)
            return sent // len(REQUEST), count + answers.count(b"HTTP/1.1 200 OK\r\n")

    async def use(site: Site, port: int) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            answered = loop.run_in_executor(pool, send, port)
            await until(lambda: site.pool.memory.in_use > 0 or answered.done())
            held = 0
            while not answered.done():
                held = max(held, site.pool.memory.in_use)
                await asyncio.sleep(0.01)
            status, count = await answered
        assert count == status < most // len(REQUEST)
        assert held <= READ + len(many) + 2**16 + 2 * len(long)

    serve("uvloop", use, Answerer(lambda _: Reply(200, long)))


def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def answer(request: Request) -> Reply:
        if request.path.endswith("3"):
            await asyncio.sleep(0.01)
        return Reply(200, b"[%s]" % request.path.encode())

    def answer_some(request: Request) -> Reply | Awaitable[Reply]:
        is_late = int(request.path[1:]) % 2
        return answer(request) if is_late else Reply(200, b"[%s]" % request.path.encode())

    paths = [b"/%d" % number for number in range(50)]
    requests = b"".join(b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % path for path in paths)

    async def use(_: Site, port: int) -> None:
        for size in (len(requests), 7):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for start in range(0, len(requests), size):
                writer.write(requests[start : start + size])
                await asyncio.sleep(0)
            writer.write_eof()
            answers = await reader.read()
            assert [part.split(b"]")[0] for part in answers.split(b"[")[1:]] == paths
            writer.close()

    serve("uvloop", use, Answerer(answer_some))


def test_who_sends_many_requests_at_once_keeps_nobody_waiting() -> None:
    answered: list[str] = []

    def answer(request: Request) -> Reply:
        answered.append(request.path)
        return Reply(200, b"ok")

    async def use(_: Site, port: int) -> None:
        one = await asyncio.open_connection("127.0.0.1", port)
        many = await asyncio.open_connection("127.0.0.1", port)
        many[1].write(b"GET /many HTTP/1.1\r\nhost: x\r\n\r\n" * 5000)
        await until(lambda: len(answered) >= 10)
        before = len(answered)
        one[1].write(b"GET /one HTTP/1.1\r\nhost: x\r\n\r\n")
        await one[0].readuntil(b"ok")
        # One request a turn; the client, in the same loop, takes some turns itself.
        assert answered.index("/one") - before < 20
        for _reader, writer in (one, many):
            writer.close()

    serve("uvloop", use, Answerer(answer))


def test_new_connections_are_accepted_all_at_once() -> None:
    """libuv accepts one a turn: who comes last would wait for as many turns as others came."""

    async def use(site: Site, port: int) -> None:
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        for turns in range(200):  # noqa: B007
            if len(site.server.server_state.connections) == len(clients):
                break
            await asyncio.sleep(0)
        assert turns < 20
        for client in clients:
            client.close()

    serve("uvloop", use, Answerer(answer_ok))


def test_bodies_on_their_way_take_no_slot_and_have_a_limit_by_client() -> None:
    async def use(site: Site, port: int) -> None:
        most = BODIES * SMALL.max_concurrency * 3 // 4  # of one client
        slow = []
        for _ in range(most):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST % 10 + b"x")
            slow.append((reader, writer))
        await until(lambda: site.pool.bodies.in_use == most)
        assert status(await ask(port, POST % 10 + b"x")) == 429
        assert status(await ask(port, POST % 10 + b"x" * 10)) == 200  # is there in one piece
        for reader, writer in slow:
            writer.write(b"x" * 9)
            assert status(await reader.readuntil(b"ok")) == 200
            writer.close()
        assert site.pool.bodies.in_use == 0

    serve("uvloop", use, Answerer(answer_ok), SMALL)


def test_all_that_is_held_has_a_limit_by_client() -> None:
    size = LONG_ENOUGH - 1  # and one byte more is to come

    async def use(site: Site, port: int) -> None:
        waits = []
        for number in range(LONG_BODIES * 3 // 4):  # the part of one client
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST % LONG_ENOUGH + b"x" * size)
            waits.append((reader, writer))
            held = size * (number + 1)
            await until(partial(lambda most: site.pool.memory.in_use == most, held))
        for part in (POST % LONG_ENOUGH + b"x" * 1000, REQUEST[:-2] + b"a: " + b"x" * 1000):
            assert status(await ask(port, part)) == 429
        assert (await ask(port)).endswith(b"ok")
        for _, writer in waits:
            writer.close()
        await until(lambda: site.pool.memory.in_use == 0)

    settings = read_settings({"MAX_BODY_BYTES": str(LONG_ENOUGH)})
    serve("uvloop", use, Answerer(answer_ok), settings)


def test_a_body_that_does_not_come_is_408() -> None:
    async def use(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST % 10 + b"x")
        await until(lambda: site.pool.bodies.in_use == 1)
        site.pool.limits = site.pool.limits._replace(seconds=0)
        await site.pool.end_late()
        assert status(await reader.read()) == 408
        writer.close()

    serve("uvloop", use, Answerer(answer_ok))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    "head", [b"content-length: 20000000\r\n", b"transfer-encoding: chunked\r\n"]
)
def test_an_early_answer_arrives_though_the_client_goes_on_sending(loop: str, head: bytes) -> None:
    """To close with bytes to read resets the connection, and the answer is lost."""
    body = b"x" * 20_000_000
    if b"chunked" in head:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

    def send(port: int) -> int:
        with connected(port) as client:
            client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n")
            client.sendall(body)
            answer = b""
            while part := client.recv(2**16):
                answer += part
            return status(answer)

    class Refusing(Answerer):
        def begin(self, request: Request) -> Reply | None:
            is_long = int(request.headers.get(b"content-length", b"0")) > 10**7
            return Reply(413, b"{}") if is_long else None

    async def use(_site: Site, port: int) -> None:
        own = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            for _ in range(5):
                assert await own.run_in_executor(pool, send, port) == 413

    serve(loop, use, Refusing(answer_ok))


def test_a_client_that_expects_to_be_told_to_go_on_is_told() -> None:
    head = (POST % 2).replace(b"\r\n\r\n", b"\r\nexpect: 100-Continue\r\n\r\n")

    async def use(_: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert status(await reader.readuntil(b"\r\n\r\nok")) == 200
        writer.write(head.replace(b"POST /", b"POST /missing"))
        assert status(await reader.read()) == 404  # and is not told to send the body
        writer.close()

    serve("uvloop", use, Answerer(answer_ok))


def test_http_1_0_keeps_its_connection_where_it_asks() -> None:
    async def use(_: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n")
        assert b"\r\nconnection: keep-alive\r\n" in await reader.readuntil(b"\r\n\r\nok")
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert b"\r\nconnection: close\r\n" in await reader.read()
        writer.close()

    serve("uvloop", use, Answerer(answer_ok))


def test_head_has_the_length_and_no_body() -> None:
    async def use(_: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n" + REQUEST)
        first, second = (await reader.readuntil(b"\r\n\r\nok")).split(b"HTTP/1.1 200 OK")[1:]
        assert b"\r\ncontent-length: 2\r\n" in first
        assert first.endswith(b"\r\n\r\n")
        assert second.endswith(b"\r\n\r\nok")
        writer.close()

    serve("uvloop", use, Answerer(answer_ok))


@pytest.mark.parametrize("answer", [answer_ok, answer_late])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_sends_no_more_still_gets_its_answers(loop: str, answer: Any) -> None:
    async def use(_: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST * 3)
        writer.write_eof()
        assert (await reader.read()).count(b"\r\n\r\nok") == 3
        writer.close()

    serve(loop, use, Answerer(answer))


def test_a_request_has_the_address_of_its_client_and_none_goes_on_without_one() -> None:
    requests: list[Request] = []

    async def wait(request: Request) -> Reply:
        requests.append(request)
        await asyncio.Event().wait()
        raise AssertionError

    async def use(site: Site, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await until(lambda: bool(requests))
        assert requests[0].client == "127.0.0.1"
        # A reset, not an end.
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        await until(lambda: not site.server.server_state.tasks)
        assert requests[0].is_abandoned

    serve("uvloop", use, Answerer(wait))
