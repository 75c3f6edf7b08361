"""A small table of every kind of column, a model of it, and strategies for any other."""

from __future__ import annotations

import csv
import io
import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args
from unicodedata import is_normalized

import numpy as np
import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cairn import provenance
from cairn.contract import (
    MISSING_TEXTS,
    Category,
    Column,
    Contract,
    Feature,
    Kind,
    Part,
    Target,
    write_contract,
)
from cairn.evaluation import intervals, slices
from cairn.export.onnx import to_onnx
from cairn.modeling import fitting
from cairn.modeling.histograms import describe_rows
from cairn.params.evaluate import Evaluate
from cairn.params.train import Train
from cairn.paths import MODEL, PICTURES
from cairn.splits.labels import encode_labels
from cairn.transform import Engineering, to_features, to_matrix
from stages import engineering

HEADER = ("area (cm2)", "depth", "count", "flag", "colour", "kind")
CONTRACT = Contract(
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
    "processed": {
        "target": "y",
        "identifier": None,
        "drop": ["id"],
        "encoding": "utf-8",
        "delimiter": None,
        "header": "auto",
        "decimal": ".",
        "bad_rows": "fail",
        "max_bad_rows": 1.0,
        "min_class_rows": 1,
        "duplicates": "keep",
        "max_categories": 100,
    },
    "features": {"test_size": 0.2, "seed": 42},
    "train": {
        "name": "cairn",
        "estimator": "sklearn.svm.SVC",
        "arguments": {"C": 2.0},
        "early_stopping": None,
        "calibration": "none",
        "threshold": None,
        "search": {
            "method": "none",
            "candidates": 3,
            "metric": "log_loss",
            "folds": 3,
            "over": [],
        },
        "scale": True,
        "encode": "auto",
        "rare": 0.0,
        "seed": 42,
    },
    "evaluate": {
        "cross_validation": {"folds": 3, "repeats": 1, "most_rows": 1000},
        "slices": [],
    },
    "compute": {"engine": "local", "scheduler": None, "workers": None, "memory": None},
}
ENGINEERING = Engineering(engineering)
ROWS = 80
PNG = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg=="
)  # of one pixel
LINEAR = Train.model_validate(
    {
        **PARAMS["train"],
        "name": "small",
        "estimator": "sklearn.linear_model.LogisticRegression",
        "arguments": {},
        "seed": 0,
    }
)
EVALUATE = Evaluate.model_validate(PARAMS["evaluate"])


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
    """The table as a frame, numbers as float32."""
    untyped = pd.DataFrame(table(), columns=[*CONTRACT.names, "kind"])
    return untyped.astype(dict.fromkeys(["area", "depth", "count"], "float32"))


def rows() -> list[dict[str, Any]]:
    """The table as the service has it: one object a row, without the target."""
    return [dict(zip(CONTRACT.names, row, strict=False)) for row in table()]


class Fitted(NamedTuple):
    """A model of the table, and what it was fitted to."""

    pipeline: Pipeline
    graph: bytes
    contract: Contract
    features: NDArray[np.float32]
    classes: NDArray[np.int64]


@cache
def fitted() -> Fitted:
    """A linear model of the table."""
    table = frame()
    columns = to_features({str(name): table[name] for name in table}, CONTRACT, ENGINEERING)
    rows = np.column_stack(list(columns.values()))
    classes = encode_labels(table["kind"].tolist(), CONTRACT)
    pipeline = fitting.fit(rows, classes, CONTRACT, LINEAR)
    graph = to_onnx(pipeline, rows.shape[1])
    return Fitted(pipeline, graph, describe_rows(CONTRACT, rows, classes), rows, classes)


# All that a contract can say, in one: dates, codes, categories that are not listed, names of rows.
FULL = Contract(
    columns=(
        Column(name="opened", kind="date", parts=("year", "month", "weekday", "hour")),
        Column(name="born", kind="date", parts=("year", "day"), missing=True),
        Column(name="area", kind="number", unit="cm2", minimum=-9, maximum=9),
        Column(name="size", kind="category", categories=(1, 2, 5)),
        Column(name="branch", kind="category", categories=(-7, 30), unknown=True, missing=True),
        Column(name="colour", kind="category", categories=("blue", "red"), unknown=True),
        Column(name="flag", kind="boolean", missing=True),
    ),
    identifier="customer",
    target=Target(name="kind", classes=("no", "yes")),
)


def _column(name: str, kind: Kind, *categories: str) -> Column:
    return Column(name=name, kind=kind, categories=categories, missing=True)


# One column of each kind but dates, all of which may be missing.
FOUR = Contract(
    columns=(
        _column("n", "number"),
        _column("i", "integer"),
        _column("b", "boolean"),
        _column("c", "category", "x", "y"),
    ),
    target=Target(name="t", classes=(0, 1)),
)


