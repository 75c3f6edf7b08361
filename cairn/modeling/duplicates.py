"""Rows that are alike in every feature: found by hashes, and kept on one side of every split.

A model knows the copy of a row that it was fitted to, so a copy among the test rows makes its
scores too good. Rows that differ only in the label are copies as well. Memory is some 40 bytes a
row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK = 2**14  # rows of a matrix that are hashed at a time, which the processor's cache holds
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


class HoldOut(NamedTuple):
    """Which rows are held out for the test.

    Attributes
    ----------
    is_twin, is_test
        n: whether a row has a copy; and, of rows that have one, whether it is for the test.
    singles
        How many rows without a copy are for the test, of each class.
    """

    is_twin: Mask
    is_test: Mask
    singles: Places


def hash_columns(columns: Iterable[NDArray[Any]]) -> Hashes:
    """Hash n rows, given column by column as float32 or float64; NaN is like NaN, -0 like 0."""
    hashes: Hashes | None = None
    for column in columns:
        bits = _to_bits(column)
        hashes = _mix((np.full(len(bits), START) if hashes is None else hashes) ^ bits)
    if hashes is None:
        raise ValueError("no column to hash")
    return hashes


def hash_matrix(features: Any) -> Hashes:
    """Hash the rows of an n × k matrix of numbers."""
    values = np.asarray(features)
    if values.dtype not in {np.dtype("f4"), np.dtype("f8")}:
        values = values.astype(np.float64)
    hashes = np.empty(len(values), dtype=np.uint64)
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        hashes[start : start + CHUNK] = hash_columns(chunk.T)
    return hashes


def _to_bits(values: NDArray[Any]) -> Hashes:
    """Read the bits of each number as an integer, equal for equal numbers."""
    plain = values + values.dtype.type(0)  # a copy, in which -0 is 0
    plain[np.isnan(plain)] = np.nan
    bits: Hashes = plain.view(f"u{plain.dtype.itemsize}").astype(np.uint64)
    return bits


def _mix(numbers: Hashes) -> Hashes:
    """Spread each number over all 64 bits."""
    mixed = numbers.copy()
    for factor, bits in STEPS:
        mixed ^= mixed >> bits
        mixed *= factor
    mixed ^= mixed >> np.uint64(31)
    return mixed


def find_twins(hashes: Hashes) -> Mask:
    """Tell of each row whether another has its hash."""
    ordered = np.sort(hashes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return np.zeros(len(hashes), dtype=bool)
    nearest = repeated[np.searchsorted(repeated, hashes).clip(max=len(repeated) - 1)]
    is_twin: Mask = nearest == hashes
    return is_twin


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
    # The last value written stays: the most frequent label, or the first of equally frequent ones.
    order = np.lexsort([-label, number, owner])
    main[owner[order]] = label[order]
    each = _mix((label + 1).astype(np.uint64))
    mixes = np.zeros(len(keys), dtype=np.uint64)
    np.add.at(mixes, owner, each * number.astype(np.uint64))
    return Groups(of, sizes, main, mixes)


def order(groups: Groups, random: Any) -> Places:
    """Order groups so that every second, third or nth of them has a like mix of labels and sizes.

    The order is by class, then by size from the largest; groups with the same labels are side by
    side, at random.

    Parameters
    ----------
    random
        A generator of NumPy, old or new.
    """
    mixed = random.permutation(len(groups.sizes))
    keys = [groups.mixes[mixed], -groups.sizes[mixed], groups.main[mixed]]
    ordered: Places = mixed[np.lexsort(keys)]
    return ordered


def hold_out(hashes: Hashes, classes: Places, number: int, fraction: float, seed: int) -> HoldOut:
    """Hold out rows for a test: copies together, each class in proportion as far as possible.

    Parameters
    ----------
    hashes, classes
        n each: the hash of each row's features, and its class code.
    number
        How many classes there are.
    fraction
        The fraction of the rows that are for the test.

    Returns
    -------
    HoldOut
        Each class that has two rows that differ is on both sides; the other classes are for
        training only. Of each class the test has that fraction to within one row, where enough of
        its rows have no copy.
    """
    is_twin = find_twins(hashes)
    counts = np.bincount(classes, minlength=number)
    sizes = np.rint(counts * fraction).astype(np.int64).clip(1, np.maximum(counts - 1, 0))
    is_test = np.zeros(len(hashes), dtype=bool)
    unique = np.bincount(classes[~is_twin], minlength=number)
    if is_twin.any():
        truth = classes[is_twin]
        groups = group(hashes[is_twin], truth)
        drawn = _draw_evenly(order(groups, np.random.default_rng(seed)), fraction)
        is_test[is_twin] = _fill_sides(groups, truth, drawn, unique)[groups.of]
    test = np.bincount(classes[is_test], minlength=number)
    train = np.bincount(classes[is_twin & ~is_test], minlength=number)
    singles = np.clip(sizes - test, 0, np.maximum(unique - (train == 0), 0))
    return HoldOut(is_twin, is_test, singles)


def _draw_evenly(ordered: Places, fraction: float) -> Mask:
    """Draw that fraction of groups, evenly along their order."""
    steps = np.floor(np.arange(len(ordered) + 1) * fraction + 0.5)
    is_drawn = np.zeros(len(ordered), dtype=bool)
    is_drawn[ordered] = np.diff(steps) > 0
    return is_drawn


def _fill_sides(groups: Groups, truth: Places, drawn: Mask, unique: Places) -> Mask:
    """Move the smallest group of a class that would lack a side, and has no unique row to fill it.

    Parameters
    ----------
    drawn
        g: whether a group is for the test.
    unique
        Of each class, how many rows have no copy.
    """
    is_test = drawn.copy()
    for code in np.flatnonzero(unique == 0):
        own = np.unique(groups.of[truth == code])
        own = own[np.argsort(groups.sizes[own], kind="stable")]
        if len(own) > 1 and not is_test[own].any():
            is_test[own[0]] = True
    for code in np.flatnonzero(unique == 0):  # training on a class matters more than testing it
        own = np.unique(groups.of[truth == code])
        if len(own) and is_test[own].all():
            is_test[own[np.argmin(groups.sizes[own])]] = False
    return is_test
