from __future__ import annotations

import asyncio
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import orjson
import pytest
from uvicorn import Config, Server

from service.http import compat
from service.http.asgi import Reply, reply_refused
from service.http.errors import Refused
from service.http.request import Request
from service.process import lifecycle
from service.process.settings import Settings, read_settings
from tests.ports import PATIENCE, until

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
SETTINGS = read_settings({"KEEP_ALIVE_SECONDS": "7", "GRACEFUL_SECONDS": "9"})
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Answerer:
    """An application that answers each request by a function, and counts what is none."""

    def __init__(self, answer: Callable[[Request], Reply | Awaitable[Reply]]) -> None:
        self.answer = answer
        self.malformed: list[str] = []
        self.refused: list[int] = []
        self.crowd: list[str] = []
        self.connections = 0

    def begin(self, request: Request) -> Reply | None:
        return Reply(404, b"{}") if request.path == "/missing" else None

    def refuse(self, _: Request, refused: Refused) -> Reply:
        self.refused.append(refused.status)
        return reply_refused(refused)

    def count_malformed(self, reason: str) -> None:
        self.malformed.append(reason)

    def report_crowd(self, event: str) -> None:
        self.crowd.append(event)

    def report_connections(self, count: int) -> None:
        self.connections = count


async def answer_late(_: Request) -> Reply:
    await asyncio.sleep(0.1)
    return Reply(200, b"ok")


def serve(
    loop: Any,
    use: Callable[[lifecycle.Site, int], Awaitable[None]],
    application: Answerer | None = None,
    settings: Settings = SETTINGS,
) -> None:
    """Run uvicorn as a worker does, and something against it."""

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        config = Config(_no_app, loop=loop, lifespan="off", log_config=None)
        config.load()
        server = Server(config)
        site = lifecycle.configure(server, settings, application or Answerer(answer_late))
        task = asyncio.create_task(server.serve([listener]))
        await lifecycle.open_queue(site)
        try:
            async with asyncio.timeout(PATIENCE):
                await use(site, listener.getsockname()[1])
        finally:
            site.queue.close()
            server.config.timeout_graceful_shutdown = 1
            server.should_exit = True
            await task

    with asyncio.Runner(loop_factory=Config(_no_app, loop=loop).get_loop_factory()) as runner:
        runner.run(main())


