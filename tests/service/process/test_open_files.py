"""The limit of open files: raised as far as connections need it, and no promise beyond it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from service.process.open_files import OTHERS

CODE = """
import resource, sys
from service.process.open_files import allow_connections
asked, soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(allow_connections(asked), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("asked", "soft", "hard", "allowed", "limit"),
    [
        (100, 64, 1000, 100, 100 + OTHERS),  # raised
        (100, 500, 1000, 100, 500),  # high enough
        (2000, 64, 1000, 1000 - OTHERS, 1000),  # as far as it goes
        (2000, 64, 100, 16, 100),
    ],
)
def test_the_limit_is_raised_as_far_as_it_goes(
    asked: int, soft: int, hard: int, allowed: int, limit: int
) -> None:
    command = [sys.executable, "-c", CODE, *map(str, (asked, soft, hard))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(allowed), str(limit)]
