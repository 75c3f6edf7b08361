"""The service as a process and its workers: started, looked at, ended."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest
from filelock import FileLock

from tests.conftest import Project
from tests.load import ROWS
from tests.ports import free_ports, wait_until
from tests.serving import WAIT, ready


@dataclass(frozen=True)
class Served:
    """`bentoml serve` as a process with its port and its output."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def predict(self) -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{self.port}/predict", json=ROWS, timeout=60)

    def drains(self) -> bool:
        return self.get("/readyz").status_code == HTTPStatus.SERVICE_UNAVAILABLE

    def program(self) -> dict[str, Any]:
        """What `bentoml serve` becomes, as Popen takes it, once it has."""
        seen = psutil.Process(self.process.pid)
        wait_until(lambda: "service.process.supervisor" in seen.cmdline())
        return {"args": seen.cmdline(), "cwd": seen.cwd(), "env": seen.environ()}

    def workers(self) -> list[Any]:
        actual = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # it has ended
                if "service.serve" in child.cmdline():
                    actual.append(child)
        return actual

    def wait_ready(self, workers: int = 1) -> None:
        """Wait until so many workers are ready, and the service answers."""
        if not ready(self.port, WAIT):
            pytest.fail(f"not ready:\n{self.log.read_text()}")
        wait_until(lambda: len(list(self.log.parent.glob("cairn-*/ready-*"))) == workers)

    def kill(self, worker: Any) -> float:
        """Kill a worker; returns a moment after which it takes nothing any more."""
        worker.kill()
        worker.wait(WAIT)
        return time.monotonic()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT)


@contextmanager
def starting(project: Project, *arguments: str, port: str = "", **env: str) -> Iterator[Served]:
    """Start `bentoml serve`; when the block ends, nothing of it is left."""
    number = int(port or free_ports(1))
    with TemporaryDirectory() as folder:
        command = ["bentoml", "serve", *arguments, "--host", "127.0.0.1", "--port", str(number)]
        env = {**project.env, "TMPDIR": folder, **env}
        with run(number, Path(folder, "serve.log"), args=command, cwd=project.root, env=env) as it:
            yield it


@contextmanager
def run(port: int, log: Path, **program: Any) -> Iterator[Served]:
    """Start a program that serves; when the block ends, nothing of it is left."""
    with log.open("w") as file:
        process = subprocess.Popen(**program, stdout=file, stderr=file, text=True)
    seen = Served(process, port, log)
    try:
        yield seen
    finally:
        family = seen.workers() if process.poll() is None else []
        process.kill()
        process.wait()
        for one in family:
            one.kill()


@contextmanager
def serving(project: Project, *arguments: str, port: str = "", **env: str) -> Iterator[Served]:
    with starting(project, *arguments, port=port, **env) as served:
        served.wait_ready(int(env.get("WORKERS", "1")))
        yield served


def find_program(project: Project) -> dict[str, Any]:
    """What `bentoml serve` of the project becomes: seen once, by whichever process needs it first.

    BentoML's command, which loads all that a worker does, is half of a start.
    """
    kept = project.root.parent / "program.json"
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            with starting(project) as served:
                kept.write_text(json.dumps(served.program()))
    actual: dict[str, Any] = json.loads(kept.read_text())
    return actual


def elsewhere(program: dict[str, Any], port: int, folder: Path, **env: str) -> dict[str, Any]:
    """The program with another port and folder, and with other settings."""
    address = program["args"].index("service.process.supervisor") + 1  # host, port, workers
    args = [*program["args"]]
    args[address + 1 : address + 3] = str(port), env.get("WORKERS", "1")
    return {**program, "args": args, "env": {**program["env"], "TMPDIR": str(folder), **env}}


def moved(program: dict[str, Any], project: Project, copied: Project) -> dict[str, Any]:
    """The program of a project as that of its copy."""
    text = json.dumps(program)
    for before, after in (
        (str(project.root), str(copied.root)),
        (project.env["HOME"], copied.env["HOME"]),
    ):
        assert before in text
        text = text.replace(before, after)
    actual: dict[str, Any] = json.loads(text)
    return actual


@contextmanager
def beginning(program: dict[str, Any], **env: str) -> Iterator[Served]:
    """Start what `bentoml serve` becomes with these settings; when the block ends, it is gone."""
    port = free_ports(1)
    with TemporaryDirectory() as folder:
        own = elsewhere(program, port, Path(folder), **env)
        with run(port, Path(folder, "serve.log"), **own) as served:
            yield served


@contextmanager
def supervising(program: dict[str, Any], **env: str) -> Iterator[Served]:
    with beginning(program, **env) as served:
        served.wait_ready(int(env.get("WORKERS", "1")))
        yield served
