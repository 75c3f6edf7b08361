"""`make run`, as a user calls it, twice."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, Project, clone, use_port
from tests.ports import free_ports, listens, wait_until
from tests.serving import ready

MAKEFILE = (ROOT / "Makefile").read_text()


@contextmanager
def make_run(project: Project, port: int) -> Iterator[Path]:
    """`make run` until the block ends with Ctrl-C; yields what it prints, once it serves."""
    log = project.root.parent / "run.log"
    with log.open("w") as file:
        running = subprocess.Popen(
            ["make", "run", f"PORT={port}"],
            cwd=project.root,
            env=project.env,
            stdout=file,
            stderr=file,
            process_group=0,
        )
        try:
            if not ready(port, 900):
                pytest.fail(log.read_text())
            wait_until(lambda: "Try it" in log.read_text())
            yield log
            # A terminal sends Ctrl-C to all in the foreground.
            os.killpg(running.pid, signal.SIGINT)
            running.wait(timeout=300)
            wait_until(lambda: not alive(running.pid))
        finally:
            if alive(running.pid):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_run_serves_and_a_second_one_finds_all_as_it_was(tmp_path: Path) -> None:
    project = clone(tmp_path / "mein Projekt üöä")
    store, port = free_ports(), free_ports(1)
    use_port(project, store)
    with make_run(project, port) as log:
        text = log.read_text()
        assert f"serving on http://localhost:{port}" in text
        [line] = re.findall(r"^curl .*$", text, re.MULTILINE)
        answer = project.run(*shlex.split(line)).stdout
        assert json.loads(answer)["prediction"] in {0, 1}
        assert "in sync" in project.run("dvc", "status", "--cloud").stdout
    assert not listens(store)
    assert not listens(port)
    assert project.git("status", "--porcelain") == ""
    with make_run(project, port) as log:
        text = log.read_text()
        assert text.count("didn't change, skipping") == 5
        assert "Everything is up to date" in text
    assert not listens(store)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["run", "serve"])
def test_a_port_in_use_is_one_line_before_anything_else(project: Project, target: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = project.run("make", target, f"PORT={port}", check=False)
    assert done.returncode
    assert f"error: port {port} is in use; take another: make {target} PORT=3001" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("serve", "PORT=3'0; $$HOME"), """error: PORT: got "3'0; $HOME"; allowed: """),
        (("run", "PORT=abc"), "error: PORT: got 'abc'; allowed: a whole number from 1 to 65535"),
        (("serve", f"HOST={'a' * 300}"), "error: HOST: got 'aaa"),
        (("serve", f"STAGE={'a' * 300}"), "error: STAGE: got 'aaa"),
        (("serve", "STAGE=-x"), "error: STAGE: got '-x'; allowed: "),
        (("promote", "STAGE=a 'b'"), "error: STAGE: got \"a 'b'\"; allowed: "),
        (("rollback", "STAGE=$$(ls)"), "error: STAGE: got '$(ls)'; allowed: "),
        (("checkout", "VERSION=-1"), "error: cairn has no version; "),
        (("report", "BASE=-x"), "error: git knows no commit '-x'; "),
    ],
)
def test_what_make_is_given_is_one_word_and_one_line_if_it_is_wrong(
    project: Project, command: tuple[str, ...], message: str
) -> None:
    done = project.run("make", *command, check=False)
    line, *rest = done.stderr.splitlines()
    assert line.startswith(message)
    assert rest == [
        f"make: *** [Makefile:{rest[0].split(':')[2].split(']')[0]}: {command[0]}] Error 1"
    ]


def test_help_lists_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [phony] = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    targets = set(phony.replace("\\\n", " ").split())
    assert targets == set(re.findall(r"^  make ([a-z0-9-]+)", shown, re.MULTILINE))
    designed = (
        "run test install check fmt clean store store-down repro push pull register serve bento "
        "image verify bench"
    )
    assert targets >= set(designed.split())
