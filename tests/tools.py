"""The tools that some tests need beside Python's."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

may_be_missing = True  # false in a test that is not marked as `real`


def tool(name: str, package: str) -> str:
    """Where a tool is; skips the test where it is not, in CI fails it."""
    path = shutil.which(name)
    if not path:
        missing(f"no {name} here; it is in Debian's package {package}")
    return path


def missing(reason: str) -> NoReturn:
    """Skip the test for want of a tool; in CI, and where it is not marked as `real`, fail."""
    if not may_be_missing:
        pytest.fail(f"{reason}; mark the test as `real`")
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
