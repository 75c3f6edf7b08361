"""Measure how good predictions are: every metric of the table, of all classes and of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from sklearn import metrics

from cairn.evaluation.metric_table import BINARY, LOSSES, OVERALL, PER_CLASS
from cairn.inference import Predictions

__all__ = ["BINARY", "CLASS_SCORES", "DIGITS", "LOSSES", "SCORES", "ScoredRows"]

# A last digit may depend on the processor's vector width, and git and dvc.lock must not.
DIGITS = 6
BLOCK = 2**17  # rows whose probabilities are in float64 at a time
# As many as C. Guo et al., On calibration of modern neural networks, 2017.
CALIBRATION_BINS = 15

Labels = NDArray[np.int64]
Score = Callable[..., float]


class ScoredRows(NamedTuple):
    """Rows with their labels and predictions.

    Attributes
    ----------
    features
        n × k.
    truth
        n codes of the classes that they have.
    predictions
        n labels and n × classes probabilities.
    """

    features: NDArray[np.float32]
    truth: Labels
    predictions: Predictions

    def at(self, rows: NDArray[Any]) -> ScoredRows:
        """Select some of the rows, by index or by a mask."""
        labels, probabilities = self.predictions
        return ScoredRows(
            self.features[rows], self.truth[rows], Predictions(labels[rows], probabilities[rows])
        )


class OneClass(NamedTuple):
    """One class against the rest, n rows.

    Attributes
    ----------
    truth, predicted
        Which rows are of the class, and which are predicted to be.
    probabilities
        Of the class, float64.
    """

    truth: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    probabilities: NDArray[np.float64]


def scores(rows: ScoredRows, classes: int) -> dict[str, float]:
    """Measure the overall metrics; leave out those that are undefined for these rows."""
    values = dict(zip(SCORES, measure(rows, classes), strict=True))
    known = {name: rounded(value) for name, value in values.items() if not np.isnan(value)}
    return {"rows": len(rows.truth), **known}


def rounded(value: float) -> float:
    """Round to as many digits as are the same on every machine."""
    return round(float(value), DIGITS)


def _confusion(rows: ScoredRows, classes: int) -> NDArray[np.int64]:
    """Count the rows, classes × classes, by true and by predicted class."""
    pairs = rows.truth * classes + rows.predictions.labels
    counts: NDArray[np.int64] = np.bincount(pairs, minlength=classes**2)
    return counts.reshape(classes, classes)


def _accuracy(rows: ScoredRows, _: int) -> float:
    return float(np.mean(rows.truth == rows.predictions.labels))


def _balanced_accuracy(rows: ScoredRows, classes: int) -> float:
    """Average the recall of the classes that occur."""
    counts = _confusion(rows, classes)
    of_each = counts.sum(axis=1)
    return float(np.mean((counts.diagonal() / of_each.clip(1))[of_each > 0]))


def _f1_macro(rows: ScoredRows, classes: int) -> float:
    counts = _confusion(rows, classes)
    predicted_or_true = counts.sum(axis=0) + counts.sum(axis=1)
    # A class that no row has, and that is never predicted, is neither right nor wrong.
    f1 = 2 * counts.diagonal() / predicted_or_true.clip(1)
    return float(np.mean(f1[predicted_or_true > 0]))


def _mean_over_classes(score: Score) -> Score:
    """Average a score of one class against the rest; of two classes, take the second.

    A class that none or all of the rows have is left out; NaN where that is so of each.
    """

    def averaged(rows: ScoredRows, classes: int) -> float:
        probabilities = rows.predictions.probabilities
        codes = [1] if classes == BINARY else range(classes)
        pairs = [(rows.truth == code, probabilities[:, code]) for code in codes]
        values = [score(hits, column) for hits, column in pairs if has_both(hits)]
        return float(np.mean(values)) if values else np.nan

    return averaged


def has_both(hits: NDArray[np.bool_]) -> bool:
    """Tell whether some rows are of a class, and some are not."""
    return bool(hits.any() and not hits.all())


def _mean_over_rows(loss: Score) -> Score:
    """Average a loss over blocks of rows, which it takes to float64 or to a matrix."""

    def averaged(rows: ScoredRows, _: int) -> float:
        truth, probabilities = rows.truth, rows.predictions.probabilities
        starts = range(0, len(truth), BLOCK)
        blocks = [
            (truth[start : start + BLOCK], probabilities[start : start + BLOCK]) for start in starts
        ]
        sums = [len(codes) * loss(codes, part) for codes, part in blocks]
        return float(np.sum(sums) / len(truth))

    return averaged


def log_loss(truth: Labels, probabilities: NDArray[Any]) -> float:
    """Return the mean negative logarithm of the true class's probability, of n × classes.

    The cost of a probability of 0 depends on its type: float32, as the service answers.
    """
    least = np.finfo(np.float32).eps
    own = probabilities[np.arange(len(truth)), truth].astype(np.float32)
    return float(-xlogy(np.float32(1), own.clip(least, 1 - least)).mean())


def _brier(truth: Labels, probabilities: NDArray[Any]) -> float:
    """Average the squared distance from n × classes probabilities to the truth; of two, half it.

    As scikit-learn has it, which takes a hundred times as long to check its input: the bootstrap
    asks for every score hundreds of times.
    """
    hit = np.zeros_like(probabilities)
    hit[np.arange(len(truth)), truth] = 1
    distance = float(np.square(hit - probabilities).sum(axis=1).mean())
    return distance / 2 if probabilities.shape[1] == BINARY else distance


def _calibration_error(rows: ScoredRows, _: int) -> float:
    """Measure how far the likeliest class's probability is from how often it is the true one.

    The mean over bins of that probability, weighted by their rows: the expected calibration error.
    """
    probabilities = rows.predictions.probabilities
    best = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(best)), best].astype(np.float64)
    return _expected_calibration_error(confidence, best == rows.truth)


def _expected_calibration_error(
    probabilities: NDArray[np.float64], hits: NDArray[np.bool_]
) -> float:
    """Measure how far n probabilities are from the fraction of hits, in the mean over bins."""
    bins = np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, probabilities - hits)).sum() / len(hits))


def _precision(one: OneClass) -> float:
    return float((one.truth & one.predicted).sum() / max(1, one.predicted.sum()))


def _recall(one: OneClass) -> float:
    hits = (one.truth & one.predicted).sum()
    return float(hits / one.truth.sum()) if one.truth.any() else np.nan


def _f1(one: OneClass) -> float:
    hits, rows = (one.truth & one.predicted).sum(), one.truth.sum() + one.predicted.sum()
    return float(2 * hits / rows) if one.truth.any() else np.nan


def _ranking(score: Score) -> Callable[[OneClass], float]:
    """Take a score of scikit-learn's, where some rows are of the class and some are not."""
    return lambda one: float(score(one.truth, one.probabilities)) if has_both(one.truth) else np.nan


