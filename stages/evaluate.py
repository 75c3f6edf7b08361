"""How good the model is: numbers for `dvc metrics`, points for `dvc plots`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
# What a browser still draws at once: points of a plot's curves, of each at least so many, and
# rows of the confusion, each of which is a record.
POINTS = 1000
POINTS_OF_A_CLASS = 100
CONFUSION_ROWS = 10_000
BLOCK = 2**17  # rows whose probabilities are in float64 at a time
Labels = NDArray[np.int64]
Score = Callable[..., float]
Curve = Callable[[NDArray[np.bool_], NDArray[Any]], pd.DataFrame]


class Scored(NamedTuple):
    """Rows with what is true of them and what was said: n × k, n, and n of both."""

    features: NDArray[np.float32]
    truth: Labels
    said: Predictions


def scores(rows: Scored, classes: int) -> dict[str, float]:
    """The scores of what was said; several classes are averaged, each against the rest."""
    truth, shares = rows.truth, rows.said.probabilities
    every = np.arange(classes)
    pairs, counts = _pairs(rows, classes)
    places = [1] if classes == BINARY else every
    values = {
        "accuracy": metrics.accuracy_score(*pairs, sample_weight=counts),
        "balanced_accuracy": metrics.balanced_accuracy_score(*pairs, sample_weight=counts),
        "f1_macro": metrics.f1_score(
            *pairs, sample_weight=counts, average="macro", labels=every, zero_division=0
        ),
        "roc_auc": _each(metrics.roc_auc_score, rows, places),
        "average_precision": _each(metrics.average_precision_score, rows, places),
        "log_loss": _mean(metrics.log_loss, truth, shares, every),
        "brier": _mean(metrics.brier_score_loss, truth, shares, every),
    }
    rounded = {name: round(float(value), DIGITS) for name, value in values.items()}
    return {"rows": len(truth), **rounded}


def _pairs(rows: Scored, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each pair of classes that is true and said of some row, 2 × p, and of how many."""
    counts = np.bincount(rows.truth * classes + rows.said.labels, minlength=classes**2)
    pairs = np.flatnonzero(counts)
    return np.array(np.divmod(pairs, classes)), counts[pairs]


def _each(score: Score, rows: Scored, places: Iterable[int]) -> float:
    """The mean of a score of one class against the rest."""
    shares = rows.said.probabilities
    return float(np.mean([score(rows.truth == place, shares[:, place]) for place in places]))


def _mean(loss: Score, truth: Labels, shares: NDArray[Any], every: Labels) -> float:
    """The mean of a loss, which takes the classes of many rows as a matrix, block by block."""
    starts = range(0, len(truth), BLOCK)
    blocks = [(truth[start : start + BLOCK], shares[start : start + BLOCK]) for start in starts]
    sums = [len(each) * loss(each, said, labels=every) for each, said in blocks]
    return float(np.sum(sums) / len(truth))


def plots(pipeline: Pipeline, test: Scored, terms: Contract, seed: int) -> dict[str, pd.DataFrame]:
    """The points of each plot, by its name, from what was said of the test rows.

    Parameters
    ----------
    terms
        With the features that the model takes.
    seed
        Draws the rows that are plotted where there are too many.
    """
    names = np.asarray(terms.target.keys)
    features = tuple(feature.name for feature in terms.features or terms.own)
    return {
        "confusion": confusion(test, names, seed),
        "roc": _by_class(_roc, test, names),
        "precision_recall": _by_class(_precision_recall, test, names),
        "calibration": _by_class(_calibration, test, names),
        "importance": importance(pipeline, test, features, seed),
    }


def confusion(test: Scored, names: NDArray[Any], seed: int) -> pd.DataFrame:
    """What is true and what was said, a row each: of all rows, or of CONFUSION_ROWS at random."""
    rows = np.arange(len(test.truth))
    if len(rows) > CONFUSION_ROWS:
        random = np.random.default_rng(seed)
        rows = np.sort(random.choice(rows, CONFUSION_ROWS, replace=False, shuffle=False))
    return pd.DataFrame(
        {"actual": names[test.truth[rows]], "predicted": names[test.said.labels[rows]]}
    )


def _by_class(curve: Curve, test: Scored, names: NDArray[Any]) -> pd.DataFrame:
    """One curve a class against the rest; of two classes the second alone says it all."""
    places = [1] if len(names) == BINARY else range(len(names))
    points = max(POINTS // len(places), POINTS_OF_A_CLASS)
    parts = [
        thin(curve(test.truth == place, test.said.probabilities[:, place]), points).assign(
            class_=names[place]
        )
        for place in places
    ]
    return pd.concat(parts, ignore_index=True).round(DIGITS).rename(columns={"class_": "class"})


def thin(curve: pd.DataFrame, points: int) -> pd.DataFrame:
    """At most so many points of a curve, evenly along it, its ends among them.

    >>> thin(pd.DataFrame({"x": [0, 0.1, 0.2, 1, 1], "y": [0, 0, 0, 0, 1]}), 3)["x"].tolist()
    [0.0, 1.0, 1.0]
    """
    if len(curve) <= points:
        return curve
    steps = curve.diff().abs().sum(axis="columns").cumsum().to_numpy()
    rows = np.searchsorted(steps, np.linspace(0, steps[-1], points))
    ends = [0, len(curve) - 1]
    return curve.iloc[np.unique([*ends, *rows[1:-1]])]


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
