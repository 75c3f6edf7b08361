"""`make serve` and what it calls, where ports are taken, with the real `bentoml serve`."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest
from filelock import FileLock

from deploy.local import serve
from tests.conftest import Project
from tests.ports import PATIENCE, free_ports, listens, wait_until
from tests.serving import WAIT, ready

SERVE = (sys.executable, "-m", "deploy.local.serve")
# Says once that each port is free, as it was a moment ago.
LATE = """
from deploy.local import ports, serve
looks, is_free = [], ports.is_free
def look(port, host):
    looks.append(port)
    return looks.count(port) == 1 or is_free(port, host)
ports.is_free = look
serve.main()
"""


@contextmanager
def running(
    project: Project, tmp_path: Path, *command: str, **env: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A command until the block ends, and what it prints."""
    log = tmp_path / "log"
    full_env = {"DRAIN_SECONDS": "0", **project.env, **env}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=project.root, env=full_env, stdout=file, stderr=file
        )
    family = [psutil.Process(process.pid)]
    try:
        yield process, log
    finally:
        with suppress(psutil.Error):
            family += family[0].children(recursive=True)
        for each in family:
            with suppress(psutil.Error):
                each.kill()
        process.wait()


def port_in(log: Path, process: subprocess.Popen[bytes]) -> int:
    """The port of the command that is printed last, once there is one."""
    wait_until(lambda: "bentoml serve --" in log.read_text() or process.poll() is not None, WAIT)
    ports = re.findall(r"^bentoml serve .*--port (\d+)$", log.read_text(), re.MULTILINE)
    assert ports, log.read_text()
    return int(ports[-1])


@pytest.fixture
def port() -> int:
    return free_ports(3)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_next_port_takes_the_place_of_one_that_is_taken(
    project: Project, tmp_path: Path, port: int, number: int
) -> None:
    command = (*SERVE, "--port", str(port))
    with (
        socket.create_server(("127.0.0.1", port)),
        socket.create_server(("::1", port + 1), family=socket.AF_INET6),
        running(project, tmp_path, *command, http_proxy="http://127.0.0.1:9") as (process, log),
    ):
        wait_until(lambda: "Try it" in log.read_text() or process.poll() is not None, WAIT)
        text = log.read_text()
        assert f"serve: port {port} is taken, so it is port {port + 2}\n" in text
        assert f"serving on http://localhost:{port + 2};" in text
        [line] = re.findall(r"^curl .*$", text, re.MULTILINE)
        answer = project.run(*shlex.split(line), http_proxy="http://127.0.0.1:9").stdout
        assert json.loads(answer)["prediction"] in {0, 1}

        process.send_signal(number)
        assert process.wait(timeout=WAIT) == 0
    assert not listens(port + 2)


@pytest.mark.slow
@pytest.mark.long
def test_a_port_that_is_taken_after_it_was_found_free(
    project: Project, tmp_path: Path, port: int
) -> None:
    # What answers there meanwhile is not taken for the service.
    command = (sys.executable, "-c", LATE, "--port", str(port))
    with ExitStack() as stack:
        other = stack.enter_context(running(project, tmp_path, *SERVE, "--port", str(port)))
        assert ready(port, WAIT), other[1].read_text()
        (tmp_path / "late").mkdir()
        process, log = stack.enter_context(running(project, tmp_path / "late", *command))
        wait_until(lambda: "Try it" in log.read_text() or process.poll() is not None, WAIT)
        text = log.read_text()

        assert re.findall(r"serving on \S+:(\d+);", text) == [str(port + 1)], text
        assert httpx.get(f"http://127.0.0.1:{port + 1}/readyz", timeout=WAIT).status_code == 200
        assert process.poll() is None


@pytest.mark.slow
def test_a_fixed_port_that_is_taken_is_one_line(project: Project, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        done = project.run(*SERVE, "--fixed", "--port", str(port), check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: port {port} is in use; take another: PORT={port + 1}\n"


@pytest.mark.slow
def test_a_host_that_is_not_here_is_one_line(project: Project, port: int) -> None:
    done = project.run(*SERVE, "--host", "192.0.2.1", "--port", str(port), check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"error: cannot listen at 192\.0\.2\.1: .*; choose another HOST\n", done.stderr
    )


LONG = "a" * 300


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *[
            (
                ("--port", text),
                f"error: PORT: got {text!r}; allowed: a whole number from 1 to 65535",
            )
            for text in ("abc", "0", "-1", "65536", "3000x", " 3000", "٣٠٠٠", "")
        ],
        (("--port", "9" * 5000), f"error: PORT: got '{'9' * 60}…'; allowed: "),
        (("--host", LONG), f"error: HOST: got '{'a' * 60}'; allowed: a name or an address"),
        (("--host", "a..b"), "error: HOST: got 'a..b'; allowed: a name or an address"),
        (("--host", "a b"), "error: cannot listen at a b: "),
    ],
)
def test_where_it_cannot_listen_is_one_line(
    words: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["serve", "=".join(words)])
    with pytest.raises(SystemExit) as end:
        serve.main()
    assert str(end.value).startswith(message)
    assert "\n" not in str(end.value)


def test_no_port_is_tried_after_the_last_one() -> None:
    assert serve.ports_to_try(3000, is_fixed=False) == range(3000, 3100)
    assert serve.ports_to_try(65_500, is_fixed=False) == range(65_500, 65_536)
    assert serve.ports_to_try(65_535, is_fixed=True) == range(65_535, 65_536)


@pytest.mark.slow
def test_what_else_keeps_it_from_serving_ends_it(project: Project, port: int) -> None:
    done = project.run(*SERVE, "--port", str(port), check=False, MODEL_TAG="cairn:none")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [f"bentoml serve --host 127.0.0.1 --port {port}"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["run", "serve"])
def test_make_leaves_its_own_port_to_whoever_has_it(
    project: Project, tmp_path: Path, target: str
) -> None:
    env = {name: value for name, value in project.env.items() if name != "PORT"}
    with ExitStack() as stack:
        # The other of the two, in another process, would give the port up before this one asks.
        stack.enter_context(FileLock(project.root.parent / "port-3000.lock"))
        with suppress(OSError):  # taken already
            stack.enter_context(socket.create_server(("127.0.0.1", 3000)))
        process, log = stack.enter_context(
            running(Project(project.root, env), tmp_path, "make", target)
        )
        wait_until(
            lambda: "serve: port 3000" in log.read_text() or process.poll() is not None, WAIT
        )
        port = port_in(log, process)
        assert port > 3000
        assert f"serve: port 3000 is taken, so it is port {port}\n" in log.read_text()
        assert ready(port, WAIT), log.read_text()
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) != 0
        assert psutil.wait_procs(below, timeout=PATIENCE)[1] == []
    assert not listens(port)
