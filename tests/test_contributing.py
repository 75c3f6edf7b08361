"""The recipes of CONTRIBUTING.md apply to this code, and do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import blocks

RECIPES = {"source": "sources/ssh.py", "metric": "evaluation/metrics.py"}
# Runs what it is given in place of the other machine, as ssh would there.
SSH = '#!/bin/sh\n[ "$3" = ssh://me@other:22 ] && exec sh -c "$4"\n'
READ = """
from pathlib import Path
from urllib.parse import quote
from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.sources.table import fetch

def read(name):
    path = quote(str(Path(name).resolve()))
    fetch(Raw(source=f"ssh://me@other:22{path}"), Path("part"), {})
    return Path("part").read_bytes()

assert read("my table.csv") == b"a,b\\n1,2", "other bytes"
try:
    read("none.csv")
except CairnError as error:
    assert "other cannot read" in str(error), error
else:
    raise AssertionError("no error")
"""
SCORE = """
import numpy as np
from cairn.evaluation import intervals
from cairn.evaluation.metrics import ScoredRows
from cairn.inference import Predictions

truth = np.array([0, 1] * 20)
labels = np.where(np.arange(40) < 30, 1 - truth, truth)
rows = ScoredRows(np.zeros((40, 1), np.float32), truth, Predictions(labels, np.eye(2)[labels]))
score = intervals.measure_all(rows, 2, 0)["matthews"]
assert score.value == -0.5, score
assert -1 < score.low < score.value < score.high < 0, score
"""


def read_recipe(path: str) -> str:
    """Return the one diff of CONTRIBUTING.md that changes a file of the library."""
    [text] = [block.text for block in blocks("CONTRIBUTING.md", "diff") if path in block.text]
    return text


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_touches_three_files_at_most(name: str) -> None:
    assert 1 <= read_recipe(RECIPES[name]).count("\n+++ b/") <= 3


@pytest.mark.parametrize(("name", "code"), [("source", READ), ("metric", SCORE)])
def test_a_recipe_applies_and_works(name: str, code: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "cairn", tmp_path / "cairn")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "my table.csv").write_bytes(b"a,b\n1,2")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
        "GIT_CEILING_DIRECTORIES": str(tmp_path.parent),
    }
    for command, text in (
        (("git", "apply"), read_recipe(RECIPES[name])),
        ((sys.executable,), code),
    ):
        done = subprocess.run(
            [*command, "-"],
            input=text,
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
