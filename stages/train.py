"""train: fit one Pipeline, score it, export it to ONNX, prove that both agree, register it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from stages import (
    compute,
    console,
    contract,
    contract_file,
    estimator,
    evaluate,
    export,
    identity,
    inference,
    params,
    parquet,
    register,
)
from stages.compute import Engine
from stages.console import CairnError, Progress, patience, say
from stages.contract import Contract
from stages.estimator import Maker
from stages.evaluate import Scored
from stages.histogram import seen
from stages.inference import Predictions
from stages.params import Train
from stages.paths import (
    CONTRACT,
    ENVIRONMENT,
    METRICS,
    ONNX,
    PIPELINE,
    PLOTS,
    TERMS,
    TEST,
    TRAIN,
)
from stages.prepare import prepare

BLOCK = 2**13  # rows that are predicted at once: what a core's cache holds in float64
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
# What scikit-learn raises where an argument or the rows are not what an estimator takes.
WRONG = (AttributeError, TypeError, ValueError)

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


class Found(NamedTuple):
    """A search's best pipeline, fitted to all rows, and what it reports."""

    pipeline: Pipeline
    report: dict[str, Any]


def main() -> None:
    """Turn data/features into data/model, and register it."""
    knobs, terms = params.load(), contract_file.read(TERMS)
    block = knobs.train
    # More threads than one may add in another order, and the last bits would depend on that.
    with threadpool_limits(1), compute.engine(knobs.compute) as engine:
        made = learn(block, terms, engine)
    PLOTS.mkdir(parents=True, exist_ok=True)
    joblib.dump(made.pipeline, PIPELINE)
    ONNX.write_bytes(made.graph)
    contract.write(made.terms, CONTRACT)
    write(made.metrics, METRICS)
    write({name: metadata.version(name) for name in libraries(made.pipeline)}, ENVIRONMENT)
    for name, frame in made.plots.items():
        frame.to_csv(PLOTS / f"{name}.csv", index=False, lineterminator="\n")
    test = made.metrics["test"]
    say(
        f"train: accuracy {test['accuracy']:.3f}, balanced {test['balanced_accuracy']:.3f}, "
        f"ROC AUC {test['roc_auc']:.3f} on {test['rows']:,} test rows"
    )
    say(f"train: registered as {register.register(identity.fresh(block.model_dump()))}")


class Made(NamedTuple):
    """What data/model is written from."""

    pipeline: Pipeline
    graph: bytes
    terms: Contract
    metrics: dict[str, Any]
    plots: dict[str, Any]


def learn(block: Train, terms: Contract, engine: Engine) -> Made:
    """Fit, convert, prove and score: the training rows first, and without them the test rows."""
    rows = read(TRAIN, terms.target.name)
    count, width = rows.features.shape
    say(f"train: fitting {block.estimator} on {count:,} rows × {width} features")
    with patience("train: still fitting"), joblib.parallel_config("threading", n_jobs=-1):
        pipeline, report = best(rows.features, rows.classes, terms, block, engine)
    say("train: converting to ONNX")
    graph = export.to_onnx(pipeline, width)
    scores = partial(evaluate.scores, classes=len(terms.target.classes))
    said = scored("train", pipeline, graph, rows)
    say("train: scoring")
    with patience("train: still scoring"):
        train = scores(said)
        known = seen(terms, rows.features, rows.classes, rows.names[len(terms.own) :])
    del rows, said  # before the test rows come
    test = scored("test", pipeline, graph, read(TEST, terms.target.name))
    with patience("train: still scoring"):
        metrics = {"train": train, "test": scores(test), **report}
        plots = evaluate.plots(pipeline, test, known, block.seed)
    return Made(pipeline, graph, known, metrics, plots)


def libraries(pipeline: Pipeline) -> tuple[str, ...]:
    """The libraries that decide the bits of this model."""
    return (*LIBRARIES, *(LIGHTGBM if estimator.uses_lightgbm(pipeline[-1]) else ()))


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


