"""train: fit one Pipeline, score it, export it to ONNX, prove that both agree, register it."""

from __future__ import annotations

import inspect
import json
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from stages import console, contract, evaluate, export, identity, inference, params, register
from stages.console import CairnError, patience, say
from stages.contract import Column, Contract, Histogram, Target
from stages.evaluate import Scored
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

BUCKETS = 10
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


def main() -> None:
    """Turn data/features into data/model, and register it."""
    block = params.load().train
    terms = contract.read(TERMS)
    train, test = pd.read_parquet(TRAIN), pd.read_parquet(TEST)
    x, y = parts(train, terms)
    x_test, y_test = parts(test, terms)
    say(f"train: fitting {block.estimator} on {len(y):,} rows × {x.shape[1]} features")
    # More threads than one may add in another order, and the last bits would depend on that.
    with threadpool_limits(1):
        with patience("train: still fitting"):
            pipeline = fit(x, y, terms, block)
        say("train: converting to ONNX")
        graph = export.to_onnx(pipeline, x.shape[1])
        scored = {
            "train": Scored(x, y, predictions("train", pipeline, graph, x)),
            "test": Scored(x_test, y_test, predictions("test", pipeline, graph, x_test)),
        }
        say("train: scoring")
        metrics = {
            part: evaluate.scores(rows, len(terms.target.classes)) for part, rows in scored.items()
        }
        with patience("train: still scoring"):
            points = evaluate.plots(pipeline, scored["test"], terms, block.seed)
    PLOTS.mkdir(parents=True, exist_ok=True)
    joblib.dump(pipeline, PIPELINE)
    ONNX.write_bytes(graph)
    contract.write(seen(terms, x, y), CONTRACT)
    write(metrics, METRICS)
    write({name: metadata.version(name) for name in LIBRARIES}, ENVIRONMENT)
    for name, frame in points.items():
        frame.to_csv(PLOTS / f"{name}.csv", index=False, lineterminator="\n")
    say(f"train: accuracy {metrics['test']['accuracy']:.3f} on {len(y_test):,} test rows")
    say(f"train: registered as {register.register(identity.fresh(block.model_dump()))}")


def write(content: dict[str, Any], path: Path) -> None:
    """Write JSON that a person can read and git can compare."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def parts(rows: pd.DataFrame, terms: Contract) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The n × k features and the n class codes of a split."""
    features = rows.drop(columns=terms.target.name).to_numpy(dtype=np.float32)
    return np.ascontiguousarray(features), rows[terms.target.name].to_numpy(dtype=np.int64)


def fit(
    features: NDArray[np.float32], classes: NDArray[np.int64], terms: Contract, block: Train
) -> Pipeline:
    """Fit everything that is learned, in one Pipeline.

    Raises
    ------
    CairnError
        Where the estimator does not take the rows as they are.
    """
    pipeline = Pipeline([*prepare(terms, scale=block.scale), ("model", model(block, terms))])
    try:
        return pipeline.fit(features, classes)
    except (AttributeError, TypeError, ValueError) as error:
        raise CairnError(f"train.estimator: {block.estimator} cannot be fitted: {error}") from None


def prepare(terms: Contract, *, scale: bool) -> list[tuple[str, BaseEstimator]]:
    """The steps that the features need before the estimator: one, or none."""
    numbers = [i for i, column in enumerate(terms.columns) if column.kind != "category"]
    categories = [i for i, column in enumerate(terms.columns) if column.kind == "category"]
    steps: list[BaseEstimator] = []
    if any(terms.columns[i].missing for i in numbers):
        steps.append(SimpleImputer(strategy="median", keep_empty_features=True))
    if scale:
        steps.append(StandardScaler())
    if not (steps or categories):
        return []
    # A category that is missing is one more category, coded beside the known ones.
    hot = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(*steps) if steps else "passthrough", numbers),
            ("categories", hot, categories),
        ]
    )
    return [("prepare", columns)]


