"""Put load on a server from another process: wrk, on a core of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple, TypedDict

from bench.server import HOST, BenchError, Server

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT = 60
UNITS = ("row", "connection")


class Cell(NamedTuple):
    """One figure: rows in each request, and connections."""

    rows: int
    connections: int

    @property
    def name(self) -> str:
        """Its key in the results."""
        rows, connections = (
            f"{n} {what}{'s' * (n > 1)}" for n, what in zip(self, UNITS, strict=True)
        )
        return f"{rows}, {connections}"


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


def read_version() -> str:
    """Read wrk's version."""
    # `wrk -v` exits with an error.
    figures = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return (figures.stdout + figures.stderr).splitlines()[0].partition(" Copyright")[0].strip()
