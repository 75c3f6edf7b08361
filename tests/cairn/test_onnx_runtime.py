"""ONNX Runtime calls nobody, and nothing imports it past the module that sees to that."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cairn import onnx_runtime
from tests.conftest import ROOT

FOLDERS = ("cairn", "stages", "service", "deploy", "docs", "tests")
OURS = Path("cairn/onnx_runtime.py")
# Each turns the telemetry off by itself, or says where it writes.
OTHERS = {onnx_runtime.OFF, "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME"}


def import_in_process(module: str, folder: Path) -> set[str]:
    """Import a module in a process that has nothing to write to but a folder; return its files."""
    for name in ("home", "tmp", "current"):
        (folder / name).mkdir()
    env = {name: value for name, value in os.environ.items() if name not in OTHERS}
    places = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", f"import {module}"]
    subprocess.run(command, cwd=folder / "current", env={**env, **places}, check=True)
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_the_import_writes_no_file(tmp_path: Path) -> None:
    assert import_in_process("cairn.onnx_runtime", tmp_path) == set()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_library_by_itself_writes_files(tmp_path: Path) -> None:
    """Else the test above would hold of nothing, and the module could go."""
    assert ".ses" in import_in_process("onnxruntime", tmp_path)


def list_imports(path: Path) -> set[str]:
    """Return the packages that a file imports, in its functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def test_nothing_else_imports_the_library() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    importers = {path.relative_to(ROOT) for path in files if "onnxruntime" in list_imports(path)}
    assert importers == {OURS}


def test_no_page_shows_how_to_import_it_past_that_module() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert [path for path in pages if "import onnxruntime" in path.read_text("utf-8")] == []
