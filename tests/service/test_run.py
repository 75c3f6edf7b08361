from __future__ import annotations

import os
from pathlib import Path

import pytest

from service import run


def test_without_a_supervisor_there_is_no_run_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(run.RUN, raising=False)
    assert run.folder() is None
    assert not run.orphaned()


def test_a_worker_is_orphaned_when_its_parent_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(run.RUN, str(tmp_path))
    assert run.folder() == tmp_path
    assert run.orphaned()
    (tmp_path / run.SUPERVISOR).write_text(str(os.getppid()))
    assert not run.orphaned()
    (tmp_path / run.SUPERVISOR).write_text(str(os.getpid()))
    assert run.orphaned()


def test_how_long_the_workers_may_drain_is_told_once_they_are_to_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(run.RUN, raising=False)
    assert run.stopping() is None
    monkeypatch.setenv(run.RUN, str(tmp_path))
    assert run.stopping() is None
    (tmp_path / run.STOPPING).write_text("0.5")
    assert run.stopping() == "0.5"