def model(block: Train, terms: Contract) -> BaseEstimator:
    """The estimator that params.yaml names, seeded, and calibrated if it has no probabilities.

    Raises
    ------
    CairnError
        Where the name is no scikit-learn classifier, or its arguments are not what it takes.
    """
    kind = _classifier(block.estimator)
    allowed = inspect.signature(kind).parameters
    unknown = [name for name in block.arguments if name not in allowed]
    if unknown:
        raise CairnError(
            f"train.arguments: {kind.__name__} takes no {', '.join(unknown)}; "
            f"it takes {', '.join(allowed)}"
        )
    needed = [name for name, parameter in allowed.items() if parameter.default is parameter.empty]
    if set(needed) - set(block.arguments):
        raise CairnError(
            f"train.estimator: {kind.__name__} needs {', '.join(needed)} in train.arguments; "
            "one that is made of other estimators cannot be given there, take another"
        )
    if block.arguments.get("random_state", block.seed) is None:
        raise CairnError(
            "train.arguments.random_state: null gives another model each time; leave it out"
        )
    seed = {"random_state": block.seed} if "random_state" in allowed else {}
    try:
        estimator = kind(**{**seed, **block.arguments, **_class_weight(block, terms)})
    except TypeError as error:
        raise CairnError(f"train.estimator: {block.estimator} cannot be made: {error}") from None
    return estimator if hasattr(estimator, "predict_proba") else CalibratedClassifierCV(estimator)


def _classifier(name: str) -> type[BaseEstimator]:
    """The class under a dotted name of scikit-learn."""
    module, _, attribute = name.rpartition(".")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError):
        kind = None
    if isinstance(kind, type) and issubclass(kind, ClassifierMixin):
        return kind
    raise CairnError(
        f"train.estimator: got {name}; allowed: the dotted name of a scikit-learn classifier, "
        "such as sklearn.linear_model.LogisticRegression"
    )


def _class_weight(block: Train, terms: Contract) -> dict[str, dict[int, float]]:
    """Weights given by label, as the estimator takes them: by the code of the class."""
    weights = block.arguments.get("class_weight")
    if not isinstance(weights, dict):
        return {}
    codes = {label: code for code, label in enumerate(terms.target.classes)}
    unknown = [label for label in weights if label not in codes]
    if unknown:
        raise CairnError(
            f"train.arguments.class_weight: no class {unknown[0]!r}; the classes are "
            f"{', '.join(map(repr, codes))}"
        )
    return {"class_weight": {codes[label]: weight for label, weight in weights.items()}}


def predictions(
    part: str, pipeline: Pipeline, graph: bytes, features: NDArray[np.float32]
) -> Predictions:
    """What ONNX, and so the service, says of the rows, proved against scikit-learn."""
    try:
        onnx = inference.predict(inference.session(graph), features)
    except Exception as error:  # ONNX Runtime raises kinds of its own, of no common parent
        reason = str(error).strip().splitlines()[0]
        raise CairnError(
            f"train.estimator: {pipeline[-1]} cannot be run by ONNX Runtime: {reason}"
        ) from error
    gap = export.check_parity(part, export.sklearn_predictions(pipeline, features), onnx)
    say(f"train: ONNX agrees on {len(features):,} {part} rows, to {gap:.0e}")
    return onnx


def seen(terms: Contract, features: NDArray[np.float32], classes: NDArray[np.int64]) -> Contract:
    """The contract with the histograms of what the model was trained on."""
    columns = tuple(
        column.model_copy(update={"histogram": histogram(features[:, i], column)})
        for i, column in enumerate(terms.columns)
    )
    counts = np.bincount(classes, minlength=len(terms.target.classes)).tolist()
    target = Target(name=terms.target.name, classes=terms.target.classes, counts=tuple(counts))
    return Contract(columns=columns, target=target)


def histogram(values: NDArray[np.float32], column: Column) -> Histogram:
    """Rows per bucket: deciles of a number, each value of the other kinds."""
    present = values[~np.isnan(values)]
    edges: NDArray[np.float32] = np.empty(0, dtype=np.float32)
    if column.kind in {"number", "integer"}:
        shares = np.linspace(0, 1, BUCKETS + 1)[1:-1]
        if len(present):
            edges = np.unique(np.quantile(present, shares, method="inverted_cdf"))
        counts = np.bincount(np.searchsorted(edges, present), minlength=len(edges) + 1)
    else:
        counts = np.bincount(present.astype(np.int64), minlength=len(column.categories) or 2)
    return Histogram(
        edges=tuple(float(str(edge)) for edge in edges),  # as short as float32 is exact
        counts=tuple(counts.tolist()),
        missing=len(values) - len(present),
    )


if __name__ == "__main__":
    console.run(main)
