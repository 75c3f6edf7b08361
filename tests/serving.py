"""`bentoml serve`, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from filelock import FileLock

from service.process import health
from tests.conftest import Project
from tests.ports import free_ports, listens, wait_until

WAIT = 300.0  # for a hang only
SHARED = "service.json"  # beside the project: where its one service listens

# A malignant tumour of the Wisconsin table, the one in the README.
MALIGNANT = [
    17.99, 10.38, 122.8, 1001.0, 0.1184, 0.2776, 0.3001, 0.1471, 0.2419, 0.0787,
    1.095, 0.9053, 8.589, 153.4, 0.006399, 0.04904, 0.05373, 0.01587, 0.03003, 0.006193,
    25.38, 17.33, 184.6, 2019.0, 0.1622, 0.6656, 0.7119, 0.2654, 0.4601, 0.1189,
]  # fmt: skip


def ready(port: int, seconds: float) -> bool:
    """Whether a service on the port became ready within that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if health.find_problem(port, seconds=1) is None:
            return True
        time.sleep(0.1)
    return False


@contextmanager
def served(project: Project, *arguments: str) -> Iterator[httpx.Client]:
    """Serve a project until the block ends; yields a client of it, once it is ready.

    It stops without a drain, unless the project's environment asks for one.
    """
    port = free_ports(1)
    command = ["bentoml", "serve", *arguments, "--host", "127.0.0.1", "--port", str(port)]
    with started(project, port, command, lambda server: server.send_signal(signal.SIGTERM)) as it:
        yield it


@contextmanager
def shared(project: Project) -> Iterator[httpx.Client]:
    """A client of the one service of the project that every process of the run may ask.

    The first that needs it starts it, with the default settings; it ends with the project's store.
    """
    note = project.root.parent / SHARED
    with FileLock(f"{note}.lock"):
        if not note.exists():
            port = free_ports(1)
            log = log_of(project, port)
            command = ["bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
            # No child of this process, which may end before others have asked.
            apart = ["sh", "-c", '"$@" >"$LOG" 2>&1 & echo $!', "sh", *command]
            pid = project.run(*apart, DRAIN_SECONDS="0", LOG=str(log)).stdout
            note.write_text(json.dumps({"pid": int(pid), "port": port}))
            if not ready(port, WAIT):
                pytest.fail(f"{' '.join(command)} does not become ready:\n{log.read_text()}")
    port = json.loads(note.read_text())["port"]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT) as client:
        yield client


def end_shared(folder: Path) -> None:
    """End that service, where there is one; `folder` is that of the project and its home."""
    note = folder / SHARED
    if note.exists():
        service = json.loads(note.read_text())
        with suppress(ProcessLookupError):
            os.kill(service["pid"], signal.SIGTERM)
        wait_until(lambda: not listens(service["port"]))
        note.unlink()


def log_of(project: Project, port: int) -> Path:
    """What a service on that port prints: tests in other processes serve the same project."""
    return project.root.parent / f"serve-{port}.log"


@contextmanager
def started(
    project: Project,
    port: int,
    command: list[str],
    stop: Callable[[subprocess.Popen[bytes]], None],
) -> Iterator[httpx.Client]:
    """Run a command that serves a project on a port until the block ends, and stop it so."""
    log = log_of(project, port)
    env = {"DRAIN_SECONDS": "0", **project.env}
    with log.open("w+") as file:
        server = subprocess.Popen(
            command, cwd=project.root, env=env, stdout=file, stderr=file, process_group=0
        )
        try:
            if not ready(port, WAIT):
                pytest.fail(f"{' '.join(command)} does not become ready:\n{log.read_text()}")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT) as client:
                yield client
        finally:
            stop(server)
            try:
                server.wait(timeout=WAIT)
            finally:
                if server.poll() is None:
                    os.killpg(server.pid, signal.SIGKILL)
                    server.wait()
