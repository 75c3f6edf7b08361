"""What the stage `train` does, once the processes that judge the model are on their way."""

from __future__ import annotations

import json
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pandas import DataFrame
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from cairn import (
    inference,
    params,
    parquet,
    provenance,
)
from cairn.compute import (
    processes,
)
from cairn.compute.engine import Engine, open_engine
from cairn.compute.processes import Run, here
from cairn.console import Progress, patience, say
from cairn.contract import Contract, Feature, Threshold, write_contract
from cairn.evaluation import (
    card,
    cross_validation,
    curves,
    drawing,
    intervals,
    leaks,
    slices,
    threshold,
)
from cairn.evaluation.intervals import plain
from cairn.evaluation.metrics import Scored, scores
from cairn.export import parity
from cairn.export.onnx import to_onnx
from cairn.inference import Predictions
from cairn.modeling import (
    duplicates,
    estimators,
    example,
    fitting,
    search,
)
from cairn.modeling.frame_pipeline import FramePipeline
from cairn.modeling.histograms import seen
from cairn.params import Train
from cairn.paths import (
    CARD,
    CONTRACT,
    ENVIRONMENT,
    EVALUATION,
    METRICS,
    MODEL_CONTRACT,
    ONNX,
    PICTURES,
    PIPELINE,
    PLOTS,
    REPORT,
    TEST,
    TRAIN,
)
from cairn.releases import (
    bento_store,
    mlflow,
)
from cairn.tables import contract_file
from cairn.transform import Engineering
from stages import engineering

# What decides the bits of the model; the rest of the environment is in requirements.txt.
LIBRARIES = (
    "joblib",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "scikit-learn",
    "scipy",
    "skl2onnx",
)
LIGHTGBM = ("lightgbm", "onnxmltools")
ENGINEERING = Engineering(engineering)
NAMED = 3  # classes that one line names

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


class Rows(NamedTuple):
    """A part of data/features.

    Attributes
    ----------
    names
        Of the k features.
    features, classes
        n × k in C order, and n codes of classes.
    """

    names: tuple[str, ...]
    features: Floats
    classes: Codes


def main() -> None:
    """Turn data/features into data/model, and register it."""
    knobs, contract = params.load(), contract_file.read(CONTRACT)
    block = knobs.train
    provenance.git()  # what keeps it from being read is told before the work, and not after
    # More threads than one may add in another order, and the last bits would depend on that.
    with (
        threadpool_limits(1),
        open_engine(knobs.compute) as engine,
        processes.pool() as run,
    ):
        made = learn(block, contract, engine, run)
        save(made, block, run)
    say(f"train: {headline(made.metrics['test'])}")
    chain = provenance.fresh(block.model_dump(by_alias=True))
    tag = bento_store.register(chain)
    say(f"train: registered as {tag}")
    mlflow.track(tag, chain)


def headline(test: dict[str, Any]) -> str:
    """The scores in a line, as far as the test rows tell them.

    >>> headline({"rows": 2, "accuracy": 0.5})
    'accuracy 0.500 on 2 test rows'
    """
    names = {"accuracy": "accuracy", "balanced_accuracy": "balanced", "roc_auc": "ROC AUC"}
    found = [f"{title} {test[name]:.3f}" for name, title in names.items() if name in test]
    return f"{', '.join(found)} on {test['rows']:,} test rows"


class Made(NamedTuple):
    """What data/model is written from."""

    pipeline: Pipeline
    graph: bytes
    contract: Contract
    metrics: dict[str, Any]
    evaluation: dict[str, Any]
    points: dict[str, DataFrame]


