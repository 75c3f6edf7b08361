"""The way from the socket to what answers: HTTP/1 as an `asyncio.Protocol`, on httptools.

uvicorn has the server, the lifespan and the signals, and takes the protocol as a class. Its own
protocol is not used: each request there is a task, a queue of events, a head and a body that are
sent by two system calls, which together take as long as the model; it has no limits of what a
connection may hold; and what the service needs otherwise was more than what was left of it.

A request that is whole when it arrives, and whose answer is there at once, is answered inside
`data_received`, with one write. Of each connection one request is in work; what has come behind it
waits, with its reading paused, and is taken up in a later turn of the event loop, one request a
turn, so that nobody who sends many keeps the others waiting. What connections hold is bounded: for
each by the limits of a head, a body and one read, for all by the budgets of the pool, and by how
many they may be. What is awaited from a client is bounded in time by `Pool.end_late`.
"""

from __future__ import annotations

import asyncio
import fcntl
import heapq
import os
import socket
import struct
import sys
import termios
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from service.http.asgi import (
    CLOSE,
    JSON_HEADERS,
    NO_CONTENT,
    RETRY,
    Header,
    Reply,
    refuse_late,
    refuse_length,
    reply_refused,
)
from service.http.budget import TOO_MUCH, Budget
from service.http.errors import Refused
from service.http.framing import (
    HEAD_END,
    MAX_HEAD,
    Body,
    ChunkedBody,
    Head,
    Malformed,
    SizedBody,
    check_part,
    make_too_long,
    parse_head,
)
from service.http.request import Request

MAX_EMPTY_LINES = 8
CROWDED = "too many connections; try again"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
STATUS_LINES = {s.value: b"HTTP/1.1 %d %s\r\n" % (s, s.phrase.encode()) for s in HTTPStatus}
STATUS_LINES[499] = b"HTTP/1.1 499 Client Closed Request\r\n"
# An answer that is longer is not copied to stand behind its head.
LONG_ANSWER = 2**16
# What is read, and thrown away, after an answer that does not wait for the rest of its request.
LINGER_BYTES = 2**26
LINGER_SECONDS = 10.0
# The rest of a refused request that is worth reading for the sake of the next one.
SHORT_REST = 2**16
# What a client must take of an answer in the time that a request may take, else it is cut off.
LEAST_TAKEN = 2**14
# How many bodies of the greatest length connections may hold, and how many bodies may be on their
# way for each request that may be in work.
LONG_BODIES = 8
LONG_ENOUGH = 2**20  # where bodies have to be shorter: heads take room, too
BODIES = 16
# Connections that are ended without a turn for the others: some milliseconds.
ENDED_A_TURN = 2**8
# What the kernel may hold of requests and answers together. Fewer connections cannot hold it.
KERNEL_BYTES = 96 * 2**20
CROWD = 2**7
SO_MEMINFO = 55  # Linux's, which the module `socket` does not know
# The part of all connections that goes at once where one more comes, so that few look for it, and
# how many go, or are refused, at most.
PART_FOR_ROOM = 1 / 16
MOST_ENDED, MOST_REFUSED = 2**7, 2**8
FULL_SECONDS = 0.05  # where none may go: until it is looked for the next one
# How long who has just come, or has had the last answer, or does not take one, is let alone.
FRESH_SECONDS, QUIET_SECONDS = 0.5, 1.0
WAITS, LINGERS, STUCK = range(3)  # why a connection may go for a new one