def _log_loss_of_class(one: OneClass) -> float:
    both = np.column_stack([1 - one.probabilities, one.probabilities])
    return log_loss(one.truth.astype(np.int64), both)


def _brier_of_class(one: OneClass) -> float:
    return float(np.square(one.probabilities - one.truth).mean())


_OVERALL: dict[str, Score] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "roc_auc": _mean_over_classes(metrics.roc_auc_score),
    "average_precision": _mean_over_classes(metrics.average_precision_score),
    "log_loss": _mean_over_rows(log_loss),
    "brier": _mean_over_rows(_brier),
    "calibration_error": _calibration_error,
}
_PER_CLASS: dict[str, Callable[[OneClass], float]] = {
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "roc_auc": _ranking(metrics.roc_auc_score),
    "average_precision": _ranking(metrics.average_precision_score),
    "log_loss": _log_loss_of_class,
    "brier": _brier_of_class,
    "calibration_error": lambda one: _expected_calibration_error(one.probabilities, one.truth),
}
# In the order of the table, whose names they are.
SCORES = {name: _OVERALL[name] for name in OVERALL}
CLASS_SCORES = {name: _PER_CLASS[name] for name in PER_CLASS}


def measure(rows: ScoredRows, classes: int, names: Iterable[str] = OVERALL) -> NDArray[np.float64]:
    """Measure some overall metrics, in that order; NaN where one is undefined."""
    return np.array([SCORES[name](rows, classes) for name in names])


def measure_class(rows: ScoredRows, code: int) -> NDArray[np.float64]:
    """Measure a class against the rest by each of CLASS_SCORES, in their order.

    NaN where the rows leave a metric undefined: recall without a row of the class, say.
    """
    one = OneClass(
        rows.truth == code,
        rows.predictions.labels == code,
        rows.predictions.probabilities[:, code].astype(np.float64),
    )
    return np.array([score(one) for score in CLASS_SCORES.values()])
