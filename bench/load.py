"""Put load on a server from another process: wrk, on a core of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypedDict

from bench.connections import Fairness
from bench.inputs import Shape
from bench.server import HOST, BenchError, Server

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT = 60
SUFFIXES: dict[Shape, str] = {"plain": "", "list": " in a list", "records": " as records"}


class Cell(NamedTuple):
    """One figure: rows in each request, connections, and how the rows are written."""

    rows: int
    connections: int
    shape: Shape = "plain"

    @property
    def name(self) -> str:
        """Its key in the results."""
        rows = f"{self.rows} row{'s' * (self.rows > 1)}{SUFFIXES[self.shape]}"
        return f"{rows}, {self.connections} connection{'s' * (self.connections > 1)}"


class Duration(NamedTuple):
    """The whole seconds of load, and the core it comes from."""

    seconds: float
    core: int


class Measurement(TypedDict):
    """The result of some seconds of load, and the server's CPU time for each request."""

    requests_per_s: float
    rows_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    requests: int


def check_tools() -> None:
    """Check that the load generator and what pins processes are there.

    Raises
    ------
    BenchError
        Where one is missing: what to install.
    """
    for tool, package in ("wrk", "wrk"), ("taskset", "util-linux"):
        if shutil.which(tool) is None:
            raise BenchError(
                f"{tool} is not installed; on Debian or Ubuntu: apt-get install {package}"
            )


def measure(server: Server, path: str, bodies: Path, cell: Cell, duration: Duration) -> Measurement:
    """Post bodies over and over, each connection its next as soon as it has an answer.

    Parameters
    ----------
    server, path
        Where to.
    bodies
        File with one body a line; they take turns.
    cell
        Rows in each body, and connections that are kept open.
    duration
        For how long, and from which core.

    Raises
    ------
    BenchError
        Where one request fails, or none is answered: a wrong contender must not count.
    """
    url = f"http://{HOST}:{server.port}{path}"
    command = [
        *("taskset", "-c", str(duration.core), "wrk", "--threads", "1"),
        *("--connections", str(cell.connections), "--duration", f"{duration.seconds:.0f}s"),
        *("--timeout", f"{TIMEOUT}s", "--script", str(SCRIPT)),
        *(url, "--", str(bodies)),
    ]
    cpu = server.measure_cpu()
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    cpu = server.measure_cpu() - cpu
    if process.returncode:
        raise BenchError(f"wrk: {process.stderr.strip() or process.stdout.strip()}")
    figures = json.loads(process.stdout.splitlines()[-1])
    if figures["failed"] or not figures["requests"]:
        raise BenchError(
            f"{url}, {cell.name}: {figures['requests']} requests answered, "
            f"{figures['failed']} errors ({figures['status']} by status)"
        )
    rate = figures["requests"] / figures["seconds"]
    return Measurement(
        requests_per_s=round(rate, 1),
        rows_per_s=round(rate * cell.rows, 1),
        p50_ms=figures["p50_ms"],
        p99_ms=figures["p99_ms"],
        cpu_us=round(cpu / figures["requests"] * 1e6, 1),
        requests=figures["requests"],
    )


def watch(
    server: Server, path: str, bodies: Path, connections: int, duration: Duration
) -> Fairness:
    """Watch so many new connections by themselves, in a process on the core of the load.

    Raises
    ------
    BenchError
        Where an answer is no 200, or a connection ends.
    """
    command = [
        *("taskset", "-c", str(duration.core), sys.executable, "-m", "bench.connections"),
        *(str(server.port), path, str(bodies), str(connections), str(duration.seconds)),
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise BenchError(process.stderr.strip())
    result: Fairness = json.loads(process.stdout)
    return result


@contextmanager
def run_greedy(server: Server, path: str, body: Path, core: int) -> Iterator[dict[str, int]]:
    """Run a client that posts one body without pause, from its first answer on.

    It yields how many answers the client got of each status, which are there at the end.
    """
    command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.greedy"]
    statuses: dict[str, int] = {}
    with subprocess.Popen(
        [*command, str(server.port), path, str(body)], stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout  # noqa: S101 - it is a pipe
        try:
            client.stdout.readline()
            yield statuses
        finally:
            client.terminate()
            statuses.update(json.loads(client.stdout.read()))


def read_version() -> str:
    """Read wrk's version."""
    # `wrk -v` exits with an error.
    figures = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return (figures.stdout + figures.stderr).splitlines()[0].partition(" Copyright")[0].strip()
