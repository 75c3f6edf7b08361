from __future__ import annotations

import asyncio
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.http import protocol
from service.http.asgi import CLOSE, Reply
from service.http.framing import MAX_HEAD
from service.http.protocol import (
    LEAST_TAKEN,
    MOST_REFUSED,
    SHORT_REST,
    Phase,
    Pool,
    count_held,
    count_unsent,
)
from service.http.request import Request
from service.process.lifecycle import RECEIVE_BUFFER, SEND_BUFFER, Site
from service.process.settings import read_settings
from tests.ports import PATIENCE, free_ports, listens, until
from tests.service.process.test_lifecycle import LOOPS, REQUEST, Answerer, answer_late, ask, serve
from tests.tools import tool

REFUSED = b"HTTP/1.1 400 Bad Request\r\n"


async def end_late(pool: Pool, seconds: float) -> None:
    """End what is late by another limit than that of the settings."""
    pool.limits = pool.limits._replace(seconds=seconds)
    await pool.end_late()


def served(use: Any) -> None:
    serve("uvloop", use)


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


HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n"
LONG = b"x" * (MAX_HEAD + 1)
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "status", "reason"),
    [
        ([HEAD + b"a: " + LONG], 431, "headers_too_long"),
        ([HEAD + b"a: " + LONG + b"\r\n\r\n"], 431, "headers_too_long"),
        ([HEAD + b"a: ", *[b"x" * 4096] * (MAX_HEAD // 4096 + 1)], 431, "headers_too_long"),
        ([HEAD, *[b"a: b\r\n" * 1000] * (MAX_HEAD // 6000 + 1)], 431, "headers_too_long"),
        ([b"GET /", LONG], 431, "headers_too_long"),
        ([b"\r\n" * (MAX_HEAD // 2 + 1)], 400, "syntax"),
        ([b"\r\n"] * 10, 400, "syntax"),
        ([HEAD + b"a: b\n\n"], 400, "syntax"),
        ([HEAD + b"a: b", b"\n\n"], 400, "syntax"),
    ],
)
def test_a_head_that_has_no_end_is_refused(parts: list[bytes], status: int, reason: str) -> None:
    application = Answerer(repeat)

    async def use(_: Site, port: int) -> None:
        head, body = (await talk(port, *parts)).split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert set(orjson.loads(body)) == {"error", "detail"}
        assert application.malformed == [reason]
        assert (await ask(port)).endswith(b"[GET / ]")

    serve("uvloop", use, application)


def test_a_long_body_is_no_long_head() -> None:
    body = b"x" * (4 * MAX_HEAD)
    post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    last = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    async def use(_: Site, port: int) -> None:
        for parts in ([post + body, last], [post, body, last], [post + body + last]):
            assert (await talk(port, *parts)).count(b"HTTP/1.1 200 OK\r\n") == 2

    served(use)


@pytest.mark.parametrize("part", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n", b"\r"])
def test_a_head_that_does_not_come_ends_the_connection(part: bytes) -> None:
    async def use(site: Site, port: int) -> None:
        waits = asyncio.create_task(talk(port, part))
        actual: Any = site.server.server_state.connections
        await until(lambda: [one.has_part() for one in actual] == [bool(part)])
        await asyncio.sleep(0.05)
        await end_late(site.pool, 60)
        assert not waits.done()
        await end_late(site.pool, 0.01)
        assert await waits == b""

    served(use)


def test_the_rest_of_a_head_that_came_while_this_process_did_not_run_is_not_late() -> None:
    async def use(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST[:-2])
        actual: Any = site.server.server_state.connections
        await until(lambda: any(one.has_part() for one in actual))
        writer.write(REQUEST[-2:])  # at once: the server, in this loop, has not read it
        await end_late(site.pool, 0)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()

    served(use)


@LOOPS
@pytest.mark.parametrize("before", [b"", REQUEST])
@pytest.mark.parametrize("end", ["keep-alive", "drain"])
def test_no_connection_is_closed_as_idle_on_which_a_request_has_come(
    loop: str, before: bytes, end: str
) -> None:
    async def close(pool: Pool) -> None:
        if end == "drain":
            await pool.end_idle()
        else:
            pool.limits = pool.limits._replace(idle_seconds=0)
            await end_late(pool, 0)

    async def use(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        actual: Any = site.server.server_state.connections
        await until(lambda: len(actual) == 1)
        if before:
            writer.write(before)
            await reader.readuntil(b"ok")
        writer.write(REQUEST)  # at once: the server, in this loop, has not read it
        await close(site.pool)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        await close(site.pool)
        assert await reader.read() == b""
        writer.close()

    serve(loop, use)


@LOOPS
@pytest.mark.parametrize("before", [b"", REQUEST])
def test_at_the_end_a_request_that_has_begun_to_come_is_answered_with_close(
    loop: str, before: bytes
) -> None:
    async def use(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        state: Any = site.server.server_state
        if before:
            writer.write(before)
            await reader.readuntil(b"ok")
        writer.write(REQUEST[:20])
        await until(lambda: any(one.has_part() for one in state.connections))
        await site.pool.end_idle()
        writer.write(REQUEST[20:])
        await until(lambda: bool(state.tasks))
        await site.pool.end_idle()
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"ok")
        assert b"\r\nconnection: close\r\n" in answer.lower()
        writer.close()

    serve(loop, use)


def test_one_that_waits_for_its_answer_or_its_next_request_is_not_late() -> None:
    async def use(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        state = site.server.server_state

        async def answer_later(request: int) -> None:
            """Wait until it is in work, or on a machine that paused answered."""
            await until(lambda: bool(state.tasks) or state.total_requests >= request)

        for number in range(2):
            writer.write(REQUEST)
            await answer_later(number + 1)
            await asyncio.sleep(0.05)  # half of what the answer takes
            await end_late(site.pool, 0.01)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
            await asyncio.sleep(0.05)
            await end_late(site.pool, 0.01)
        writer.close()

    served(use)


def test_what_is_no_http_does_not_overtake_the_answer_to_what_came_before() -> None:
    async def use(_: Site, port: int) -> None:
        first, ok, second = (await talk(port, REQUEST + b"rubbish\r\n\r\n")).partition(
            b"\r\n\r\nok"
        )
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert ok
        assert second.startswith(REFUSED)

    served(use)


MISSING = b"POST /missing HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n"


@LOOPS
def test_a_refusal_leaves_the_connection_open_for_the_next_request(loop: str) -> None:
    """A client may send head and body in two packets; what it hides in the body is no request."""
    head, body = MISSING % len(HIDDEN) + b"\r\n", HIDDEN
    application = Answerer(answer_late)

    async def use(_: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in (body, body[:9], b""):
            writer.write(head)
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 404 ")
            writer.write(part)
            await asyncio.sleep(0)
            writer.write(body[len(part) :] + REQUEST)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert not application.malformed
        writer.close()

    serve(loop, use, application)


@pytest.mark.parametrize(
    "head",
    [
        MISSING % (SHORT_REST + 1),
        MISSING % 9 + b"expect: 100-continue\r\n",
        MISSING % 9 + b"connection: close\r\n",
        b"POST /missing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n",
    ],
)
def test_a_refusal_ends_the_connection_where_the_rest_is_long_or_may_not_come(head: bytes) -> None:
    async def use(_: Site, port: int) -> None:
        answer = await talk(port, head + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"\r\nconnection: close\r\n" in answer

    served(use)


@pytest.mark.parametrize("end", ["late", "drain"])
def test_the_rest_of_a_refused_request_is_not_awaited_for_ever(end: str) -> None:
    async def use(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(MISSING % 9 + b"\r\n12345")
        await reader.readuntil(b"{}")
        actual: Any = site.server.server_state.connections
        await until(lambda: any(one.has_part() for one in actual))
        if end == "late":
            await end_late(site.pool, 0)
        else:
            await site.pool.end_idle()
            writer.write(b"6789")
        assert await reader.read() == b""
        writer.close()
        await until(lambda: not actual)

    served(use)


@LOOPS
@pytest.mark.parametrize("end", ["refusal", "drain"])
def test_who_sends_on_gets_the_last_answer_and_no_reset(loop: str, end: str) -> None:
    """A client that pipelines learns of the end from an answer that it may not have read yet."""

    def send(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(REQUEST)
            head = client.recv(4096)
            for _ in range(3):  # a reset shows when the next one is sent
                client.sendall(REQUEST)
            return head + client.recv(4096)

    async def use(site: Site, port: int) -> None:
        site.pool.is_closing = end == "drain"
        answer = await asyncio.to_thread(send, port)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"\r\nconnection: close\r\n" in answer
        await until(lambda: not site.server.server_state.connections)

    headers = (CLOSE,) if end == "refusal" else ()
    serve(loop, use, Answerer(lambda _: Reply(415, b"{}", headers)))


@LOOPS
@pytest.mark.parametrize("end", ["late", "drain"])
def test_requests_have_their_turns_while_thousands_of_connections_are_ended(
    loop: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(site: Site, port: int) -> None:
        site.pool.limits = site.pool.limits._replace(seconds=0)
        state: Any = site.server.server_state
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(9)]
        await until(lambda: len(state.connections) == len(clients))
        idle = list(state.connections)
        counts: list[int] = []

        def count() -> None:
            counts.append(sum(one.transport.is_closing() for one in idle))

        asyncio.get_running_loop().call_soon(count)
        await (site.pool.end_late() if end == "late" else site.pool.end_idle())
        count()
        assert counts == [3, 9]
        for _, writer in clients:
            writer.close()

    monkeypatch.setattr(protocol, "ENDED_A_TURN", 3)
    serve(loop, use)


@asynccontextmanager
async def stall(site: Site, port: int, request: bytes) -> AsyncIterator[tuple[socket.socket, Any]]:
    """Ask for a long answer, and take none of it; the client, and its connection's transport."""
    running = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        client.setblocking(False)  # noqa: FBT003, its own signature
        await running.sock_connect(client, ("127.0.0.1", port))
        await running.sock_sendall(client, request)
        actual: Any = site.server.server_state.connections
        await until(lambda: bool(actual) and not next(iter(actual))._can_write)
        yield client, next(iter(actual)).transport


SLOWLY = 4  # times that a client has taken more of an answer


@LOOPS
@pytest.mark.parametrize("option", [b"", b"connection: close\r\n"])
@pytest.mark.parametrize("goes_on", [True, False])
def test_who_takes_a_long_answer_slowly_gets_all_of_it(
    loop: str, option: bytes, *, goes_on: bool
) -> None:
    length = 2**23
    request = b"GET / HTTP/1.1\r\nhost: x\r\n" + option + b"\r\n"

    async def use(site: Site, port: int) -> None:
        running = asyncio.get_running_loop()
        async with stall(site, port, request) as (client, transport):
            taken = 0
            for _ in range(SLOWLY):
                unsent = count_unsent(transport)
                while count_unsent(transport) > unsent - LEAST_TAKEN:
                    part = await running.sock_recv(client, 4096)
                    assert part
                    taken += len(part)
                await end_late(site.pool, 0)
            if not goes_on:
                await end_late(site.pool, 0)
            with suppress(ConnectionResetError):
                while taken < length and (part := await running.sock_recv(client, 2**20)):
                    taken += len(part)
            assert (taken >= length) == goes_on

    serve(loop, use, Answerer(lambda _: Reply(200, b"x" * length)))


@LOOPS
def test_the_kernel_holds_little_for_who_does_not_read_and_nothing_after_the_end(loop: str) -> None:
    """What it holds counts as the container's memory: hundreds of clients could take all of it."""

    async def use(site: Site, port: int) -> None:
        running, actual = asyncio.get_running_loop(), site.server.server_state.connections
        async with stall(site, port, REQUEST) as (client, transport):
            await running.sock_recv(client, 2**15)
            held = count_unsent(transport) - transport.get_write_buffer_size()
            peer = transport.get_extra_info("socket")
            assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER
            assert held <= 2 * SEND_BUFFER + 2**16  # Linux lets the last packet go beyond
            while not transport.is_closing():
                await end_late(site.pool, 0)
            await until(lambda: not actual)
            with pytest.raises(ConnectionResetError):
                await read_all(client)

    async def read_all(client: socket.socket) -> None:
        while await asyncio.get_running_loop().sock_recv(client, 2**20):
            pass

    serve(loop, use, Answerer(lambda _: Reply(200, b"x" * 2**23)))


@LOOPS
def test_the_kernel_holds_little_for_who_has_sent_much(loop: str) -> None:
    """It holds more for each that sends a long body, up to megabytes, and goes on to do so."""

    async def use(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        (connection,) = await find_connections(site)
        for _ in range(3):
            writer.write(HEAD + b"content-length: %d\r\n\r\n" % 2**23 + b"x" * 2**23)
            await reader.readuntil(b"ok")
        peer = connection.transport.get_extra_info("socket")
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * RECEIVE_BUFFER
        writer.close()

    async def find_connections(site: Site) -> list[Any]:
        actual: Any = site.server.server_state.connections
        await until(lambda: bool(actual))
        return list(actual)

    serve(loop, use)


def has_more(connections: set[Any], before: set[Any]) -> bool:
    return bool(connections - before)


async def connect_all(
    site: Site, port: int, count: int
) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect so many clients, one after the other."""
    clients = []
    connections: Any = site.server.server_state.connections
    for _ in range(count):
        before = set(connections)
        clients.append(await asyncio.open_connection("127.0.0.1", port))
        await until(partial(has_more, connections, before))
    return clients


FEW, BODIES_OF_FEW = read_settings({"MAX_CONNECTIONS": "16"}), 4


def all_of(site: Site) -> Any:
    return site.server.server_state.connections


def has_phases(site: Site, phases: Mapping[Phase, int]) -> bool:
    counts = Counter(each.phase for each in all_of(site))
    return all(counts[phase] == count for phase, count in phases.items())


def let_time_pass(site: Site) -> None:
    """Have all connections have waited for an hour, of which a second counts."""
    for each in all_of(site):
        each.since -= 3600


@LOOPS
def test_one_connection_too_many_takes_the_place_of_who_has_waited_longest(loop: str) -> None:
    application = Answerer(answer_late)

    async def use(site: Site, port: int) -> None:
        clients = await connect_all(site, port, 16)
        let_time_pass(site)
        for reader, writer in clients[:2]:  # who has been answered has waited less long
            writer.write(REQUEST)
            await reader.readuntil(b"ok")
        assert (await ask(port)).endswith(b"ok")
        assert await clients[2][0].read() == b""
        for reader, writer in [*clients[:2], *clients[3:]]:
            writer.write(REQUEST)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        for _, writer in clients:
            writer.close()

    serve(loop, use, application, FEW)
    assert application.crowd == ["too many connections: 1 closed, which had waited longest"]


@LOOPS
def test_no_answer_in_work_and_no_body_on_its_way_goes_for_a_new_connection(loop: str) -> None:
    release = asyncio.Event()
    application = Answerer(answer_once(release, 0, 0))

    async def use(site: Site, port: int) -> None:
        clients = await connect_all(site, port, 16)
        for number, (_, writer) in enumerate(clients):
            writer.write(POST if number < BODIES_OF_FEW else REQUEST)
        await until(partial(has_phases, site, {Phase.BODY: BODIES_OF_FEW, Phase.ANSWER: 12}))
        head = await talk(port)
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"too many connections" in head
        release.set()
        for number, (reader, writer) in enumerate(clients):
            writer.write(b"x" if number < BODIES_OF_FEW else b"")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()

    serve(loop, use, application, FEW)
    assert application.malformed == ["crowd"]


@LOOPS
def test_who_waits_for_a_request_goes_before_who_does_not_take_an_answer(loop: str) -> None:
    application = Answerer(lambda _: Reply(200, b"x" * 2**23))

    async def use(site: Site, port: int) -> None:
        async with stall(site, port, REQUEST) as (_, transport):
            clients = await connect_all(site, port, 15)
            let_time_pass(site)
            clients += await connect_all(site, port, 1)
            assert not transport.is_closing()
            assert await clients[0][0].read() == b""
            for _, writer in clients[1:]:
                writer.write(b"GET")  # a part of a request is worth less than an answer
            let_time_pass(site)
            newer = await connect_all(site, port, 8)
            assert not transport.is_closing()
            for _, writer in (*clients, *newer):
                writer.close()

    serve(loop, use, application, FEW)


@LOOPS
def test_an_answer_that_is_not_all_sent_goes_only_where_nothing_else_may(loop: str) -> None:
    async def use(site: Site, port: int) -> None:
        async with stall(site, port, REQUEST) as (_, transport):
            clients = await connect_all(site, port, 15)
            for _, writer in clients[1:]:
                writer.write(REQUEST)
            await until(partial(has_phases, site, {Phase.ANSWER: 14}))
            let_time_pass(site)
            newer = await connect_all(site, port, 1)
            assert await clients[0][0].read() == b""
            assert not transport.is_closing()
            newer[0][1].write(REQUEST)
            await until(partial(has_phases, site, {Phase.ANSWER: 15}))
            newer += await connect_all(site, port, 1)
            await until(transport.is_closing)
            release.set()
            await close_all(site, (*clients, *newer))

    release = asyncio.Event()
    serve(loop, use, Answerer(answer_once(release, 2**23)), FEW)


async def close_all(
    site: Site, clients: Iterable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
) -> None:
    """Close clients, and wait until the service has seen it."""
    for _, writer in clients:
        writer.close()
    await until(lambda: not any(one.phase is Phase.ANSWER for one in all_of(site)))


def answer_once(release: asyncio.Event, length: int, times: int = 1) -> Any:
    """Answer the first requests at once, and others when an event is set."""
    left = [Reply(200, b"x" * length)] * times

    async def wait() -> Reply:
        await release.wait()
        return Reply(200, b"ok")

    return lambda _: left.pop() if left else wait()


@LOOPS
def test_beyond_so_many_refusals_a_connection_is_closed_without_one(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asyncio.Event()
    application = Answerer(answer_once(release, 0, 0))

    async def use(site: Site, port: int) -> None:
        clients = await connect_all(site, port, 16)
        for _, writer in clients:
            writer.write(REQUEST)
        await until(partial(has_phases, site, {Phase.ANSWER: 16}))
        refused = await connect_all(site, port, MOST_REFUSED)
        before = len(all_of(site))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        assert len(all_of(site)) == before
        for late, _ in refused:
            assert (await late.read(64)).startswith(b"HTTP/1.1 503 ")
        release.set()
        for early, _ in clients:
            assert (await early.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        await close_all(site, (*clients, *refused, (reader, writer)))

    monkeypatch.setattr(protocol, "QUIET_SECONDS", PATIENCE)  # the refused keep their places
    serve(loop, use, application, FEW)
    assert application.malformed == ["crowd"] * (MOST_REFUSED + 1)


@LOOPS
def test_a_burst_of_connections_gets_answers_and_no_reset(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(_: Site, port: int) -> None:
        answers = await asyncio.gather(*(talk(port, LAST) for _ in range(100)))
        statuses = Counter(answer.split(b" ", 2)[1] for answer in answers)
        assert set(statuses) <= {b"200", b"503"}
        assert statuses[b"200"] >= 16

    monkeypatch.setattr(protocol, "FRESH_SECONDS", PATIENCE)  # the machine may pause
    serve(loop, use, settings=FEW)


LAST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@LOOPS
@pytest.mark.parametrize("more", [b"", b"GET /x HT"])
def test_who_leaves_the_end_of_an_answer_gives_up_the_place(loop: str, more: bytes) -> None:
    """The kernel does not have all of it, and what is left here is too little to stop writing."""

    async def use(site: Site, port: int) -> None:
        async with leave_rest(site, port, more):
            (connection,) = all_of(site)
            release = asyncio.Event()
            application.answer = answer_once(release, 0, 0)
            clients = await connect_all(site, port, 15)
            for _, writer in clients:
                writer.write(REQUEST)
            await until(partial(has_phases, site, {Phase.ANSWER: 15}))
            let_time_pass(site)
            (newer,) = await connect_all(site, port, 1)
            await until(
                lambda: connection not in all_of(site) and connection.transport.is_closing()
            )
            release.set()
            await close_all(site, (*clients, newer))

    application = Answerer(answer_much)
    serve(loop, use, application, FEW)


@LOOPS
@pytest.mark.parametrize("more", [b"", b"GET /x HT"])
def test_who_leaves_the_end_of_an_answer_is_late_at_some_time(loop: str, more: bytes) -> None:
    async def use(site: Site, port: int) -> None:
        async with leave_rest(site, port, more):
            for _ in range(2):  # it might be on its way the first time
                assert len(all_of(site)) == 1
                let_time_pass(site)
                await site.pool.end_late()
            await until(lambda: not all_of(site))

    serve(loop, use, Answerer(answer_much))


def answer_much(_: Request) -> Reply:
    return Reply(200, b"x" * 2**14)


@asynccontextmanager
async def leave_rest(site: Site, port: int, more: bytes) -> AsyncIterator[None]:
    """Ask for answers until the last one is not all sent, take none, and send more."""
    running = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)  # noqa: FBT003, its own signature
        await running.sock_connect(client, ("127.0.0.1", port))
        await until(lambda: bool(all_of(site)))
        (connection,) = all_of(site)
        while not connection.transport.get_write_buffer_size():
            await running.sock_sendall(client, REQUEST)
            await asyncio.sleep(0.01)
        assert connection._can_write
        await running.sock_sendall(client, more)
        await until(lambda: bytes(connection._buffer) == more)
        yield


@LOOPS
def test_the_kernel_holds_no_more_for_all_together(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = Answerer(lambda _: Reply(200, b"x" * 2**16))

    async def use(site: Site, port: int) -> None:
        clients = await connect_all(site, port, 6)
        for _, writer in clients[:4]:
            client: Any = writer.transport
            client.pause_reading()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            writer.write(REQUEST * 4)
        await until(lambda: sum(map(count_kernel, all_of(site))) > 2**19)
        while sum(map(count_kernel, all_of(site))) > 2**19:  # more of the answers may come to it
            await site.pool.end_late()
            await asyncio.sleep(0.01)
        assert len(all_of(site)) >= 3
        for reader, writer in clients[4:]:
            writer.write(REQUEST)
            assert (await reader.readuntil(b"x" * 2**16)).startswith(b"HTTP/1.1 200 OK\r\n")
        for _, writer in clients:
            writer.close()

    def count_kernel(connection: Any) -> int:
        return count_held(connection.transport)

    monkeypatch.setattr(protocol, "CROWD", 2)
    monkeypatch.setattr(protocol, "KERNEL_BYTES", 2**19)
    serve(loop, use, application)
    assert application.crowd
    assert all("do not take their answers" in event for event in application.crowd)


def repeat(request: Request) -> Reply:
    """Answer with the method, the path and the body of the request, in brackets."""
    path = request.path.encode()
    return Reply(200, b"[%s %s %s]" % (request.method.encode(), path, request.body))


OFFERS = [
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n",
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n",
    b"connection: keep-alive, Upgrade\r\nupgrade: TLS/1.2, other/1\r\n",
]
# A body that is a request in itself: read as one, it would get an answer of its own.
HIDDEN = b"GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n"
FRAMINGS = [
    (b"content-length: %d\r\n" % len(HIDDEN), HIDDEN),
    (b"transfer-encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
]
LAST = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@LOOPS
@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize(("framing", "body"), FRAMINGS)
@pytest.mark.parametrize("method", [b"POST", b"GET", b"PUT", b"DELETE"])
def test_an_offer_to_upgrade_is_ignored_and_the_body_read_by_its_framing(
    loop: str, offer: bytes, framing: bytes, body: bytes, method: bytes
) -> None:
    head = b"%s /first HTTP/1.1\r\nhost: x\r\n%s%s\r\n" % (method, offer, framing)
    request = head + body + LAST

    async def use(_: Site, port: int) -> None:
        for parts in (
            [request],
            [head, body + LAST],
            [head, body, LAST],
            [request[: len(head) - 30], request[len(head) - 30 : -60], request[-60:]],
        ):
            answer = await talk(port, *parts)
            assert answer.count(b"HTTP/1.1 ") == 2, answer
            assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
            assert b"[%s /first %s]" % (method, HIDDEN) in answer
            assert answer.endswith(b"[GET /last ]")

    serve(loop, use, Answerer(repeat))


def test_offers_that_come_one_after_the_other_are_each_ignored() -> None:
    head = b"POST /%d HTTP/1.1\r\nhost: x\r\n" + OFFERS[0] + b"content-length: 2\r\n\r\nok"
    together = b"".join(head % number for number in range(9)) + LAST

    async def use(_: Site, port: int) -> None:
        for parts in ([together], [together[:100], together[100:]]):
            answer = await talk(port, *parts)
            assert answer.count(b"HTTP/1.1 200 OK\r\n") == 10
            assert b"[POST /8 ok]" in answer

    serve("uvloop", use, Answerer(repeat))


def test_an_offer_by_http_1_0_ends_with_its_answer() -> None:
    head = b"POST / HTTP/1.0\r\n" + OFFERS[0] + b"content-length: 2\r\n\r\n"

    async def use(_: Site, port: int) -> None:
        for parts in ([head + b"ok"], [head, b"ok"]):
            answer = await talk(port, *parts)
            assert answer.count(b"HTTP/1.1 200 OK\r\n") == 1
            assert answer.endswith(b"[POST / ok]")

    serve("uvloop", use, Answerer(repeat))


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\n" + OFFERS[0] + b"transfer-encoding: other\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\n" + OFFERS[0] + b"transfer-encoding: \r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\n" + OFFERS[0] + b"content-length: \r\n\r\n",
    ],
)
def test_what_has_no_framing_is_refused_with_an_offer_too(head: bytes) -> None:
    async def use(_: Site, port: int) -> None:
        for parts in ([head + HIDDEN], [head, HIDDEN]):
            answer = await talk(port, *parts)
            assert answer.startswith((REFUSED, b"HTTP/1.1 501 "))
            assert answer.count(b"HTTP/1.1 ") == 1

    serve("uvloop", use, Answerer(repeat))


LONG_BODY = 100_000
# What Go hands on in one piece. Where it sends a body in several, its proxy may cut the answer of
# any server that is quick: https://github.com/golang/go/issues/40747
SHORT_BODY = 2_000

JAVA = """
import java.net.URI;
import java.net.http.*;

public class Post {
    public static void main(String[] words) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String body : new String[] {"one", "x".repeat(Integer.parseInt(words[1]))}) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(words[0]))
                .POST(HttpRequest.BodyPublishers.ofString(body)).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body().length());
        }
    }
}
"""


NODE = """
(async () => {
  for (const body of ["one", "x".repeat(Number(process.argv[2]))]) {
    const answer = await fetch(process.argv[1], { method: "POST", body });
    console.log(answer.status, (await answer.text()).length);
  }
})();
"""
# What curl does for each of the bodies.
CURL = ["--silent", "--max-time", "60", "--write-out", " %{http_code} %{size_download}\n"]


def curl(version: str, url: str, folder: Path) -> list[str]:
    """Post both bodies; each answer goes to a file of its own."""
    first = [*CURL, version, "--data-binary", "one", "--output", str(folder / "1"), url]
    long = ["--data-binary", f"@{folder / 'long'}", "--output", str(folder / "2"), url]
    return ["curl", *first, "--next", *CURL, version, *long]


async def run_client(command: list[str]) -> list[str]:
    """Run a client that prints status and length of its two answers; its lines."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, errors
    return [line.strip() for line in out.decode().splitlines()]


def make_command(client: str, url: str, folder: Path, length: int = LONG_BODY) -> list[str]:
    """Make the command of a client, which posts a short body, then one of this length."""
    (folder / "Post.java").write_text(JAVA)
    (folder / "long").write_text("x" * length)
    program, _, option = client.partition(" ")
    tool(program, {"java": "default-jdk-headless", "node": "nodejs"}.get(program, program))
    commands = {
        "java": ["java", str(folder / "Post.java"), url, str(length)],
        "node": ["node", "--eval", NODE, url, str(length)],
        "curl": curl(option, url, folder),
    }
    return commands[program]


def list_answers(length: int) -> list[str]:
    """List what the client prints: status and length of each answer."""
    return [f"200 {len('[POST / ]') + each}" for each in (3, length)]


CLIENTS = ["java", "curl --http2", "curl --http1.1", "curl --http1.0", "node"]


@pytest.mark.real
@pytest.mark.parametrize("client", CLIENTS)
def test_real_clients_get_their_answers(client: str, tmp_path: Path) -> None:
    """The JDK's and `curl --http2` offer HTTP/2, the JDK with the body in a second packet."""

    async def use(_: Site, port: int) -> None:
        command = make_command(client, f"http://127.0.0.1:{port}/", tmp_path)
        assert await run_client(command) == list_answers(LONG_BODY)

    serve("asyncio", use, Answerer(repeat))


NGINX = """
daemon off;
user root;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream service {{ server 127.0.0.1:{port}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{front};
    client_max_body_size 1m;
    location / {{
      proxy_pass http://service;
      proxy_http_version {version};
      proxy_request_buffering {buffering};
      proxy_set_header Connection $http_connection;
      proxy_set_header Upgrade $http_upgrade;
    }}
  }}
}}
"""


CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{front}, http://x:{front} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{port}
}}
"""


async def ask_through(proxy: list[str], front: int, folder: Path, length: int = LONG_BODY) -> None:
    """Run a proxy, and hold that behind it each request gets its own answer."""
    process = await asyncio.create_subprocess_exec(*proxy, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: listens(front))
        url = f"http://127.0.0.1:{front}/"
        # The first two offer to upgrade: the JDK's with the body in a second packet.
        for client in ("java", "curl --http2", "curl --http1.1"):
            command = make_command(client, url, folder, length)
            assert await run_client(command) == list_answers(length)
        # A body that is a request, behind an offer, in one packet and in two.
        head = b"POST /first HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n"
        head %= OFFERS[1], len(HIDDEN)
        for parts in ([head + HIDDEN, LAST], [head, HIDDEN, LAST]):
            answers = await talk(front, *parts)
            assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2
            assert b"[POST /first %s]" % HIDDEN in answers
            assert b"[GET /last ]" in answers
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.real
@pytest.mark.parametrize(("version", "buffering"), [("1.0", "on"), ("1.1", "on"), ("1.1", "off")])
def test_behind_nginx_each_request_gets_its_own_answer(
    version: str, buffering: str, tmp_path: Path
) -> None:
    """It hands the offer to upgrade on, and uses its connections for the requests of others."""
    nginx = tool("nginx", "nginx-light")
    front = free_ports(1)

    async def use(_: Site, port: int) -> None:
        config = tmp_path / "nginx.conf"
        settings = {"folder": tmp_path, "port": port, "front": front, "version": version}
        config.write_text(NGINX.format(**settings, buffering=buffering))
        await ask_through([nginx, "-c", str(config)], front, tmp_path)

    serve("asyncio", use, Answerer(repeat))


@pytest.mark.real
def test_behind_caddy_each_request_gets_its_own_answer(tmp_path: Path) -> None:
    """Its proxy is that of Go's library, which hands an offer to upgrade on by itself."""
    caddy = tool("caddy", "caddy")
    front = free_ports(1)

    async def use(_: Site, port: int) -> None:
        config = tmp_path / "Caddyfile"
        config.write_text(CADDY.format(front=front, port=port))
        command = [caddy, "run", "--adapter", "caddyfile", "--config", str(config)]
        await ask_through(command, front, tmp_path, SHORT_BODY)

    serve("asyncio", use, Answerer(repeat))
