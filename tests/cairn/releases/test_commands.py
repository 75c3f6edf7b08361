from __future__ import annotations

from pathlib import Path

import pytest

from cairn.errors import CairnError
from cairn.releases import commands


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_git_says_why_it_fails() -> None:
    with pytest.raises(CairnError, match=r"^git rev-parse: fatal: not a git repository"):
        commands.git("rev-parse", "HEAD")


def test_a_repository_of_another_user_is_reported_with_the_command_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.git("init", "--quiet")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(CairnError) as raised:
        commands.git("rev-parse", "HEAD")
    assert f"`git config --global --add safe.directory {tmp_path}`" in str(raised.value)


def test_git_answers_in_text_or_bytes() -> None:
    assert commands.git("--version").startswith("git version")
    assert commands.git_bytes("--version").startswith(b"git version")


def test_without_git_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CairnError, match="git is not installed; install it"):
        commands.git("--version")


@pytest.mark.slow
def test_dvc_says_why_it_fails() -> None:
    with pytest.raises(CairnError, match=r"^dvc status: you are not inside of a DVC repository"):
        commands.dvc("status")


@pytest.mark.slow
def test_dvc_has_the_variables_that_it_is_given() -> None:
    with pytest.raises(CairnError, match=r"^dvc --version: "):
        commands.dvc("--version", PYTHONHOME="/nowhere")
    assert commands.dvc("--version").strip()[0].isdigit()


def test_what_a_stage_says_is_its_error(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/one.py").write_text("print('done')")
    (tmp_path / "stages/two.py").write_text("import sys; sys.exit('error: no model here')")
    assert commands.run_module("stages.one") == "done\n"
    with pytest.raises(CairnError, match=r"^two: no model here$"):
        commands.run_module("stages.two")
