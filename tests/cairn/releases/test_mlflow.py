"""Trainings logged to a real MLflow server, and to none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bentoml._internal.models import ModelStore
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_param_name

from cairn import inference, provenance
from cairn.errors import CairnError
from cairn.paths import CARD, EVALUATION, EVALUATION_FOLDER, METRICS, MODEL, ONNX
from cairn.provenance import Commit, Provenance
from cairn.releases import bento_store, mlflow
from tests import mlflow_server, small
from tests.conftest import ROOT, Project, copy
from tests.ports import free_ports
from tests.service.complete import locked_stages

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
OURS = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME")
LOAD = """
import sys, numpy, mlflow.pyfunc
rows = numpy.zeros((2, 30), dtype="float32")
print(mlflow.pyfunc.load_model(sys.argv[1]).predict(rows)["probabilities"].tolist())
"""
UNUSED = """
import os, sys
from cairn.releases import mlflow
from stages import evaluate
for given in ({}, {"MLFLOW_TRACKING_URI": " "}):
    os.environ.update(given)
    mlflow.track("a:b", {})
assert "mlflow" not in sys.modules
"""


@dataclass(frozen=True)
class Server:
    """A server, and a client of it."""

    uri: str
    client: Any
    folder: Path

    @property
    def env(self) -> dict[str, Any]:
        """The variables by which it is logged to; a slow machine is no server that is away."""
        return {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": "300"}

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)

    def versions(self, name: str) -> list[Any]:
        return list(self.client.search_model_versions(f"name='{name}'"))

    def runs(self, name: str) -> list[Any]:
        result = self.client.get_experiment_by_name(name)
        return list(self.client.search_runs([result.experiment_id]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server.started(folder) as uri:
        yield Server(uri, MlflowClient(uri), folder)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """Create a store of this test's own, with data/model beside it, and nothing of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    small.save_tree()
    with small.store(tmp_path / "bentoml") as own:
        yield own


def chain(name: str = "small", **more: Any) -> Provenance:
    params = {**small.LINEAR.model_dump(), "name": name}
    dvc = {"raw": {"deps": {}, "outs": {"data/raw/table": "d" * 32}}}
    return replace(provenance.trace_new({"train": params}), **{"dvc": dvc, **more})


