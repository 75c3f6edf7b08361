"""Raw sockets to a service, and what comes back, read as strictly as a careful client would."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from tests.load import REQUEST
from tests.ports import PATIENCE

PIECE = 2**16
# A request after which the server closes: its answer shows where the ones before it ended.
LAST_ID = b"the-last-one"
LAST = b"GET /livez HTTP/1.1\r\nhost: x\r\nx-request-id: %s\r\nconnection: close\r\n\r\n" % LAST_ID
# A path of the same server: from its root, or beside the one that was asked for.
OWN_PATH = re.compile(rb"(/|\.\./)(?![/\\])")
# Statuses whose answers have no body.
BODILESS = {204, 304}


class Answer(NamedTuple):
    """One answer of the service, as it came."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Exchange(NamedTuple):
    """What one connection was answered.

    Attributes
    ----------
    content
        All bytes that came.
    is_reset
        Whether the connection ended by a reset, while sending or while reading.
    """

    content: bytes
    is_reset: bool


class WireError(Exception):
    """What came is no sequence of answers."""


def connect(port: int) -> socket.socket:
    """Connect to a service on loopback; each write is a packet of its own."""
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def talk(
    port: int,
    packets: Sequence[bytes],
    *,
    half_closes: bool = False,
    between: Callable[[], object] = lambda: None,
) -> Exchange:
    """Send packets, read all that comes until the server closes.

    Parameters
    ----------
    half_closes
        Whether the client ends its side once all is sent.
    between
        What to wait for after each packet but the last: that the server has read it.

    Raises
    ------
    TimeoutError
        The server neither answers nor closes.
    """
    with connect(port) as client:
        return _talk(client, packets, half_closes=half_closes, between=between)


def _talk(
    client: socket.socket,
    packets: Sequence[bytes],
    *,
    half_closes: bool,
    between: Callable[[], object],
) -> Exchange:
    buffer, is_reset = bytearray(), False
    for index, packet in enumerate(packets):
        if index:
            between()
        if not _send(client, packet, buffer):
            is_reset = True
            break
    if half_closes and not is_reset:
        with suppress(OSError):  # the server was first
            client.shutdown(socket.SHUT_WR)
    try:
        while piece := client.recv(PIECE):
            buffer += piece
    except ConnectionError:
        is_reset = True
    return Exchange(bytes(buffer), is_reset)


def _send(client: socket.socket, packet: bytes, buffer: bytearray) -> bool:
    """Send all of a packet while reading what comes; return False where the server resets."""
    left, deadline = memoryview(packet), time.monotonic() + PATIENCE
    while left:
        readable, writable, _ = select.select([client], [client], [], PATIENCE)
        if not (readable or writable) or time.monotonic() > deadline:
            raise TimeoutError(f"the server takes no more: {len(left)} bytes left")
        try:
            if readable:
                piece = client.recv(PIECE)
                buffer += piece
                if not piece:
                    return True  # it ends its side in order; the rest is not wanted
            elif writable:
                left = left[client.send(left[:PIECE]) :]
        except ConnectionError:
            return False
    return True


def parse_answers(content: bytes, heads: frozenset[int] = frozenset()) -> list[Answer]:
    """Read the answers, but for those that say to go on.

    Parameters
    ----------
    heads
        Which of them, from 0, answer HEAD, and so have no body.

    Raises
    ------
    WireError
        Where there is anything but complete answers, each with its length.
    """
    answers: list[Answer] = []
    while content:
        head, separator, rest = content.partition(b"\r\n\r\n")
        if not separator or not head.startswith(b"HTTP/1.1 "):
            raise WireError(f"no answer: {content[:80]!r}")
        status, headers = _parse_head(head)
        if status < 200:
            content = rest
            continue
        has_body = status not in BODILESS and len(answers) not in heads
        length = int(headers.get(b"content-length", b"0")) if has_body else 0
        if has_body and b"content-length" not in headers:
            raise WireError(f"no length: {head!r}")
        if len(rest) < length:
            raise WireError(f"cut short: {len(rest)} of {length} bytes of {head!r}")
        answers.append(Answer(status, headers, rest[:length]))
        content = rest[length:]
    return answers


def _parse_head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Return the status and the headers of an answer."""
    first, *lines = head.split(b"\r\n")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, separator, value = line.partition(b":")
        if not separator or name.lower() in headers or b"\n" in line or b"\r" in line:
            raise WireError(f"a header that is none, or comes twice: {head!r}")
        headers[name.lower()] = value.strip()
    return int(first.split()[1]), headers


def find_fault(answer: Answer, *, is_head: bool = False) -> str:
    """Say what no answer may have, whatever was asked; nothing where it is right."""
    status, headers, body = answer
    location = headers.get(b"location", b"/")
    if status >= 500:
        return f"{status} {body[:200]!r}"
    if b"set-cookie" in headers:
        return f"a header of the client's: {headers}"
    if not OWN_PATH.match(location):
        return f"it redirects elsewhere: {location!r}"
    if status < 400 or is_head:
        return ""
    if headers.get(b"content-type") != b"application/json":
        return f"{status} of type {headers.get(b'content-type')!r}"
    return find_error_fault(body)


def find_error_fault(body: bytes) -> str:
    """Say what is wrong with the body of an error; nothing where it is as all are."""
    try:
        content: Any = orjson.loads(body)
    except ValueError:
        return f"an error that is no JSON: {body[:200]!r}"
    is_right = (
        isinstance(content, dict)
        and set(content) == {"error", "detail"}
        and isinstance(content["error"], str)
        and bool(content["error"])
        and isinstance(content["detail"], list)
    )
    return "" if is_right else f"an error of another form: {body[:200]!r}"


class Witness:
    """Another client, on a connection that it keeps: it gets right answers whatever others do.

    A worker has one loop, which looks at connections in turn, so its answer also tells that what
    was sent before on another connection has been read.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._client = connect(port)

    def close(self) -> None:
        """Close its connection."""
        self._client.close()

    def ask(self) -> None:
        """Have one row predicted, and hold the answer to be right."""
        self._client.sendall(REQUEST)
        check_prediction(read_answer(self._client))

    def wait(self) -> None:
        """Wait until what others sent before has been read."""
        self._client.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert read_answer(self._client).status == 200


def ask_anew(port: int) -> None:
    """Have one row predicted by a new connection, and hold the answer to be right."""
    with connect(port) as client:
        client.sendall(REQUEST)
        check_prediction(read_answer(client))


def check_prediction(answer: Answer) -> None:
    """Hold an answer to be that of the row that `REQUEST` asks for."""
    assert answer.status == 200, answer
    assert orjson.loads(answer.body)["prediction"] == 0


def read_answer(client: socket.socket) -> Answer:
    """Read one answer of a connection that stays open."""
    buffer = bytearray()
    while True:
        piece = client.recv(PIECE)
        if not piece:
            raise WireError(f"the connection ended after {bytes(buffer)!r}")
        buffer += piece
        try:
            answers = parse_answers(bytes(buffer))
        except WireError:
            continue  # not all of it is there
        if answers:
            assert len(answers) == 1, answers
            return answers[0]
