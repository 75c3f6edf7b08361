"""The main job end to end: table → DVC → S3 → BentoML store → /predict, each part the real one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from cairn.paths import PICTURES
from tests.conftest import Project, copy
from tests.serving import MALIGNANT, WAIT, served, shared

pytestmark = pytest.mark.slow


def locked_model(project: Project) -> str:
    """MD5 of the ONNX graph that dvc.lock names."""
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())
    outs = {out["path"]: out["md5"] for out in lock["stages"]["train"]["outs"]}
    return str(outs["data/model/model.onnx"])


def identity(client: Any) -> dict[str, Any]:
    """What /model says, but for what is measured anew at each start."""
    return {name: value for name, value in client.get("/model").json().items() if name != "serving"}


def edit(project: Project, old: str, new: str) -> None:
    """Change one line of params.yaml, as a user would."""
    path = project.root / "params.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def another_table(project: Project) -> None:
    """Delete the contract of the table before, as an error would tell the user to."""
    (project.root / "data/processed/contract.yaml").unlink()


def empty_home(project: Project, folder: Path) -> Project:
    """The same clone on another machine: no BentoML store, no caches in the home folder."""
    folder.mkdir()
    return replace(project, env={**project.env, "HOME": str(folder)})


def test_repro_leaves_git_clean(project: Project) -> None:
    assert project.git("status", "--porcelain") == ""


def test_cache_and_remote_are_in_sync(project: Project) -> None:
    assert "in sync" in project.run("dvc", "status", "--cloud").stdout
    assert "up to date" in project.run("dvc", "status").stdout


def test_repro_with_nothing_to_do_runs_nothing(project: Project) -> None:
    assert "Running stage" not in project.run("dvc", "repro").stdout


def test_another_machine_pulls_and_serves_without_training(
    project: Project, tmp_path: Path
) -> None:
    other = empty_home(copy(project, tmp_path), tmp_path / "other")
    shutil.rmtree(other.root / ".dvc" / "cache")
    other.git("clean", "-fdxq", "data")
    assert not (other.root / "data/model/model.onnx").exists()
    other.run("dvc", "pull")
    assert "up to date" in other.run("dvc", "status").stdout
    with served(other) as client:
        row = dict(zip(names(client), MALIGNANT, strict=True))
        bodies = {"features": MALIGNANT}, row, {"features": [MALIGNANT]}, {"records": [row]}
        one, flat, many, records = (client.post("/predict", json=body).json() for body in bodies)
        chain = identity(client)
    assert one["prediction"] == flat["prediction"] == 0
    assert many["predictions"] == records["predictions"] == [0]
    assert one["confidence"] == one["probabilities"]["0"] > 0.5
    assert chain["dvc"]["train"]["outs"]["data/model/model.onnx"] == locked_model(other)
    assert chain["git"] == {"commit": other.git("rev-parse", "HEAD"), "dirty": False}
    assert one["model_version"] == chain["model_version"] == f"cairn:{chain['sha256'][:12]}"


def names(client: Any) -> list[str]:
    return [column["name"] for column in identity(client)["contract"]["columns"]]


@pytest.mark.long
def test_a_stage_restored_from_the_run_cache_is_served_too(
    project: Project, tmp_path: Path
) -> None:
    restored = empty_home(copy(project, tmp_path), tmp_path / "other")
    shutil.rmtree(restored.root / "data" / "model")
    restored.git("checkout", "--quiet", "--", "data")
    (restored.root / "dvc.lock").unlink()
    output = restored.run("dvc", "repro").stdout
    assert "Stage 'train' is cached - skipping run" in output
    assert restored.git("status", "--porcelain") == ""
    with served(restored) as client:
        digest = identity(client)["dvc"]["train"]["outs"]["data/model/model.onnx"]
    assert digest == locked_model(restored)


@pytest.mark.long
def test_an_older_commit_serves_its_own_model(project: Project, tmp_path: Path) -> None:
    changed = copy(project, tmp_path)
    with served(changed) as client:
        first = identity(client)
    edit(
        changed,
        "arguments: {n_estimators: 100}\n  # Boosting",
        "arguments: {n_estimators: 20}\n  # Boosting",
    )
    changed.run("dvc", "repro")
    diff = json.loads(changed.run("dvc", "metrics", "diff", "--json").stdout)
    assert diff["data/evaluation/metrics.json"]["test.log_loss"]["diff"] != 0
    changed.git("commit", "--quiet", "--all", "--message", "fewer trees")
    with served(changed) as client:
        second = identity(client)
    changed.git("checkout", "--quiet", "HEAD~1")
    refused = changed.run("bentoml", "serve", "--port", "1", check=False)
    assert refused.returncode
    assert "is not the one that dvc.lock names: run `dvc checkout`" in refused.stderr
    changed.run("dvc", "checkout")
    with served(changed) as client:
        third = identity(client)
    assert first["params"]["train"]["arguments"] == {"n_estimators": 100}
    assert second["params"]["train"]["arguments"] == {"n_estimators": 20}
    assert first == third
    assert first["model_version"] != second["model_version"]
    models = json.loads(changed.run("bentoml", "models", "list", "--output", "json").stdout)
    assert {model["tag"] for model in models} == {first["model_version"], second["model_version"]}


def test_a_missing_model_ends_serve_at_once_with_one_line(project: Project, tmp_path: Path) -> None:
    bare = copy(project, tmp_path)
    (bare.root / "data/model/model.onnx").unlink()
    done = bare.run("bentoml", "serve", "--port", "1", check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: no model: data/model/model.onnx is missing; run `dvc repro` to train one, "
        "or `dvc pull` to fetch it"
    )


@pytest.mark.long
def test_iris_is_one_edit_away(project: Project, tmp_path: Path) -> None:
    iris = copy(project, tmp_path)
    edit(iris, "source: sklearn:breast_cancer", "source: sklearn:iris")
    refused = iris.run("dvc", "repro", check=False)
    assert "if this is another table, delete data/processed/contract.yaml" in refused.stderr
    another_table(iris)
    iris.run("dvc", "repro")
    flower = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
    with served(iris) as client:
        answer = client.post("/predict", json=flower).json()
        columns = identity(client)["contract"]["columns"]
    assert answer["prediction"] == 0
    assert set(answer["probabilities"]) == {"0", "1", "2"}
    assert {column["unit"] for column in columns} == {"cm"}


def churn(number: int) -> dict[str, Any]:
    """A row with every kind of column, some of its values missing."""
    return {
        "Customer Id": f"{number:03}",
        "age (years)": number % 60 if number % 7 else "",
        "balance": round(number * 1.37 - 50, 2) if number % 5 else "",
        "plan": ("basic", "plus", "gold")[number % 3] if number % 11 else "",
        "region": number % 4,
        "active": number % 2 == 0,
        "since": f"20{number % 20 + 10}-{number % 12 + 1:02}-15" if number % 13 else "",
        "churned": "yes" if number % 3 == 0 else "no",
    }


@pytest.mark.long
def test_a_table_of_ones_own_with_every_kind_of_column(project: Project, tmp_path: Path) -> None:
    own = copy(project, tmp_path)
    pd.DataFrame([churn(n) for n in range(240)]).to_csv(own.root / "churn.csv.gz", index=False)
    edit(own, "source: sklearn:breast_cancer", "source: churn.csv.gz")
    edit(own, "target: target", "target: churned")
    edit(own, "identifier: null", "identifier: Customer Id")
    another_table(own)
    own.run("dvc", "repro", "processed")
    path = own.root / "data/processed/contract.yaml"
    contract = path.read_text()
    edited = contract.replace(
        "{name: region, kind: integer}",
        "{name: region, kind: category, categories: [0, 1, 2, 3], unknown: true}",
    ).replace("{name: balance, kind: number,", "{name: balance, kind: number, maximum: 500,")
    assert edited != contract
    path.write_text(edited)
    own.run("dvc", "repro", PYTHONHASHSEED="0", OMP_NUM_THREADS="1")
    assert path.read_text() == edited
    row = {"Customer_Id": "007", "plan": "basic", "region": 9, "active": True}
    with served(own) as client:
        rows = [{**row, "plan": "basic"}, {"plan": "plus", "region": 1, "active": False}]
        many = client.post("/predict", json={"records": rows}).json()
        one = client.post("/predict", json={**row, "since": "2024-02-29"}).json()
        wrong = client.post("/predict", json={**row, "plan": "tin", "balance": 501})
    lock = (own.root / "dvc.lock").read_bytes()
    own.run("dvc", "repro", "--force", PYTHONHASHSEED="1", OMP_NUM_THREADS="2")
    assert (own.root / "dvc.lock").read_bytes() == lock
    assert many["predictions"] == ["yes", "no"]
    assert many["identifiers"] == ["007", None]
    assert one["identifier"] == "007"
    assert wrong.status_code == 422
    assert {p["column"]: p["problem"] for p in wrong.json()["detail"]} == {
        "balance": "out of range",
        "plan": "unknown category",
    }


@pytest.mark.long
def test_features_of_ones_own_are_served(project: Project, tmp_path: Path) -> None:
    own = copy(project, tmp_path)
    path = own.root / "stages/engineering.py"
    text = path.read_text()
    ratios = (
        'return {"roundness": columns["mean_area"] / columns["mean_radius"] ** 2,'
        ' "growth": columns["worst_area"] / columns["mean_area"]}'
    )
    path.write_text(text.replace("return {}", ratios))
    own.run("dvc", "repro")
    importance = (own.root / "data/evaluation/plots/importance.csv").read_text()
    assert "roundness" in importance
    assert "growth" in importance
    with served(own) as client:
        answer = client.post("/predict", json={"features": MALIGNANT}).json()
        contract = identity(client)["contract"]
        metrics = client.get("/metrics").text
    assert answer["prediction"] == 0
    assert [feature["name"] for feature in contract["features"][-2:]] == ["roundness", "growth"]
    assert 'cairn_column_drift_psi{column="roundness"}' in metrics
    path.write_text(text)
    refused = own.run("bentoml", "serve", "--port", "1", check=False)
    assert refused.returncode == 1
    assert "another stages/engineering.py" in refused.stdout


def test_a_table_at_the_place_of_the_out_survives(project: Project, tmp_path: Path) -> None:
    own = copy(project, tmp_path)
    table = own.root / "data/raw/table"
    table.unlink()
    table.write_text("a,target\n1,0\n2,1\n")
    edit(own, "source: sklearn:breast_cancer", "source: data/raw/table")
    own.run("dvc", "repro", "raw")
    assert table.read_text() == "a,target\n1,0\n2,1\n"


CLIENT = f"""
import sys, bentoml, httpx, numpy, pandas
url = sys.argv[1]
client = bentoml.SyncHTTPClient(url)
columns = httpx.get(f"{{url}}/model").json()["contract"]["columns"]
rows = [{MALIGNANT}, {MALIGNANT}]
frame = pandas.DataFrame(rows, columns=[one["header"] or one["name"] for one in columns])
records = frame.to_dict("records")
for sent in (
    {{"features": rows}}, {{"features": numpy.array(rows)}}, {{"dataframe": frame[::-1]}},
    {{"records": records}}, {{"records": frame.to_dict("list")}},
):
    print(client.predict(**sent)["predictions"])
