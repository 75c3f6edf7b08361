"""Draw rows at random."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def sample_rows(rows: int, most: int, random: np.random.Generator) -> Indices:
    """Draw the indices of `most` rows, in order, or of all rows where there are no more.

    >>> sample_rows(3, 5, np.random.default_rng(0)).tolist()
    [0, 1, 2]
    """
    if rows <= most:
        return np.arange(rows)
    return np.sort(random.choice(rows, most, replace=False, shuffle=False))


def group_by_class(truth: Indices) -> list[Indices]:
    """Return the indices of the rows of each class that occurs, in the order of the classes."""
    return [np.flatnonzero(truth == code) for code in np.unique(truth)]


def resample(groups: Iterable[Indices], random: np.random.Generator) -> Indices:
    """Draw as many indices of each group as it has, with replacement."""
    return np.concatenate([random.choice(group, len(group)) for group in groups])
