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


def make() -> str:
    return version.make_version("cairn:0123456789ab")


def test_a_version_is_that_of_the_model_and_that_of_the_files() -> None:
    assert re.fullmatch(r"0123456789ab-[0-9a-f]{12}", make())
    assert version.make_version("cairn:ffff")[5:] == make()[13:]


def test_the_same_files_in_another_folder_have_the_same_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make()
    shutil.copytree(folder / "one", folder / "two")
    monkeypatch.chdir(folder / "two")
    assert make() == before


@pytest.mark.parametrize("part", PARTS)
def test_another_content_of_any_part_is_another_version(part: str) -> None:
    before = make()
    with Path(part).open("a") as file:
        file.write("# changed\n")
    assert make() != before


def test_another_name_of_a_part_is_another_version() -> None:
    before = make()
    Path("service/service.py").rename("service/other.py")
    assert make() != before


@pytest.mark.parametrize("other", ["stages/train.py", "service/notes.txt", "README.md"])
def test_what_is_no_part_is_not_in_the_version(other: str) -> None:
    before = make()
    Path(other).write_text("changed")
    assert make() == before


def test_another_card_in_the_model_is_another_version() -> None:
    before = make()
    model = "cairn:0123456789ab"
    changed = version.make_version(model, "c" * 64)
    assert changed != before
    assert changed.partition("-")[0] == before.partition("-")[0]
    assert version.make_version(model, "d" * 64) != changed