def best(
    features: Floats, classes: Codes, terms: Contract, block: Train, engine: Engine
) -> tuple[Pipeline, dict[str, Any]]:
    """The fitted Pipeline, and what metrics.json says of the search if there is one."""
    if not block.search:
        if estimator.is_lightgbm(block.estimator) and not isinstance(engine, compute.Local):
            return spread(features, terms, block, engine), {}
        return fit(features, classes, terms, block), {}
    found = search(features, classes, terms, block, engine)
    say(f"train: best of {len(found.report['log_loss'])}: {named(found.report['arguments'])}")
    return found.pipeline, {"search": found.report}


def fit(features: Floats, classes: Codes, terms: Contract, block: Train) -> Pipeline:
    """Fit everything that is learned, in one Pipeline.

    Raises
    ------
    CairnError
        Where the estimator does not take the rows as they are.
    """
    pipeline = unfitted(features, terms, block)
    with _fitting(pipeline, block):
        return finished(pipeline.fit(features, classes))


def spread(features: Floats, terms: Contract, block: Train, engine: Any) -> Pipeline:
    """Fit LightGBM on the rows of data/features by all workers of a cluster."""
    # An optional extra.
    from stages import boosting  # noqa: PLC0415

    *steps, (name, model) = unfitted(features, terms, block).steps
    before = Pipeline(steps).fit(features).transform if steps else np.asarray
    with _fitting(Pipeline([(name, model)]), block):
        fitted = boosting.fit(engine, model.get_params(), TRAIN, before)
    return finished(Pipeline([*steps, (name, fitted)]))


def unfitted(features: Floats, terms: Contract, block: Train) -> Pipeline:
    """The Pipeline that n × k training rows ask for."""
    model = estimator.make(block, terms)
    return Pipeline([*prepare(features, terms, block, model), ("model", model)])


def finished(pipeline: Pipeline) -> Pipeline:
    """A fitted Pipeline whose estimator ONNX can say exactly."""
    return Pipeline([*pipeline.steps[:-1], ("model", estimator.exact(pipeline[-1]))])


@contextmanager
def _fitting(pipeline: Pipeline, block: Train) -> Iterator[None]:
    """As many threads as leave the bits as they are; an error is the user's to mend."""
    model = pipeline[-1]
    threads = (os.cpu_count() or 1) if estimator.any_threads(model) else 1
    try:
        with (
            threadpool_limits(threads, user_api="openmp"),
            joblib.parallel_config(n_jobs=1)
            if estimator.asks_an_ensemble(model)
            else nullcontext(),
            estimator.quiet("the fit"),
        ):
            yield
    except Exception as error:
        if not isinstance(error, WRONG) and type(error).__name__ != "LightGBMError":
            raise
        reason = " ".join(str(error).split())
        raise CairnError(f"train.estimator: {block.estimator} cannot be fitted: {reason}") from None


def search(
    features: Floats, classes: Codes, terms: Contract, block: Train, engine: Engine
) -> Found:
    """Choose the arguments in `block.search` by cross-validation, the folds wherever parts run.

    Returns
    -------
    Found
        The best, fitted to all rows; its arguments, and the log loss of each candidate.

    Raises
    ------
    CairnError
        Where the estimator does not take an argument, or one of its values.
    """
    rarest = int(np.bincount(classes).argmin())
    if (rows := int((classes == rarest).sum())) < estimator.FOLDS:
        raise CairnError(
            f"train.search: class {terms.target.classes[rarest]!r} has {rows} rows to train on, "
            f"fewer than the {estimator.FOLDS} folds; add rows, or set train.search: {{}}"
        )
    pipeline = unfitted(features, terms, block)
    grid = GridSearchCV(
        pipeline,
        candidates(pipeline, terms, block),
        scoring=make_scorer(
            log_loss,
            greater_is_better=False,
            response_method="predict_proba",
            labels=np.arange(len(terms.target.classes)),
        ),
        cv=estimator.folds(block.seed),
        error_score="raise",
    )
    with _fitting(pipeline, block), engine.joblib(features, classes):
        grid.fit(features, classes)
    tried = list(ParameterGrid(block.search))
    losses = (-grid.cv_results_["mean_test_score"]).round(evaluate.DIGITS).tolist()
    report = {
        "arguments": tried[grid.best_index_],
        "log_loss": dict(zip(map(named, tried), losses, strict=True)),
    }
    return Found(finished(grid.best_estimator_), report)


