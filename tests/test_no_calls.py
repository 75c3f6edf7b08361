"""Nothing calls anybody by itself: the pipeline, the service and the image, watched by strace.

To cut the network would show nothing: what cannot call does not say that it tried.
"""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests import docker
from tests.conftest import Project, copy
from tests.ports import free_ports, wait_until
from tests.serving import MALIGNANT, started
from tests.tools import tool

pytestmark = [pytest.mark.real, pytest.mark.slow]

# Each of them keeps some library from calling its maker.
QUIET = re.compile(
    r"CI$|GITHUB_ACTIONS$|TF_BUILD$|ORT_DISABLE_TELEMETRY$|BENTOML_DO_NOT_TRACK$|DVC_|XDG_"
)
# A call by which a process reaches another host, or asks for its name: of the server of names
# (port 53) even on this machine.
SENT = re.compile(r"(connect|sendto|sendmsg|sendmmsg)\(.*")
ADDRESS = re.compile(
    r"htons\((?P<port>\d+)\).*?(?:inet_addr\(\"|inet_pton\(AF_INET6, \")(?P<host>[^\"]+)"
)
LOOPBACK = re.compile(r"127\.|::1$|::ffff:127\.")
NAMES = "53"
LEFT = (".ses", "onnxruntime.db")


def trace(into: Path) -> list[str]:
    """The words before a command by which strace writes down what it and its children send."""
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    filters = ("--seccomp-bpf", "--quiet=all", "--signal=none", "-e", calls)
    return [tool("strace", "strace"), "-f", *filters, "-o", str(into)]


def read_calls(log: Path) -> list[str]:
    """What left the machine, or was to, and who was asked for names."""
    return [line for line in log.read_text(errors="replace").splitlines() if is_call(line)]


def is_call(line: str) -> bool:
    if not SENT.search(line):
        return False
    return any(
        match["port"] == NAMES or not LOOPBACK.match(match["host"])
        for match in ADDRESS.finditer(line)
    )


def outside(project: Project, folder: Path) -> Project:
    """A project in the environment of a user at a terminal, who turned nothing off.

    Its home and its temporary files are in the folder.
    """
    mine = copy(project, folder)
    (folder / "tmp").mkdir()
    env = {name: value for name, value in mine.env.items() if not QUIET.match(name)}
    return Project(mine.root, {**env, "TMPDIR": str(folder / "tmp")})


def read_left(folder: Path) -> list[Path]:
    """What ONNX Runtime's telemetry leaves."""
    return [path for path in folder.rglob("*") if path.name in LEFT]


def address(port: int, host: str) -> str:
    """An address as strace writes it."""
    if ":" in host:
        return f'{{sa_family=AF_INET6, sin6_port=htons({port}), inet_pton(AF_INET6, "{host}", &s)}}'
    return f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("{host}")}}'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"9 connect(3, {address(443, '192.0.2.1')}, 16) = 0", True),
        (f"9 connect(3, {address(53, '127.0.0.53')}, 16) = 0", True),
        (f"9 connect(3, {address(80, '127.0.0.1')}, 16) = 0", False),
        (f'9 sendto(3, "a", 1, 0, {address(9, "2001:db8::1")}, 28) = 1', True),
        (f'9 sendto(3, "a", 1, 0, {address(9, "::1")}, 28) = 1', False),
        ('9 sendto(3, "GET / HTTP/1.1", 14, 0, NULL, 0) = 14', False),
    ],
)
def test_a_call_is_told_from_what_stays_here(line: str, expected: bool) -> None:  # noqa: FBT001
    assert is_call(line) is expected


@pytest.mark.long
def test_the_pipeline_calls_nobody(project: Project, tmp_path: Path) -> None:
    mine = outside(project, tmp_path)
    mine.run(*trace(tmp_path / "calls"), "dvc", "repro", "--force")
    assert read_calls(tmp_path / "calls") == []
    assert read_left(tmp_path) == []


def test_the_service_calls_nobody(project: Project, tmp_path: Path) -> None:
    mine = outside(project, tmp_path)
    port = free_ports(1)
    serve = ["bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]

    def stop(tracer: subprocess.Popen[bytes]) -> None:
        [server] = psutil.Process(tracer.pid).children()
        server.send_signal(signal.SIGTERM)

    with started(mine, port, [*trace(tmp_path / "calls"), *serve], stop) as client:
        client.post("/predict", json={"features": MALIGNANT}).raise_for_status()
    assert read_calls(tmp_path / "calls") == []
    assert read_left(tmp_path) == []


def test_the_image_calls_nobody(image: str, tmp_path: Path) -> None:
    """Its first process waits until it is watched."""
    begin = "until [ -e /tmp/begin ]; do sleep 0.1; done; exec python -m service.process.supervisor"
    options = ("--read-only", "--tmpfs=/tmp", "--publish=127.0.0.1::3000", "--entrypoint=sh")
    name = docker.docker("run", "--detach", *options, image, "-c", begin)
    try:
        running = docker.Container(name, f"http://{docker.docker('port', name, '3000/tcp')}")
        log = tmp_path / "calls"
        attach = [word for word in trace(log) if word != "--seccomp-bpf"]
        with subprocess.Popen([*attach, "-p", running.state("Pid")]) as tracer:
            try:
                wait_until(log.exists)
                running.execute("touch", "/tmp/begin")  # noqa: S108, the container's
                docker.await_ready(running)
                url = f"{running.url}/predict"
                httpx.post(url, json={"features": MALIGNANT}).raise_for_status()
                # Some folders are closed to the container's user.
                search = f"find / /tmp -xdev -name {LEFT[0]} -o -name {LEFT[1]} 2>/dev/null; true"
                left = running.execute("sh", "-c", search)
            finally:
                docker.docker("stop", name)
            tracer.wait()
    finally:
        docker.docker("rm", "--force", "--volumes", name)
    assert left == ""
    assert read_calls(log) == []
