"""What evaluation.json says of a model, and the points of its pictures, small and literal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cairn.contract import Contract
from cairn.evaluation import curves, metrics, slices
from cairn.evaluation.metrics import CLASS_SCORES, Scored
from cairn.inference import Predictions

SEARCH = {
    "method": "halving",
    "metric": "log_loss",
    "best": "C=1",
    "estimator": "sklearn.svm.SVC",
    "changes": {"C": 1, "scale": "power"},
    "tried": [
        {"candidate": "C=2", "rows": 20, "value": 0.3, "deviation": 0.1},
        {"candidate": "C=1", "rows": 20, "value": 0.4, "deviation": 0.1},
        {"candidate": "C=3", "rows": 20, "value": 0.5, "deviation": 0.1},
        {"candidate": "C=2", "rows": 60, "value": 0.25, "deviation": 0.02},
        {"candidate": "C=1", "rows": 60, "value": 0.2, "deviation": 0.02},
    ],
}
LEARNING = pd.DataFrame(
    {
        "rows": [20, 60, 20, 60],
        "part": ["training"] * 2 + ["validation"] * 2,
        "log_loss": [0.1, 0.15, 0.5, 0.2],
        "deviation": [0.01, 0.02, 0.1, 0.05],
    }
)


def rows(contract: Contract, number: int = 60) -> Scored:
    """Rows of all classes in turn, scored with a doubt."""
    random = np.random.default_rng(5)
    classes = len(contract.target.classes)
    truth = np.arange(number) % classes
    shares = random.dirichlet(np.ones(classes), number) / 2 + np.eye(classes)[truth] / 2
    shares[::6] = random.dirichlet(np.ones(classes), len(shares[::6]))
    features = random.normal(size=(number, len(contract.own))).astype(np.float32)
    return Scored(features, truth, Predictions(shares.argmax(axis=1), shares.astype(np.float32)))


def about(names: Iterable[str], values: Iterable[float]) -> dict[str, Any]:
    """Scores, with intervals that nothing was drawn for."""
    return {
        name: {"value": float(value), "low": max(0.0, value - 0.02), "high": value + 0.01}
        for name, value in zip(names, values, strict=True)
    }


def evaluation(contract: Contract, **more: Any) -> dict[str, Any]:
    """What evaluation.json would say of these rows."""
    test = rows(contract)
    said = metrics.scores(test, len(contract.target.classes))
    scores = about(metrics.SCORES, [said[name] for name in metrics.SCORES])
    each_class = slices.each_class(test, len(contract.target.classes))
    classes = [
        {"class": key, "rows": int((test.truth == place).sum()), **about(CLASS_SCORES, values)}
        for place, (key, values) in enumerate(zip(contract.target.keys, each_class, strict=True))
    ]
    return {
        "rows": {"train": 240, "test": len(test.truth)},
        "duplicates": {"copies": 0, "contradicting": 0},
        "leaks": [],
        "notes": [],
        "test": scores,
        "cross_validation": {
            "folds": 5,
            "repeats": 3,
            "nested": False,
            "scores": scores,
            "classes": classes,
        },
        "classes": classes,
        "slices": [],
        "threshold": None,
        "search": None,
        **more,
    }


def points(contract: Contract, *, empty: bool = False) -> dict[str, pd.DataFrame]:
    """The points of all pictures of these rows; empty: as few as there may be."""
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
    tried: Any = SEARCH["tried"]
    return {
        **frames,
        "learning": curves.unlearned() if empty else LEARNING,
        "dependence": pd.DataFrame([] if empty else dependence, columns=list(curves.DEPENDENCE)),
        "search": pd.DataFrame([] if empty else tried, columns=list(curves.SEARCH)),
    }


def doubtful(rows: int) -> Scored:
    """Many rows of two classes, scored with a doubt."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, rows)
    second = (truth + random.normal(size=rows)).clip(-2, 3) / 5 + 0.4
    said = np.column_stack([1 - second, second]).astype(np.float32)
    return Scored(
        np.zeros((rows, 1), dtype=np.float32),
        truth,
        Predictions((second > 0.5).astype(np.int64), said),
    )


def scored(truth: list[int], probabilities: list[list[float]]) -> Scored:
    """Rows of these classes, with these probabilities."""
    said = np.array(probabilities, dtype=np.float32)
    features: NDArray[np.float32] = np.zeros((len(truth), 1), dtype=np.float32)
    return Scored(features, np.array(truth), Predictions(said.argmax(axis=1), said))


def approx(value: float) -> Any:
    """A score that is the same to six digits."""
    return pytest.approx(value, abs=1e-6)