def save(made: Made, block: Train, run: Run = here) -> None:
    """Write data/model."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    joblib.dump(FramePipeline(made.contract, made.pipeline, ENGINEERING), PIPELINE)
    ONNX.write_bytes(made.graph)
    write_contract(made.contract, MODEL_CONTRACT)
    write(made.metrics, METRICS)
    write(made.evaluation, EVALUATION)
    versions = {name: metadata.version(name) for name in libraries(made.pipeline)}
    write(versions, ENVIRONMENT)
    hashes = {path.as_posix(): provenance.digest(path, "md5") for path in (CONTRACT, TRAIN, TEST)}
    CARD.write_text(card.card(made.contract, block, made.evaluation, versions, hashes), "utf-8")
    for name, frame in made.points.items():
        frame.to_csv(PLOTS / f"{name}.csv", index=False, lineterminator="\n")
    draw = partial(drawing.draw, made.points, made.evaluation, made.contract)
    for name, picture in zip(PICTURES, run(draw, PICTURES), strict=True):
        (PLOTS / f"{name}.png").write_bytes(picture)


def learn(block: Train, contract: Contract, engine: Engine, run: Run = here) -> Made:
    """Search, fit, convert, prove and score: the training rows first, and without them the test."""
    check(block, contract)
    rows = read(TRAIN, contract.target.name)
    contract = name_features(contract, rows.names)
    hashes = duplicates.hash_matrix(rows.features)
    copies = duplicates.count(hashes, rows.classes)
    suspects = leaks.find(rows.features, rows.classes, rows.names, hashes, block.seed)
    for leak in suspects:
        say(f"train: WARNING: {leaks.warning(leak, contract)}")
    del hashes
    with joblib.parallel_config("threading", n_jobs=-1):
        found = search.choose(rows.features, rows.classes, contract, block, engine)
        if found.report:
            say(f"train: the best is {found.report['best']}")
        pipeline = fit(rows, contract, found.params, engine)
        fitting.check_converged(pipeline, rows.features, rows.classes)
        say("train: converting to ONNX")
        graph = to_onnx(pipeline, rows.features.shape[1])
        said = parity.verify_predictions("train", pipeline, graph, rows.features)
        judged = cross_validation.judge(
            cross_validation.Rows(rows.features, rows.classes, contract),
            block,
            found.params,
            engine,
            run,
        )
        unsure = fitting.collect_notes(found.params, pipeline, rows.features, rows.classes)
        notes = [note for note in (found.note, *unsure, judged.note) if note]
        for note in notes:
            say(f"train: {note}")
        learning = learned(rows, contract, found.params, run)
    known = complete(rows, contract, judged.threshold)
    if block.example == "row":
        shown = example.example(contract, rows.features, block.seed)
        known = known.model_copy(update={"example": shown})
    count, classes = len(rows.classes), len(contract.target.classes)
    train_scores = scores(scored(rows, said, known), classes)
    del rows, said  # before the test rows come
    rows = read(TEST, contract.target.name)
    hashes = duplicates.hash_matrix(rows.features)
    test = scored(rows, parity.verify_predictions("test", pipeline, graph, rows.features), known)
    say("train: scoring")
    with patience("train: still scoring"):
        evaluation: dict[str, Any] = {
            "rows": {"train": count, "test": len(rows.classes)},
            "table": read_report(),
            "duplicates": count_copies(copies, duplicates.count(hashes, rows.classes)),
            "leaks": [leak._asdict() for leak in suspects],
            "notes": [*notes, *untold(test, contract)],
            "test": plain(intervals.of_scores(test, classes, block.seed, run)),
            "cross_validation": judged.cross_validation,
            "classes": slices.by_class(test, known, block.seed, run),
            "slices": slices.by_slice(test, known, block.slices, block.seed, run),
            "threshold": judged.threshold,
            "search": found.report,
        }
        tried = found.report["tried"] if found.report else []
        points = curves.points(pipeline, test, known, block.seed, tried)
        evaluation["importance"] = points["importance"].to_dict("records")
    metrics = {"train": train_scores, **heads(evaluation)}
    return Made(pipeline, graph, known, metrics, evaluation, {**points, "learning": learning})


def read_report() -> dict[str, Any]:
    """Read how many rows the table has and which were set aside; empty where nobody wrote it."""
    report = json.loads(REPORT.read_text("utf-8")) if REPORT.exists() else {}
    return {name: report[name] for name in ("rows", "set_aside", "problems", "notes") if report}


def count_copies(*parts: duplicates.Counts) -> dict[str, int]:
    """What evaluation.json says of copies; no two parts share one."""
    return {
        "copies": sum(part.copies for part in parts),
        "contradicting": sum(part.contradicting for part in parts),
    }


def untold(test: Scored, contract: Contract) -> list[str]:
    """Of which classes the test rows say nothing."""
    counts = np.bincount(test.truth, minlength=len(contract.target.classes))
    absent = [repr(contract.target.classes[code]) for code in np.flatnonzero(counts == 0)]
    if not absent:
        return []
    more = f" and {len(absent) - NAMED:,} more" if len(absent) > NAMED else ""
    return [f"no test row is of class {', '.join(absent[:NAMED])}{more}: no score counts it"]


def check(block: Train, contract: Contract) -> None:
    """Refuse what the table has not, before anything takes long."""
    if block.threshold:
        threshold.place(block.threshold, contract)
    slices.check_slices(block.slices, contract)


def learned(rows: Rows, contract: Contract, block: Train, run: Run) -> DataFrame:
    """The learning curve, where cross-validation is wanted; otherwise one without points."""
    if not cross_validation.wanted(block, len(rows.classes)):
        return curves.unlearned()
    say("train: learning from fewer rows")
    with patience("train: still learning from fewer rows"):
        pipeline = fitting.build_pipeline(rows.features, contract, block)
        return curves.learning(pipeline, (rows.features, rows.classes), block, run)


def name_features(contract: Contract, names: tuple[str, ...]) -> Contract:
    """Add the features of data/features to the contract, the user's own after the columns'."""
    own = tuple(Feature(name=name, column=None) for name in names[len(contract.own) :])
    return contract.model_copy(update={"features": (*contract.own, *own)})


def complete(rows: Rows, contract: Contract, chosen: dict[str, Any] | None) -> Contract:
    """The contract with what the model saw, and from which probability a class is predicted."""
    known = seen(contract, rows.features, rows.classes, ENGINEERING.sha256)
    if chosen is None:
        return known
    decision = Threshold(label=chosen["label"], value=chosen["value"])
    target = known.target.model_copy(update={"threshold": decision})
    return known.model_copy(update={"target": target})


def scored(rows: Rows, said: Predictions, contract: Contract) -> Scored:
    """Rows with what the service says of them."""
    labelled = inference.decided(said, contract.target.decision)
    return Scored(rows.features, rows.classes, labelled)


def heads(evaluation: dict[str, Any]) -> dict[str, Any]:
    """What metrics.json says of the test rows and of the cross-validation: no intervals."""
    test = {"rows": evaluation["rows"]["test"], **middles(evaluation["test"])}
    again = evaluation["cross_validation"]
    return {"test": test, **({"cross_validation": middles(again["scores"])} if again else {})}


def middles(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The scores themselves, but for those that the rows do not tell."""
    values = {name: interval["value"] for name, interval in found.items()}
    return {name: value for name, value in values.items() if value is not None}


