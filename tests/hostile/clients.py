"""Clients that are slow, or take more than their part: each attack lasts until its block ends."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import orjson

from tests.hostile.cases import CHUNKED, GET, JSON, POST, head, post
from tests.hostile.wire import PIECE, Answer, WireError, connect, parse_answers
from tests.load import BODY, REQUEST
from tests.ports import PATIENCE
from tests.serving import MALIGNANT

# Bytes that nobody may send and be listened to: a body of the greatest length in chunks of one byte
# is shorter, and so is what is read on after a refusal.
ENOUGH = 128 * 2**20
PAUSE = 1.0  # seconds without a byte taken, after which a server seems to read no more
UNKNOWN = 620_000
ELSEWHERE = "127.0.0.2"  # another client's address

DOCUMENT = head(b"GET /docs.json HTTP/1.1")
ENDLESS = {
    "a header": (GET + b"\r\nhost: x\r\na: ", b"a" * PIECE),
    "headers": (GET + b"\r\nhost: x\r\n", b"a: b\r\n" * (PIECE // 6)),
    "a target": (b"GET /", b"a" * PIECE),
    "line ends": (b"", b"\r\n" * (PIECE // 2)),
    "a trailer": (head(POST, JSON, CHUNKED) + b"2\r\n{}\r\n0\r\na: ", b"a" * PIECE),
    "trailers": (head(POST, JSON, CHUNKED) + b"2\r\n{}\r\n0\r\n", b"a: b\r\n" * (PIECE // 6)),
    "trailers of GET": (head(GET, CHUNKED) + b"0\r\n", b"a: b\r\n" * (PIECE // 6)),
    "trailers of nothing": (
        head(b"GET /nothing HTTP/1.1", CHUNKED) + b"0\r\n", b"a: b\r\n" * (PIECE // 6),
    ),
    "an extension": (head(POST, JSON, CHUNKED) + b"2;a=", b"a" * PIECE),
    "extensions": (head(POST, JSON, CHUNKED), (b"1;" + b"a" * 9000 + b"\r\n \r\n") * 7),
    "chunks of one byte": (head(POST, JSON, CHUNKED), b"1\r\n \r\n" * (PIECE // 6)),
    "a body of GET": (head(GET, CHUNKED), b"1000\r\n%s\r\n" % (b"a" * 4096) * 16),
    "a body of nothing": (
        head(b"POST /nothing HTTP/1.1", CHUNKED), b"1000\r\n%s\r\n" % (b"a" * 4096) * 16,
    ),
    "a body that is no JSON's": (
        head(POST, b"content-type: text/plain", CHUNKED), b"1000\r\n%s\r\n" % (b"a" * 4096) * 16,
    ),
}  # fmt: skip


def open_many(port: int, count: int, sent: bytes = b"") -> list[socket.socket]:
    """Open connections from another address, and send the same on each."""
    clients = []
    for _ in range(count):
        client = socket.create_connection(
            ("127.0.0.1", port), timeout=PATIENCE, source_address=(ELSEWHERE, 0)
        )
        clients.append(client)
        client.sendall(sent)
    return clients


@contextmanager
def holding(port: int, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Hold connections on which no more than this comes."""
    clients = open_many(port, count, sent)
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def read_rest(client: socket.socket) -> list[Answer]:
    """Return all answers that come until the server closes."""
    received = bytearray()
    while piece := client.recv(PIECE):
        received += piece
    return parse_answers(bytes(received))


def send_endlessly(port: int, name: str) -> int:
    """Send one of the endless things; return after how many bytes the server stops it.

    That is where it closes the connection, or reads no more. No more than `ENOUGH` is sent.
    """
    start, piece = ENDLESS[name]
    with connect(port) as client:
        return push(client, start, piece)


def push(client: socket.socket, start: bytes, piece: bytes) -> int:
    """Send `start`, and then the same piece until the server stops it; return the bytes sent."""
    client.setblocking(False)  # noqa: FBT003, its own signature
    sent, left = 0, memoryview(start + piece)
    while sent < ENOUGH:
        _, writable, _ = select.select([], [client], [], PAUSE)
        if not writable:
            return sent
        try:
            number = client.send(left)
        except BlockingIOError:
            continue
        except ConnectionError:
            return sent
        sent += number
        left = left[number:] or memoryview(piece)
    return sent


def fill_pipeline(client: socket.socket, request: bytes) -> int:
    """Send the same request until the server reads no more; return how many were sent whole.

    The last may be sent in part. The answers are not read.
    """
    return push(client, b"", request * 16) // len(request)


def reset(client: socket.socket) -> None:
    """Close a connection by a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def leave(port: int, parts: Sequence[bytes]) -> None:
    """Send parts of requests and go away, in order or not, without a look at the answers."""
    for part in parts:
        for go in (socket.socket.close, reset):
            client = connect(port)
            with suppress(ConnectionError):
                client.sendall(part)
            go(client)


async def ask_at_once(port: int, count: int) -> list[int]:
    """Open so many connections at once, ask on each; return the status of each first answer."""

    async def ask() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(REQUEST)
            return int((await reader.readuntil(b"\r\n\r\n")).split()[1])
        finally:
            writer.close()

    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*(ask() for _ in range(count)))


def make_large(kind: str) -> bytes:
    """Make the largest bodies: good rows, or what takes longest to refuse."""
    if kind == "good":
        return b'{"features": %s}' % orjson.dumps([MALIGNANT] * 10_000)
    if kind == "unknown keys":
        return b"{%s}" % b", ".join(b'"k%d": 1' % number for number in range(UNKNOWN))
    if kind == "unknown keys of many rows":
        rows = b"{%s}" % b", ".join(b'"k%d": 1' % number for number in range(60))
        return b'{"records": [%s]}' % b", ".join([rows] * 9000)
    if kind == "wrong values":
        row = orjson.dumps([f"{value}x" for value in MALIGNANT])
        return b'{"features": [%s]}' % b", ".join([row] * 10_000)
    if kind == "brackets":
        return b"[" * 9_000_000
    assert kind == "short lists"
    return b'{"features": [%s]}' % b",".join([b"[]"] * 3_000_000)


LARGE = (
    "good",
    "unknown keys",
    "unknown keys of many rows",
    "wrong values",
    "brackets",
    "short lists",
)
LARGE_STATUSES = {200, 400, 413, 422, 429}


def send_large(port: int, kind: str, times: int) -> list[Answer]:
    """Send a large body some times on one connection, each once the last is answered."""
    body = make_large(kind)
    request = post(body=body)
    answers = []
    for _ in range(times):
        with connect(port) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            answers += read_rest(client)
    return answers


def send_too_long(port: int, *headers: bytes, length: int = 20_000_000) -> Answer:
    """Send a body that is too long as most clients do: all of it, before the answer is read.

    Raises
    ------
    ConnectionError, WireError
        The server resets the connection, or does not answer.
    """
    first = head(POST, b"content-length: %d" % length, *(headers or (JSON,)))
    with connect(port) as client:
        client.sendall(first)
        piece = b" " * 2**20
        for start in range(0, length, len(piece)):
            client.sendall(piece[: length - start])
        answers = read_rest(client)
    if len(answers) != 1:
        raise WireError(f"{len(answers)} answers")
    return answers[0]


SLOW_HEAD = GET + b"\r\nhost: x\r\n"
SLOW_BODY = head(POST, JSON, b"content-length: %d" % len(BODY)) + BODY[:9]
