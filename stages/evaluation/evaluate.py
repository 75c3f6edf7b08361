"""How good the model is on rows that it has not seen: scores, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit
from sklearn import metrics

from stages.console import CairnError
from stages.contract import Column, Contract
from stages.inference import Predictions

# A last digit may depend on the processor's vector width, and git and dvc.lock must not.
DIGITS = 6
BINARY = 2
BLOCK = 2**17  # rows whose probabilities are in float64 at a time
LEVEL = 0.95  # of every interval
RESAMPLES = 300
LEAST_RESAMPLES = 100  # where each has many classes to go through
RESAMPLED_ROWS = 10_000
# As many as C. Guo et al., On calibration of modern neural networks, 2017.
CALIBRATION_BINS = 15
PARTS = 4  # of a number's range, with as many rows in each
FEW = 6  # values that are shown one by one

Labels = NDArray[np.int64]
Score = Callable[..., float]


class Scored(NamedTuple):
    """Rows with what is true of them and what was said: n × k, n, and n of both."""

    features: NDArray[np.float32]
    truth: Labels
    said: Predictions

    def at(self, rows: NDArray[Any]) -> Scored:
        """Some of the rows, by place or by a mask."""
        said = Predictions(self.said.labels[rows], self.said.probabilities[rows])
        return Scored(self.features[rows], self.truth[rows], said)


class Interval(NamedTuple):
    """A score, and between what it lies with the confidence LEVEL."""

    value: float
    low: float
    high: float


def scores(rows: Scored, classes: int) -> dict[str, float]:
    """The scores of what was said; several classes are averaged, each against the rest."""
    found = zip(SCORES, values(rows, classes), strict=True)
    return {"rows": len(rows.truth), **{name: rounded(value) for name, value in found}}


def rounded(value: float) -> float:
    """As many digits as are the same on every machine."""
    return round(float(value), DIGITS)


def _of_labels(score: Score, **arguments: Any) -> Score:
    """A score of the labels, from how often each pair of true and said class comes."""

    def scored(rows: Scored, classes: int) -> float:
        pairs, counts = _pairs(rows, classes)
        return score(*pairs, sample_weight=counts, **arguments)

    return scored


def _pairs(rows: Scored, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each pair of classes that is true and said of some row, 2 × p, and of how many."""
    counts = np.bincount(rows.truth * classes + rows.said.labels, minlength=classes**2)
    pairs = np.flatnonzero(counts)
    return np.array(np.divmod(pairs, classes)), counts[pairs]


def _f1_macro(rows: Scored, classes: int) -> float:
    return _of_labels(
        metrics.f1_score, average="macro", labels=np.arange(classes), zero_division=0
    )(rows, classes)


def _each(score: Score) -> Score:
    """The mean of a score of one class against the rest; of two classes, of the second."""

    def scored(rows: Scored, classes: int) -> float:
        shares = rows.said.probabilities
        places = [1] if classes == BINARY else range(classes)
        return float(np.mean([score(rows.truth == place, shares[:, place]) for place in places]))

    return scored


def _mean(loss: Score) -> Score:
    """The mean of a loss, which takes the classes of many rows as a matrix, block by block."""

    def scored(rows: Scored, classes: int) -> float:
        truth, shares = rows.truth, rows.said.probabilities
        starts = range(0, len(truth), BLOCK)
        blocks = [(truth[start : start + BLOCK], shares[start : start + BLOCK]) for start in starts]
        every = np.arange(classes)
        sums = [len(each) * loss(each, said, labels=every) for each, said in blocks]
        return float(np.sum(sums) / len(truth))

    return scored


def log_loss(truth: Labels, shares: NDArray[Any], *, labels: Labels) -> float:
    """What a probability of 0 costs depends on its type: that of the service, whoever said it."""
    return float(metrics.log_loss(truth, shares.astype(np.float32), labels=labels))


def _calibration_error(rows: Scored, _: int) -> float:
    """By how much the probability of the likeliest class misses how often it is the true one.

    The mean over bins of that probability, weighted by their rows: the expected calibration error.
    """
    shares = rows.said.probabilities
    best = shares.argmax(axis=1)
    confidence = shares[np.arange(len(best)), best].astype(np.float64)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    missed = confidence - (best == rows.truth)
    return float(np.abs(np.bincount(bins, missed)).sum() / len(best))


SCORES: dict[str, Score] = {
    "accuracy": _of_labels(metrics.accuracy_score),
    "balanced_accuracy": _of_labels(metrics.balanced_accuracy_score),
    "f1_macro": _f1_macro,
    "roc_auc": _each(metrics.roc_auc_score),
    "average_precision": _each(metrics.average_precision_score),
    "log_loss": _mean(log_loss),
    "brier": _mean(metrics.brier_score_loss),
    "calibration_error": _calibration_error,
}
# They say nothing of rows that lack a class.
OF_ALL_CLASSES = {"balanced_accuracy", "f1_macro", "roc_auc", "average_precision"}
# The smaller, the better.
LOSSES = {"log_loss", "brier", "calibration_error"}
MOST = {"log_loss": np.inf, "brier": 2}  # of the others 1


