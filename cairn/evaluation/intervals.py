"""Between what a score lies: on other rows like these, and with other training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from cairn.compute.processes import Run, here
from cairn.evaluation import metrics
from cairn.evaluation.metrics import (
    BINARY,
    LOSSES,
    OF_ALL_CLASSES,
    SCORES,
    Labels,
    Scored,
    rounded,
)

LEVEL = 0.95  # of every interval
RESAMPLES = 300
LEAST_RESAMPLES = 100  # where each has many classes to go through
RESAMPLED_ROWS = 10_000
BATCH = 20  # that are measured at a time: they take some tenths of a second
NOTHING = 1e-6  # of an error: that all rows drawn say the same, but for the last bits

Values = NDArray[np.float64]
Measure = Callable[[Scored], Values]


class Interval(NamedTuple):
    """A score, and between what it lies with the confidence LEVEL.

    Attributes
    ----------
    value
        NaN where the rows do not tell it.
    low, high
        None where nothing tells them.
    """

    value: float
    low: float | None
    high: float | None


class Resampled(NamedTuple):
    """The scores of rows, and of other rows like these.

    Attributes
    ----------
    values, part, again
        s of all rows, s of those that were drawn from, and repeats × s.
    narrower
        By what an interval shrinks, as only a part of the rows was drawn from.
    """

    values: Values
    part: Values
    again: Values
    narrower: float


def of_scores(rows: Scored, classes: int, seed: int, run: Run = here) -> dict[str, Interval]:
    """Each score with its interval."""
    repeats = max(LEAST_RESAMPLES, RESAMPLES // max(1, classes - 1))
    return of_some(SCORES, rows, classes, (seed, repeats), run)


def of_some(
    names: Iterable[str],
    rows: Scored,
    classes: int,
    draws: tuple[int, int],
    run: Run = here,
) -> dict[str, Interval]:
    """Some of the SCORES with their intervals.

    Parameters
    ----------
    draws
        A seed, and how often the rows are drawn anew.
    """
    wanted = tuple(names)
    measure = partial(metrics.values, classes=classes, names=wanted)
    found = resample(rows, measure, *draws, run)
    few = effective([len(each) for each in by_truth(rows.truth)])
    counts = [few if name in OF_ALL_CLASSES else len(rows.truth) for name in wanted]
    return {
        name: interval(name, found, place, counts[place], classes)
        for place, name in enumerate(wanted)
    }


def effective(counts: Sequence[int]) -> float:
    """As how many rows those of several classes count, in a mean over the classes.

    >>> effective([50, 50]), round(effective([3, 97]), 1), effective([0, 9])
    (100.0, 11.6, 0.0)
    """
    return float(len(counts) ** 2 / np.sum(1 / np.array(counts))) if all(counts) else 0.0


def resample(rows: Scored, measure: Measure, seed: int, repeats: int, run: Run = here) -> Resampled:
    """A bootstrap: other rows, so many of each class.

    Of many rows a part is drawn anew, whose interval is wider by the root of how much smaller it
    is.
    """
    random = np.random.default_rng(seed)
    featureless = rows._replace(features=rows.features[:, :0])
    part = featureless.at(_some_of_each(rows.truth, random))
    places = by_truth(part.truth)
    # All are drawn before one is measured, so that it matters to none where another is.
    draws = [resampled(places, random) for _ in range(repeats)]
    batches = [draws[start : start + BATCH] for start in range(0, repeats, BATCH)]
    again = [each for batch in run(partial(_measured, measure, part), batches) for each in batch]
    narrower = float(np.sqrt(len(part.truth) / len(rows.truth)))
    whole = measure(featureless)
    own = whole if len(part.truth) == len(rows.truth) else measure(part)
    return Resampled(whole, own, np.array(again), narrower)


def _measured(measure: Measure, rows: Scored, draws: Iterable[Labels]) -> list[Values]:
    """What the rows measure, of each of these draws of them."""
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        return [measure(rows.at(draw)) for draw in draws]


def _some_of_each(truth: Labels, random: np.random.Generator) -> Labels:
    """The places of RESAMPLED_ROWS at most, or a few more: each class in proportion, and there."""
    if len(truth) <= RESAMPLED_ROWS:
        return np.arange(len(truth))
    share = RESAMPLED_ROWS / len(truth)
    parts = [
        random.choice(each, max(1, round(share * len(each))), replace=False)
        for each in by_truth(truth)
    ]
    return np.sort(np.concatenate(parts))


def interval(name: str, found: Resampled, place: int, rows: float, classes: int) -> Interval:
    """The score at a place, with its interval.

    Parameters
    ----------
    rows
        Of how many it is a share, if it is one.
    """
    value, again = float(found.values[place]), found.again[:, place]
    if np.isnan(value):
        return Interval(np.nan, None, None)
    if name not in LOSSES:
        error = float(again.std(ddof=1)) * found.narrower
        return within(name, value, *_of_a_share(value, error, rows), classes=classes)
    low, high = _of_a_loss(value, again, found.narrower)
    if name == "calibration_error":
        low = min(low, _less_chance(value, float(found.part[place]), again, found.narrower))
    return within(name, value, low, high, classes=classes)


def _of_a_loss(value: float, again: Values, narrower: float) -> tuple[float, float]:
    """Percentiles, moved to where the loss is: what is drawn twice looks worse calibrated."""
    ends = np.quantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - again.mean()
    return value + ends[0] * narrower, value + ends[1] * narrower


def _less_chance(value: float, own: float, again: Values, narrower: float) -> float:
    """The lower end of a calibration error, which is too large where there are few rows.

    Chance alone moves every bin. How much, rows drawn anew say: their error's square exceeds that
    of the rows that they were drawn from by as much as this one exceeds the true one.
    """
    most = float(np.quantile(again, (1 + LEVEL) / 2))
    return float(np.sqrt(max(0.0, value**2 - (most**2 - own**2) * narrower**2)))


def _of_a_share(value: float, error: float, rows: float) -> tuple[float, float]:
    """By the standard error on the scale of log odds, on which there is no end at 1.

    Where none of the rows drawn says otherwise, as Wilson has it for so many rows.
    """
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    if 0 < value < 1 and error > NOTHING:
        half = z * error / (value * (1 - value))
        return float(expit(logit(value) - half)), float(expit(logit(value) + half))
    middle, spare = value + z**2 / (2 * rows), z**2 / rows
    half = z * float(np.sqrt(value * (1 - value) / rows + spare / (4 * rows)))
    return (middle - half) / (1 + spare), (middle + half) / (1 + spare)


def over_folds(
    names: Iterable[str], values: Values, folds: int, classes: int
) -> dict[str, Interval]:
    """The means of m folds' scores, m × s, and where they lie.

    The folds share training rows, so that they differ less than those of other tables would; the
    variance is corrected for that (C. Nadeau and Y. Bengio, Inference for the generalization
    error, Machine Learning 52, 2003).
    """
    parts = [_over_folds(values[:, place], folds) for place in range(values.shape[1])]
    return {
        name: within(name, *part, classes=classes) for name, part in zip(names, parts, strict=True)
    }


def _over_folds(values: Values, folds: int) -> tuple[float, float, float]:
    """The mean of the folds that tell a score, and its interval; NaN where too few do."""
    known = values[~np.isnan(values)]
    number = len(known)
    mean = float(known.mean()) if number else np.nan
    if number <= 1:
        return mean, np.nan, np.nan
    variance = known.var(ddof=1) * (1 / number + 1 / (folds - 1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, number - 1) * np.sqrt(variance))
    return mean, mean - half, mean + half


def within(name: str, value: float, low: float, high: float, *, classes: int) -> Interval:
    """An interval that goes no further than the score can; none where nothing varied."""
    if np.isnan(value):
        return Interval(np.nan, None, None)
    # The rows are too few, or the model too sure.
    if np.isnan(low) or rounded(low) == rounded(high):
        return Interval(rounded(value), None, None)
    most = {"log_loss": np.inf, "brier": 1 if classes == BINARY else 2}.get(name, 1)
    return Interval(*(rounded(np.clip(each, 0, most)) for each in (value, low, high)))


def plain(found: dict[str, Interval]) -> dict[str, dict[str, Any]]:
    """Intervals as JSON has them, None where there is no value.

    >>> plain({"recall": Interval(float("nan"), None, None)})
    {'recall': {'value': None, 'low': None, 'high': None}}
    """
    return {
        name: each._asdict() | {"value": None if np.isnan(each.value) else each.value}
        for name, each in found.items()
    }


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
