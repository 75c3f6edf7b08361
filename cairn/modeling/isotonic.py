"""Turn the steps of an isotonic calibration into slopes, which ONNX can follow in float32."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from cairn.modeling import compat

# A float32 score differs from the float64 score in its last bits. If a probability rises from 0 to
# 1 within a tenth of the score's size, the difference stays below the tolerance.
STEEPEST = 10.0
# Rows without a class do not prove that it never occurs, and a probability of 0 that is wrong has
# an infinite log loss.
LOWEST = 1e-3

Doubles = NDArray[np.float64]


class Knots(NamedTuple):
    """A function that is linear between points and constant beyond them.

    Attributes
    ----------
    x, y
        k ascending points, and the value at each.
    """

    x: Doubles
    y: Doubles


def smooth(fitted: IsotonicRegression) -> IsotonicRegression:
    """Return a fitted isotonic regression that rises no faster than float32 can follow.

    Between two steps it rises as steeply as two scores are close to each other. Here each value is
    the mean over a window around it, so a step becomes a slope of the window's width; longer level
    or straight parts stay as they are. No value is 0 or 1.
    """
    x, y = _doubles(fitted.X_thresholds_), _doubles(fitted.y_thresholds_)
    knots = average(Knots(x, clip_inside(y)), measure_window(x))
    smoothed = copy.deepcopy(fitted)
    smoothed.X_thresholds_, smoothed.y_thresholds_ = knots
    smoothed.X_min_, smoothed.X_max_ = knots.x[0], knots.x[-1]
    compat.set_knots(smoothed)
    return smoothed


def _doubles(values: Any) -> Doubles:
    return np.asarray(values, dtype=np.float64)


def clip_inside(values: Doubles) -> Doubles:
    """Clip values away from 0 and 1, at most half-way from the nearest value between them.

    >>> clip_inside(np.array([0, 0.0004, 0.5, 1]))
    array([2.00e-04, 4.00e-04, 5.00e-01, 9.99e-01])
    """
    between = values[(values > 0) & (values < 1)]
    low, high = (between[0], 1 - between[-1]) if len(between) else (1.0, 1.0)
    return np.clip(values, min(LOWEST, low / 2), 1 - min(LOWEST, high / 2))


def measure_window(scores: Doubles) -> float:
    """Compute a slope's width from the size of the scores: their median, or where classes meet."""
    sizes = np.abs(scores)
    return float(max(np.median(sizes), sizes[1:-1].max(initial=0)) / STEEPEST)


def average(knots: Knots, width: float) -> Knots:
    """Average over a window around each knot, with knots where the window begins and ends.

    >>> average(Knots(np.array([0.0, 4, 4.1, 8]), np.array([0.1, 0.1, 0.9, 0.9])), 0.1).y[3:8]
    array([0.1, 0.2, 0.5, 0.8, 0.9])
    """
    x, y = knots
    if len(x) == 1 or not width:
        return knots
    points = np.unique(np.concatenate([x - width / 2, x, x + width / 2]))
    rises = _integrate(knots, points + width / 2) - _integrate(knots, points - width / 2)
    # With widely spread scores, rounding in a difference of areas may break the order.
    return Knots(points, np.clip(np.maximum.accumulate(rises / width), y[0], y[-1]))


def _integrate(knots: Knots, ends: Doubles) -> Doubles:
    """Integrate the lines from the first knot to each end."""
    x, y = knots
    full = np.concatenate([[0.0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)])
    last = np.clip(np.searchsorted(x, ends, side="right") - 1, 0, None)
    return full[last] + (ends - x[last]) * (y[last] + np.interp(ends, x, y)) / 2