print(client.predict(numpy.array(rows))["predictions"], client.predict(rows[0])["prediction"])
print(client.predict(records=records[0])["prediction"])
try:
    client.predict(frame)
except bentoml.exceptions.BentoMLException as error:
    print("predict(dataframe=frame)" in str(error))
"""


def test_bentomls_own_client_sends_arrays_frames_and_dictionaries(project: Project) -> None:
    with shared(project) as client:
        output = project.run("python", "-c", CLIENT, str(client.base_url)).stdout
    assert output.splitlines() == ["[0, 0]"] * 5 + ["[0, 0] 0", "0", "True"]


def test_metrics_and_plots_show(project: Project, tmp_path: Path) -> None:
    metrics = json.loads(project.run("dvc", "metrics", "show", "--json").stdout)
    scores = metrics[""]["data"]["data/evaluation/metrics.json"]["data"]["test"]
    assert scores["rows"] == 113
    assert 0.9 < scores["accuracy"] <= 1
    shown = project.run("dvc", "plots", "show", "--json", "--out", str(tmp_path))
    plots = json.loads(shown.stdout)
    assert set(PICTURES) == {name.split("::")[-1] for name in plots["data"]}
    assert not plots.get("errors")


def at_once(project: Project, *command: str) -> list[str]:
    """What two processes print that run a command at the same moment."""
    both = [
        subprocess.Popen(
            command, cwd=project.root, env=project.env, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    ends = [process.communicate(timeout=WAIT) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    return [printed for printed, _ in ends]


@pytest.mark.long
def test_the_bento_is_named_by_its_content_and_serves(project: Project, tmp_path: Path) -> None:
    built = copy(project, tmp_path)
    printed = at_once(built, "bentoml", "build")
    tag = built.run("python", "-m", "service.bento.version").stdout.strip()
    assert all(f"bentoml containerize {tag}" in each for each in printed)
    assert sum(f"The store has {tag}" in each for each in printed) == 1
    listed = json.loads(built.run("bentoml", "list", "--output", "json").stdout)
    assert [bento["tag"] for bento in listed] == [tag]
    assert re.fullmatch(r"cairn:[0-9a-f]{12}-[0-9a-f]{12}", tag)
    assert f"bentoml containerize {tag}" in built.run("make", "bento").stdout
    assert built.run("bentoml", "build", "--output", "tag").stdout == f"__tag__:{tag}\n"
    bentos = Path(built.env["HOME"], "bentoml", "bentos", "cairn")
    assert [path.name for path in bentos.iterdir() if path.is_dir()] == [tag.partition(":")[2]]
    with served(replace(built, root=tmp_path), tag) as client:
        answer = client.post("/predict", json={"features": MALIGNANT}).json()
    assert answer["prediction"] == 0
    path = built.root / "service" / "inference" / "rows.py"
    path.write_text(path.read_text() + "# another Bento\n")
    assert built.run("python", "-m", "service.bento.version").stdout.strip() != tag
