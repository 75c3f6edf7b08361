"""A small table of every kind of column, a model of it, and strategies for any other."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from stages import contract, export, processed, train
from stages.contract import Column, Contract, Kind, Target
from stages.features import codes, features
from stages.params import Train

HEADER = ("area (cm2)", "depth", "count", "flag", "colour", "kind")
TERMS = Contract(
    columns=(
        Column(name="area", kind="number", unit="cm2"),
        Column(name="depth", kind="number", missing=True),
        Column(name="count", kind="integer"),
        Column(name="flag", kind="boolean", missing=True),
        Column(name="colour", kind="category", categories=("blue", "green", "red"), missing=True),
    ),
    target=Target(name="kind", classes=("no", "yes")),
)
PARAMS: dict[str, dict[str, Any]] = {
    "raw": {"source": "table.csv", "sha256": None},
    "processed": {"target": "y", "drop": ["id"], "bad_rows": "fail", "max_categories": 100},
    "features": {"test_size": 0.2, "seed": 42},
    "train": {
        "name": "cairn",
        "estimator": "sklearn.svm.SVC",
        "arguments": {"C": 2.0},
        "scale": True,
        "seed": 42,
    },
}
ROWS = 80
LINEAR = Train(
    name="small",
    estimator="sklearn.linear_model.LogisticRegression",
    arguments={},
    scale=True,
    seed=0,
)


def table(rows: int = ROWS) -> list[list[Any]]:
    """Rows under HEADER, None where a value is missing; the class follows area and depth."""
    random = np.random.default_rng(7)
    area, depth = random.normal(size=(2, rows))
    count = random.integers(-3, 9, rows)
    flag = random.random(rows) < 0.5
    colour = random.choice(["blue", "green", "red"], rows)
    gone = random.random((3, rows)) < 0.15
    gone[:, 0] = True  # one row with everything missing that may be
    return [
        [
            float(area[i]),
            None if gone[0, i] else float(depth[i]),
            int(count[i]),
            None if gone[1, i] else bool(flag[i]),
            None if gone[2, i] else str(colour[i]),
            "yes" if area[i] + depth[i] / 2 > 0 else "no",
        ]
        for i in range(rows)
    ]


def text(rows: list[list[Any]] | None = None) -> str:
    """The table as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([HEADER, *(rows or table())])
    return file.getvalue()


def frame() -> pd.DataFrame:
    """The table as `processed` types it."""
    untyped = pd.read_csv(io.StringIO(text())).set_axis([*TERMS.names, "kind"], axis="columns")
    return processed.typed(untyped, TERMS)


def rows() -> list[dict[str, Any]]:
    """The table as the service has it: one object a row, without the target."""
    return [dict(zip(TERMS.names, row, strict=False)) for row in table()]


class Fitted(NamedTuple):
    """A model of the table, and what it was fitted to."""

    pipeline: Pipeline
    graph: bytes
    terms: Contract
    features: NDArray[np.float32]
    classes: NDArray[np.int64]


@cache
def fitted() -> Fitted:
    """A linear model of the table."""
    made = frame()
    columns = features({str(name): made[name] for name in made}, TERMS)
    rows = np.column_stack(list(columns.values()))
    classes = codes(made["kind"], TERMS).to_numpy()
    pipeline = train.fit(rows, classes, TERMS, LINEAR)
    graph = export.to_onnx(pipeline, rows.shape[1])
    return Fitted(pipeline, graph, train.seen(TERMS, rows, classes), rows, classes)


def save(folder: Path) -> Path:
    """Write the model's files as `train` does, less those that only people read."""
    folder.mkdir(parents=True)
    contract.write(fitted().terms, folder / "contract.json")
    (folder / "model.onnx").write_bytes(fitted().graph)
    (folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": 0.9}}))
    (folder / "environment.json").write_text(json.dumps({"numpy": "2"}))
    return folder


@contextmanager
def store(home: Path) -> Iterator[ModelStore]:
    """BentoML's model store in a folder, for this process; BENTOML_HOME is the caller's to set."""
    models = home / "models"
    models.mkdir(parents=True)
    own = ModelStore(models)
    with BentoMLContainer.model_store.patch(own):
        yield own


# Names as `processed.title` makes them, those first that a program may mistake for its own.
NAMES = st.one_of(
    st.sampled_from(["features", "records", "class", "row", "größe", "名", "0", "None"]),
    st.from_regex(r"\w{1,6}", fullmatch=True).filter(lambda name: name.strip("_") == name),
)
# What strings JSON can hold.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
FLOAT32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
WHOLE = st.integers(-(2**24), 2**24)


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    """Any column of this name."""
    kind: Kind = draw(st.sampled_from(["number", "integer", "boolean", "category"]))
    missing = draw(st.booleans())
    if kind == "category":
        found = draw(st.sets(TEXTS, min_size=1, max_size=4))
        return Column(name=name, kind=kind, categories=tuple(sorted(found)), missing=missing)
    if kind == "boolean":
        return Column(name=name, kind=kind, missing=missing)
    ends = draw(st.tuples(*[WHOLE if kind == "integer" else FLOAT32] * 2))
    minimum = draw(st.sampled_from([None, float(min(ends))]))
    maximum = draw(st.sampled_from([None, float(max(ends))]))
    return Column(name=name, kind=kind, minimum=minimum, maximum=maximum, missing=missing)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    """Any contract."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    labels: st.SearchStrategy[Any] = draw(st.sampled_from([TEXTS, WHOLE, st.booleans()]))
    classes = draw(st.sets(labels, min_size=2, max_size=4))
    return Contract(
        columns=tuple(draw(columns(name)) for name in names),
        target=Target(name="target of it", classes=tuple(sorted(classes))),
    )


def values(column: Column) -> st.SearchStrategy[Any]:
    """Any value that a column takes."""
    if column.missing:
        present = column.model_copy(update={"missing": False})
        return st.one_of(st.none(), values(present))
    if column.kind == "category":
        return st.sampled_from(column.categories)
    if column.kind == "boolean":
        return st.booleans()
    if column.kind == "integer":
        lowest = None if column.minimum is None else int(column.minimum)
        highest = None if column.maximum is None else int(column.maximum)
        whole = st.integers(
            -(2**31) if lowest is None else lowest, 2**31 if highest is None else highest
        )
        return st.one_of(whole, whole.map(float))
    return st.floats(
        column.minimum, column.maximum, width=32, allow_nan=False, allow_infinity=False
    )


def wrong(column: Column) -> st.SearchStrategy[Any]:
    """Any value that a column does not take."""
    cases: list[st.SearchStrategy[Any]] = [st.sampled_from([[], {}, [1], {"a": 1}])]
    if not column.missing:
        cases.append(st.none())
    if column.kind == "category":
        cases += [WHOLE, st.booleans(), TEXTS.filter(lambda came: came not in column.categories)]
    elif column.kind == "boolean":
        cases += [st.sampled_from([0, 1, 0.0, "true", ""])]
    else:
        cases += [TEXTS, st.booleans(), st.sampled_from([1e39, -1e39, 1e300])]
        if column.kind == "integer":
            cases += [WHOLE.map(lambda whole: whole + 0.5)]
        if column.minimum is not None:
            cases.append(st.just(column.minimum - 1e30))
        if column.maximum is not None:
            cases.append(st.just(column.maximum + 1e30))
    return st.one_of(cases)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Contract, list[dict[str, Any]]]:
    """Any contract, with rows that keep it."""
    terms = draw(contracts())
    row = st.fixed_dictionaries({column.name: values(column) for column in terms.columns})
    return terms, draw(st.lists(row, min_size=1, max_size=3))
