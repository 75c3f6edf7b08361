from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks

ENV = {"A": "1", "LC_ALL": "C.UTF-8"}
SCRIPT = (
    f"ENV = {ENV}"
    """
import os, pathlib, sys
import neighbor
sys.stdin.read()
print(__name__, sys.argv, os.getcwd(), dict(os.environ) == ENV, neighbor.__file__)
print("wrong", file=sys.stderr)
if sys.argv[1:]:
    sys.exit(sys.argv[1] if sys.argv[1].isalpha() else int(sys.argv[1]))
"""
)


@pytest.mark.parametrize("words", [[], ["3"], ["broken"]])
@pytest.mark.parametrize("first", [["script.py"], ["-m", "script"]])
def test_a_forked_command_is_as_a_started_one(
    tmp_path: Path, first: list[str], words: list[str]
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "neighbor.py").touch()
    arguments = [word.replace("script.py", str(tmp_path / "script.py")) for word in first]
    started = subprocess.run(
        [sys.executable, *arguments, *words],
        cwd=tmp_path, env=ENV, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "neighbor.py" in started.stdout
    assert "True" in started.stdout
    assert "wrong" in started.stderr
    forked = forks.run([*arguments, *words], tmp_path, ENV)
    assert forked.returncode == started.returncode
    assert (forked.stdout, forked.stderr) == (started.stdout, started.stderr)


def test_one_command_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys; print(hasattr(sys, 'mark'), os.environ); sys.mark = 1")
    first, second = (forks.run([str(script)], tmp_path, {"A": each}).stdout for each in "12")
    assert first.replace("'1'", "'2'") == second
    assert first.startswith("False ")


def test_what_counts_when_python_starts_is_not_forked() -> None:
    env = {name: value for name, value in os.environ.items() if not name.endswith("_proxy")}
    assert forks.is_possible(env)
    assert not forks.is_possible({**env, "http_proxy": "http://proxy"})
    assert not forks.is_possible({**env, "PYTHONPATH": "elsewhere"})
