from __future__ import annotations

import pytest

from tests.conftest import Project
from tests.service import complete as whole


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The service of a contract with all that one can say; read it only."""
    return whole.project(tmp_path_factory.mktemp("complete"))
