from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pytest
import yaml

from cairn import inference, parquet
from cairn.contract import Column, Contract, Target, Threshold, read_contract
from cairn.errors import CairnError
from cairn.modeling import training
from cairn.modeling.feature_rows import read_rows
from cairn.paths import (
    CARD,
    CONTRACT,
    ENVIRONMENT,
    EVALUATION,
    EVALUATION_FOLDER,
    METRICS,
    MODEL,
    MODEL_CONTRACT,
    ONNX,
    PICTURES,
    PIPELINE,
    PLOTS,
    PROCESSED,
    TEST,
    TRAIN,
    TRAINING,
)
from cairn.tables import contract_file
from cairn.transform import to_matrix
from stages import evaluate, features, train
from tests import small
from tests.small import ENGINEERING, PARAMS

GRID = {
    "method": "grid",
    "candidates": 2,
    "metric": "log_loss",
    "folds": 3,
    "over": [{"values": {"C": [0.001, 1.0]}}],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/features of the small table, and where its model may go."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    small.use_few_resamples(monkeypatch)
    TRAIN.parent.mkdir(parents=True)
    CONTRACT.parent.mkdir(parents=True)
    contract_file.write(small.CONTRACT, CONTRACT)
    fitted = small.fitted()
    columns = dict(zip(small.CONTRACT.names, fitted.features.T, strict=True))
    table = pa.table({**columns, "kind": fitted.classes})
    for path, rows in ((TRAIN, table[:60]), (TEST, table[60:])):
        with parquet.Writer(path) as writer:
            writer.write(rows)
    write_params({"class_weight": "balanced"})
    return tmp_path


def write_params(arguments: dict[str, Any], engine: str = "local", **changes: Any) -> None:
    own = {**small.LINEAR.model_dump(by_alias=True), "arguments": arguments, **changes}
    scored = {name: own.pop(name, before) for name, before in PARAMS["evaluate"].items()}
    cluster = {"engine": engine, "scheduler": None, "workers": 2, "memory": None}
    blocks = {"train": own, "evaluate": scored, "compute": cluster}
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, **blocks}))


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_the_stages_write_a_model_and_register_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small.store(folder / "bentoml") as store:
        run_both()
        (entry,) = store.list()
        files = [CARD, MODEL_CONTRACT, ENVIRONMENT, EVALUATION, METRICS, ONNX, PIPELINE, TRAINING]
        files += [PLOTS / f"{name}.{kind}" for name in PICTURES for kind in ("csv", "png")]
        before = {path: path.read_bytes() for path in files}
        run_both()
        assert [model.tag for model in store.list()] == [entry.tag]
    assert {path: path.read_bytes() for path in files} == before
    every = (path for top in (MODEL, EVALUATION_FOLDER) for path in top.rglob("*"))
    assert sorted(path for path in every if path.is_file()) == sorted(files)
    out = capsys.readouterr().out
    assert f"registered as {entry.tag}" in out
    assert f"accuracy {json.loads(METRICS.read_bytes())['test']['accuracy']:.3f}" in out
    _, x, y = read_rows("test", TEST, "kind")
    predictions = inference.predict(inference.open_session(ONNX.read_bytes()), x)
    metrics = json.loads(METRICS.read_bytes())
    assert set(metrics) == {"train", "test", "cross_validation"}
    assert metrics["train"]["rows"] == 60
    assert metrics["test"]["accuracy"] == round(float((predictions.labels == y).mean()), 6)
    kept = joblib.load(PIPELINE)
    np.testing.assert_array_equal(kept.pipeline.predict(x), predictions.labels)
    contract = read_contract(MODEL_CONTRACT)
    assert sum(contract.target.counts) == 60
    assert [feature.name for feature in contract.features] == list(small.CONTRACT.names)
    assert set(json.loads(ENVIRONMENT.read_bytes())) == set(training.LIBRARIES)


def run_both() -> None:
    """Run the two stages, one after the other."""
    train.main()
    evaluate.main()


def evaluation() -> Any:
    return json.loads(EVALUATION.read_bytes())


