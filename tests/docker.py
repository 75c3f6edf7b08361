"""The container engine, for the tests that need one."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.conftest import Project


def docker(*words: str, timeout: float = 60) -> str:
    """What a docker command prints."""
    command = ["docker", *words]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=timeout
    ).stdout.strip()


def require() -> None:
    """Skip the test where no engine answers; in CI, fail."""
    try:
        docker("version", timeout=20)
    except (OSError, subprocess.SubprocessError):
        reason = "no Docker engine answers; `.ci/dockerd start` starts one where you are root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def build(project: Project) -> str:
    """Build the project's Bento and its image, as the README says; returns the name of both."""
    # The client's plugins are this user's, whatever the home folder of the project.
    config = os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker"))
    project.run("make", "image", DOCKER_CONFIG=config)
    return project.run("python", "-m", "service.version").stdout.strip()


@dataclass(frozen=True)
class Container:
    """A running container and the address of what it serves."""

    name: str
    url: str

    def execute(self, *words: str) -> str:
        """What a command prints inside the container."""
        return docker("exec", self.name, *words)

    def state(self, field: str) -> str:
        """A field of the container's state."""
        return docker("inspect", "--format", f"{{{{.State.{field}}}}}", self.name)


@contextmanager
def container(image: str, *options: str) -> Iterator[Container]:
    """Run an image until the end of the block, on a free port of loopback, once it is ready."""
    name = docker("run", "--detach", "--publish", "127.0.0.1::3000", *options, image)
    try:
        running = Container(name, f"http://{docker('port', name, '3000/tcp')}")
        _await_ready(running)
        yield running
    finally:
        docker("rm", "--force", "--volumes", name)


def _await_ready(running: Container, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and running.state("Running") == "true":
        try:
            if httpx.get(f"{running.url}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    subprocess.run(["docker", "logs", "--tail", "50", running.name], check=False)
    pytest.fail("the container does not become ready; its log is above")