def intervals(rows: Scored, classes: int, seed: int) -> dict[str, Interval]:
    """Each score with its interval, from a bootstrap: other rows like these, so many of each class.

    Of many rows a part is drawn anew, whose interval is wider by the root of how much smaller it
    is.
    """
    random = np.random.default_rng(seed)
    featureless = rows._replace(features=rows.features[:, :0])
    part = featureless.at(drawn(len(rows.truth), RESAMPLED_ROWS, random))
    places = by_truth(part.truth)
    repeats = max(LEAST_RESAMPLES, RESAMPLES // max(1, classes - 1))
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        again = [values(part.at(resampled(places, random)), classes) for _ in range(repeats)]
    narrower = float(np.sqrt(len(part.truth) / len(rows.truth)))
    found = values(rows, classes)
    ends = [
        _of_a_loss(value, each, narrower)
        if name in LOSSES
        else _of_a_share(value, float(each.std(ddof=1)) * narrower, len(rows.truth))
        for name, value, each in zip(SCORES, found, np.transpose(again), strict=True)
    ]
    low, high = np.array(ends).T
    return named(found, low, high)


def _of_a_loss(value: float, drawn: NDArray[np.float64], narrower: float) -> tuple[float, float]:
    """Percentiles, moved to where the loss is: what is drawn twice looks worse calibrated."""
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - drawn.mean()
    return value + ends[0] * narrower, value + ends[1] * narrower


def _of_a_share(value: float, error: float, rows: int) -> tuple[float, float]:
    """By the standard error on the scale of log odds, on which there is no end at 1.

    Where none of the rows drawn says otherwise, as Wilson has it for so many rows.
    """
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    if 0 < value < 1 and error > 0:
        half = z * error / (value * (1 - value))
        return float(expit(logit(value) - half)), float(expit(logit(value) + half))
    middle, spare = value + z**2 / (2 * rows), z**2 / rows
    half = z * float(np.sqrt(value * (1 - value) / rows + spare / (4 * rows)))
    return (middle - half) / (1 + spare), (middle + half) / (1 + spare)


def by_truth(truth: Labels) -> list[Labels]:
    """The places of the rows of each class that there is."""
    return [np.flatnonzero(truth == code) for code in np.unique(truth)]


def resampled(places: Iterable[Labels], random: np.random.Generator) -> Labels:
    """The places of as many rows of each class, some of them twice."""
    return np.concatenate([random.choice(each, len(each)) for each in places])


def drawn(rows: int, most: int, random: np.random.Generator) -> Labels:
    """The places of so many rows at most, at random and in order."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(random.choice(rows, most, replace=False, shuffle=False))


def values(rows: Scored, classes: int) -> NDArray[np.float64]:
    """Every score of SCORES, in that order."""
    return np.array([score(rows, classes) for score in SCORES.values()])


def named(
    values: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> dict[str, Interval]:
    """Intervals by score, none beyond what it can be."""
    return {
        name: Interval(*(rounded(np.clip(each, 0, MOST.get(name, 1))) for each in three))
        for name, *three in zip(SCORES, values, low, high, strict=True)
    }


def plain(found: dict[str, Interval]) -> dict[str, dict[str, float]]:
    """Intervals as JSON has them."""
    return {name: interval._asdict() for name, interval in found.items()}


def by_class(rows: Scored, terms: Contract) -> list[dict[str, Any]]:
    """Of each class against the rest: rows, precision, recall, F1, ROC AUC, average precision."""
    keys = terms.target.keys
    columns = metrics.precision_recall_fscore_support(
        rows.truth, rows.said.labels, labels=np.arange(len(keys)), zero_division=0
    )
    return [
        {
            "class": key,
            "rows": int(count),
            "precision": rounded(precision),
            "recall": rounded(recall),
            "f1": rounded(f1),
            **{
                name: rounded(score(rows.truth == place, rows.said.probabilities[:, place]))
                for name, score in OF_A_CLASS.items()
            },
        }
        for place, (key, precision, recall, f1, count) in enumerate(
            zip(keys, *columns, strict=True)
        )
    ]


OF_A_CLASS: dict[str, Score] = {
    "roc_auc": metrics.roc_auc_score,
    "average_precision": metrics.average_precision_score,
}


def check_slices(wanted: Iterable[str], terms: Contract) -> None:
    """Refuse a column that the table has not."""
    unknown = next((name for name in wanted if name not in terms.names), None)
    if unknown is not None:
        raise CairnError(
            f"train.slices: no column {unknown!r}; the columns are {', '.join(terms.names)}"
        )


def by_slice(rows: Scored, terms: Contract, wanted: Iterable[str]) -> list[dict[str, Any]]:
    """The scores by the values of columns; null where the rows have one class and no score."""
    names = [feature.name for feature in terms.own]
    return [
        {"column": feature, "value": value, **_some(rows.at(mask), terms)}
        for column in map(terms.column, dict.fromkeys(wanted))
        for feature in column.features
        for value, mask in _slices(rows.features[:, names.index(feature)], column)
    ]


def _slices(values: NDArray[np.float32], column: Column) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What to call some of the rows, and which they are; empty ones are left out."""
    gone = np.isnan(values)
    different = np.unique(values[~gone])
    if column.kind in {"category", "boolean"} or len(different) <= FEW:
        for value in different:
            yield _value(float(value), column), values == value
    else:
        edges = np.unique(np.quantile(different, np.linspace(0, 1, PARTS + 1)).astype(np.float32))
        for place, (low, high) in enumerate(pairwise(edges)):
            above = values >= low if place == 0 else values > low
            if (mask := above & (values <= high)).any():
                yield f"{low:.6g} to {high:.6g}", mask
    if gone.any():
        yield "missing", gone


def _value(value: float, column: Column) -> str:
    if column.kind == "category":
        known = int(value) < len(column.categories)
        return str(column.categories[int(value)]) if known else "another"
    return ("false", "true")[int(value)] if column.kind == "boolean" else f"{value:g}"


def _some(rows: Scored, terms: Contract) -> dict[str, Any]:
    """The scores of some rows, which may not have every class."""
    classes = len(terms.target.classes)
    there = len(np.unique(rows.truth))
    missing = OF_ALL_CLASSES if there < classes else set()
    return {
        "rows": len(rows.truth),
        **{
            name: None if name in missing else rounded(score(rows, classes))
            for name, score in SCORES.items()
        },
    }