def run(folder: Path, **changes: Any) -> None:
    """Run the two stages, with these params of their own."""
    write_params({}, **changes)
    with small.store(folder / "bentoml"):
        run_both()


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_the_evaluation_says_how_good_and_how_sure(folder: Path) -> None:
    run(folder, slices=["colour"])
    report, metrics = evaluation(), json.loads(METRICS.read_bytes())
    assert list(report) == [
        "rows", "table", "duplicates", "leaks", "notes", "test", "cross_validation",
        "classes", "slices", "threshold", "search", "importance", "metrics",
    ]  # fmt: skip
    assert report["rows"] == {"train": 60, "test": 20}
    assert report["duplicates"] == {"copies": 0, "contradicting": 0}
    assert report["leaks"] == report["notes"] == []
    for part, intervals in (
        ("test", report["test"]),
        ("cross_validation", report["cross_validation"]["scores"]),
    ):
        for name, interval in intervals.items():
            assert interval["low"] <= interval["value"] == metrics[part][name] <= interval["high"]
    assert [each["class"] for each in report["classes"]] == ["no", "yes"]
    assert {each["column"] for each in report["slices"]} == {"colour"}
    assert (report["threshold"], report["search"]) == (None, None)
    assert {each["column"] for each in report["importance"]} == set(small.CONTRACT.names)
    _, rows, _ = read_rows("test", TRAIN, "kind")
    shown = to_matrix([read_contract(MODEL_CONTRACT).example], small.CONTRACT, ENGINEERING)
    assert any(np.array_equal(shown[0], row, equal_nan=True) for row in rows)
    card = CARD.read_text(encoding="utf-8")
    assert f"{report['test']['accuracy']['value']:.3f}" in card
    for name in PICTURES:
        assert (PLOTS / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_a_search_is_reported_and_kept_in_the_evaluation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, search=GRID)
    report = evaluation()
    assert report["search"]["changes"] == {"C": 1.0}
    assert [each["candidate"] for each in report["search"]["tried"]] == [
        "LogisticRegression C=0.001",
        "LogisticRegression C=1.0",
    ]
    assert report["cross_validation"]["nested"] is True
    assert "train: the best is LogisticRegression C=1.0" in capsys.readouterr().out
    assert joblib.load(PIPELINE).pipeline[-1].C == 1.0
    assert "C=1.0" in (PLOTS / "search.csv").read_text()


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_a_threshold_reaches_the_contract_and_every_score(folder: Path) -> None:
    run(folder, threshold={"class": "no", "rule": "value", "value": 0.01}, example="medians")
    contract = read_contract(MODEL_CONTRACT)
    assert contract.example == ()
    assert contract.target.threshold == Threshold(label="no", value=0.01)
    _, x, y = read_rows("test", TEST, "kind")
    probabilities = inference.predict(inference.open_session(ONNX.read_bytes()), x).probabilities
    labels = np.where(probabilities[:, 0] >= 0.01, 0, 1)
    assert evaluation()["test"]["accuracy"]["value"] == round(float((labels == y).mean()), 6)
    assert evaluation()["classes"][0]["recall"]["value"] == 1
    plain = inference.apply_decision(
        inference.Predictions(labels, probabilities), contract.target.decision
    )
    np.testing.assert_array_equal(plain.labels, labels)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_a_large_table_is_not_cross_validated(folder: Path) -> None:
    run(folder, cross_validation={"folds": 3, "repeats": 1, "most_rows": 59})
    assert evaluation()["cross_validation"] is None
    assert set(json.loads(METRICS.read_bytes())) == {"train", "test"}
    assert len((PLOTS / "learning.csv").read_text().splitlines()) == 1


def test_a_class_that_the_table_does_not_have_is_refused_before_the_fit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CairnError, match=r"train\.threshold\.class: got 'maybe'"):
        run(folder, threshold={"class": "maybe", "rule": "f1"})
    assert "fitting" not in capsys.readouterr().out


def test_a_slice_that_the_table_does_not_have_is_refused_before_any_score(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CairnError, match=r"evaluate\.slices: no column 'size'"):
        run(folder, slices=["size"])
    assert "scoring" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
