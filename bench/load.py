"""Load from another process: wrk, on a core of its own."""

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


class Run(NamedTuple):
    """For how many whole seconds to load, from which core."""

    seconds: float
    core: int


class Load(TypedDict):
    """What came of some seconds of load, and what the server spent on each request."""

    requests_per_s: float
    rows_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    requests: int


def tools() -> None:
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


def load(server: Server, path: str, bodies: Path, cell: Cell, run: Run) -> Load:
    """Post bodies over and over, each connection its next as soon as it has an answer.

    Parameters
    ----------
    server, path
        Where to.
    bodies
        File with one body a line; they take turns.
    cell
        Rows in each body, and connections that are kept open.
    run
        For how long, and from which core.

    Raises
    ------
    BenchError
        Where one request fails, or none is answered: a wrong contender must not count.
    """
    url = f"http://{HOST}:{server.port}{path}"
    command = [
        *("taskset", "-c", str(run.core), "wrk", "--threads", "1"),
        *("--connections", str(cell.connections), "--duration", f"{run.seconds:.0f}s"),
        *("--timeout", f"{TIMEOUT}s", "--script", str(SCRIPT)),
        *(url, "--", str(bodies)),
    ]
    spent = server.cpu_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    spent = server.cpu_seconds() - spent
    if done.returncode:
        raise BenchError(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    said = json.loads(done.stdout.splitlines()[-1])
    if said["failed"] or not said["requests"]:
        raise BenchError(
            f"{url}, {cell.name}: {said['requests']} requests answered, "
            f"{said['failed']} errors ({said['status']} by status)"
        )
    rate = said["requests"] / said["seconds"]
    return Load(
        requests_per_s=round(rate, 1),
        rows_per_s=round(rate * cell.rows, 1),
        p50_ms=said["p50_ms"],
        p99_ms=said["p99_ms"],
        cpu_us=round(spent / said["requests"] * 1e6, 1),
        requests=said["requests"],
    )


def version() -> str:
    """Wrk's version, as it names itself."""
    # wrk -v ends with an error of its own making.
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).splitlines()[0].partition(" Copyright")[0].strip()