class Application(Protocol):
    """What answers requests; `service.http.front` has the one of the service."""

    def begin(self, request: Request) -> Reply | None:
        """Take up a request whose head is there; return the answer if that refuses it."""

    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer a request whose body is there."""

    def refuse(self, request: Request, refused: Refused) -> Reply:
        """Refuse a request that has begun."""

    def count_malformed(self, reason: str) -> None:
        """Count what is no request."""

    def report_crowd(self, event: str) -> None:
        """Say what was done because connections are too many, or hold too much."""

    def report_connections(self, count: int) -> None:
        """Say how many connections are open."""


class Limits(NamedTuple):
    """What a client may take.

    Attributes
    ----------
    body
        Bytes of a body.
    seconds, idle_seconds
        How long a request, or taking its answer, may take; and how long a connection without one
        stays open.
    requests, connections
        Requests in work at once, and open connections.
    """

    body: int
    seconds: float
    idle_seconds: float
    requests: int
    connections: int


class Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    IDLE = auto()  # a next request
    LINGER = auto()  # the client's end: what still comes is thrown away


class Pool:
    """The connections of a worker, and what they share.

    Parameters
    ----------
    application
        What answers.
    limits
        What a client may take.
    state
        uvicorn's: its `connections`, `tasks` and `default_headers`.
    """

    def __init__(self, application: Application, limits: Limits, state: Any) -> None:
        self.application = application
        self.limits = limits
        self.state = state
        self.memory = Budget(LONG_BODIES * max(limits.body, LONG_ENOUGH))
        self.bodies = Budget(min(BODIES * limits.requests, limits.connections // 2))
        self.is_closing = False
        self._full_until = 0.0
        self.accept: Callable[[], None] | None = None
        self._defaults: Sequence[Header] = ()
        self._heads: dict[int, bytes] = {}

    def connect(self, **_: Any) -> Connection:
        """Make the protocol of a connection that uvicorn accepted, which calls this as a class.

        Where it has accepted one, more may be waiting.
        """
        return Connection(self, self.accept)

    def connect_accepted(self) -> Connection:
        """Make the protocol of a connection that `accept` accepted."""
        return Connection(self)

    def admit(self, connection: Connection) -> None:
        """Take in a connection; where there are too many, others go for it."""
        connections = self.state.connections
        connections.add(connection)
        excess = len(connections) - self.limits.connections
        if excess <= 0:
            return
        now = time.perf_counter()
        if now >= self._full_until and (ended := self._make_room(connection, now)):
            event = f"too many connections: {ended} closed, which had waited longest"
        else:
            connection.turn_away(has_answer=excess <= MOST_REFUSED)
            event = "too many connections: new ones are refused, as all others are in use"
        self.application.report_crowd(event)

    def _make_room(self, newest: Connection, now: float) -> int:
        """End some connections that wait for a request, or else one that may go; count them."""
        ended = 0
        free = [
            (rank, number, each)
            for number, each in enumerate(self.state.connections)
            if each is not newest and (rank := each.rank(now))
        ]
        most = max(1, min(int(self.limits.connections * PART_FOR_ROOM), MOST_ENDED))
        for (reason, _), _, connection in heapq.nsmallest(2 * most, free):
            if ended and (reason > WAITS or ended == most):
                break
            if connection.make_room():
                self.state.connections.discard(connection)  # the loop comes to its end later
                ended += 1
        if not ended:
            self._full_until = now + FULL_SECONDS
        return ended

    def _end_holders(self, held: Sequence[tuple[int, Connection]]) -> None:
        """End those of whose requests and answers the kernel holds most, where it is too much."""
        total, ended = sum(size for size, _ in held), 0
        for size, connection in sorted(held, key=lambda each: each[0], reverse=True):
            if total <= KERNEL_BYTES:
                break
            reset(connection.transport)
            total -= size
            ended += 1
        if ended:
            self.application.report_crowd(f"clients do not take their answers: {ended} closed")

    def format_head(self, reply: Reply) -> bytes:
        """Return the status line and the headers of an answer, but for those of its request."""
        if self.state.default_headers is not self._defaults:  # uvicorn renews them each second
            self._defaults = self.state.default_headers
            self._heads.clear()
        if reply.headers is JSON_HEADERS:
            head = self._heads.get(reply.status)
            if head is None:
                head = self._heads[reply.status] = self._join_head(reply)
            return head
        return self._join_head(reply)

    def _join_head(self, reply: Reply) -> bytes:
        headers = [header for header in reply.headers if header != CLOSE]
        lines = [b"%s: %s\r\n" % header for header in (*self._defaults, *headers)]
        return STATUS_LINES[reply.status] + b"".join(lines)

    async def end_idle(self) -> None:
        """Close the connections that no request is on; have the others close after their answer."""
        await self._visit(Connection.end_idle)

    async def end_late(self) -> None:
        """End what has been waited for longer than the limits allow; report how many remain."""
        now = time.perf_counter()
        held: list[tuple[int, Connection]] = []
        is_crowd = len(self.state.connections) > CROWD

        def visit(connection: Connection) -> None:
            connection.end_late(now)
            if is_crowd:
                held.append((count_held(connection.transport), connection))

        await self._visit(visit)
        self._end_holders(held)
        self.application.report_connections(len(self.state.connections))

    async def _visit(self, visit: Callable[[Connection], None]) -> None:
        """Visit each connection; requests have their turns meanwhile, as there may be thousands."""
        for number, connection in enumerate(list(self.state.connections), start=1):
            if connection in self.state.connections:
                visit(connection)
            if not number % ENDED_A_TURN:
                await asyncio.sleep(0)


class Connection(asyncio.Protocol):
    """One connection of a client.

    Parameters
    ----------
    pool
        What it shares with the others.
    accept
        Accepts the connections that have come with it.
    """

    transport: Any
    client: str | None = None

    def __init__(self, pool: Pool, accept: Callable[[], None] | None = None) -> None:
        self.pool = pool
        self._accept = accept
        self.phase = Phase.HEAD
        self.since = time.perf_counter()  # when the phase began
        self._buffer = bytearray()  # what came and is not used yet
        self._empty_lines = 0  # before a head
        self._checked = 0  # how much of a head in it has been looked through
        self._request: Request | None = None
        self._body: Body | None = None
        self._keep_alive = True  # as the client would have it
        self._is_ending = False  # as the service would
        self._is_http_1_0 = False
        self._task: asyncio.Task[None] | None = None
        self._held = 0  # of the pool's memory
        self._turn: asyncio.Handle | None = None
        self._discarded = 0
        self._rest = 0  # of a body that is not used, as its request is answered
        self._unsent = 0  # of an answer, when the client last took some of it
        self._is_reading = True
        self._can_write = True
        self._is_spared = False  # it is late, and yet was not ended
        self._has_ended = False  # the client sends no more

    # What the event loop calls

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a head."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if isinstance(peer, tuple) else None
        self.pool.admit(self)
        if self._accept:
            self._accept()

    def data_received(self, data: bytes) -> None:
        """Take in what came; answer it, if it is a request."""
        if self.phase is Phase.LINGER:
            self._discard(len(data))
        elif self._buffer or self.phase is Phase.ANSWER or not self._can_write:
            self._buffer += data
            if self.phase is Phase.ANSWER or not self._can_write or self._turn:
                self._settle()
            else:
                self._take_turn()
        else:
            used = self._step(data)
            if used < len(data) or self.phase is not Phase.IDLE:
                self._buffer += memoryview(data)[used:]
                self._settle(has_moved=used > 0)

    def eof_received(self) -> bool:
        """Answer what has come, then close."""
        self._has_ended = True
        if self.phase is Phase.LINGER:
            return False
        # What is in work, or waits for its turn, still gets its answer.
        return self.phase is Phase.ANSWER or self._turn is not None or not self._can_write

    def connection_lost(self, _: Exception | None) -> None:
        """Give up what is in work."""
        self.pool.state.connections.discard(self)
        request, self._request = self._request, None
        if request:
            request.is_abandoned = True
            if self._task:
                self._task.cancel()
            else:
                self.pool.application.refuse(request, Refused(499, "the client went away"))
        elif self._buffer and self.phase is Phase.HEAD:
            self.pool.application.count_malformed("closed")
        self._end_body()
        self._hold(0)
        self._buffer.clear()
        if self._turn:
            self._turn.cancel()

    def pause_writing(self) -> None:
        """Wait: the client does not take its answers."""
        self._can_write = False
        self.since = time.perf_counter()
        self._unsent = count_unsent(self.transport)
        asyncio.get_running_loop().call_soon(self._settle)

    def resume_writing(self) -> None:
        """Go on with what has come meanwhile."""
        self._can_write = True
        if self.phase is not Phase.LINGER:
            self._settle(has_moved=True)

    # What the pool calls, and uvicorn at its end

    def shutdown(self) -> None:
        """Close at once, or after the answer that is in work."""
        self.end_idle()

    def end_idle(self) -> None:
        """Close if no request is on the connection, or else after its answer."""
        if self._request or self.has_part():
            self._is_ending = True
        else:
            close_unless_used(self.transport)

    def has_part(self) -> bool:
        """Tell whether a part of a request has come."""
        return bool(self._buffer) or self.phase is Phase.BODY

    def rank(self, now: float) -> tuple[int, float] | None:
        """Rank the connection among those that may go for a new one, the lowest first.

        Who waits for a request goes first, then who has had the last answer, then who does not take
        an answer; of these who has waited longest. None: a request is in work, or on its way, or
        should come in this moment.
        """
        if self._turn or self.phase is Phase.ANSWER or self._body or self.transport.is_closing():
            return None
        is_stuck = self.transport.get_write_buffer_size() > 0
        waited = now - self.since
        if is_stuck or self.phase is Phase.LINGER or self._rest:
            reason = STUCK if is_stuck else LINGERS
            return (reason, self.since) if waited > QUIET_SECONDS else None
        if self.phase is Phase.HEAD and waited <= FRESH_SECONDS:
            return None
        return WAITS, self.since

    def make_room(self) -> bool:
        """End the connection, as others need its place, unless a request has just come on it."""
        if self.transport.get_write_buffer_size() or self.phase is Phase.LINGER or self._rest:
            reset(self.transport)
        elif not self._buffer:
            close_unless_used(self.transport)
        elif not has_unread(self.transport):
            self._buffer.clear()
            self.pool.application.count_malformed("crowd")
            self.transport.close()
        return bool(self.transport.is_closing())

    def turn_away(self, *, has_answer: bool) -> None:
        """Refuse a connection that has just come; without an answer, if many have just had one."""
        if has_answer:
            self._reject(Malformed(CROWDED, 503, "crowd"))
        else:
            self.pool.application.count_malformed("crowd")
            self.transport.abort()

    def end_late(self, now: float) -> None:
        """End the connection if what it waits for should have come."""
        limits = self.pool.limits
        is_stuck = self.transport.is_closing() or not self._can_write
        if self.phase is Phase.LINGER:
            most = LINGER_SECONDS
        elif self.phase is Phase.IDLE and not is_stuck:
            most = limits.idle_seconds
        else:
            most = limits.seconds
        waited = now - self.since
        if waited <= most or (self.phase is Phase.ANSWER and not is_stuck) or self._turn:
            return
        if self._has_taken():
            self.since = now
            return
        if is_stuck or self.phase is Phase.LINGER:
            reset(self.transport)  # the client does not take its answer, or its end
        elif self.transport.get_write_buffer_size() and not self._is_spared:
            self._unsent, self.since, self._is_spared = count_unsent(self.transport), now, True
        elif self.transport.get_write_buffer_size():
            reset(self.transport)
        elif self.phase is Phase.IDLE:
            close_unless_used(self.transport)
        elif self._is_spared or not has_unread(self.transport):
            self._give_up()
        else:  # the rest of it may have come while this process did not run
            self._is_spared = True

    def _has_taken(self) -> bool:
        """Tell whether the client takes its answer, if slowly."""
        unsent = count_unsent(self.transport)
        if self._unsent - unsent < LEAST_TAKEN:
            return False
        self._unsent = unsent
        return True

    def _give_up(self) -> None:
        """End the wait for the rest of a request."""
        if self._request:
            self._refuse(self._request, refuse_late(self.pool.limits.seconds))
            return
        if self._buffer:
            self.pool.application.count_malformed("timeout")
        self.transport.close()

    # From bytes to requests

    def _take_turn(self) -> None:
        """Take one step with what is there."""
        self._turn = None
        used = self._step(self._buffer)
        del self._buffer[:used]
        self._settle(has_moved=used > 0)

    def _step(self, data: bytes | bytearray) -> int:
        """Take one step: a request, or some of its body; return how many bytes are used up."""
        try:
            if self._rest:
                return self._skip_rest(len(data))
            if self._body:
                return self._read_body(data)
            return self._read_head(data)
        except Malformed as problem:
            self._reject(problem)
            return len(data)

    def _read_head(self, data: bytes | bytearray) -> int:
        """Read a head, and its body if all of that is there."""
        if data[:2] == b"\r\n":  # an old habit of clients, after a body
            self._empty_lines += 1
            if self._empty_lines > MAX_EMPTY_LINES:
                raise Malformed
            return 2
        end = data.find(HEAD_END, max(self._checked - len(HEAD_END), 0)) + len(HEAD_END)
        if end < len(HEAD_END):
            self._await_head(data)
            return 0
        self._checked = self._empty_lines = 0
        if end > MAX_HEAD:
            raise make_too_long()
        head = parse_head(bytes(data[:end]))
        request = self._begin(head)
        reply = self.pool.application.begin(request)
        length = head.length
        if length is not None and len(data) - end >= length:
            end += length
            if reply is None:
                request.body = bytes(data[end - length : end])
                self._answer(request)
            else:
                self._write(request, reply)
            return end
        if reply is not None:
            rest = SHORT_REST + 1 if length is None else length - len(data) + end
            if rest > SHORT_REST or head.expects_continue or self._is_last(reply):
                self._leave(request, reply)
            else:
                self._send(request, reply, is_last=False)
                self._rest = rest
                self._await(Phase.BODY, request.start)
            return len(data)
        self._await_body(head, request)
        return end + self._read_body(data, end)

    def _await_head(self, part: bytes | bytearray) -> None:
        """Wait for the rest of a head."""
        check_part(part, max(self._checked - 1, 0))
        self._checked = len(part)
        if self.phase is Phase.IDLE:
            self._await(Phase.HEAD, time.perf_counter())

    def _await(self, phase: Phase, since: float) -> None:
        """Begin to wait for a part of a request."""
        self.phase, self.since, self._is_spared = phase, since, False

    def _begin(self, head: Head) -> Request:
        """Make a request of a head."""
        request = Request(head.method, head.path, head.query, head.headers, self.client)
        self._request = request
        self._keep_alive = self._keep_alive and head.keep_alive
        self._is_http_1_0 = head.is_http_1_0
        return request

    def _skip_rest(self, size: int) -> int:
        """Pass over the rest of a request that is answered; then the next one may come."""
        used = min(self._rest, size)
        self._rest -= used
        if not self._rest:
            self._await(Phase.IDLE, time.perf_counter())
            if self._is_ending:  # since it was answered
                self._linger()
        return used

    def _await_body(self, head: Head, request: Request) -> None:
        """Wait for a body that is not there yet."""
        if not self.pool.bodies.take(self.client, 1):
            self._refuse(request, Refused(429, TOO_MUCH, headers=(CLOSE, RETRY)))
            return
        self._body = ChunkedBody() if head.length is None else SizedBody(head.length)
        self._await(Phase.BODY, request.start)
        if head.expects_continue:
            self.transport.write(CONTINUE)

    def _read_body(self, data: bytes | bytearray, start: int = 0) -> int:
        """Read what is there of a body from `start` on; answer its request if that is all."""
        body, request = self._body, self._request
        if body is None or request is None:
            return 0
        used = body.feed(data, start)
        most = self.pool.limits.body
        # Chunks of a few bytes would take more time than the model.
        if body.content.size > most or body.framing > MAX_HEAD + most // 8:
            self._refuse(request, refuse_length(self.pool.limits.body))
            return len(data) - start
        if body.is_complete:
            self._end_body()
            request.body = body.content.join()
            self._answer(request)
        return used

    def _end_body(self) -> None:
        """Give back what a body on its way takes."""
        if self._body:
            self._body = None
            self.pool.bodies.give_back(self.client, 1)

    def _settle(self, *, has_moved: bool = False) -> None:
        """Account for what is held; take the next turn, or wait for more.

        Parameters
        ----------
        has_moved
            Whether another step may find something to do with what is there already.
        """
        if self.phase is Phase.LINGER or self.transport.is_closing():
            return
        body = self._request.body if self._request else b""
        size = self._body.content.size if self._body else len(body)
        unsent = 0 if self._can_write else self.transport.get_write_buffer_size()
        held = len(self._buffer) + size + unsent
        if not self._hold(held) and self.phase is not Phase.ANSWER:  # that one has its limit
            self._shed()
            return
        is_waiting = self.phase is Phase.ANSWER or not self._can_write
        if self._buffer and has_moved and not is_waiting and not self._turn:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)
        if self._has_ended and not is_waiting and not self._turn:
            self.transport.close()
            return
        must_read = not self._turn and not (is_waiting and self._buffer)
        if must_read != self._is_reading and not self._has_ended:
            self._is_reading = must_read
            if must_read:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _hold(self, size: int) -> bool:
        """Account for so many bytes; return whether the pool has them."""
        more = size - self._held
        if more > 0 and not self.pool.memory.take(self.client, more):
            return False
        if more < 0:
            self.pool.memory.give_back(self.client, -more)
        self._held = size
        return True

    def _shed(self) -> None:
        """Give up the connection: all together hold too much."""
        if self._request:
            self._refuse(self._request, Refused(429, TOO_MUCH, headers=(CLOSE, RETRY)))
        elif not self._can_write:
            reset(self.transport)
        else:
            self._reject(Malformed(TOO_MUCH, 429, "other"))

    # From requests to answers

    def _answer(self, request: Request) -> None:
        """Answer a request, at once where that goes."""
        answer = self.pool.application.answer(request)
        if isinstance(answer, Reply):
            self._write(request, answer)
            return
        self.phase = Phase.ANSWER
        tasks = self.pool.state.tasks
        self._task = asyncio.get_running_loop().create_task(self._wait(request, answer))
        tasks.add(self._task)
        self._task.add_done_callback(tasks.discard)

    async def _wait(self, request: Request, answer: Awaitable[Reply]) -> None:
        """Wait for an answer, then send it."""
        reply = await answer
        self._task = None
        if not self.transport.is_closing():
            self._write(request, reply)
            self.since = time.perf_counter()
            self._settle(has_moved=True)

    def _write(self, request: Request, reply: Reply) -> None:
        """Send the answer to a request that is over; then the next one may come, or the end."""
        is_last = self._is_last(reply)
        self._send(request, reply, is_last=is_last)
        self.phase, self.since = Phase.IDLE, request.start
        if not is_last:
            return
        # A client that has not asked for the end may send more before it sees it, and more may be
        # there to read: to close now would take the answer back.
        if self._is_reading and not self._keep_alive:
            self.transport.close()
        else:
            self._linger()

    def _is_last(self, reply: Reply) -> bool:
        """Tell whether the connection ends with this answer."""
        is_ending = self._is_ending or self.pool.is_closing
        return is_ending or not self._keep_alive or CLOSE in reply.headers

    def _refuse(self, request: Request, refused: Refused) -> None:
        """Refuse a request whose body is not all there."""
        self._leave(request, self.pool.application.refuse(request, refused))

    def _leave(self, request: Request, reply: Reply) -> None:
        """Send an answer without waiting for the rest of its request."""
        self._end_body()
        self._send(request, reply, is_last=True)
        self._linger()

    def _reject(self, problem: Malformed) -> None:
        """Answer what is no request, or the part of one that has begun."""
        refused = Refused(problem.status, problem.error)
        if self._request:
            self._refuse(self._request, refused)
            return
        self.pool.application.count_malformed(problem.reason)
        self._send(None, reply_refused(refused), is_last=True)
        self._linger()

    def _send(self, request: Request | None, reply: Reply, *, is_last: bool) -> None:
        """Send an answer."""
        self._request = None
        end = b"\r\n"
        if is_last:
            end = b"connection: close\r\n\r\n"
        elif self._is_http_1_0:
            end = b"connection: keep-alive\r\n\r\n"
        if request:
            self.pool.state.total_requests += 1
            end = b"x-request-id: %b\r\n%b" % (request.id, end)
        body = reply.body
        if reply.status != NO_CONTENT:  # whose head ends it (RFC 9110, 8.6)
            end = b"content-length: %d\r\n%b" % (len(body), end)
        head = self.pool.format_head(reply) + end
        if request and request.method == "HEAD":
            self.transport.write(head)
        elif len(body) > LONG_ANSWER:
            self.transport.writelines((head, body))
        else:
            self.transport.write(head + body)

    def _linger(self) -> None:
        """Let the client take its last answer, and throw away what it still sends, then close.

        A socket that is closed with bytes to read resets the connection, and the client may lose
        the answer that it has not read yet.
        """
        self.phase, self.since = Phase.LINGER, time.perf_counter()
        self._buffer.clear()
        self._hold(0)
        if self._has_ended or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        if not self._is_reading:
            self._is_reading = True
            self.transport.resume_reading()

    def _discard(self, size: int) -> None:
        """Throw away what comes after the last answer, up to a limit."""
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self.transport.close()


def count_held(transport: Any) -> int:
    """Count the bytes of memory that the kernel holds of requests and answers of a connection."""
    with suppress(OSError):  # the connection is gone, or the kernel is not Linux
        peer = transport.get_extra_info("socket")
        sizes = struct.unpack("9I", peer.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
        return int(sizes[0] + sizes[5])
    return 0


def has_unread(transport: Any) -> bool:
    """Tell whether bytes that came on a connection are still in the kernel."""
    with suppress(OSError, ValueError):  # the connection is gone
        peer = transport.get_extra_info("socket").fileno()
        return any(fcntl.ioctl(peer, termios.FIONREAD, bytes(4)))
    return False


def count_unsent(transport: Any) -> int:
    """Count the bytes that the client has not taken, here and in the kernel.

    The kernel takes more from here only when it has got rid of a third of what it holds: megabytes.
    """
    size: int = transport.get_write_buffer_size()
    with suppress(OSError, ValueError):  # the connection is gone
        peer = transport.get_extra_info("socket").fileno()
        size += int.from_bytes(fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return size


def reset(transport: Any) -> None:
    """End a connection at once, with what its client has not taken.

    Once it is closed, the kernel would keep that for minutes, and count it as the service's memory.
    """
    if count_unsent(transport):
        with (
            suppress(OSError),  # the connection is gone
            socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as peer,
        ):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def close_unless_used(transport: Any) -> None:
    """Close a connection, unless bytes of it are in the kernel, to be read or to be sent.

    The client sees the end at once: a transport closes when the event loop comes to it, and what is
    sent until then is lost.
    """
    if transport.is_closing() or transport.get_write_buffer_size() or has_unread(transport):
        return
    with (
        suppress(OSError),  # the client is gone
        socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as peer,
    ):
        peer.shutdown(socket.SHUT_WR)
    transport.close()
