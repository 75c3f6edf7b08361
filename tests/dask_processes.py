"""A Dask scheduler and its workers as somebody would start them: processes that lack our code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from cairn.params.compute import Compute
from tests import tools
from tests.conftest import ROOT
from tests.ports import free_ports, listens, wait_until

Process = subprocess.Popen[bytes]
OWN = (sys.executable, "-P", "-m", "dask")  # of the environment of the tests


def environment(folder: Path) -> Path:
    """Install what the docs have workers install, and nothing else; where its `dask` is."""
    uv = tools.tool("uv", "of requirements-dev.txt")
    lock = str(ROOT / "requirements-extras.txt")
    env = {**os.environ, "VIRTUAL_ENV": str(folder)}
    for command in (
        ["venv", "--python", sys.executable, str(folder)],
        ["pip", "sync", "--require-hashes", "--compile-bytecode", lock],  # as pip does
    ):
        subprocess.run([uv, *command, "--quiet"], env=env, check=True, timeout=600)
    return folder / "bin" / "dask"


@contextmanager
def started(
    folder: Path, *arguments: str, dask: Sequence[str] = OWN, **env: str
) -> Iterator[Process]:
    """`dask ARGUMENTS` in an empty folder, ended with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    # A nanny of ours in this process may have left it: their logs would be empty.
    away = {"PYTHONPATH", "DASK_LOGGING__DISTRIBUTED"}
    own = {name: value for name, value in os.environ.items() if name not in away}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*dask, *arguments],
            cwd=folder,
            env={**own, "DASK_TEMPORARY_DIRECTORY": str(folder), **env},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        end(process)


def wait_for_line(process: Process, log: Path, text: str) -> None:
    """Wait until a process has logged a text; fail with all that it logged where it does not."""

    def is_over() -> bool:
        return text in log.read_text() or process.poll() is not None

    with suppress(AssertionError):
        wait_until(is_over)
    content = log.read_text()
    assert text in content, f"exit code {process.poll()}, no {text!r} in:\n{content}"


def end(process: Process) -> None:
    """End a process that we started, and those that it did."""
    children = workers_of(process)
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):  # it may end in this moment
            child.kill()


def workers_of(nanny: Process) -> list[psutil.Process]:
    """List the processes of a nanny, with its worker."""
    if nanny.poll() is not None:
        return []
    try:
        return list(psutil.Process(nanny.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def spawned(process: psutil.Process) -> bool:
    """Whether it is a worker, and still there."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended, be it that nobody has asked for its end yet."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass
class Processes:
    """A running scheduler.

    Attributes
    ----------
    port, scheduler, workers
        Of loopback, and the processes; a worker's is that of its nanny.
    """

    folder: Path
    port: int
    scheduler: Process
    workers: list[Process]
    stack: ExitStack

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def params(self) -> Compute:
        return Compute(engine="dask", scheduler=self.address, workers=None, memory=None)

    def add(self, limit: str = "2GiB", **env: str) -> Process:
        """Start a worker of one thread under a nanny."""
        index = self.folder / f"worker{len(self.workers)}"
        worker = self.stack.enter_context(
            started(
                index, "worker", self.address, "--nthreads=1", f"--memory-limit={limit}",
                "--host=127.0.0.1", "--dashboard-address=127.0.0.1:0", **env,
            )
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def kill(self, index: int) -> None:
        """End the process of a worker, not its nanny, as the kernel does for want of memory."""
        self.wait_for(index)
        for process in filter(spawned, workers_of(self.workers[index])):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def wait_for(self, index: int) -> None:
        """Wait until a worker has a process that can be killed."""
        wait_until(lambda: any(map(spawned, workers_of(self.workers[index]))))


@contextmanager
def processes(folder: Path, workers: int = 2, limit: str = "2GiB") -> Iterator[Processes]:
    """Start a scheduler and workers on loopback, all ended with the block."""
    port = free_ports(1)
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            started(
                folder / "scheduler", "scheduler", "--host=127.0.0.1", f"--port={port}",
                "--dashboard-address=127.0.0.1:0",
            )
        )  # fmt: skip
        wait_until(lambda: listens(port))
        result = Processes(folder, port, scheduler, [], stack)
        for _ in range(workers):
            result.add(limit)
        yield result
