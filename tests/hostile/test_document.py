"""Requests that are made from the OpenAPI document get the answers that it describes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.hostile.service import attacked

# Too many rows are 413 by the document, too; schemathesis has only the usual statuses in mind.
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 406, 413, 415, 422]
"""


@pytest.mark.long
@pytest.mark.slow
def test_the_service_does_what_its_document_says(project: Project, tmp_path: Path) -> None:
    """Examples, boundaries of each schema, and random requests; with every check there is."""
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    mine = replace(project, root=tmp_path)  # it writes into the folder that it runs in
    with attacked(project) as service:
        mine.run(
            *("schemathesis", "run", f"http://127.0.0.1:{service.port}/docs.json"),
            *("--max-examples", "50", "--generation-deterministic", "--continue-on-failure"),
            *("--no-color", "--warnings", "off", "--report-dir", str(tmp_path)),
        )
