"""The standard library's bytecode: what lacks it gets it, and nothing else changes."""

from __future__ import annotations

import importlib.util
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from service.process import bytecode


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """A library of two modules that are imported, one of which has its bytecode."""
    names = ("cairn_with_bytecode", "cairn_without")
    for name in names:
        (tmp_path / f"{name}.py").write_text("VALUE = 1\n")
    py_compile.compile(str(tmp_path / "cairn_with_bytecode.py"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        del sys.modules[name]


def test_only_modules_of_the_library_without_bytecode_are_listed(
    library: dict[str, ModuleType], tmp_path: Path
) -> None:
    modules = {**library, "sys": sys, "bytecode": bytecode, "made": ModuleType("made")}
    source = tmp_path / "cairn_without.py"
    cached = Path(importlib.util.cache_from_source(str(source)))
    assert bytecode.list_missing(modules, tmp_path) == [(source, cached)]


def test_once_compiled_nothing_is_missing_and_no_change_of_time_makes_it_stale(
    library: dict[str, ModuleType], tmp_path: Path
) -> None:
    [(source, cached)] = bytecode.list_missing(library, tmp_path)
    bytecode.compile_source(source, cached)
    assert bytecode.list_missing(library, tmp_path) == []
    flags = int.from_bytes(cached.read_bytes()[4:8], "little")
    assert flags == 0b01  # PEP 552: by a hash, which no import checks


def test_a_source_that_does_not_compile_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "broken.py"
    source.write_text("def\n")
    with pytest.raises(py_compile.PyCompileError, match="SyntaxError"):
        bytecode.compile_source(source, tmp_path / "broken.pyc")


@pytest.mark.parametrize("name", bytecode.IMPORTED)
def test_what_a_container_imports_is_there(name: str) -> None:
    assert importlib.util.find_spec(name)
