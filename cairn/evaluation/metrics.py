"""How good the model is on rows that it has not seen: every score, of all classes and of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from sklearn import metrics

from cairn.inference import Predictions

# A last digit may depend on the processor's vector width, and git and dvc.lock must not.
DIGITS = 6
BINARY = 2
BLOCK = 2**17  # rows whose probabilities are in float64 at a time
# As many as C. Guo et al., On calibration of modern neural networks, 2017.
CALIBRATION_BINS = 15

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


def scores(rows: Scored, classes: int) -> dict[str, float]:
    """The scores of what was said; several classes are averaged, each against the rest.

    Those are left out that the rows cannot tell.
    """
    found = zip(SCORES, values(rows, classes), strict=True)
    known = {name: rounded(value) for name, value in found if not np.isnan(value)}
    return {"rows": len(rows.truth), **known}


def rounded(value: float) -> float:
    """As many digits as are the same on every machine."""
    return round(float(value), DIGITS)


def _counts(rows: Scored, classes: int) -> NDArray[np.int64]:
    """How many rows are of a class, classes × classes, and are said to be of another."""
    pairs = rows.truth * classes + rows.said.labels
    counts: NDArray[np.int64] = np.bincount(pairs, minlength=classes**2)
    return counts.reshape(classes, classes)


def _accuracy(rows: Scored, _: int) -> float:
    return float(np.mean(rows.truth == rows.said.labels))


def _balanced_accuracy(rows: Scored, classes: int) -> float:
    """The mean recall of the classes that there are."""
    counts = _counts(rows, classes)
    of_each = counts.sum(axis=1)
    return float(np.mean((counts.diagonal() / of_each.clip(1))[of_each > 0]))


def _f1_macro(rows: Scored, classes: int) -> float:
    counts = _counts(rows, classes)
    said_or_true = counts.sum(axis=0) + counts.sum(axis=1)
    # A class that no row has, and that is never said, is neither right nor wrong.
    return float(np.mean((2 * counts.diagonal() / said_or_true.clip(1))[said_or_true > 0]))


def _each(score: Score) -> Score:
    """The mean of a score of one class against the rest; of two classes, of the second.

    Of a class that none or all of the rows have there is none; NaN where that is so of each.
    """

    def scored(rows: Scored, classes: int) -> float:
        shares = rows.said.probabilities
        places = [1] if classes == BINARY else range(classes)
        hits = [(rows.truth == place, shares[:, place]) for place in places]
        found = [score(hit, share) for hit, share in hits if is_told_apart(hit)]
        return float(np.mean(found)) if found else np.nan

    return scored


def is_told_apart(hits: NDArray[np.bool_]) -> bool:
    """Whether some rows are of a class, and some are not."""
    return bool(hits.any() and not hits.all())


def _mean(loss: Score) -> Score:
    """The mean of a loss over blocks of rows, which it takes to float64 or to a matrix."""

    def scored(rows: Scored, _: int) -> float:
        truth, shares = rows.truth, rows.said.probabilities
        starts = range(0, len(truth), BLOCK)
        blocks = [(truth[start : start + BLOCK], shares[start : start + BLOCK]) for start in starts]
        sums = [len(each) * loss(each, said) for each, said in blocks]
        return float(np.sum(sums) / len(truth))

    return scored


def log_loss(truth: Labels, shares: NDArray[Any]) -> float:
    """The mean negative logarithm of the true class's share, of n × classes.

    What a share of 0 costs depends on its type: that of the service, whoever said it.
    """
    least = np.finfo(np.float32).eps
    own = shares[np.arange(len(truth)), truth].astype(np.float32)
    return float(-xlogy(np.float32(1), own.clip(least, 1 - least)).mean())


def _brier(truth: Labels, shares: NDArray[Any]) -> float:
    """The mean squared distance from n × classes shares to the truth; of two classes, half of it.

    As scikit-learn has it, which takes a hundred times as long to look at what it was given: the
    bootstrap asks for every score hundreds of times.
    """
    hit = np.zeros_like(shares)
    hit[np.arange(len(truth)), truth] = 1
    distance = float(np.square(hit - shares).sum(axis=1).mean())
    return distance / 2 if shares.shape[1] == BINARY else distance


def _calibration_error(rows: Scored, _: int) -> float:
    """By how much the probability of the likeliest class misses how often it is the true one.

    The mean over bins of that probability, weighted by their rows: the expected calibration error.
    """
    shares = rows.said.probabilities
    best = shares.argmax(axis=1)
    confidence = shares[np.arange(len(best)), best].astype(np.float64)
    return _miscalibrated(confidence, best == rows.truth)


def _miscalibrated(shares: NDArray[np.float64], hits: NDArray[np.bool_]) -> float:
    """By how much n probabilities miss the share of hits, in the mean over bins of them."""
    bins = np.minimum((shares * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, shares - hits)).sum() / len(hits))


SCORES: dict[str, Score] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "roc_auc": _each(metrics.roc_auc_score),
    "average_precision": _each(metrics.average_precision_score),
    "log_loss": _mean(log_loss),
    "brier": _mean(_brier),
    "calibration_error": _calibration_error,
}
CLASS_SCORES = (
    "precision", "recall", "f1", "roc_auc", "average_precision", "log_loss", "brier",
    "calibration_error",
)  # fmt: skip
# They say nothing of rows that lack a class.
OF_ALL_CLASSES = {"balanced_accuracy", "f1_macro", "roc_auc", "average_precision"}
# The smaller, the better.
LOSSES = {"log_loss", "brier", "calibration_error"}


def values(rows: Scored, classes: int, names: Iterable[str] = SCORES) -> NDArray[np.float64]:
    """Some of the SCORES, in that order."""
    return np.array([SCORES[name](rows, classes) for name in names])


def of_class(rows: Scored, place: int) -> NDArray[np.float64]:
    """The scores of the class at this place against the rest, in the order of CLASS_SCORES.

    NaN where the rows cannot tell: recall without a row of the class, say.
    """
    truth, said = rows.truth == place, rows.said.labels == place
    shares = rows.said.probabilities[:, place].astype(np.float64)
    hits, there, both = (truth & said).sum(), truth.any(), is_told_apart(truth)
    return np.array(
        [
            hits / max(1, said.sum()),
            hits / truth.sum() if there else np.nan,
            2 * hits / (truth.sum() + said.sum()) if there else np.nan,
            metrics.roc_auc_score(truth, shares) if both else np.nan,
            metrics.average_precision_score(truth, shares) if both else np.nan,
            log_loss(truth.astype(np.int64), np.column_stack([1 - shares, shares])),
            np.square(shares - truth).mean(),
            _miscalibrated(shares, truth),
        ]
    )
