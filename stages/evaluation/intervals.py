"""Between what a score lies: on other rows like these, and with other training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from stages.evaluation import evaluate
from stages.evaluation.evaluate import LOSSES, SCORES, Labels, Scored, rounded

LEVEL = 0.95  # of every interval
RESAMPLES = 300
LEAST_RESAMPLES = 100  # where each has many classes to go through
RESAMPLED_ROWS = 10_000
MOST = {"log_loss": np.inf, "brier": 2}  # of the others 1

Values = NDArray[np.float64]
Measure = Callable[[Scored], Values]


class Interval(NamedTuple):
    """A score, and between what it lies with the confidence LEVEL; null where nothing tells."""

    value: float
    low: float | None
    high: float | None


class Resampled(NamedTuple):
    """The scores of rows, and of other rows like these.

    Attributes
    ----------
    values, again
        s, and repeats × s.
    narrower
        By what an interval shrinks, as only a part of the rows was drawn from.
    """

    values: Values
    again: Values
    narrower: float


def of_scores(rows: Scored, classes: int, seed: int) -> dict[str, Interval]:
    """Each score with its interval."""
    repeats = max(LEAST_RESAMPLES, RESAMPLES // max(1, classes - 1))
    return of_some(SCORES, rows, classes, seed, repeats)


def of_some(
    names: Iterable[str], rows: Scored, classes: int, seed: int, repeats: int
) -> dict[str, Interval]:
    """Some of the SCORES with their intervals."""
    wanted = tuple(names)
    found = resample(rows, lambda part: evaluate.values(part, classes, wanted), seed, repeats)
    return {
        name: interval(name, found, place, len(rows.truth)) for place, name in enumerate(wanted)
    }


def resample(rows: Scored, measure: Measure, seed: int, repeats: int) -> Resampled:
    """A bootstrap: other rows, so many of each class.

    Of many rows a part is drawn anew, whose interval is wider by the root of how much smaller it
    is.
    """
    random = np.random.default_rng(seed)
    featureless = rows._replace(features=rows.features[:, :0])
    part = featureless.at(drawn(len(rows.truth), RESAMPLED_ROWS, random))
    places = by_truth(part.truth)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        again = [measure(part.at(resampled(places, random))) for _ in range(repeats)]
    narrower = float(np.sqrt(len(part.truth) / len(rows.truth)))
    return Resampled(measure(featureless), np.array(again), narrower)


def interval(name: str, found: Resampled, place: int, rows: int) -> Interval:
    """The score at a place, with its interval.

    Parameters
    ----------
    rows
        Of how many it is a share, if it is one.
    """
    value, again = float(found.values[place]), found.again[:, place]
    if name not in LOSSES:
        error = float(again.std(ddof=1)) * found.narrower
        return within(name, value, *_of_a_share(value, error, rows))
    if again.min() == again.max():  # the rows are too few, or too sure
        return Interval(rounded(value), None, None)
    return within(name, value, *_of_a_loss(value, again, found.narrower))


def _of_a_loss(value: float, drawn: Values, narrower: float) -> tuple[float, float]:
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


def over_folds(names: Iterable[str], values: Values, folds: int) -> dict[str, Interval]:
    """The means of m folds' scores, m × s, and where they lie.

    The folds share training rows, so that they differ less than those of other tables would; the
    variance is corrected for that (C. Nadeau and Y. Bengio, Inference for the generalization
    error, Machine Learning 52, 2003).
    """
    number, means = len(values), values.mean(axis=0)
    variance = values.var(axis=0, ddof=1) * (1 / number + 1 / (folds - 1))
    half = stats.t.ppf((1 + LEVEL) / 2, number - 1) * np.sqrt(variance)
    ends = zip(names, means, means - half, means + half, strict=True)
    return {name: within(name, *three) for name, *three in ends}


def within(name: str, value: float, low: float, high: float) -> Interval:
    """An interval that goes no further than the score can."""
    most = MOST.get(name, 1)
    return Interval(*(rounded(np.clip(each, 0, most)) for each in (value, low, high)))


def plain(found: dict[str, Interval]) -> dict[str, dict[str, Any]]:
    """Intervals as JSON has them."""
    return {name: each._asdict() for name, each in found.items()}


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
