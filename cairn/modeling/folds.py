"""Folds that keep a row and its copies together, and that work with rare classes."""

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

Indices = NDArray[np.int64]
Split = tuple[Indices, Indices]


class Folds(BaseCrossValidator):  # type: ignore[misc]  # untyped
    """Splits rows into shuffled folds, stratified by class as far as possible.

    Rows that are equal in every feature are in one fold. If there are none, and each class has at
    least as many rows as there are folds, the folds are those of scikit-learn's StratifiedKFold.

    Parameters
    ----------
    number
        Number of folds; fewer if the rarest class has fewer rows that differ.
    seed
        An integer, or NumPy's RandomState, which advances with each call.
    learns_all
        Whether the training rows of each fold have every class. Rows of a class that are all equal
        are then in no test part. Otherwise each row is in one.
    is_inner
        Whether the folds are part of a fit, which must go on if fewer than two classes have two
        rows that differ: the only fold then trains on all rows and predicts all of them.
    """

    # Not `n_splits`: CalibratedClassifierCV would refuse that where a class has fewer rows.
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
        """Count the folds of these rows; without rows, return the number asked for."""
        if X is None or y is None:
            return self.number
        counts = count_distinct(X, y)
        if is_short(counts):
            return 1 if self.is_inner else limit_folds(self.number, counts)
        return sum(1 for _ in deepcopy(self).split(X, y))  # a RandomState advances

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[Split]:  # noqa: N803, ARG002
        """Yield the indices of each fold's training rows and test rows.

        Raises
        ------
        ValueError
            If fewer than two classes have two rows that differ, unless these are inner folds.
        """
        _, codes = np.unique(np.asarray(y), return_inverse=True)
        hashes = duplicates.hash_matrix(X)
        counts = _count_distinct(hashes, codes)
        if is_short(counts):
            if self.is_inner:
                all_rows = np.arange(len(codes))
                yield all_rows, all_rows
                return
            raise ValueError("fewer than two classes have two rows that differ")
        number = limit_folds(self.number, counts)
        if counts.sum() == len(codes) and counts.min() >= number:
            stratified = StratifiedKFold(number, shuffle=True, random_state=self.seed)
            yield from stratified.split(codes, codes)
            return
        folds = self._deal(duplicates.group(hashes, codes), codes, number)
        for fold in np.unique(folds[folds >= 0]):  # `learns_all` may leave a fold without rows
            yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)

    def _deal(self, groups: duplicates.Groups, codes: Indices, number: int) -> Indices:
        """Deal groups of copies out to folds in turn; return the fold of each row, -1 for none."""
        count = len(groups.sizes)
        folds = np.empty(count, dtype=np.int64)
        folds[duplicates.order(groups, check_random_state(self.seed))] = np.arange(count) % number
        if self.learns_all:
            has_class = np.zeros((number, int(codes.max()) + 1), dtype=bool)
            has_class[folds[groups.of], codes] = True
            is_single = has_class.sum(axis=0) == 1
            folds[groups.of[is_single[codes]]] = -1
        result: Indices = folds[groups.of]
        return result


def count_distinct(features: Any, classes: Any) -> Indices:
    """Count the distinct rows of each class."""
    _, codes = np.unique(np.asarray(classes), return_inverse=True)
    return _count_distinct(duplicates.hash_matrix(features), codes)


def _count_distinct(hashes: duplicates.Hashes, codes: Indices) -> Indices:
    """Count distinct rows; a group of copies counts for the class of most of its rows."""
    is_twin = duplicates.find_twins(hashes)
    width = int(codes.max()) + 1
    singles = np.bincount(codes[~is_twin], minlength=width)
    if not is_twin.any():
        return singles
    groups = duplicates.group(hashes[is_twin], codes[is_twin])
    return singles + np.bincount(groups.main, minlength=width)


def is_short(counts: Indices) -> bool:
    """Tell whether fewer than two classes have two rows that differ."""
    return int((counts >= LEAST).sum()) < LEAST


def limit_folds(number: int, counts: Indices) -> int:
    """Limit a number of folds to the rows of the rarest class that has at least two."""
    enough = counts[counts >= LEAST]
    return min(number, int(enough.min())) if len(enough) else LEAST
