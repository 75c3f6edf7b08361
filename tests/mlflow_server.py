"""A real `mlflow server` on SQLite, in an environment of its own, which bench shares."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import httpx
import pytest
from filelock import FileLock

from bench.contenders import create_environment
from tests.conftest import ROOT
from tests.ports import free_ports, wait_until

ENVIRONMENTS = Path("build/bench")
WAIT = 240.0


def python() -> Path:
    """The Python that has MLflow, made from its lock where it is not there yet, in a minute."""
    with chdir(ROOT):
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        with FileLock(ENVIRONMENTS / "mlflow.lock"):
            try:
                return create_environment("mlflow", ENVIRONMENTS)
            except subprocess.CalledProcessError as error:
                pytest.fail(f"no environment for `mlflow server`: {error}; its lines say why")


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """A server whose database and artifacts are in a folder, until the block ends; its address."""
    executable, port = python(), free_ports(1)
    uri = f"http://127.0.0.1:{port}"
    command = [str(executable), "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    env = {
        **kept,
        "PATH": f"{executable.parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes
    }
    log = folder / "server.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            command, cwd=folder, env=env, stdout=file, stderr=file, process_group=0
        )
        try:
            wait_until(lambda: server.poll() is not None or healthy(uri), WAIT)
            if server.poll() is not None:
                pytest.fail(f"mlflow server does not start:\n{log.read_text()}")
            yield uri
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def healthy(uri: str) -> bool:
    """Whether it answers."""
    try:
        return httpx.get(f"{uri}/health").is_success
    except httpx.TransportError:
        return False
