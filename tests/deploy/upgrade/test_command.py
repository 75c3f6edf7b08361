from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.upgrade.__main__ import PACKAGE, SHIPPED
from tests.conftest import ROOT, environment
from tests.deploy.upgrade.repositories import begin, clone, commit, git

IN_PLACE = "check.py"  # runs once the release's code is there


def shipped() -> dict[str, str]:
    """What a release has of the upgrade."""
    files = [path for name in SHIPPED for path in [ROOT / name, *(ROOT / name).glob("*.py")]]
    return {str(path.relative_to(ROOT)): path.read_text() for path in files if path.is_file()}


def upgrade(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local.upgrade", *arguments],
        cwd=folder,
        env={**environment(folder.parent / "home"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_imports_nothing_that_moves_with_a_release() -> None:
    for path in (ROOT / PACKAGE).glob("*.py"):
        if path.name == IN_PLACE:
            continue
        tree = ast.parse(path.read_text())
        names = {
            name
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names] if isinstance(node, ast.Import)
                else [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            )
        }  # fmt: skip
        outside = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
        own = {name for name in outside if name.startswith("deploy.local.upgrade.")}
        assert {name.split(".")[0] for name in outside - own} <= {"ruamel"}, path


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A release that has no upgrade, one that has this one, and one that has another."""
    folder = begin(tmp_path / "cairn")
    first = {"params.yaml": "raw:\n  source: a\n", "README.md": "# Cairn\n", "old.py": "old = 1\n"}
    commit(folder, first)
    git(folder, "tag", "v0.1.0")
    commit(folder, {**shipped(), "params.yaml": "raw:\n  source: a\n  query: null\n"})
    git(folder, "tag", "v0.2.0")
    commit(folder, {f"{PACKAGE}/__main__.py": "import sys; print('v0.3.0', sys.argv[1:])\n"})
    git(folder, "tag", "v0.3.0")
    return folder


def test_the_releases_own_copy_does_it(upstream: Path, tmp_path: Path) -> None:
    folder = clone(upstream, tmp_path / "shop", "v0.2.0")
    done = upgrade(folder, "0.3.0")
    assert (done.returncode, done.stdout) == (0, "v0.3.0 ['v0.3.0', '--fetched']\n")
    assert git(folder, "status", "--porcelain", "--ignored") == ""


def test_an_older_release_is_there_already(upstream: Path, tmp_path: Path) -> None:
    folder = clone(upstream, tmp_path / "shop", "v0.2.0")
    done = upgrade(folder, "v0.1.0")
    assert done.stdout.startswith("upgrade: v0.1.0 is in this branch already\n")


def test_what_the_user_types_wrong_is_one_line(upstream: Path, tmp_path: Path) -> None:
    folder = clone(upstream, tmp_path / "shop", "v0.2.0")
    done = upgrade(folder, "v7")
    assert done.returncode == 1
    assert done.stderr == (
        "error: VERSION: got 'v7'; upstream has no such release, the newest are: v0.1.0, v0.2.0, "
        "v0.3.0\n"
    )


def test_a_release_without_make_upgrade_is_upgraded_from_the_copy_in_the_newer_one(
    upstream: Path, tmp_path: Path
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    commit(folder, {"README.md": "# My shop\n"})
    copy = tmp_path / "copy"
    copy.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(upstream), "archive", "v0.2.0", "deploy"], check=True, capture_output=True
    )
    subprocess.run(["tar", "-x", "-C", str(copy)], input=archive.stdout, check=True)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "deploy.local.upgrade", "v0.2.0"],
        cwd=folder,
        env={**environment(tmp_path / "home"), "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "upgrade: merged v0.2.0 in one commit; to undo it: git reset --hard" in done.stdout
    # Neither this params.yaml nor this folder is one that the stages take.
    assert "new keys in params.yaml, which have defaults: raw" in done.stdout
    assert re.search("^upgrade: dvc fails: .*not inside of a DVC repo", done.stdout, re.MULTILINE)
    assert "no stage runs again" not in done.stdout