async def _no_app(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("no request is left to ASGI")


async def ask(port: int, request: bytes = REQUEST) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
    answer = head + await reader.readexactly(length)
    writer.close()
    return answer


def test_outside_a_worker_it_is_ready_once_started() -> None:
    life = lifecycle.Lifecycle()
    assert (life.ready, life.draining) == (False, False)
    life.start(SETTINGS, Answerer(answer_late))
    assert (life.ready, life.draining) == (True, False)


def test_a_process_has_one_lifecycle() -> None:
    assert lifecycle.find_lifecycle() is lifecycle.find_lifecycle()


@LOOPS
def test_uvicorn_takes_the_settings(loop: str) -> None:
    async def use(site: lifecycle.Site, port: int) -> None:
        assert site.server.config.timeout_graceful_shutdown == 9
        assert site.pool.limits.idle_seconds == 7
        assert (await ask(port)).endswith(b"ok")

    serve(loop, use)


@LOOPS
def test_what_is_no_http_gets_an_error_like_any_other(loop: str) -> None:
    async def use(_site: lifecycle.Site, port: int) -> None:
        head, _, body = (await ask(port, b"rubbish\r\n\r\n")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"\r\nconnection: close" in head
        assert b"\r\ncontent-type: application/json\r\n" in head
        content = orjson.loads(body)
        assert set(content) == {"error", "detail"}
        assert "HTTP/1.1" in content["error"]

    serve(loop, use)


@LOOPS
def test_no_connection_that_was_made_is_lost_when_listening_stops(loop: str) -> None:
    async def use(site: lifecycle.Site, port: int) -> None:
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        stopped = asyncio.create_task(lifecycle.stop_listening(site, is_last=True))
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(len(clients)) as pool:
            answers = [loop.run_in_executor(pool, _answer, client) for client in clients]
            assert all(answer.endswith(b"ok") for answer in await asyncio.gather(*answers))
        await stopped
        with pytest.raises(ConnectionRefusedError):
            await ask(port)

    serve(loop, use)


@LOOPS
def test_those_who_connect_all_the_while_are_answered_or_refused(loop: str) -> None:
    answered = []

    def connect(port: int) -> None:
        while True:
            try:
                client = socket.create_connection(("127.0.0.1", port), timeout=60)
            except ConnectionRefusedError:
                return
            answered.append(_answer(client))

    async def use(site: lifecycle.Site, port: int) -> None:
        with ThreadPoolExecutor(8) as pool:
            own = asyncio.get_running_loop()
            clients = [own.run_in_executor(pool, connect, port) for _ in range(8)]
            await until(lambda: len(answered) >= 16 or any(one.done() for one in clients))
            await lifecycle.stop_listening(site, is_last=True)
            await asyncio.gather(*clients)

    serve(loop, use)
    assert len(answered) >= 16
    assert all(answer.endswith(b"ok") for answer in answered)


def _answer(client: socket.socket) -> bytes:
    with client:
        return _ask(client)


def _ask(client: socket.socket) -> bytes:
    client.sendall(REQUEST)
    return _received(client)


def _received(client: socket.socket) -> bytes:
    answer = client.recv(2**16)
    return answer if answer.endswith(b"ok") else answer + client.recv(2**16)


@LOOPS
def test_one_of_several_workers_leaves_the_queue_to_the_others(loop: str) -> None:
    async def use(site: lifecycle.Site, port: int) -> None:
        [listener] = site.server.servers[0].sockets
        with socket.socket(fileno=os.dup(listener.fileno())) as other:
            await lifecycle.stop_listening(site, is_last=False)
            other.settimeout(60)
            with socket.create_connection(("127.0.0.1", port)) as client:
                accepted, _ = other.accept()
                accepted.close()
                assert client.recv(1) == b""

    serve(loop, use)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_who_keeps_the_socket_is_let_in_after_the_end() -> None:
    """`bentoml serve --reload` hands one socket to a process after the other."""

    async def use(site: lifecycle.Site, port: int) -> None:
        [number] = compat.list_sockets(site.server)
        with socket.socket(fileno=os.dup(number)):
            await lifecycle.stop_listening(site, is_last=True)
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()

    serve("uvloop", use)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_a_process_lets_in_whom_the_one_before_it_was_killed_refusing() -> None:
    async def use(site: lifecycle.Site, port: int) -> None:
        [listener] = lifecycle.duplicate(compat.list_sockets(site.server))
        with listener:
            lifecycle.limit_ttl(listener, lifecycle.HIGHEST)
        site.queue.close()
        site.queue.open()
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()

    serve("uvloop", use)


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO has the length on Linux")
def test_of_several_workers_each_accepts_its_part() -> None:
    async def use(site: lifecycle.Site, port: int) -> None:
        [number] = compat.list_sockets(site.server)
        asyncio.get_running_loop().remove_reader(number)
        site.queue.close()
        queue = lifecycle.Queue(site, workers=4)
        queue.open()
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
        queue.accept()
        actual = site.pool.state.connections
        await until(lambda: len(actual) >= 10)
        await asyncio.sleep(0.05)
        assert len(actual) == 10
        queue.close()
        for client in clients:
            client.close()

    serve("asyncio", use)


def test_without_file_descriptors_connections_wait_in_the_queue() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        with socket.create_connection(listener.getsockname()):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with open(os.devnull) as lowest:  # noqa: PTH123
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno(), hard))
                try:
                    assert lifecycle.accept_all(listener) == []
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            [accepted] = lifecycle.accept_all(listener)
            accepted.close()


def _has_ended(client: socket.socket) -> bool:
    """Whether the server's end of a connection that waits for no answer can be seen."""
    return bool(select.select([client], [], [], 0)[0])


@LOOPS
@pytest.mark.parametrize("before", [REQUEST, b""])
def test_what_comes_while_the_machine_keeps_the_process_from_running_is_answered(
    loop: str, before: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any moment of the end, for longer than all of the end takes."""
    monkeypatch.setattr(lifecycle, "LINGER_SECONDS", 0.25)
    monkeypatch.setattr(lifecycle, "SETTLES", 1)
    sockets, stack = [], ExitStack()

    async def use(site: lifecycle.Site, port: int) -> None:
        # uvicorn's own would send the signal on to this process.
        end = lambda *_: setattr(site.server, "should_exit", True)  # noqa: E731
        monkeypatch.setattr(site.server, "handle_exit", end)
        own = asyncio.get_running_loop()
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(40)
        ]
        if before:
            with ThreadPoolExecutor(len(clients)) as pool:
                await asyncio.gather(*(own.run_in_executor(pool, _ask, one) for one in clients))
        ends = asyncio.create_task(lifecycle.drain(site, 0.0))
        for client in clients:
            if not _has_ended(client):
                client.sendall(REQUEST)
                sockets.append(client)
                time.sleep(0.12)  # noqa: ASYNC251, the loop is not to run
            await asyncio.sleep(0.001)
        await ends

    with stack:
        serve(loop, use)
        assert sockets
        assert all(_received(client).endswith(b"ok") for client in sockets)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_a_listener_that_refuses_still_has_its_queue() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as early:
            lifecycle.limit_ttl(listener, lifecycle.HIGHEST)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            accepted, _ = listener.accept()
            with accepted:
                lifecycle.limit_ttl(accepted, 0)
                early.sendall(b"asked")
                assert accepted.recv(5) == b"asked"
                accepted.sendall(b"answered")
                assert early.recv(8) == b"answered"