def full_rows(number: int = ROWS) -> list[dict[str, Any]]:
    """Rows of FULL as the service has them, each with its identifier but every third."""
    random = np.random.default_rng(11)
    return [
        {
            "opened": f"20{10 + i % 14}-{1 + i % 12:02}-{1 + i % 28:02}T{i % 24:02}:30",
            "born": None if i % 9 == 0 else f"19{50 + i % 50}-0{1 + i % 9}-{1 + i % 28:02}",
            "area": round(float(random.normal()), 3),
            "size": (1, 2, 5)[i % 3],
            "branch": (None, -7, 30, 99)[i % 4],
            "colour": ("blue", "red", "green")[int(random.integers(3))],
            "flag": (None, True, False)[int(random.integers(3))],
            **({"customer": i if i % 2 else f"C-{i}"} if i % 3 else {}),
        }
        for i in range(number)
    ]


@cache
def full() -> Fitted:
    """A linear model of FULL."""
    rows = [[row[name] for name in FULL.names] for row in full_rows()]
    return fitted_to(to_matrix(rows, FULL, ENGINEERING))


def fitted_to(rows: NDArray[np.float32], engineered: tuple[str, ...] = ()) -> Fitted:
    """A linear model of n × k features of FULL, those of its columns first; the area tells."""
    classes = (rows[:, 6] > 0).astype(np.int64)
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    pipeline.fit(rows, classes)
    graph = to_onnx(pipeline, rows.shape[1])
    own = [Feature(name=name, column=None) for name in engineered]
    contract = FULL.model_copy(update={"features": (*FULL.own, *own)})
    return Fitted(
        pipeline, graph, describe_rows(contract, rows, classes, ENGINEERING.sha256), rows, classes
    )


