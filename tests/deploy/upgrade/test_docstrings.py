from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

from deploy.local.upgrade.__main__ import MODULE, PACKAGE
from tests.conftest import ROOT

NAMES = [
    path.stem for path in sorted(Path(ROOT, PACKAGE).glob("*.py")) if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_are_right(name: str) -> None:
    result = doctest.testmod(import_module(f"{MODULE}.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
