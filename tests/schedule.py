"""Which tests of a run stay in one process: xdist hands out a group at a time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ("from tests import docker", "image: str")


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """Hands out tests one by one, but for those that share something."""

    def _split_scope(self, nodeid: str) -> Any:
        return group(nodeid)


def group(nodeid: str) -> str:
    """Return the group of a test.

    That is the container engine, with its images and its names; the file, where that has a fixture
    that is made once; and otherwise only the test.
    """
    file = nodeid.partition("::")[0]
    return _shared_by(file) or nodeid


@cache
def _shared_by(file: str) -> str:
    text = (ROOT / file).read_text()
    if any(mark in text for mark in ENGINE):
        return "engine"
    return file if 'scope="module"' in text else ""
