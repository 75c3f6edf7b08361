"""The tools that some tests need beside Python's."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def tool(name: str, package: str) -> str:
    """Where a tool is; skips the test where it is not, in CI fails it."""
    found = shutil.which(name)
    if not found:
        missing(f"no {name} here; it is in Debian's package {package}")
    return found


def missing(reason: str) -> NoReturn:
    """Skip the test for want of a tool; in CI, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
