"""Attack a service, and measure how long the answers to its other clients take meanwhile.

The attacks are those of tests/hostile/clients.py, each from a process of its own. The service is
one that runs already, with one worker on a core of its own; it is attacked, so let it be yours.

python -m bench.hostile PORT
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import NamedTuple, TypedDict

from bench.arguments import build_parser
from tests.hostile import clients
from tests.hostile.cases import list_parts
from tests.hostile.wire import WireError, Witness
from tests.hostile.wire import connect as open_connection
from tests.load import REQUEST

SECONDS = 3.0  # of each attack
CONNECTIONS = 8
PAUSE = 0.002
HELD = 128

Attack = Callable[[int], None]


class Attempt(NamedTuple):
    """An attack: its name, and what goes on attacking until it is killed."""

    name: str
    attack: Attack


class Latency(TypedDict):
    """How long the answers to other clients took during an attack."""

    requests: int
    p50_ms: float
    p99_ms: float
    slowest_ms: float


def main() -> None:
    """Measure without an attack, then during each; print one line of JSON for each."""
    parser = build_parser("bench.hostile", __doc__)
    parser.add_argument("port", type=int)
    port: int = parser.parse_args().port
    print(json.dumps({"attack": "none", **measure(port)}), flush=True)
    for attempt in list_attempts():
        with running(attempt.attack, port):
            print(json.dumps({"attack": attempt.name, **measure(port)}), flush=True)


def list_attempts() -> list[Attempt]:
    """List the attacks."""
    parts = (("connections", b""), ("heads", clients.SLOW_HEAD), ("bodies", clients.SLOW_BODY))
    return [
        *(Attempt(f"{HELD} slow {name}", partial(hold, part)) for name, part in parts),
        *(Attempt(f"{name} without end", partial(push, name)) for name in clients.ENDLESS),
        *(
            Attempt(f"answers that are not read: {name}", partial(fill, request))
            for name, request in (("document", clients.DOCUMENT), ("row", REQUEST))
        ),
        *(Attempt(f"{count} connections at once", partial(connect, count)) for count in (256, 512)),
        *(Attempt(f"8 large bodies: {kind}", partial(send_large, kind)) for kind in clients.LARGE),
        Attempt("bodies of 20 MB", send_too_long),
        Attempt("clients that go away", leave),
    ]


@contextmanager
def running(attack: Attack, port: int) -> Iterator[None]:
    """Attack from another process until the block ends."""
    process = multiprocessing.get_context("spawn").Process(
        target=repeat, args=(attack, port), daemon=True
    )
    process.start()
    try:
        time.sleep(1)  # it has to import what it needs
        yield
    finally:
        process.kill()
        process.join()


def repeat(attack: Attack, port: int) -> None:
    """Attack again and again; a refusal is no reason to stop."""
    while True:
        try:
            attack(port)
        except (OSError, WireError):
            time.sleep(PAUSE)


def measure(port: int) -> Latency:
    """Ask for one row again and again, on connections that take turns."""
    latencies: list[float] = []
    witnesses = [Witness(port) for _ in range(CONNECTIONS)]
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        for witness in witnesses:
            start = time.perf_counter()
            witness.ask()
            latencies.append(time.perf_counter() - start)
            time.sleep(PAUSE)
    for witness in witnesses:
        witness.close()
    percentiles = statistics.quantiles(latencies, n=100)
    return Latency(
        requests=len(latencies),
        p50_ms=round(percentiles[49] * 1e3, 3),
        p99_ms=round(percentiles[98] * 1e3, 3),
        slowest_ms=round(max(latencies) * 1e3, 3),
    )


def hold(part: bytes, port: int) -> None:
    """Hold connections on which only a part of a request comes."""
    with clients.holding(port, HELD, part):
        time.sleep(60)


def push(name: str, port: int) -> None:
    """Send something without end."""
    clients.send_endlessly(port, name)


def fill(request: bytes, port: int) -> None:
    """Send requests and read no answers."""
    with closing(open_connection(port)) as client:
        clients.fill_pipeline(client, request)


def connect(count: int, port: int) -> None:
    """Ask from many new connections at once."""
    asyncio.run(clients.ask_at_once(port, count))


def send_large(kind: str, port: int) -> None:
    """Send the largest bodies from eight clients at once."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: clients.send_large(port, kind, 2), range(8)))


def send_too_long(port: int) -> None:
    """Send a body that is too long."""
    clients.send_too_long(port)


def leave(port: int) -> None:
    """Send parts of requests and go away."""
    clients.leave(port, list_parts())


if __name__ == "__main__":
    main()
