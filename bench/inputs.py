"""Make the inputs of all contenders: the same models, the same rows, the expected answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.pipeline import clone
from cairn.contract import read_contract
from cairn.paths import CONTRACT, MODEL_CONTRACT, ONNX, PIPELINE, TEST, TRAIN
from cairn.yaml_text import format_yaml, read_yaml

SIZES = (1, 100, 1000)
GREEDY_ROWS = 10_000  # of a body that the service takes just so
# How rows are written: one of them flat and many as a list of lists, always as such a list, or as
# objects with the columns' names.
Shape = Literal["plain", "list", "records"]
TURNS = 100
Rows = list[list[float]]
SLOW_ROWS = 20_000
SLOW_TABLE = "data/slow.csv"
SLOW_TRAIN = {
    "estimator": "sklearn.neighbors.KNeighborsClassifier",
    "arguments": {"n_neighbors": 15},
    "scale": True,
}


@dataclass(frozen=True)
class Expected:
    """Scikit-learn's predictions for the rows: n labels, n × classes probabilities."""

    labels: list[int]
    probabilities: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Inputs:
    """The inputs of the contenders of one section.

    Attributes
    ----------
    cairn
        A clean clone of Cairn with its model in `data/model`.
    columns
        Names of the columns, in order.
    variables
        Environment variables that Cairn runs with there.
    folder
        Where bodies and logs are.
    models
        Kind of model → its file.
    expected
        Kind of model → scikit-learn's predictions for the rows of the first body.
    """

    cairn: Path
    columns: tuple[str, ...]
    variables: dict[str, str]
    folder: Path
    models: dict[str, Path]
    expected: dict[str, Expected]

    def bodies(self, key: str, rows: int, shape: Shape = "plain") -> Path:
        """Return the file with the bodies of so many rows, one a line."""
        return self.folder / f"{key}-{rows}-{shape}.jsonl"

    def greedy(self) -> dict[str, Path]:
        """Return the files with one body each of GREEDY_ROWS rows, by what is wrong with it."""
        return {name: self.folder / f"greedy-{name}.json" for name in GREEDY}


def make_fast_inputs(folder: Path) -> Inputs:
    """Cairn's default model, a forest of which a row takes microseconds."""
    cairn = clone(folder / "cairn")
    return make_inputs(cairn, folder)


def make_slow_inputs(folder: Path) -> Inputs:
    """Make inputs for a model with slow single rows: nearest neighbors on a larger table."""
    cairn = clone(folder / "cairn")
    columns, target = make_classification(SLOW_ROWS, 30, n_informative=12, random_state=0)
    table = pd.DataFrame(columns.astype(np.float32)).add_prefix("x").assign(target=target)
    table.to_csv(cairn / SLOW_TABLE, index=False)
    params = read_yaml(cairn / "params.yaml", "the clone lacks it")
    params["raw"]["source"] = SLOW_TABLE
    params["train"] |= SLOW_TRAIN
    (cairn / "params.yaml").write_text(format_yaml(params), encoding="utf-8")
    (cairn / CONTRACT).unlink()  # of another table
    return make_inputs(cairn, folder)


def make_inputs(cairn: Path, folder: Path) -> Inputs:
    """Run the pipeline in a clone, and lay out what the contenders need of it."""
    variables = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    with (folder / "pipeline.log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=cairn,
            env={**os.environ, **variables},
            stdout=log,
            check=True,
        )
    contract = read_contract(cairn / MODEL_CONTRACT)
    target = contract.target.name
    train, test = pd.read_parquet(cairn / TRAIN), pd.read_parquet(cairn / TEST)
    rows = get_features(test, target)
    # What the others serve is asked by position, and not by the contract.
    forest = joblib.load(cairn / PIPELINE).pipeline
    joblib.dump(forest, folder / "forest.joblib")
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    logistic.fit(get_features(train, target), train[target])
    joblib.dump(logistic, folder / "logistic.joblib")
    expected = predict(forest, rows)
    inputs = Inputs(
        cairn,
        contract.names,
        variables,
        folder,
        {
            "forest": folder / "forest.joblib",
            "onnx": cairn / ONNX,
            "logistic": folder / "logistic.joblib",
            "mlflow": folder / "mlflow",
        },
        {
            "forest": expected,
            "onnx": expected,
            "mlflow": expected,
            "logistic": predict(logistic, rows),
        },
    )
    write_bodies(inputs, rows)
    return inputs


def write_bodies(inputs: Inputs, rows: NDArray[np.float32]) -> None:
    """Write the bodies of all sizes and shapes, and those of a greedy client."""
    # As a client writes it: the shortest decimal that is that float32.
    lists = [[float(str(value)) for value in row] for row in rows]
    for size in SIZES:
        for key, shape in FORMS:
            text = "".join(f"{body}\n" for body in bodies(lists, key, size, shape, inputs.columns))
            inputs.bodies(key, size, shape).write_text(text, encoding="utf-8")
    many = [lists[index % len(lists)] for index in range(GREEDY_ROWS)]
    for name, path in inputs.greedy().items():
        path.write_text(json.dumps(GREEDY[name](many)), encoding="utf-8")


def get_features(rows: pd.DataFrame, target: str) -> NDArray[np.float32]:
    """Get the features of a split."""
    return rows.drop(columns=target).to_numpy(dtype=np.float32)


def predict(model: Pipeline, rows: NDArray[np.float32]) -> Expected:
    """Predict rows by scikit-learn."""
    return Expected(model.predict(rows).tolist(), model.predict_proba(rows))


def bodies(rows: Rows, key: str, size: int, shape: Shape, columns: Sequence[str]) -> Iterator[str]:
    """Bodies of `size` rows each, of different rows in turn; the first starts with row 0."""
    for turn in range(TURNS if size == 1 else 5):
        rows_of_body = [rows[(turn + offset) % len(rows)] for offset in range(size)]
        if shape == "records":
            yield json.dumps({key: [dict(zip(columns, row, strict=True)) for row in rows_of_body]})
        else:
            is_flat = size == 1 and shape == "plain" and key == "features"
            yield json.dumps({key: rows_of_body[0] if is_flat else rows_of_body})


# What a greedy client sends: rows that keep the contract, and rows that break it in ways that take
# a service long to find or to explain.
GREEDY: Mapping[str, Callable[[Rows], Mapping[str, object]]] = {
    "good": lambda rows: {"features": rows},
    "last value is text": lambda rows: {"features": [*rows[:-1], [*rows[-1][:-1], "x"]]},
    "all values are text": lambda rows: {"features": [["x"] * len(row) for row in rows]},
    "all values are out of range": lambda rows: {"features": [[1e300] * len(row) for row in rows]},
    "all columns are unknown": lambda rows: {
        "records": [{f"u{at}": 1 for at in range(2 * len(row))} for row in rows]
    },
}
FORMS: tuple[tuple[str, Shape], ...] = (
    ("features", "plain"),
    ("features", "list"),
    ("records", "records"),
    ("inputs", "list"),
)
