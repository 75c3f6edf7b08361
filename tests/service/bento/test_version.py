from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from service.bento import version

BENTOFILE = {
    "service": "service.service:Cairn",
    "include": ["/service/**/*.py", "/cairn/contract.py"],
    "python": {"requirements_txt": "./requirements.txt"},
    "docker": {"dockerfile_template": "./service/Dockerfile.j2"},
}
PARTS = (
    "bentofile.yaml",
    "requirements.txt",
    "service/Dockerfile.j2",
    "service/deep/rows.py",
    "service/service.py",
    "cairn/contract.py",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for part in (*PARTS, "stages/train.py", "service/notes.txt"):
        path = tmp_path / "one" / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {part}\n")
    (tmp_path / "one" / "bentofile.yaml").write_text(yaml.safe_dump(BENTOFILE))
    monkeypatch.chdir(tmp_path / "one")
    return tmp_path


def made() -> str:
    return version.make_version("cairn:0123456789ab")


def test_a_version_is_that_of_the_model_and_that_of_the_files() -> None:
    assert re.fullmatch(r"0123456789ab-[0-9a-f]{12}", made())
    assert version.make_version("cairn:ffff")[5:] == made()[13:]


def test_the_same_files_in_another_folder_have_the_same_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made()
    shutil.copytree(folder / "one", folder / "two")
    monkeypatch.chdir(folder / "two")
    assert made() == before


@pytest.mark.parametrize("part", PARTS)
def test_another_content_of_any_part_is_another_version(part: str) -> None:
    before = made()
    with Path(part).open("a") as file:
        file.write("# changed\n")
    assert made() != before


def test_another_name_of_a_part_is_another_version() -> None:
    before = made()
    Path("service/service.py").rename("service/other.py")
    assert made() != before


@pytest.mark.parametrize("other", ["stages/train.py", "service/notes.txt", "README.md"])
def test_what_is_no_part_is_not_in_the_version(other: str) -> None:
    before = made()
    Path(other).write_text("changed")
    assert made() == before