def fit(rows: Rows, contract: Contract, block: Train, engine: Engine) -> Pipeline:
    """The block's Pipeline, fitted to all rows."""
    count, width = rows.features.shape
    say(f"train: fitting {block.estimator} on {count:,} rows × {width} features")
    with patience("train: still fitting"):
        return fitting.fit(rows.features, rows.classes, contract, block, engine)


def libraries(pipeline: Pipeline) -> tuple[str, ...]:
    """The libraries that decide the bits of this model."""
    return (*LIBRARIES, *(LIGHTGBM if estimators.has_lightgbm(pipeline[-1]) else ()))


def write(content: dict[str, Any], path: Path) -> None:
    """Write JSON that a person can read and git can compare."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(path: Path, target: str) -> Rows:
    """Read a part of data/features, a row group at a time and straight into its place."""
    schema, count = pq.read_schema(path), pq.read_metadata(path).num_rows
    names = tuple(name for name in schema.names if name != target)
    features: Floats = np.empty((count, len(names)), dtype=np.float32)
    classes: Codes = np.empty(count, dtype=np.int64)
    start = 0
    with Progress(f"train: reading {path}") as progress:
        for group in parquet.groups(path):
            end = start + len(group)
            classes[start:end] = group[target].to_numpy()
            for place, name in enumerate(names):
                features[start:end, place] = group[name].to_numpy()
            start = end
            progress.add(len(group))
    return Rows(names, features, classes)
