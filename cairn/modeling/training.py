"""Train: find leaks, search, fit, export to ONNX, prove parity, and choose the threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import joblib
from pydantic import TypeAdapter
from sklearn.pipeline import Pipeline

from cairn import contract as contracts
from cairn.compute.engine import Engine
from cairn.compute.processes import Run, here
from cairn.console import patience, say
from cairn.contract import Contract, Feature
from cairn.errors import Unfit
from cairn.evaluation import leaks, threshold
from cairn.export import parity
from cairn.export.onnx import to_onnx
from cairn.modeling import duplicates, estimators, example, fitting, search
from cairn.modeling.feature_rows import FeatureRows
from cairn.modeling.histograms import describe_rows
from cairn.modeling.out_of_fold import Splits, TrainingRows, predict_out_of_fold
from cairn.modeling.records import Copies, RowCounts, Search, Threshold, Training
from cairn.params.train import FixedValue, Train

# Of the models that choose the threshold. Many rows need no repeats.
FOLDS, REPEATS, MANY_ROWS = 5, 3, 20_000
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


class Data(NamedTuple):
    """What a model is trained on.

    Attributes
    ----------
    read_rows
        Reads a part, `train` or `test`; one at a time is in memory.
    contract
        Of the table.
    engineering
        SHA-256 of the code of the user's own features.
    """

    read_rows: Callable[[str], FeatureRows]
    contract: Contract
    engineering: str | None


class Model(NamedTuple):
    """What data/model is written from."""

    pipeline: Pipeline
    graph: bytes
    contract: Contract
    training: Training


class Fit(NamedTuple):
    """A Pipeline that was fitted and exported, and what is known of that."""

    pipeline: Pipeline
    graph: bytes
    params: Train
    search: Search | None
    threshold: Threshold | None
    notes: tuple[str, ...]


def check(params: Train, contract: Contract) -> None:
    """Refuse what the table does not have, before anything takes long."""
    if params.threshold:
        threshold.class_code(params.threshold, contract)


def train(data: Data, params: Train, engine: Engine, run: Run = here) -> Model:
    """Train a model on the training rows, then prove it on those of the test."""
    check(params, data.contract)
    rows = data.read_rows("train")
    contract = name_features(data.contract, rows.names)
    hashes = duplicates.hash_matrix(rows.features)
    copies = duplicates.count(hashes, rows.classes)
    suspects = leaks.find(rows.features, rows.classes, rows.names, hashes, params.seed)
    for leak in suspects:
        say(f"train: WARNING: {leaks.warning(leak, contract)}")
    del hashes
    fit = fit_model(TrainingRows(rows.features, rows.classes, contract), params, engine, run)
    shipped = complete(rows, contract, params, fit.threshold, data.engineering)
    count = len(rows.classes)
    del rows  # before the test rows come
    rows = data.read_rows("test")
    parity.verify_predictions("test", fit.pipeline, fit.graph, rows.features)
    more = duplicates.count(duplicates.hash_matrix(rows.features), rows.classes)
    training = Training(
        rows=RowCounts(count, len(rows.classes)),
        duplicates=Copies(copies.copies + more.copies, copies.contradicting + more.contradicting),
        leaks=tuple(suspects),
        notes=fit.notes,
        params=fit.params,
        threshold=fit.threshold,
        search=fit.search,
    )
    return Model(fit.pipeline, fit.graph, shipped, training)


def fit_model(rows: TrainingRows, params: Train, engine: Engine, run: Run = here) -> Fit:
    """Search, fit, convert to ONNX, prove it on the training rows, and choose the threshold."""
    features, classes, contract = rows
    with joblib.parallel_config("threading", n_jobs=-1):
        best = search.choose(features, classes, contract, params, engine)
        if best.report:
            say(f"train: the best is {best.report['best']}")
        pipeline = fit_pipeline(rows, best.params, engine)
        fitting.check_converged(pipeline, features, classes)
        say("train: converting to ONNX")
        graph = to_onnx(pipeline, features.shape[1])
        parity.verify_predictions("train", pipeline, graph, features)
        limits = fitting.collect_notes(best.params, pipeline, features, classes)
        notes = tuple(note for note in (best.note, *limits) if note)
        for note in notes:
            say(f"train: {note}")
        chosen = choose_threshold(rows, best.params, engine, run)
    report = TypeAdapter(Search).validate_python(best.report) if best.report else None
    return Fit(pipeline, graph, best.params, report, chosen, notes)


def fit_pipeline(rows: TrainingRows, params: Train, engine: Engine) -> Pipeline:
    """Fit the Pipeline of these params to all rows."""
    count, width = rows.features.shape
    say(f"train: fitting {params.estimator} on {count:,} rows × {width} features")
    with patience("train: still fitting"):
        return fitting.fit(*rows, params, engine)


def choose_threshold(
    rows: TrainingRows, params: Train, engine: Engine, run: Run = here
) -> Threshold | None:
    """Choose the threshold by the rule of params.yaml, on rows that the models had not seen.

    Raises
    ------
    Unfit
        Where the rule asks for such models, and the rows are too few for them.
    """
    rule = params.threshold
    if rule is None:
        return None
    if isinstance(rule, FixedValue):
        return threshold.record(rule, rule.value, None)
    repeats = REPEATS if len(rows.classes) <= MANY_ROWS else 1
    try:
        predictions = predict_out_of_fold(
            rows, params, engine, Splits("train", FOLDS, repeats), run
        )
    except Unfit as error:
        raise Unfit(
            "train.threshold: this rule trains models on fewer rows, which fails here: "
            f"{error}; or set the threshold yourself, by rule: value"
        ) from None
    code = threshold.class_code(rule, rows.contract)
    hits, probabilities = predictions.of_class(rows.classes, code)
    value = threshold.choose(rule, hits, probabilities)
    return threshold.record(rule, value, threshold.measure(value, hits, probabilities))


def name_features(contract: Contract, names: tuple[str, ...]) -> Contract:
    """Add the features of data/features to the contract, the user's own after the columns'."""
    own = tuple(Feature(name=name, column=None) for name in names[len(contract.own) :])
    return contract.model_copy(update={"features": (*contract.own, *own)})


def complete(
    rows: FeatureRows,
    contract: Contract,
    params: Train,
    chosen: Threshold | None,
    engineering: str | None,
) -> Contract:
    """Add to the contract the histograms of the training rows, the threshold and the example."""
    full = describe_rows(contract, rows.features, rows.classes, engineering)
    if chosen:
        decision = contracts.Threshold(label=chosen.label, value=chosen.value)
        target = full.target.model_copy(update={"threshold": decision})
        full = full.model_copy(update={"target": target})
    if params.example == "row":
        shown = example.find_example(contract, rows.features, params.seed)
        full = full.model_copy(update={"example": shown})
    return full


def libraries(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the libraries that decide the bits of this model."""
    return (*LIBRARIES, *(LIGHTGBM if estimators.has_lightgbm(pipeline[-1]) else ()))
