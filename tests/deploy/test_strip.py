from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import strip
from tests.conftest import ROOT

# Of wheels that are large for their symbols, one of Rust, and those that others link with.
LIBRARIES = (
    "uvloop.loop",
    "csimdjson",
    "zstandard.backend_c",
    "pydantic_core._pydantic_core",
    "orjson.orjson",
)


def find(module: str) -> Path:
    """Return the file of an extension module."""
    spec = importlib.util.find_spec(module)
    assert spec
    assert spec.origin
    return Path(spec.origin)


def test_stripped_libraries_are_imported_and_work(tmp_path: Path) -> None:
    """In an environment of their own, as an image has them."""
    for package in ("numpy", "numpy.libs", "onnxruntime", "uvloop", "zstandard"):
        source = find("numpy").parents[1] / package
        shutil.copytree(source, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc", "tests"))
    program = [sys.executable, str(ROOT / "deploy" / "strip.py"), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("strip: ")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy, uvloop, zstandard; "
        "from cairn import onnx_runtime; "
        "assert all(m.__file__.startswith(sys.argv[1]) for m in (numpy, uvloop, zstandard)); "
        "assert abs(numpy.linalg.inv(2 * numpy.eye(3)).trace() - 1.5) < 1e-9; "
        "uvloop.new_event_loop().close(); "
        "assert zstandard.decompress(zstandard.compress(b'a' * 99)) == b'a' * 99; "
        "onnx_runtime.SessionOptions()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True)


@pytest.mark.parametrize("module", LIBRARIES)
def test_what_is_kept_begins_as_before_but_for_the_table_of_sections(module: str) -> None:
    content = find(module).read_bytes()
    stripped = strip.strip(content)
    assert len(stripped) < len(content)
    assert stripped[strip.HEADER :] == content[strip.HEADER : len(stripped)]
    assert strip.strip(stripped) == stripped


@pytest.mark.parametrize(
    "content", [b"", b"no library", strip.MAGIC, b"\x7fELF\x01\x01" + bytes(99)]
)
def test_what_is_no_such_library_stays_as_it_is(content: bytes) -> None:
    assert strip.strip(content) == content
