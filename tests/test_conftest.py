from __future__ import annotations

from pathlib import Path

from tests.conftest import FIRST_HOME, Project, copy


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_copy_has_nothing_of_what_other_tests_do_in_the_project_meanwhile(tmp_path: Path) -> None:
    root, home = tmp_path / "clone", tmp_path / "home"
    kept = {"dvc.lock", ".dvc/config", ".git/index", "tmp/own", "a/__pycache__/b.pyc"}
    passing = {".git/index.lock", ".dvc/tmp/lock", "a/__pycache__/b.pyc.123", ".store/object"}
    write(*(root / name for name in kept | passing))
    write(home / "model", tmp_path / FIRST_HOME / "model", home / "bento")
    copied = copy(Project(root, {"HOME": str(home)}), tmp_path / "other")
    assert files(copied.root) == kept
    assert files(Path(copied.env["HOME"])) == {"model"}


def test_a_copy_of_a_copy_has_its_home(tmp_path: Path) -> None:
    write(tmp_path / "clone" / "dvc.lock", tmp_path / "home" / "bento")
    env = {"HOME": str(tmp_path / "home")}
    copied = copy(Project(tmp_path / "clone", env), tmp_path / "other")
    assert files(Path(copied.env["HOME"])) == {"bento"}
