"""Folds that keep a row and its copies together, and that rare classes do not break."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator, StratifiedKFold
from sklearn.utils import check_random_state

from cairn.modeling import duplicates

LEAST = 2

Places = NDArray[np.int64]
Split = tuple[Places, Places]


class Folds(BaseCrossValidator):  # type: ignore[misc]  # untyped
    """Shuffled folds, each class in proportion as far as can be: for a table may be in an order.

    Rows that are alike in every feature are in one fold. Where none are, and each class has as
    many rows as there are folds, they are those of scikit-learn's StratifiedKFold.

    Parameters
    ----------
    number
        Of folds; as many as the rarest class has rows that differ, where that is less.
    seed
        A whole number, or NumPy's RandomState, which goes on with each call.
    learns_all
        Whether each fold's training rows have every class: the rows of a class that are all alike
        are then in none of the tests. Otherwise each row is in one.
    is_inner
        Whether the folds are part of a fit, which goes on where fewer than two classes have two
        rows that differ: all rows are then learned from, and all of them asked.
    """

    # Not `n_splits`: what has that is refused by CalibratedClassifierCV where a class is rarer.
    def __init__(
        self, number: int, *, seed: Any, learns_all: bool = True, is_inner: bool = False
    ) -> None:
        if number < LEAST:
            raise ValueError(f"got {number} folds; allowed: a whole number from {LEAST}")
        self.number = number
        self.seed = seed
        self.learns_all = learns_all
        self.is_inner = is_inner

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803, ARG002
        """How many folds these rows have; without rows, as many as asked for."""
        if X is None or y is None:
            return self.number
        counts = count_distinct(X, y)
        if is_short(counts):
            return 1 if self.is_inner else fewer(self.number, counts)
        return sum(1 for _ in deepcopy(self).split(X, y))  # a seed may be a state that goes on

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[Split]:  # noqa: N803, ARG002
        """The training and the test rows of each fold, by place.

        Raises
        ------
        ValueError
            Where fewer than two classes have two rows that differ, unless these are inner folds.
        """
        _, codes = np.unique(np.asarray(y), return_inverse=True)
        hashes = duplicates.hash_matrix(X)
        counts = _distinct(hashes, codes)
        if is_short(counts):
            if self.is_inner:
                every = np.arange(len(codes))
                yield every, every
                return
            raise ValueError("fewer than two classes have two rows that differ")
        number = fewer(self.number, counts)
        if counts.sum() == len(codes) and counts.min() >= number:
            plain = StratifiedKFold(number, shuffle=True, random_state=self.seed)
            yield from plain.split(codes, codes)
            return
        folds = self._deal(duplicates.group(hashes, codes), codes, number)
        for fold in np.unique(folds[folds >= 0]):  # learning all may leave a fold without rows
            yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)

    def _deal(self, groups: duplicates.Groups, codes: Places, number: int) -> Places:
        """Deal groups of copies out to folds in turn: the fold of each row, -1 where none."""
        count = len(groups.sizes)
        folds = np.empty(count, dtype=np.int64)
        folds[duplicates.order(groups, check_random_state(self.seed))] = np.arange(count) % number
        if self.learns_all:
            held = np.zeros((number, int(codes.max()) + 1), dtype=bool)
            held[folds[groups.of], codes] = True
            lone = held.sum(axis=0) == 1
            folds[groups.of[lone[codes]]] = -1
        found: Places = folds[groups.of]
        return found


def count_distinct(features: Any, classes: Any) -> Places:
    """Count the rows of each class that there is which are no copies of another of that class."""
    _, codes = np.unique(np.asarray(classes), return_inverse=True)
    return _distinct(duplicates.hash_matrix(features), codes)


def _distinct(hashes: duplicates.Hashes, codes: Places) -> Places:
    """As `count_distinct`; a group of copies counts for the class that most of its rows have."""
    is_twin = duplicates.find_twins(hashes)
    width = int(codes.max()) + 1
    alone = np.bincount(codes[~is_twin], minlength=width)
    if not is_twin.any():
        return alone
    groups = duplicates.group(hashes[is_twin], codes[is_twin])
    return alone + np.bincount(groups.main, minlength=width)


def is_short(counts: Places) -> bool:
    """Whether fewer than two classes have two rows that differ."""
    return int((counts >= LEAST).sum()) < LEAST


def fewer(number: int, counts: Places) -> int:
    """So many folds, or as many as the rarest class of at least two rows has."""
    enough = counts[counts >= LEAST]
    return min(number, int(enough.min())) if len(enough) else LEAST
