"""How the images install; what they hold, tests/test_image.py and test_train_image.py ask."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

OURS = ("service/Dockerfile.j2", "deploy/train/Dockerfile")
RECIPES = [path.relative_to(ROOT) for path in sorted(ROOT.glob("bench/images/*.Dockerfile"))]


def instructions(path: Path) -> list[str]:
    """Return the instructions of a Dockerfile, each on one line."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / path).read_text(), flags=re.MULTILINE)
    return text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("path", [*map(Path, OURS), *RECIPES], ids=str)
def test_nothing_is_left_to_resolve(path: Path) -> None:
    lines = [line for line in instructions(path) if re.search(r"\b(pip|uv)\d? .*install ", line)]
    assert all("--no-deps" in line for line in lines)


@pytest.mark.parametrize("path", OURS)
def test_ours_install_their_lock_as_the_project_does(path: str) -> None:
    text = " ".join(instructions(Path(path)))
    copied = re.findall(r"COPY (?!--from)(.*?) /opt/", text)
    files = {name.removeprefix("src/") for words in copied for name in words.split()}
    assert {"deploy/install.py", "requirements-uv.txt"} <= files
    assert files & {"requirements.txt", "requirements-serve.txt"}
    assert all((ROOT / name).is_file() for name in files)


def test_a_bento_brings_what_its_image_installs_from() -> None:
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    needed = {
        *("/deploy/install.py", "/deploy/strip.py"),
        *("/requirements-uv.txt", "/requirements-serve.txt"),
    }
    assert needed <= set(bentofile["include"])