def named(arguments: dict[str, Any]) -> str:
    """Arguments on one line.

    >>> named({"C": 0.1, "penalty": None})
    'C=0.1, penalty=None'
    """
    return ", ".join(f"{name}={value}" for name, value in arguments.items())


def candidates(pipeline: Pipeline, terms: Contract, block: Train) -> dict[str, list[Any]]:
    """The values to try, by the argument's name in the Pipeline."""
    named = block.estimator.rpartition(".")[2]
    # One without probabilities stands inside the wrapper that calibrates it.
    prefix = "model__" if type(pipeline[-1]).__name__ == named else "model__estimator__"
    allowed = pipeline.get_params()
    for name, values in block.search.items():
        if prefix + name not in allowed:
            own = sorted(each.removeprefix(prefix) for each in allowed if each.startswith(prefix))
            raise CairnError(f"train.search: {named} takes no {name}; it takes {', '.join(own)}")
        if not values:
            raise CairnError(f"train.search.{name}: no value to try; give a list of some")
        if name.endswith("random_state") and None in values:
            raise CairnError(
                f"train.search.{name}: null gives another model each time; leave it out"
            )
    maker = Maker(block.seed, terms)
    return {
        prefix + name: [
            maker.weights(value, f"train.search.{name}")
            if name == "class_weight"
            else maker.value(value, f"train.search.{name}")
            for value in values
        ]
        for name, values in block.search.items()
    }


def scored(part: str, pipeline: Pipeline, graph: bytes, rows: Rows) -> Scored:
    """Rows with what ONNX, and so the service, says of them."""
    said = predictions(part, pipeline, graph, rows.features)
    return Scored(rows.features, rows.classes, said)


def predictions(part: str, pipeline: Pipeline, graph: bytes, features: Floats) -> Predictions:
    """What ONNX, and so the service, says of the rows, proved against scikit-learn.

    Blocks of rows are predicted side by side, each on one thread: the bits depend on no count of
    cores, and of all blocks together only what ONNX says is kept.
    """
    session = _session(pipeline, graph)

    def both(start: int) -> tuple[Predictions, export.Parity]:
        rows = features[start : start + BLOCK]
        onnx = _run(pipeline, session, rows)
        sklearn = export.sklearn_predictions(pipeline, rows)
        return onnx, export.compare(part, sklearn, onnx, start)

    said: list[Predictions] = []
    blocks: list[export.Parity] = []
    with (
        estimator.quiet("the check"),
        # OpenMP keeps a limit for each thread.
        ThreadPoolExecutor(os.cpu_count(), "check", threadpool_limits, (1, "openmp")) as pool,
        Progress(f"train: ONNX against scikit-learn on {part}") as progress,
    ):
        for onnx, parity in compute.Local(pool).map(both, range(0, len(features), BLOCK)):
            said.append(onnx)
            blocks.append(parity)
            progress.add(parity.rows)
    gap = export.judge(part, blocks)
    say(f"train: ONNX agrees on {len(features):,} {part} rows, to {gap:.0e}")
    return Predictions(*map(np.concatenate, zip(*said, strict=True)))


def _session(pipeline: Pipeline, graph: bytes) -> Any:
    """An ONNX Runtime session, of a graph that it may not take."""
    try:
        return inference.session(graph)
    except Exception as error:  # ONNX Runtime raises kinds of its own, of no common parent
        raise _unrunnable(pipeline, error) from error


def _run(pipeline: Pipeline, session: Any, rows: Floats) -> Predictions:
    try:
        return inference.predict(session, rows)
    except Exception as error:  # as above
        raise _unrunnable(pipeline, error) from error


def _unrunnable(pipeline: Pipeline, error: Exception) -> CairnError:
    reason = str(error).strip().splitlines()[0]
    return CairnError(
        f"train.estimator: {pipeline[-1]} cannot be run by ONNX Runtime: {reason}; "
        f"those that can: {', '.join(estimator.PROVED)}"
    )


if __name__ == "__main__":
    console.run(main)
