from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.process import run_folder


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
    (tmp_path / run_folder.SUPERVISOR).write_text(str(os.getppid()))
    assert not run_folder.is_orphaned()
    (tmp_path / run_folder.SUPERVISOR).write_text(str(os.getpid()))
    assert run_folder.is_orphaned()


def test_how_long_the_workers_may_drain_is_told_once_they_are_to_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(run_folder.RUN, raising=False)
    assert run_folder.read_stopping() is None
    monkeypatch.setenv(run_folder.RUN, str(tmp_path))
    assert run_folder.read_stopping() is None
    (tmp_path / run_folder.STOPPING).write_text("0.5")
    assert run_folder.read_stopping() == "0.5"
