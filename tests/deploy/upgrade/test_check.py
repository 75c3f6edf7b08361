from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deploy.local.upgrade import check
from tests.conftest import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is shipped of the user's own files."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "data" / "processed", tmp_path / "data" / "processed")
    shutil.copytree(ROOT / "deploy" / "k8s", tmp_path / "deploy" / "k8s")
    shutil.copytree(ROOT / "deploy" / "ec2", tmp_path / "deploy" / "ec2")
    shutil.copy(tmp_path / "deploy/ec2/parameters.example.json", tmp_path / check.PARAMETERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_shipped_is_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (folder / check.OVERLAYS / "production").is_dir()
    check.main()
    assert capsys.readouterr().out == ""


def test_each_file_that_is_not_taken_is_reported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "params.yaml").open("a") as file:
        file.write("unknown: {}\n")
    with (folder / "data/processed/contract.yaml").open("a") as file:
        file.write("unknown: {}\n")
    overlay = folder / check.OVERLAYS / "production" / "kustomization.yaml"
    overlay.write_text("resources: [../../base, ../../gone, https://example.org/x]\n")
    parameters = json.loads((folder / check.PARAMETERS).read_text())
    (folder / check.PARAMETERS).write_text(json.dumps([*parameters, "Gone=1"]))
    check.main()
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert first.startswith("params.yaml: unknown: ")
    assert second.startswith("data/processed/contract.yaml: unknown: ")
    assert third == (
        "deploy/k8s/overlays/production/kustomization.yaml: resources: there is no ../../gone in "
        "this release; take another"
    )
    assert fourth.startswith(
        "deploy/ec2/parameters.json: Gone: deploy/ec2/template.yaml has no such parameter; there "
        "are Image, "
    )
