from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.process import run_folder
from tests.conftest import ROOT


def test_without_a_supervisor_there_is_no_run_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(run_folder.RUN, raising=False)
    assert run_folder.find_folder() is None
    assert not run_folder.is_orphaned()


def test_a_worker_is_orphaned_when_its_parent_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(run_folder.RUN, str(tmp_path))
    assert run_folder.find_folder() == tmp_path
    assert run_folder.is_orphaned()
    run_folder.write_note(tmp_path / run_folder.SUPERVISOR, str(os.getppid()))
    assert not run_folder.is_orphaned()
    run_folder.write_note(tmp_path / run_folder.SUPERVISOR, str(os.getpid()))
    assert run_folder.is_orphaned()


def test_how_long_the_workers_may_drain_is_told_once_they_are_to_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(run_folder.RUN, raising=False)
    assert run_folder.read_stopping() is None
    monkeypatch.setenv(run_folder.RUN, str(tmp_path))
    assert run_folder.read_stopping() is None
    run_folder.write_note(tmp_path / run_folder.STOPPING, "0.5")
    assert run_folder.read_stopping() == "0.5"


@pytest.mark.parametrize("text", ["0.5", "", "a b/c", "=0"])
def test_a_note_is_read_as_it_was_left_and_replaced_as_a_whole(tmp_path: Path, text: str) -> None:
    note = tmp_path / "note"
    run_folder.write_note(note, "before")
    run_folder.write_note(note, text)
    assert run_folder.read_note(note) == text
    assert list(tmp_path.iterdir()) == [note]


def test_a_note_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    """A process that may write no byte leaves one."""
    code = (
        "import resource, sys; from pathlib import Path; from service.process import run_folder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "run_folder.write_note(Path('note'), '0.5')\n"
        "try: Path('file').write_text('0.5')\n"
        "except OSError: sys.exit(0)\n"
        "sys.exit(1)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    assert run_folder.read_note(tmp_path / "note") == "0.5"


def test_where_there_is_no_note_is_an_error_that_callers_know(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_folder.read_note(tmp_path / "note")
