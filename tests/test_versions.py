"""Three versions of code, data and model, each brought back by one command, with real tools."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Project, copy
from tests.ports import free_ports
from tests.serving import started

pytestmark = [pytest.mark.long, pytest.mark.slow]

FEATURE = 'return {"growth": columns["worst_area"] / columns["mean_area"]}'


@dataclass(frozen=True)
class Snapshot:
    """What a version was when it was released.

    Attributes
    ----------
    commit
        Of git.
    files
        Path → SHA-256 of each file that git or DVC has.
    model
        Its tag in the BentoML store.
    """

    commit: str
    files: dict[str, str]
    model: str


Released = tuple[Project, dict[str, Snapshot]]


def snapshot(project: Project, number: str) -> Snapshot:
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    data = [out["path"] for stage in lock.values() for out in stage["outs"]]
    names = sorted({*project.git("ls-files").splitlines(), *data})
    files = {name: hashlib.sha256((project.root / name).read_bytes()).hexdigest() for name in names}
    message = project.git("tag", "--list", "--format=%(contents)", f"cairn@{number}")
    [model] = [line[7:] for line in message.splitlines() if line.startswith("model: ")]
    return Snapshot(project.git("rev-parse", "HEAD"), files, model)


def edit(project: Project, name: str, old: str, new: str) -> None:
    path = project.root / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def commit(project: Project, message: str) -> None:
    project.run("dvc", "repro")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", message)


@pytest.fixture(scope="module")
def released(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Build a clone with three versions, the last one checked out; its remote is a folder."""
    folder = tmp_path_factory.mktemp("released")
    own = copy(project, folder)
    own.run("dvc", "remote", "add", "--local", "--default", "disk", str(folder / "remote"))
    if own.git("status", "--porcelain"):  # where dvc.lock is behind what is being worked on
        commit(own, "as it is")
    snapshots = {}
    own.run("make", "release")
    snapshots["v1.0.0"] = snapshot(own, "v1.0.0")
    edit(own, "params.yaml", "n_estimators: 100}\n  # Boosting", "n_estimators: 20}\n  # Boosting")
    edit(own, "stages/engineering.py", "return {}", FEATURE)
    commit(own, "fewer trees, and a feature of our own")
    own.run("make", "release", "BUMP=minor")
    snapshots["v1.1.0"] = snapshot(own, "v1.1.0")
    lines = (own.root / "data/raw/table").read_bytes().splitlines(keepends=True)
    (own.root / "table.csv").write_bytes(b"".join(lines[:400]))
    edit(own, "params.yaml", "source: sklearn:breast_cancer", "source: table.csv")
    commit(own, "other data")
    own.run("make", "release", "VERSION=v2.0.0")
    snapshots["v2.0.0"] = snapshot(own, "v2.0.0")
    own.run("dvc", "push", "--all-commits")
    return own, snapshots


def another(project: Project, into: Path) -> Project:
    """Copy the clone to another machine, without DVC's cache and without a BentoML store."""
    shutil.copytree(project.root, into / "clone", symlinks=True)
    shutil.rmtree(into / "clone/.dvc/cache")
    (into / "home").mkdir()
    return Project(into / "clone", {**project.env, "HOME": str(into / "home")})


def models(project: Project) -> set[str]:
    output = project.run("bentoml", "models", "list", "--output", "json").stdout
    return {model["tag"] for model in json.loads(output)}


def in_prod(project: Project) -> str:
    """Return the version that GTO itself finds in prod."""
    return project.run("gto", "show", "cairn#prod", "--json").stdout


def test_the_three_differ_in_code_data_and_model(released: Released) -> None:
    _, snapshots = released
    for name in ("params.yaml", "dvc.lock", "data/model/model.onnx"):
        assert len({each.files[name] for each in snapshots.values()}) == 3, name
    for name in ("stages/engineering.py", "data/raw/table"):
        assert len({each.files[name] for each in snapshots.values()}) == 2, name
    assert len({each.model for each in snapshots.values()}) == 3


