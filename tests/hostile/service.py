"""The service under attack, which is held to be afterwards what it was before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped,unused-ignore]

from tests.conftest import Project
from tests.hostile.wire import ask_anew
from tests.ports import wait_until
from tests.serving import served

MAX_MEMORY = 300 * 2**20  # bytes that a worker may hold after an attack
FAILED = re.compile(r'^cairn_requests_total\{.*status="5(?!0[15]).*\} (?!0\.0$)', re.MULTILINE)


@dataclass(frozen=True)
class Service:
    """`bentoml serve` with one worker.

    Attributes
    ----------
    client, port
        A client of it, and where it listens.
    worker
        The process that answers.
    """

    client: httpx.Client
    port: int
    worker: Any

    def measure_memory(self) -> int:
        """Return the resident memory of the worker, bytes."""
        memory: int = self.worker.memory_info().rss
        return memory

    def count_files(self) -> int:
        """Return how many file descriptors the worker has open: its connections are among them."""
        number: int = self.worker.num_fds()
        return number


@contextmanager
def attacked(project: Project, **env: str) -> Iterator[Service]:
    """Serve a project for an attack; at the end of the block, hold the service to be unharmed.

    The same worker answers a new client rightly, no answer was a failure of the service, its memory
    is bounded, and nothing that it opened for the attack is left open.
    """
    settings = {"KEEP_ALIVE_SECONDS": "3600", **env}
    with served(replace(project, env={**project.env, **settings})) as client:
        port = client.base_url.port
        assert port
        ask_anew(port)
        assert not FAILED.search(client.get("/metrics").text)
        service = Service(client, port, find_worker(port))
        files = service.count_files()
        yield service
        ask_anew(port)
        assert find_worker(port) == service.worker
        wait_until(lambda: service.count_files() <= files)
        assert not (failed := FAILED.findall(client.get("/metrics").text)), failed
        assert service.measure_memory() <= MAX_MEMORY


def find_worker(port: int) -> Any:
    """Return the one process that answers at a port, of those that this one has started."""
    workers = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            listens = any(
                one.status == psutil.CONN_LISTEN and one.laddr.port == port
                for one in process.net_connections(kind="inet")
            )
            # The supervisor holds the same socket.
            if listens and "service.process.supervisor" not in process.cmdline():
                workers.append(process)
    [worker] = workers
    return worker