@pytest.mark.long
def test_another_evaluation_of_a_model_keeps_its_tag_and_brings_its_card(folder: Path) -> None:
    with small.store(folder / "bentoml") as store:
        run_both()
        (first,) = store.list()
        before = Path(first.path, "card.md").read_text("utf-8")
        content = yaml.safe_load(Path("params.yaml").read_text())
        content["evaluate"]["slices"] = ["colour"]
        Path("params.yaml").write_text(yaml.safe_dump(content))
        evaluate.main()
        (entry,) = store.list()
    assert entry.tag == first.tag
    assert "Scores by slice" in Path(entry.path, "card.md").read_text("utf-8") != before
    assert entry.info.metadata["files_sha256"] != first.info.metadata["files_sha256"]
    assert json.loads(str(entry.info.metadata["params"]))["evaluate"]["slices"] == ["colour"]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_a_search_on_a_cluster_finds_what_it_finds_here(folder: Path) -> None:
    models = []
    for engine in ("local", "dask"):
        write_params({}, engine, search=GRID)
        with small.store(folder / f"bentoml-{engine}"):
            run_both()
        models.append((METRICS.read_bytes(), EVALUATION.read_bytes(), ONNX.read_bytes()))
    assert models[0] == models[1]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_lightgbm_of_a_cluster_is_proved_and_registered_as_any_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(
        {"n_estimators": 20, "min_child_samples": 3}, "dask", estimator="lightgbm.LGBMClassifier"
    )
    with small.store(folder / "bentoml"):
        run_both()
    assert "train: ONNX agrees on 60 train rows" in capsys.readouterr().out
    assert json.loads(METRICS.read_bytes())["train"]["accuracy"] > 0.8
    assert "lightgbm" in json.loads(ENVIRONMENT.read_bytes())


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_features_that_are_engineered_reach_the_contract(folder: Path) -> None:
    for path in (TRAIN, TEST):
        (rows,) = parquet.groups(path)
        twice = pa.array(rows["area"].to_numpy() * 2)
        with parquet.Writer(path) as writer:
            writer.write(rows.append_column("twice", twice))
    with small.store(folder / "bentoml"):
        run_both()
    contract = read_contract(MODEL_CONTRACT)
    assert [each.name for each in contract.features] == [*small.CONTRACT.names, "twice"]
    assert contract.features[-1].column is None
    assert contract.engineering == ENGINEERING.sha256
    assert "twice" in (PLOTS / "importance.csv").read_text()


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_copies_a_leak_and_a_class_of_one_row_are_reported_and_end_no_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    labels = np.array(["a"] * 60 + ["b"] * 40)
    table = pa.table(
        {
            "x": pa.array(random.normal(size=100), pa.float32()),
            "alive": pa.array((labels == "b").astype(float), pa.float32()),
            "kind": labels,
        }
    )
    lone = pa.table({"x": [9.0] * 5, "alive": [3.0] * 5, "kind": ["c"] * 5}).cast(table.schema)
    numbers = [Column(name=name, kind="number") for name in ("x", "alive")]
    target = Target(name="kind", classes=("a", "b", "c"))
    contract_file.write(Contract(columns=tuple(numbers), target=target), CONTRACT)
    with parquet.Writer(PROCESSED) as writer:
        for part in (table, table[:30], lone):
            writer.write(part)
    features.main()
    run(folder, cross_validation={"folds": 3, "repeats": 1, "most_rows": 1000})
    out, card, scores = capsys.readouterr().out, CARD.read_text("utf-8"), evaluation()
    assert "features: 34 of 135 rows repeat the features of another row" in out
    assert "features: class 'c' has no two rows that differ" in out
    assert (
        "train: WARNING: column 'alive' by itself predicts kind almost perfectly (AUC 1.000)" in out
    )
    assert "evaluate: cross-validation skips class 'c'" in out
    assert scores["duplicates"] == {"copies": 34, "contradicting": 0}
    assert scores["leaks"] == [{"feature": "alive", "auc": 1.0}]
    assert scores["classes"][2]["recall"] == {"value": None, "low": None, "high": None}
    assert "34 rows have the same features as another row" in card
    assert "**`alive` by itself predicts `kind` almost perfectly" in card
    assert "No test row is of class 'c': the scores leave it out." in card
