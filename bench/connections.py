"""Watch each connection by itself: how long its first answer takes, and its share of all answers.

wrk does not tell connections apart. This client does, on raw sockets and epoll; what it costs is
in its result, for its own delays count as the server's.

python -m bench.connections PORT PATH BODIES CONNECTIONS SECONDS
"""

from __future__ import annotations

import json
import math
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TypedDict

from bench.arguments import build_parser

HOST = "127.0.0.1"
CHUNK = 2**16
OK = b"HTTP/1.1 200 "
LENGTH = b"\r\ncontent-length:"
HEAD_END = b"\r\n\r\n"


class Fairness(TypedDict):
    """What came of some seconds with so many new connections.

    A connection's first answer counts from before `connect`, and among all answers. One that has
    none at the end counts with the time that it has waited.
    """

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    slowest_first_ms: float
    most_off_mean: float
    least_answers: int
    most_answers: int
    client_cpu_us: float


@dataclass
class Connection:
    """A connection: its socket, when it last asked, what came since, and its answers so far."""

    socket: socket.socket
    asked: float
    buffer: bytes = b""
    answers: int = 0
    first: float | None = None
    latencies: list[float] = field(default_factory=list)


def main() -> None:
    """Load the server, and print the result as JSON."""
    parser = build_parser("bench.connections", __doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("bodies", type=Path, help="file with a body a line, which take turns")
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    bodies = arguments.bodies.read_bytes().splitlines()
    requests = [format_request(arguments.path, body) for body in bodies]
    print(json.dumps(watch(arguments.port, requests, arguments.connections, arguments.seconds)))


def format_request(path: str, body: bytes) -> bytes:
    """Format a POST of JSON as HTTP/1.1."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def watch(port: int, requests: Sequence[bytes], number: int, seconds: float) -> Fairness:
    """Open so many connections at once; each asks again as soon as it has an answer."""
    turns, start, cpu = cycle(requests), time.perf_counter(), time.process_time()
    connections: dict[int, Connection] = {}
    with select.epoll() as poll:
        try:
            for _ in range(number):
                connection = connect(port)
                connections[connection.socket.fileno()] = connection
                poll.register(connection.socket, select.EPOLLOUT)
            end = start + seconds
            while (now := time.perf_counter()) < end:
                for handle, event in poll.poll(end - now):
                    connection = connections[handle]
                    if event & select.EPOLLOUT:
                        poll.modify(handle, select.EPOLLIN)
                        connection.socket.sendall(next(turns))
                    elif receive(connection):
                        connection.asked = time.perf_counter()
                        connection.socket.sendall(next(turns))
            now, cpu = time.perf_counter(), time.process_time() - cpu
        finally:
            for connection in connections.values():
                connection.socket.close()
    return summarize(list(connections.values()), now - start, now, cpu)


def connect(port: int) -> Connection:
    """Begin to connect, without waiting for it."""
    handle = socket.socket()
    handle.setblocking(False)  # noqa: FBT003 - as the library has it
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = Connection(handle, time.perf_counter())
    handle.connect_ex((HOST, port))
    return connection


def receive(connection: Connection) -> bool:
    """Read what has come; return whether an answer is complete, and count it then.

    Raises
    ------
    SystemExit
        Where the connection ends, or an answer is no 200: that must not count as fast.
    """
    chunk = connection.socket.recv(CHUNK)
    connection.buffer += chunk
    if not chunk or not connection.buffer.startswith(OK[: len(connection.buffer)]):
        raise SystemExit(f"bench.connections: got {connection.buffer[:300]!r}, then {chunk[:9]!r}")
    if not is_complete(connection.buffer):
        return False
    latency = time.perf_counter() - connection.asked
    if connection.first is None:
        connection.first = latency
    connection.latencies.append(latency)
    connection.answers += 1
    connection.buffer = b""
    return True


def is_complete(answer: bytes) -> bool:
    r"""Tell whether the bytes have all of an answer with Content-Length.

    >>> is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
    False
    >>> is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    True
    """
    head, separator, body = answer.partition(HEAD_END)
    if not separator:
        return False
    length = head.lower().partition(LENGTH)[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


def summarize(
    connections: Sequence[Connection], seconds: float, now: float, cpu: float
) -> Fairness:
    """Put all connections together.

    Parameters
    ----------
    seconds, now, cpu
        How long it took, when it ended, and the processor time of this client.

    >>> fast, starved = Connection(None, 9.0, answers=2, first=0.5), Connection(None, 0.0)
    >>> fast.latencies = [0.5, 0.25]
    >>> result = summarize([fast, starved], 10.0, 10.0, 0.1)
    >>> result["slowest_first_ms"], result["p99_ms"], result["most_off_mean"]
    (10000.0, 10000.0, 1.0)
    """
    waiting = [now - each.asked for each in connections if each.first is None]
    first = [each.first for each in connections if each.first is not None]
    latencies = sorted([*(value for each in connections for value in each.latencies), *waiting])
    answers = [each.answers for each in connections]
    requests, mean = sum(answers), sum(answers) / len(answers)
    return Fairness(
        requests=requests,
        requests_per_s=round(requests / seconds, 1),
        p50_ms=round(find_percentile(latencies, 50) * 1e3, 3),
        p99_ms=round(find_percentile(latencies, 99) * 1e3, 3),
        slowest_first_ms=round(max(first + waiting) * 1e3, 3),
        most_off_mean=round(max(abs(each - mean) for each in answers) / mean, 3) if mean else 1.0,
        least_answers=min(answers),
        most_answers=max(answers),
        client_cpu_us=round(cpu / max(1, requests) * 1e6, 1),
    )


def find_percentile(ordered: Sequence[float], percent: float) -> float:
    """Find the nearest-rank percentile of ascending values.

    >>> find_percentile([1.0, 2.0, 3.0, 4.0], 50), find_percentile([1.0, 2.0], 99)
    (2.0, 2.0)
    """
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


if __name__ == "__main__":
    main()
