"""The service without the streams that a process has, and without room on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests.conftest import ROOT, Project
from tests.ports import free_ports, listens, wait_until
from tests.serving import MALIGNANT, WAIT, ready
from tests.tools import missing

CLOSED = {"stdin": "<&-", "stdout": ">&-", "stdout and stderr": ">&- 2>&-", "all": "<&- >&- 2>&-"}


@pytest.mark.parametrize("closed", CLOSED.values(), ids=CLOSED)
def test_a_stream_that_is_closed_takes_no_number_of_another_file(
    tmp_path: Path, closed: str
) -> None:
    program = (
        "import os, socket; from service.process import streams; streams.open_missing(); "
        "numbers = [socket.socket().fileno(), *(os.fstat(n).st_rdev for n in range(3))]; "
        "open('numbers', 'w').write(repr(min(numbers[0], 3))); os.write(1, b'x'); os.write(2, b'x')"
    )
    command = [sys.executable, "-c", program]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
    subprocess.run(started, cwd=tmp_path, env=env, check=True)
    assert (tmp_path / "numbers").read_text() == "3"


@contextmanager
def serving(
    project: Project, port: int, shell: str = "", output: int | None = None, **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `bentoml serve` with streams as the words of a shell say, until it is ready."""
    command = ["bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {shell}', "sh", *command],
        cwd=project.root,
        env={**project.env, "DRAIN_SECONDS": "0", **env},
        stdout=output,
        stderr=output,
    )
    try:
        assert ready(port, WAIT)
        yield process
    finally:
        process.kill()
        process.wait()


def predict(port: int) -> int:
    url = f"http://127.0.0.1:{port}/predict"
    return httpx.post(url, json={"features": MALIGNANT}, timeout=WAIT).status_code


def end(process: subprocess.Popen[bytes], port: int) -> int:
    """Stop a service as an operator does; returns its exit code."""
    process.terminate()
    code = process.wait(WAIT)
    assert not listens(port)
    return code


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&- >&-", ">&- 2>&-"])
def test_it_serves_with_its_streams_closed(project: Project, closed: str) -> None:
    port = free_ports(1)
    with serving(project, port, closed) as process:
        assert predict(port) == HTTPStatus.OK
        assert end(process, port) == 0


@pytest.mark.slow
def test_it_serves_when_the_reader_of_its_log_is_gone(project: Project) -> None:
    port = free_ports(1)
    read, write = os.pipe()
    os.close(read)
    with serving(project, port, output=write) as process:
        os.close(write)
        assert predict(port) == HTTPStatus.OK
        assert end(process, port) == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"no right to mount a disk ({done.stderr.strip()}); be root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte on a disk."""
    file = os.open(folder / "rest", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(file, bytes(4096)):
            pass
    except OSError:
        pass
    finally:
        os.close(file)


@pytest.mark.real
def test_a_start_on_a_full_disk_ends_with_one_line(disk: Path) -> None:
    fill(disk)
    program = (
        "import sys, tempfile; from pathlib import Path; from service.process import supervisor; "
        "tempfile.tempdir = sys.argv[1]; "
        "supervisor.run(supervisor.Service('127.0.0.1', int(sys.argv[2]), 1, ('-c', '')))"
    )
    command = [sys.executable, "-c", program, str(disk), str(free_ports(1))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {disk}/cairn-")
    assert "No space left on device; free some space there" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in disk.iterdir()] == ["rest"]


def find_workers(process: subprocess.Popen[bytes]) -> set[int]:
    return {child.pid for child in psutil.Process(process.pid).children()}


@pytest.mark.real
@pytest.mark.slow
def test_a_disk_that_fills_up_takes_nothing_from_it(project: Project, disk: Path) -> None:
    """Each worker counts for the first time then, and one is replaced meanwhile."""
    port = free_ports(1)
    env = {"TMPDIR": str(disk), "WORKERS": "2"}
    with (
        (disk / "log").open("w") as log,
        serving(project, port, output=log.fileno(), **env) as process,
    ):
        wait_until(lambda: len(list(disk.glob("cairn-*/ready-*"))) == 2)
        fill(disk)
        assert {predict(port) for _ in range(50)} == {HTTPStatus.OK}
        before = find_workers(process)
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(find_workers(process) - before) == 1)
        [later] = find_workers(process) - before
        [run] = disk.glob("cairn-*")
        wait_until(lambda: os.path.lexists(run / f"ready-{later}"))
        assert {predict(port) for _ in range(50)} == {HTTPStatus.OK}
        assert find_workers(process) == (before | {later}) - {min(before)}
        assert end(process, port) == 0
        assert list(disk.glob("bentoml-*")) + list(disk.glob("cairn-*")) == []