def test_each_comes_back_whole_by_one_command(released: Released, tmp_path: Path) -> None:
    own, snapshots = released
    other = another(own, tmp_path)
    for number in ("v1.0.0", "v2.0.0", "v1.1.0"):
        output = other.run("make", "checkout", f"VERSION={number}").stdout
        assert snapshot(other, number) == snapshots[number]
        assert other.git("status", "--porcelain") == ""
        assert "up to date" in other.run("dvc", "status").stdout
        assert f"register: {snapshots[number].model} is in the BentoML store" in output
    assert models(other) == {each.model for each in snapshots.values()}
    assert "table.csv" not in snapshots["v1.1.0"].files
    back = output.partition("to go back: ")[2].strip()
    assert back.startswith("git checkout ")
    other.git("checkout", "--quiet", "main")
    other.run("dvc", "checkout")
    assert snapshot(other, "v2.0.0") == snapshots["v2.0.0"]


def test_a_checkout_loses_nothing(released: Released, tmp_path: Path) -> None:
    own, snapshots = released
    other = another(own, tmp_path)
    edit(other, "params.yaml", "n_estimators: 20}\n  # Boosting", "n_estimators: 30}\n  # Boosting")
    done = other.run("make", "checkout", "VERSION=v1.0.0", check=False)
    assert done.returncode
    assert "error: not committed: params.yaml; they would be lost" in done.stderr
    assert other.git("rev-parse", "HEAD") == snapshots["v2.0.0"].commit


def served(project: Project) -> dict[str, Any]:
    """Return `GET /model` of `make serve STAGE=prod`."""
    port = free_ports(1)
    command = ["make", "serve", "STAGE=prod", f"PORT={port}"]
    with started(project, port, command, lambda make: os.killpg(make.pid, signal.SIGINT)) as client:
        return dict(client.get("/model").json())


def test_stages_go_to_versions_and_back_and_are_served(released: Released, tmp_path: Path) -> None:
    own, snapshots = released
    other = another(own, tmp_path)
    for number in ("v1.0.0", "v1.1.0"):
        output = other.run("make", "promote", "STAGE=prod", f"VERSION={number}", 'FORCE=a "test"')
        assert "roc_auc, not_worse" in output.stdout
    assert "v1.1.0" in in_prod(other)
    other.run("make", "rollback", "STAGE=prod")
    assert "v1.0.0" in in_prod(other)
    lines = other.run("make", "releases").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        [number, "prod" if number == "v1.0.0" else "–", snapshots[number].model]
        for number in ("v2.0.0", "v1.1.0", "v1.0.0")
    ]
    shutil.rmtree(other.root / "data" / "model", ignore_errors=True)  # it is not asked for
    chain = served(other)
    assert chain["model_version"] == snapshots["v1.0.0"].model
    assert chain["git"] == {"commit": snapshots["v1.0.0"].commit, "dirty": False}
    other.git("checkout", "--quiet", "--", "data/model")
    other.run("dvc", "pull")
    assert snapshot(other, "v2.0.0") == snapshots["v2.0.0"]


def test_a_failed_gate_stops_and_changes_nothing(released: Released, tmp_path: Path) -> None:
    own, _ = released
    other = another(own, tmp_path)
    edit(other, "params.yaml", "minimum: {roc_auc: 0.9}", "minimum: {roc_auc: 1.01}")
    before = other.git("show-ref", "--tags")
    done = other.run("make", "promote", "STAGE=prod", check=False)
    assert done.returncode
    assert "error: v2.0.0 is not promoted to prod, nothing has changed: roc_auc 0.9" in done.stderr
    assert " under 1.01. FORCE=" in done.stderr
    assert "FAILED" in done.stdout
    assert other.git("show-ref", "--tags") == before
