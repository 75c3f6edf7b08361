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

from tests.ports import PATIENCE
from tests.tools import missing

if TYPE_CHECKING:
    from tests.conftest import Project


def docker(*words: str, timeout: float = PATIENCE) -> str:
    """What a docker command prints."""
    command = ["docker", *words]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=timeout
    ).stdout.strip()


def address(container: str) -> str:
    """Where a container is, on the network of the engine."""
    networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", networks, container)


def require() -> None:
    """Skip the test where no engine answers; in CI, fail."""
    try:
        docker("version")
    except (OSError, subprocess.SubprocessError):
        missing("no Docker engine answers; `.ci/dockerd start` starts one where you are root")


def config() -> str:
    """The folder of this user's settings and plug-ins, whatever the home of a project."""
    return os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker"))


def make(project: Project, target: str, *settings: str) -> None:
    """Call a target that needs the engine, with variables of make's."""
    project.run("make", target, *settings, DOCKER_CONFIG=config())


def build(project: Project) -> str:
    """Build the project's Bento and its image, as the docs say; returns the name of both."""
    make(project, "image")
    return project.run("python", "-m", "service.bento.version").stdout.strip()


@dataclass(frozen=True)
class Container:
    """A running container and the address of what it serves."""

    name: str
    url: str

    def get(self, path: str) -> httpx.Response:
        """What it answers at a path."""
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE)

    def execute(self, *words: str) -> str:
        """What a command prints inside the container."""
        return docker("exec", self.name, *words)

    def state(self, field: str) -> str:
        """A field of the container's state."""
        return docker("inspect", "--format", f"{{{{.State.{field}}}}}", self.name)

    def ended(self) -> int:
        """Wait until it ends; its code."""
        return int(docker("wait", self.name))

    def logs(self) -> str:
        """What it wrote."""
        command = ["docker", "logs", self.name]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout + done.stderr


@contextmanager
def container(image: str, *options: str) -> Iterator[Container]:
    """Run an image until the end of the block, on a free port of loopback, once it is ready."""
    with started(image, "--publish", "127.0.0.1::3000", *options) as name:
        running = Container(name, f"http://{docker('port', name, '3000/tcp')}")
        await_ready(running)
        yield running


@contextmanager
def hosted(image: str, port: int, *options: str) -> Iterator[Container]:
    """The same on the network of the host, at that port; it need not become ready."""
    with started(image, "--network=host", f"--env=PORT={port}", *options) as name:
        yield Container(name, f"http://127.0.0.1:{port}")


@contextmanager
def started(image: str, *options: str) -> Iterator[str]:
    """Name of a container that is removed at the end of the block."""
    name = docker("run", "--detach", *options, image)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def await_ready(running: Container, seconds: float = PATIENCE) -> None:
    """Wait until a container is ready; fails, with its log, if it is not in time."""
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