def without_server(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line of a training that could not be logged."""
    mlflow.track("small:tag", chain())
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("evaluate: warning: MLFLOW_TRACKING_URI: ")
    assert line.endswith("; to log it later, run: python -m cairn.releases.mlflow")
    return str(line)


@pytest.mark.slow
def test_without_the_variable_nothing_is_logged_and_mlflow_is_not_loaded() -> None:
    env = {name: value for name, value in os.environ.items() if name not in OURS}
    command = [sys.executable, "-c", UNUSED]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_without_the_client_a_warning_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert "MLflow's client is not installed: make install-extras" in without_server(capsys)


def test_a_server_that_is_not_there_costs_a_warning_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_ports(1)}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@{address}")
    line = without_server(capsys)
    assert f"http://{address}: [Errno" in line
    assert "refused" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nonsense://x", "unsupported URI 'nonsense://x'"),
        ("sqlite:///here.db", "use http or https"),
    ],
)
def test_another_address_costs_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str, message: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert message in without_server(capsys)


@pytest.mark.slow
@pytest.mark.long
def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """MLflow's own defaults would try for a quarter of an hour."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        call = "from cairn import provenance; from cairn.releases import mlflow"
        call += f"; mlflow.track('a:b', provenance.trace_new({chain().params!r}))"
        done = subprocess.run(
            [sys.executable, "-c", call],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": uri},
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        )
    assert f"evaluate: warning: MLFLOW_TRACKING_URI: {uri}: timed out" in done.stdout
    assert done.stderr == ""


@given(st.text())
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    _validate_param_name(mlflow.clean_key(f"train.arguments.{name}"))


def test_params_are_as_in_params_yaml() -> None:
    blocks = {"raw": {"source": "t.csv"}, "train": {"scale": True, "search": {}, "a": {"C": None}}}
    assert mlflow.flatten_params(blocks) == {
        "raw.source": "t.csv",
        "train.scale": "true",
        "train.search": "{}",
        "train.a.C": "null",
    }


def test_metrics_are_numbers_with_their_intervals() -> None:
    interval = {"value": 0.9, "low": 0.8, "high": 1.0}
    report = {"test": {"accuracy": interval}, "cross_validation": {"scores": {"brier": interval}}}
    EVALUATION.write_text(json.dumps(report))
    scores = {"test": {"accuracy": 0.9, "roc_auc": None, "best": "SVC", "done": True}}
    assert mlflow.flatten_metrics(scores) == {
        "test.accuracy": 0.9,
        "test.accuracy.low": 0.8,
        "test.accuracy.high": 1.0,
        "cross_validation.brier.low": 0.8,
        "cross_validation.brier.high": 1.0,
    }
    EVALUATION.write_text(json.dumps({**report, "cross_validation": None}))
    assert "cross_validation.brier.low" not in mlflow.flatten_metrics(scores)


def test_what_evaluate_leaves_is_hashed_as_dvc_will_have_it() -> None:
    assert mlflow.read_new_hashes() == {}
    outs = ["data/evaluation/card.md", {"data/evaluation/evaluation.json": {"cache": False}}]
    stage = {"deps": ["code.py", "none.py"], "outs": outs, "metrics": [METRICS.as_posix()]}
    Path("code.py").write_bytes(b"")
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": stage}}))
    paths = [CARD, EVALUATION, METRICS]
    assert mlflow.read_new_hashes() == {
        "deps": {"code.py": "d41d8cd98f00b204e9800998ecf8427e"},
        "outs": {path.as_posix(): provenance.hash_file(path, "md5") for path in paths},
    }


def test_a_folder_of_code_is_hashed_as_dvc_hashes_it() -> None:
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"].values()
    hashes = {dep["path"]: dep["md5"] for stage in stages for dep in stage["deps"]}
    folders = {path: md5 for path, md5 in hashes.items() if md5.endswith(".dir")}
    assert "cairn/tables" in folders
    assert {path: mlflow.hash_folder(ROOT / path) for path in folders} == folders


def test_a_commit_is_dirty_where_something_differs_that_dvc_does_not_write(tmp_path: Path) -> None:
    assert mlflow.read_commit() == {"git_commit": "none", "git_dirty": "false"}
    user = ("-c", "user.name=Test", "-c", "user.email=test@example.org")

    def git(*arguments: str) -> str:
        command = ["git", *user, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    for name in ("dvc.lock", "params.yaml"):
        Path(name).write_text("a")
    git("init", "--quiet")
    git("add", "dvc.lock", "params.yaml", "data/evaluation/metrics.json")
    git("commit", "--quiet", "--message", "all")
    Path("dvc.lock").write_text("b")
    METRICS.write_text("{}")
    head = git("rev-parse", "HEAD")
    assert mlflow.read_commit() == {"git_commit": head, "git_dirty": "false"}
    Path("params.yaml").write_text("b")
    assert mlflow.read_commit() == {"git_commit": head, "git_dirty": "true"}


def test_by_hand_it_wants_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": locked_stages()}))
    with pytest.raises(CairnError, match=r"^MLFLOW_TRACKING_URI is not set; set it to the"):
        mlflow.main()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_ports(1)}")
    with pytest.raises(CairnError, match=r"^MLFLOW_TRACKING_URI: http://.*refused"):
        mlflow.main()


@pytest.mark.real
@pytest.mark.slow
def test_the_same_model_is_one_version_with_the_tags_of_the_last(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.use(monkeypatch)
    monkeypatch.setenv("DVC_EXP_NAME", "tulip")
    first = chain("same", git=Commit("a" * 40, dirty=False))
    tag = bento_store.register(first)
    mlflow.track(tag, first)
    [version] = server.versions("same")
    server.client.set_model_version_tag("same", version.version, "approved", "yes")
    other = {"features": {"deps": {}, "outs": {"data/features/test.parquet": "e" * 32}}}
    mlflow.track(tag, replace(first, dvc=other))
    [again] = server.versions("same")
    assert again.version == version.version == "1"
    assert again.run_id == version.run_id
    assert version.tags["dvc.raw.outs.data/raw/table"] == "d" * 32
    assert again.tags == {
        "approved": "yes",
        "bentoml_tag": tag,
        "sha256": first.sha256,
        "git_commit": "none",
        "git_dirty": "false",
        "dvc.features.outs.data/features/test.parquet": "e" * 32,
    }
    runs = server.runs("same")
    assert [(run.info.run_name, run.info.status) for run in runs] == [("tulip", "FINISHED")] * 2
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"evaluate: logged to MLflow at {server.uri}, version 1 of same"
    )


@pytest.mark.real
@pytest.mark.slow
def test_any_number_of_hashes_and_params_of_any_name_and_length_is_logged(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.use(monkeypatch)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    paths = {f"../{index}/größe = {'x' * index}": "d" * 32 for index in range(250)}
    arguments = {f"{index}: (größe)": "ä" * 7000 for index in range(250)}
    many = chain("many", dvc={"raw": {"deps": paths, "outs": {}}})
    many = replace(many, params={"train": {"name": "many", "arguments": arguments}})
    mlflow.track("many:tag", many)
    [run] = server.runs("elsewhere")
    assert run.data.params["train.arguments.7_ _größe_"] == "ä" * 6000
    assert len(run.data.params) == 251
    [version] = server.versions("many")
    hashes = [value for name, value in version.tags.items() if name.startswith("dvc.raw.deps.")]
    assert hashes == ["d" * 32] * 250


@pytest.mark.real
@pytest.mark.slow
def test_a_server_that_keeps_no_files_costs_a_warning_and_leaves_a_failed_run(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.use(monkeypatch)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    experiment = server.client.create_experiment("small")
    (server.folder / "artifacts").mkdir(exist_ok=True)
    (server.folder / "artifacts" / experiment).touch()
    assert server.uri in without_server(capsys)
    assert [run.info.status for run in server.runs("small")] == ["FAILED"]
    with pytest.raises(MlflowException, match="not found"):
        server.client.get_registered_model("small")


@pytest.mark.real
@pytest.mark.slow
def test_dvc_repro_registers_a_version_that_says_what_dvc_lock_says(
    server: Server, project: Project, tmp_path: Path
) -> None:
    clone = copy(project, tmp_path / "copy")
    train = ("dvc", "repro", "--force", "--single-item", "evaluate")
    nowhere = f"http://127.0.0.1:{free_ports(1)}"
    single = clone.run(*train, MLFLOW_TRACKING_URI=nowhere)
    [warning] = [line for line in single.stdout.splitlines() if "warning" in line]
    assert warning.startswith(f"evaluate: warning: MLFLOW_TRACKING_URI: {nowhere}: [Errno")
    assert "Traceback" not in single.stdout + single.stderr
    lock = (clone.root / "dvc.lock").read_bytes()

    clone.run(*train, **server.env)
    assert (clone.root / "dvc.lock").read_bytes() == lock
    [version] = server.versions("cairn")
    stages = yaml.safe_load(lock)["stages"]
    hashes = {
        f"dvc.{stage}.{side}.{entry['path']}": entry["md5"]
        for stage, content in stages.items()
        for side in ("deps", "outs")
        for entry in content.get(side, ())
    }
    sha256 = provenance.hash_entry(clone.root / MODEL)
    assert version.tags == {
        **hashes,
        "bentoml_tag": f"cairn:{sha256[:12]}",
        "sha256": sha256,
        "git_commit": clone.git("rev-parse", "HEAD"),
        "git_dirty": "false",
    }

    run = server.client.get_run(version.run_id)
    assert run.data.params["train.seed"] == "42"
    assert run.data.params["features.test_size"] == "0.2"
    scores = json.loads((clone.root / METRICS).read_bytes())
    assert run.data.metrics["test.accuracy"] == scores["test"]["accuracy"]
    assert run.data.metrics["test.log_loss"] == scores["test"]["log_loss"]

    into = tmp_path / "logged"
    into.mkdir()
    folder = Path(server.client.download_artifacts(version.run_id, "model", str(into)))
    for top in (clone.root / MODEL, clone.root / EVALUATION_FOLDER):
        for path in top.rglob("[!.]*"):
            if path.is_file():
                assert (folder / path.relative_to(top)).read_bytes() == path.read_bytes()
    rows = np.zeros((2, 30), dtype=np.float32)
    onnx = inference.predict(inference.open_session((clone.root / ONNX).read_bytes()), rows)
    loaded = clone.run("python", "-c", LOAD, str(folder)).stdout
    assert json.loads(loaded) == onnx.probabilities.tolist()

    by_hand = clone.run("python", "-m", "cairn.releases.mlflow", **server.env)
    assert by_hand.stdout == f"tracking: logged to MLflow at {server.uri}, version 1 of cairn\n"
    assert len(server.versions("cairn")) == 1
    assert len(server.runs("cairn")) == 2