def save(folder: Path, fit: Fitted | None = None) -> Path:
    """Write what the service reads of a model, as the BentoML store has it."""
    fit = fit or fitted()
    (folder / "plots").mkdir(parents=True)
    for name in PICTURES:
        (folder / "plots" / f"{name}.png").write_bytes(PNG)
    (folder / "evaluation.json").write_text(json.dumps({"rows": {"train": 60, "test": 20}}))
    (folder / "card.md").write_text("# small\n")
    write_contract(fit.contract, folder / "contract.json")
    (folder / "model.onnx").write_bytes(fit.graph)
    (folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": 0.9}}))
    (folder / "environment.json").write_text(json.dumps({"numpy": "2"}))
    return folder


def save_tree(root: Path = Path(), fit: Fitted | None = None) -> Path:
    """Write what the service reads of a model below a folder, as `train` and `evaluate` do."""
    flat = save(root / MODEL, fit)
    for path in provenance.FILES:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (flat / provenance.entry_name(path)).replace(root / path)
    (flat / "plots").rmdir()
    return root


def use_few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few resamples for intervals, where a test does not ask how wide they are."""
    monkeypatch.setattr(intervals, "RESAMPLES", 20)
    monkeypatch.setattr(intervals, "LEAST_RESAMPLES", 20)
    monkeypatch.setattr(slices, "RESAMPLES", 20)


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
    st.from_regex(r"\w{1,6}", fullmatch=True).filter(
        lambda name: name.strip("_") == name and is_normalized("NFC", name)
    ),
)
# What strings JSON can hold.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
# Texts that stand neither for a number nor for a missing value, nor for a value with blanks.
OTHERS = TEXTS.map(lambda text: f"<{text}>")
# Texts that stand for themselves.
OWN_TEXTS = TEXTS.filter(lambda text: text == text.strip() and text not in MISSING_TEXTS)
FLOAT32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
WHOLE = st.integers(-(2**24), 2**24)


PARTS = st.lists(st.sampled_from(get_args(Part)), min_size=1, unique=True).map(tuple)
CODES = st.integers(-(2**63), 2**63 - 1)
IDENTIFIERS = st.none() | CODES | TEXTS


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    """Any column of this name."""
    kind: Kind = draw(st.sampled_from(get_args(Kind)))
    missing = draw(st.booleans())
    if kind == "category":
        some: st.SearchStrategy[Any] = draw(st.sampled_from([TEXTS, WHOLE]))
        values = tuple(sorted(draw(st.sets(some, min_size=1, max_size=4))))
        unknown = draw(st.booleans())
        return Column(name=name, kind=kind, categories=values, missing=missing, unknown=unknown)
    if kind == "date":
        return Column(name=name, kind=kind, parts=draw(PARTS), missing=missing)
    if kind == "boolean":
        return Column(name=name, kind=kind, missing=missing)
    ends = draw(st.tuples(*[WHOLE if kind == "integer" else FLOAT32] * 2))
    minimum = draw(st.sampled_from([None, float(min(ends))]))
    maximum = draw(st.sampled_from([None, float(max(ends))]))
    return Column(name=name, kind=kind, minimum=minimum, maximum=maximum, missing=missing)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    """Any contract; a row of `requests` has no identifier, where the contract has one."""
    names = draw(st.lists(NAMES, min_size=2, max_size=6, unique=True))
    labels: st.SearchStrategy[Any] = draw(st.sampled_from([TEXTS, WHOLE, st.booleans()]))
    classes = draw(st.sets(labels, min_size=2, max_size=4))
    values = tuple(draw(columns(name)) for name in names[1:])
    own = [name for column in values for name in column.features]
    assume(len(set(own)) == len(own))
    return Contract(
        columns=values,
        identifier=draw(st.sampled_from([None, names[0]])),
        target=Target(name="target of it", classes=tuple(sorted(classes))),
    )


def values(column: Column) -> st.SearchStrategy[Any]:
    """Any value that a column takes."""
    if column.missing:
        present = column.model_copy(update={"missing": False})
        return st.one_of(st.none(), values(present))
    if column.kind == "category":
        known = st.sampled_from(column.categories)
        return st.one_of(known, _of_kind(column.categories)) if column.unknown else known
    if column.kind == "date":
        return dates(column)
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


def _of_kind(categories: tuple[Category, ...]) -> st.SearchStrategy[Any]:
    """Any text, or any whole number, as the categories are."""
    return OWN_TEXTS if isinstance(categories[0], str) else CODES


def dates(column: Column) -> st.SearchStrategy[str]:
    """Any date, and one with a time where the model takes any of that."""
    days = st.dates().map(str)
    if {"hour", "minute"}.isdisjoint(column.parts):
        return days
    steps = st.sampled_from(["minutes", "seconds", "milliseconds", "microseconds"])
    times = st.builds(
        lambda time, separator, step: time.isoformat(separator, step),
        st.datetimes(),
        st.sampled_from(["T", " "]),
        steps,
    )
    return st.one_of(days, times)


NO_DATES = (
    "today", "2024", "2024-02", "20240229", "2024-2-29", "24-02-29", "2024-13-01",
    "2024-00-01", "2024-01-00", "2024-01-32", "29.02.2024", "02/29/2024", "2024/02/29", "NaT",
    "-2024-01-01", "+2024-01-01", "12024-01-01", "2024-W09-4", "2024-060", "2024-02-29T",
    "2024-02-29T10", "2024-02-29T24:00", "2024-02-29T10:60", "2024-02-29T10:00:60",
    "2024-02-29T10:00+24:00", "2024-02-29T10:00:00.", "2024-02-29t10:00", "2024-02-29  10:00",
    "2024-02-29_10:00", "2024-02-29Z", "2024-02-29T1000", "2024-02-29T1:00", "٢٠٢٤-٠٢-٢٩",
    "2024-02-29\0", "2024-02-29T10:00:00.1234567890",
)  # fmt: skip
# Dates as others write them → as the contract has them.
OTHER_DATES = {
    "2024-02-29T10:00Z": "2024-02-29T10:00:00",
    "2024-02-29T10:00+01:00": "2024-02-29T09:00:00",
    "2024-02-29T00:00:00.000Z": "2024-02-29T00:00:00",
    "2024-02-29T10:00:00,5": "2024-02-29T10:00:00",
    " 2024-02-29": "2024-02-29T00:00:00",
    "2024-02-29\n": "2024-02-29T00:00:00",
}
# They look like dates, and are none of the calendar's.
NO_DAYS = (
    "2024-02-30", "2023-02-29", "1900-02-29", "2024-04-31", "0000-01-01", "0000-02-29",
)  # fmt: skip


def wrong(column: Column) -> st.SearchStrategy[Any]:
    """Any value that a column does not take."""
    cases: list[st.SearchStrategy[Any]] = [st.sampled_from([[], {}, [1], {"a": 1}])]
    if not column.missing:
        cases.append(st.none())
    if column.kind == "category":
        cases += _wrong_categories(column)
    elif column.kind == "date":
        cases += [st.booleans(), st.sampled_from([*NO_DATES, *NO_DAYS, 20240229, 1e300])]
    elif column.kind == "boolean":
        cases += [st.sampled_from([0, 1, 0.0, "yes", "tRUE", "1"])]
    else:
        cases += [OTHERS, st.booleans(), st.sampled_from([1e39, -1e39, 1e300])]
        if column.kind == "integer":
            cases += [WHOLE.map(lambda number: number + 0.5)]
        if column.minimum is not None:
            cases.append(st.just(column.minimum - 1e30))
        if column.maximum is not None:
            cases.append(st.just(column.maximum + 1e30))
    return st.one_of(cases)


def _wrong_categories(column: Column) -> list[st.SearchStrategy[Any]]:
    """Values that a column of categories does not take: of another type, or not listed."""
    has_texts = isinstance(column.categories[0], str)
    others: list[st.SearchStrategy[Any]] = [st.booleans()]
    if not has_texts:
        others += [st.just(0.5), OTHERS]
    if not column.unknown:
        same = OTHERS if has_texts else CODES
        others.append(same.filter(lambda text: text not in column.categories))
    return others


@st.composite
def requests(draw: st.DrawFn) -> tuple[Contract, list[dict[str, Any]]]:
    """Any contract, with rows that keep it."""
    contract = draw(contracts())
    row = st.fixed_dictionaries({column.name: values(column) for column in contract.columns})
    return contract, draw(st.lists(row, min_size=1, max_size=3))
