"""Isotonic calibration with its steps made slopes, which ONNX can follow in float32."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

# A score in float32 misses the one in float64 by the last bits of its size. Where a probability
# climbs from 0 to 1 within a tenth of that size, it is missed by less than the tolerance.
STEEPEST = 10.0
# None of so many rows is no proof of never: a probability of 0 would cost an infinite loss.
LEAST = 1e-3

Doubles = NDArray[np.float64]


class Knots(NamedTuple):
    """A function that is linear between points and level beyond them.

    Attributes
    ----------
    x, y
        k places, ascending, and the value at each.
    """

    x: Doubles
    y: Doubles


def gentle(fitted: IsotonicRegression) -> IsotonicRegression:
    """A fitted isotonic regression that rises no faster than float32 can follow.

    Between two blocks it climbs as steeply as two scores lie close to each other. Here each value
    is the mean over a window around it, so that a step becomes a slope as wide as that; what is
    level or straight for longer stays as it is. No value is 0 or 1.
    """
    x, y = _doubles(fitted.X_thresholds_), _doubles(fitted.y_thresholds_)
    knots = averaged(Knots(x, inside(y)), window(x))
    found = copy.deepcopy(fitted)
    found.X_thresholds_, found.y_thresholds_ = knots
    found.X_min_, found.X_max_ = knots.x[0], knots.x[-1]
    found._build_f(*knots)  # noqa: SLF001 - as its own `fit` does
    return found


def _doubles(values: Any) -> Doubles:
    return np.asarray(values, dtype=np.float64)


def inside(values: Doubles) -> Doubles:
    """Values of which none is 0 or 1, nor beyond half of the way there from the next.

    >>> inside(np.array([0, 0.0004, 0.5, 1]))
    array([2.00e-04, 4.00e-04, 5.00e-01, 9.99e-01])
    """
    between = values[(values > 0) & (values < 1)]
    low, high = (between[0], 1 - between[-1]) if len(between) else (1.0, 1.0)
    return np.clip(values, min(LEAST, low / 2), 1 - min(LEAST, high / 2))


def window(scores: Doubles) -> float:
    """How wide a step becomes: by the size of the scores where the classes meet, or of most."""
    sizes = np.abs(scores)
    return float(max(np.median(sizes), sizes[1:-1].max(initial=0)) / STEEPEST)


def averaged(knots: Knots, width: float) -> Knots:
    """The mean over a window around each knot, and where that begins and ends to reach it.

    >>> averaged(Knots(np.array([0.0, 4, 4.1, 8]), np.array([0.1, 0.1, 0.9, 0.9])), 0.1).y[3:8]
    array([0.1, 0.2, 0.5, 0.8, 0.9])
    """
    x, y = knots
    if len(x) == 1 or not width:
        return knots
    places = np.unique(np.concatenate([x - width / 2, x, x + width / 2]))
    rises = _area(knots, places + width / 2) - _area(knots, places - width / 2)
    # Where the scores reach far, a difference of areas may miss the order by the last bit.
    return Knots(places, np.clip(np.maximum.accumulate(rises / width), y[0], y[-1]))


def _area(knots: Knots, ends: Doubles) -> Doubles:
    """The area under the lines from the first knot to each end."""
    x, y = knots
    full = np.concatenate([[0.0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)])
    last = np.clip(np.searchsorted(x, ends, side="right") - 1, 0, None)
    return full[last] + (ends - x[last]) * (y[last] + np.interp(ends, x, y)) / 2
