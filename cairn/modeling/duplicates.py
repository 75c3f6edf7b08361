"""Rows that are alike in every feature: found by hashes, and kept on one side of every split.

A model that has seen a row knows its copy, so a copy among the rows that judge it flatters. Rows
that differ in the label alone are copies as well. Memory is some 40 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**14  # rows of a matrix that are hashed at a time, which the processor's cache holds
# SplitMix64 (G. Steele et al., Fast splittable pseudorandom number generators, 2014).
STEPS = (
    (np.uint64(0xBF58476D1CE4E5B9), np.uint64(30)),
    (np.uint64(0x94D049BB133111EB), np.uint64(31)),
)
START = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Counts(NamedTuple):
    """How many rows of a table repeat another.

    Attributes
    ----------
    rows
        Of the table.
    copies
        Rows that are alike in every feature to one before them.
    contradicting
        Rows to which another is alike in every feature, but not in the label.
    """

    rows: int
    copies: int
    contradicting: int


class Groups(NamedTuple):
    """Rows by what they are alike in.

    Attributes
    ----------
    of
        n: the group of each row.
    sizes, main, mixes
        g: how many rows a group has, the label that most of them have, and a number that two
        groups share where they have as many rows of each label.
    """

    of: Places
    sizes: Places
    main: Places
    mixes: Hashes


class Plan(NamedTuple):
    """Which rows are for the test.

    Attributes
    ----------
    is_twin, is_test
        n: whether a row has a copy, and of those that do whether it is for the test.
    singles
        How many rows without a copy are for the test, of each class.
    """

    is_twin: Mask
    is_test: Mask
    singles: Places


def hash_columns(columns: Iterable[NDArray[Any]]) -> Hashes:
    """Hash n rows, given column by column as float32 or float64; NaN is like NaN, -0 like 0."""
    found: Hashes | None = None
    for column in columns:
        bits = _bits(column)
        found = np.full(len(bits), START) if found is None else found
        found ^= bits
        _mix(found)
    if found is None:
        raise ValueError("no column to hash")
    return found


def hash_matrix(features: Any) -> Hashes:
    """Hash the rows of an n × k matrix of numbers."""
    values = np.asarray(features)
    if values.dtype not in {np.dtype("f4"), np.dtype("f8")}:
        values = values.astype(np.float64)
    found = np.empty(len(values), dtype=np.uint64)
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        found[start : start + BLOCK] = hash_columns(block.T)
    return found


def _bits(values: NDArray[Any]) -> Hashes:
    """The bits of each number as an integer, those of equal numbers alike."""
    plain = values + values.dtype.type(0)  # a copy, in which -0 is 0
    plain[np.isnan(plain)] = np.nan
    bits: Hashes = plain.view(f"u{plain.dtype.itemsize}").astype(np.uint64)
    return bits


def _mix(numbers: Hashes) -> None:
    """Spread each number over all 64 bits, in place."""
    for factor, bits in STEPS:
        numbers ^= numbers >> bits
        numbers *= factor
    numbers ^= numbers >> np.uint64(31)


def find_twins(hashes: Hashes) -> Mask:
    """Tell of each row whether another has its hash."""
    ordered = np.sort(hashes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return np.zeros(len(hashes), dtype=bool)
    nearest = repeated[np.searchsorted(repeated, hashes).clip(max=len(repeated) - 1)]
    found: Mask = nearest == hashes
    return found


def count(hashes: Hashes, classes: Places) -> Counts:
    """Count the copies among rows with these class codes."""
    is_twin = find_twins(hashes)
    alike, truth = hashes[is_twin], classes[is_twin]
    if not len(alike):
        return Counts(len(hashes), 0, 0)
    order = np.lexsort([truth, alike])
    alike, truth = alike[order], truth[order]
    begins = np.append(True, alike[1:] != alike[:-1])
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, len(alike)))
    differ = truth[starts] != truth[starts + sizes - 1]
    return Counts(len(hashes), int(len(alike) - len(starts)), int(sizes[differ].sum()))


def group(hashes: Hashes, classes: Places) -> Groups:
    """Group rows by their hashes."""
    keys, of = np.unique(hashes, return_inverse=True)
    sizes = np.bincount(of)
    width = int(classes.max(initial=0)) + 1
    pairs, number = np.unique(of * width + classes, return_counts=True)
    owner, label = np.divmod(pairs, width)
    main = np.empty(len(keys), dtype=np.int64)
    # The last that is written stays: the commonest label, of equals the first.
    order = np.lexsort([-label, number, owner])
    main[owner[order]] = label[order]
    each = (label + 1).astype(np.uint64)
    _mix(each)
    mixes = np.zeros(len(keys), dtype=np.uint64)
    np.add.at(mixes, owner, each * number.astype(np.uint64))
    return Groups(of, sizes, main, mixes)


def order(groups: Groups, random: Any) -> Places:
    """Put groups in an order of which every other, every third and so on are alike.

    By class, the largest first, those with the same labels side by side and at random.

    Parameters
    ----------
    random
        A generator of NumPy, old or new.
    """
    mixed = random.permutation(len(groups.sizes))
    keys = [groups.mixes[mixed], -groups.sizes[mixed], groups.main[mixed]]
    found: Places = mixed[np.lexsort(keys)]
    return found


def hold_out(hashes: Hashes, classes: Places, number: int, share: float, seed: int) -> Plan:
    """Choose the rows for a test: copies together, each class in proportion as far as can be.

    Parameters
    ----------
    hashes, classes
        n each: what rows are alike in, and their class codes.
    number
        Of classes.
    share
        Of the rows that are for the test.

    Returns
    -------
    Plan
        Each class that has two rows which are no copies is on both sides; one that has none is
        for training alone. Of each class the test has its share within a row, where enough of its
        rows have no copy.
    """
    is_twin = find_twins(hashes)
    whole = np.bincount(classes, minlength=number)
    wanted = np.rint(whole * share).astype(np.int64).clip(1, np.maximum(whole - 1, 0))
    is_test = np.zeros(len(hashes), dtype=bool)
    alone = np.bincount(classes[~is_twin], minlength=number)
    if is_twin.any():
        truth = classes[is_twin]
        groups = group(hashes[is_twin], truth)
        aside = _every(order(groups, np.random.default_rng(seed)), share)
        aside = _both_sides(groups, truth, aside, alone)
        is_test[is_twin] = aside[groups.of]
    test = np.bincount(classes[is_test], minlength=number)
    train = np.bincount(classes[is_twin & ~is_test], minlength=number)
    singles = np.clip(wanted - test, 0, np.maximum(alone - (train == 0), 0))
    return Plan(is_twin, is_test, singles)


def _every(ordered: Places, share: float) -> Mask:
    """Take that share of groups, evenly along their order."""
    steps = np.floor(np.arange(len(ordered) + 1) * share + 0.5)
    found = np.zeros(len(ordered), dtype=bool)
    found[ordered] = np.diff(steps) > 0
    return found


def _both_sides(groups: Groups, truth: Places, aside: Mask, alone: Places) -> Mask:
    """Move the smallest group of a class that would lack a side, which single rows cannot fill."""
    found = aside.copy()
    for code in np.flatnonzero(alone == 0):
        own = np.unique(groups.of[truth == code])
        own = own[np.argsort(groups.sizes[own], kind="stable")]
        if len(own) > 1 and not found[own].any():
            found[own[0]] = True
    for code in np.flatnonzero(alone == 0):  # to train on each is worth more than to test
        own = np.unique(groups.of[truth == code])
        if len(own) and found[own].all():
            found[own[np.argmin(groups.sizes[own])]] = False
    return found
