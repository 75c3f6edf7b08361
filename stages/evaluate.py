"""How good the model is: numbers for `dvc metrics`, points for `dvc plots`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline

from stages.contract import Contract
from stages.inference import Predictions

# A last digit may depend on the processor's vector width, and git and dvc.lock must not.
DIGITS = 6
BINARY = 2
CALIBRATION_BINS = 10
IMPORTANCE_ROWS = 2000
IMPORTANCE_REPEATS = 5
IMPORTANCE_SHUFFLES = 500  # of all columns together, where a table is wide
Labels = NDArray[np.int64]
Curve = Callable[[NDArray[np.bool_], NDArray[Any]], pd.DataFrame]


class Scored(NamedTuple):
    """Rows with what is true of them and what was said: n × k, n, and n of both."""

    features: NDArray[np.float32]
    truth: Labels
    said: Predictions


def scores(rows: Scored, classes: int) -> dict[str, float]:
    """The scores of what was said; several classes are averaged, each against the rest."""
    truth, said = rows.truth, rows.said
    every = np.arange(classes)
    hot = (truth[:, None] == every).astype(float)
    columns = slice(1, 2) if classes == BINARY else slice(None)
    several = {"average": "macro", "multi_class": "ovr"}
    values = {
        "accuracy": metrics.accuracy_score(truth, said.labels),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, said.labels),
        "f1_macro": metrics.f1_score(truth, said.labels, average="macro", labels=every),
        "roc_auc": metrics.roc_auc_score(
            hot[:, columns], said.probabilities[:, columns], **several
        ),
        "average_precision": metrics.average_precision_score(
            hot[:, columns], said.probabilities[:, columns], average="macro"
        ),
        "log_loss": metrics.log_loss(truth, said.probabilities, labels=every),
        "brier": metrics.brier_score_loss(truth, said.probabilities, labels=every),
    }
    rounded = {name: round(float(value), DIGITS) for name, value in values.items()}
    return {"rows": len(truth), **rounded}


def plots(pipeline: Pipeline, test: Scored, terms: Contract, seed: int) -> dict[str, pd.DataFrame]:
    """The points of each plot, by its name, from what was said of the test rows."""
    names = np.asarray(terms.target.keys)
    confusion = pd.DataFrame({"actual": names[test.truth], "predicted": names[test.said.labels]})
    return {
        "confusion": confusion,
        "roc": _by_class(_roc, test, names),
        "precision_recall": _by_class(_precision_recall, test, names),
        "calibration": _by_class(_calibration, test, names),
        "importance": importance(pipeline, test, terms.names, seed),
    }


def _by_class(curve: Curve, test: Scored, names: NDArray[Any]) -> pd.DataFrame:
    """One curve a class against the rest; of two classes the second alone says it all."""
    places = [1] if len(names) == BINARY else range(len(names))
    parts = [
        curve(test.truth == place, test.said.probabilities[:, place]).assign(class_=names[place])
        for place in places
    ]
    return pd.concat(parts, ignore_index=True).round(DIGITS).rename(columns={"class_": "class"})


def _roc(hit: NDArray[np.bool_], score: NDArray[Any]) -> pd.DataFrame:
    false, true, _ = metrics.roc_curve(hit, score)
    return pd.DataFrame({"false_positive_rate": false, "true_positive_rate": true})


def _precision_recall(hit: NDArray[np.bool_], score: NDArray[Any]) -> pd.DataFrame:
    precision, recall, _ = metrics.precision_recall_curve(hit, score)
    return pd.DataFrame({"recall": recall, "precision": precision})


def _calibration(hit: NDArray[np.bool_], score: NDArray[Any]) -> pd.DataFrame:
    observed, predicted = calibration_curve(hit, score.clip(0, 1), n_bins=CALIBRATION_BINS)
    return pd.DataFrame({"predicted": predicted, "observed": observed})


def importance(pipeline: Pipeline, test: Scored, names: tuple[str, ...], seed: int) -> pd.DataFrame:
    """By how much the log loss grows where a column is shuffled, the largest first."""
    rows = np.random.default_rng(seed).permutation(len(test.truth))[:IMPORTANCE_ROWS]
    every = np.arange(len(pipeline.classes_))

    def score(model: Pipeline, inputs: NDArray[np.float32], labels: Labels) -> float:
        return -float(metrics.log_loss(labels, model.predict_proba(inputs), labels=every))

    found = permutation_importance(
        pipeline,
        test.features[rows],
        test.truth[rows],
        scoring=score,
        n_repeats=max(1, min(IMPORTANCE_REPEATS, IMPORTANCE_SHUFFLES // len(names))),
        random_state=seed,
    )
    frame = pd.DataFrame({"column": names, "importance": found.importances_mean.round(DIGITS)})
    return frame.sort_values(["importance", "column"], ascending=[False, True], ignore_index=True)
