"""What evaluation.json says of a model, and the points of its pictures, small and literal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cairn.contract import Contract
from cairn.evaluation import curves, metrics, slices
from cairn.evaluation.metrics import CLASS_SCORES, ScoredRows
from cairn.evaluation.records import ClassScores, CrossValidation, Evaluation, Interval
from cairn.inference import Predictions
from cairn.modeling.records import Copies, RowCounts, Search, Trial

SEARCH = Search(
    method="halving",
    metric="log_loss",
    best="C=1",
    estimator="sklearn.svm.SVC",
    changes={"C": 1, "scale": "power"},
    tried=(
        Trial("C=2", 20, 0.3, 0.1),
        Trial("C=1", 20, 0.4, 0.1),
        Trial("C=3", 20, 0.5, 0.1),
        Trial("C=2", 60, 0.25, 0.02),
        Trial("C=1", 60, 0.2, 0.02),
    ),
)
LEARNING = pd.DataFrame(
    {
        "rows": [20, 60, 20, 60],
        "part": ["training"] * 2 + ["validation"] * 2,
        "log_loss": [0.1, 0.15, 0.5, 0.2],
        "deviation": [0.01, 0.02, 0.1, 0.05],
    }
)


def rows(contract: Contract, number: int = 60) -> ScoredRows:
    """Rows of all classes in turn, scored with a doubt."""
    random = np.random.default_rng(5)
    classes = len(contract.target.classes)
    truth = np.arange(number) % classes
    probabilities = random.dirichlet(np.ones(classes), number) / 2 + np.eye(classes)[truth] / 2
    probabilities[::6] = random.dirichlet(np.ones(classes), len(probabilities[::6]))
    features = random.normal(size=(number, len(contract.own))).astype(np.float32)
    return ScoredRows(
        features, truth, Predictions(probabilities.argmax(axis=1), probabilities.astype(np.float32))
    )


def about(names: Iterable[str], values: Iterable[float]) -> dict[str, Interval]:
    """Scores, with intervals that nothing was drawn for."""
    return {
        name: Interval(float(value), max(0.0, value - 0.02), value + 0.01)
        for name, value in zip(names, values, strict=True)
    }


def evaluation(contract: Contract, **more: Any) -> Evaluation:
    """Return what would be known of these rows."""
    test = rows(contract)
    values = metrics.scores(test, len(contract.target.classes))
    scores = about(metrics.SCORES, [values[name] for name in metrics.SCORES])
    each_class = slices.measure_classes(test, len(contract.target.classes))
    classes = tuple(
        ClassScores(key, int((test.truth == code).sum()), about(CLASS_SCORES, of))
        for code, (key, of) in enumerate(zip(contract.target.keys, each_class, strict=True))
    )
    known = Evaluation(
        rows=RowCounts(240, len(test.truth)),
        table=None,
        duplicates=Copies(0, 0),
        leaks=(),
        notes=(),
        test=scores,
        cross_validation=CrossValidation(5, 3, nested=False, scores=scores, classes=classes),
        classes=classes,
    )
    return replace(known, **more)


def points(contract: Contract, *, empty: bool = False) -> dict[str, pd.DataFrame]:
    """Return the points of all plots of these rows; empty: as few as there may be."""
    test, names = rows(contract), np.asarray(contract.target.keys)
    frames = {
        "confusion": curves.confusion(test, names, 0),
        "roc": curves._by_class(curves._roc, test, names),
        "precision_recall": curves._by_class(curves._precision_recall, test, names),
        "calibration": curves._by_class(curves._calibration, test, names),
        "importance": pd.DataFrame(
            {
                "column": [feature.name for feature in contract.own],
                "importance": np.linspace(0.3, -0.01, len(contract.own)),
            }
        ),
    }
    dependence: list[dict[str, Any]] = [
        {"column": feature.name, "value": value, "label": None, "class": key, "probability": value}
        for feature in contract.own[:6]
        for key in contract.target.keys[len(names) == 2 :]
        for value in (0.1, 0.2, 0.4)
    ]
    tried = [asdict(trial) for trial in SEARCH.tried]
    return {
        **frames,
        "learning": curves.empty_learning() if empty else LEARNING,
        "dependence": pd.DataFrame([] if empty else dependence, columns=list(curves.DEPENDENCE)),
        "search": pd.DataFrame([] if empty else tried, columns=list(curves.SEARCH)),
    }


def doubtful(rows: int) -> ScoredRows:
    """Many rows of two classes, scored with a doubt."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, rows)
    second = (truth + random.normal(size=rows)).clip(-2, 3) / 5 + 0.4
    probabilities = np.column_stack([1 - second, second]).astype(np.float32)
    return ScoredRows(
        np.zeros((rows, 1), dtype=np.float32),
        truth,
        Predictions((second > 0.5).astype(np.int64), probabilities),
    )


def scored(truth: list[int], probabilities: list[list[float]]) -> ScoredRows:
    """Rows of these classes, with these probabilities."""
    matrix = np.array(probabilities, dtype=np.float32)
    features: NDArray[np.float32] = np.zeros((len(truth), 1), dtype=np.float32)
    return ScoredRows(features, np.array(truth), Predictions(matrix.argmax(axis=1), matrix))


def approx(value: float) -> Any:
    """Compare a score to six digits."""
    return pytest.approx(value, abs=1e-6)
