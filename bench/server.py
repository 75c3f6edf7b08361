"""Run a server on some cores, in a process group of its own, which leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

HOST = "127.0.0.1"
START_SECONDS = 180.0
STOP_SECONDS = 20.0
MAX_LOG = 3000


class BenchError(Exception):
    """Why there can be no result: one sentence for people."""


@dataclass(frozen=True)
class Server:
    """A server that runs: its port, its first process and the file that it logs to."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def post(self, path: str, body: str, timeout: float = 60) -> tuple[int, bytes]:
        """Status and body of the answer to one request."""
        connection = HTTPConnection(HOST, self.port, timeout=timeout)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def measure_memory(self) -> float:
        """Resident memory of the server's processes, added up."""
        total = 0
        for process in list_processes(self.process.pid):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return round(total / 2**20, 1)

    def measure_cpu(self) -> float:
        """Processor time that the server's processes have taken, added up."""
        total = 0.0
        for process in list_processes(self.process.pid):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def read_log(self) -> str:
        """Read the end of what the server wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-MAX_LOG:]


@contextmanager
def serve(
    command: Sequence[str], cores: str, folder: Path, env: Mapping[str, str], log: Path
) -> Iterator[Server]:
    """Run a server, with all processes that it starts, on some cores; stop it at the end.

    Parameters
    ----------
    command
        What to run; `{port}` in it becomes a free port.
    cores
        Their numbers, as taskset takes them.
    folder, env
        Where it runs, and variables beside those of this process.
    log
        File for what it writes to stdout and stderr.
    """
    port = find_free_port()
    pinned = ["taskset", "-c", cores, *(word.format(port=port) for word in command)]
    with log.open("wb") as out:
        # A session of its own: Ctrl-C reaches only this process, which then stops the server.
        process = subprocess.Popen(
            pinned,
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Server(port, process, log)
    finally:
        stop(process)


def wait(server: Server, path: str, body: str, pause: float = 0.1) -> None:
    """Wait until the server answers a request with 200, asking again after so many seconds.

    Raises
    ------
    BenchError
        Where it ends before that, or takes too long; with what it wrote.
    """
    end = time.monotonic() + START_SECONDS
    response = "nothing"
    while time.monotonic() < end and server.process.poll() is None:
        with suppress(OSError, HTTPException):
            status, content = server.post(path, body)
            if status == HTTPStatus.OK:
                return
            response = f"{status} {content[:200]!r}"
        time.sleep(pause)
    raise BenchError(
        f"the server is not up; it answered {response} and wrote:\n{server.read_log()}"
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it started: SIGTERM, and SIGKILL for what is left."""
    # BentoML's workers may lead groups of their own, so they are not all in this group.
    running = list_processes(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    _, remaining = psutil.wait_procs(running, timeout=1)
    for process_left in remaining:
        with suppress(psutil.NoSuchProcess):
            process_left.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def list_processes(pid: int) -> list[psutil.Process]:
    """List a process and all its running descendants."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def find_free_port() -> int:
    """Find a port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
