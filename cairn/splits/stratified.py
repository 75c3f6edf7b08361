"""Split rows at random: each class in proportion, a row and its copies on one side.

A split is a mask of all rows, so another way to split (by time, by group) is another module with
a function `split_rows` like the one here.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn.contract import Contract
from cairn.errors import CairnError
from cairn.modeling import duplicates
from cairn.modeling.duplicates import HoldOut, Mask
from cairn.paths import CONTRACT
from cairn.splits.fingerprints import Fingerprints
from cairn.splits.labels import Codes

LISTED = 3  # classes that a message lists
COPY = -1  # the class code of a row that has a copy, and is not drawn on its own

Counts = NDArray[np.int64]


class Split(NamedTuple):
    """Which rows are for the test.

    Attributes
    ----------
    is_test
        n: whether a row is for the test; the others are for training.
    notes
        What people should know of the split, one sentence each.
    """

    is_test: Mask
    notes: tuple[str, ...]


def split_rows(rows: Fingerprints, contract: Contract, test_size: float, seed: int) -> Split:
    """Choose the rows for the test.

    Parameters
    ----------
    test_size
        The fraction of the rows that are for the test.

    Raises
    ------
    CairnError
        Where a class has no row, or no class has two rows that differ.
    """
    _check_classes(rows, contract)
    classes = contract.target.classes
    plan = duplicates.hold_out(rows.hashes, rows.classes, len(classes), test_size, seed)
    if not (plan.singles.any() or plan.is_test.any()):
        raise CairnError(
            f"features.test_size: none of the {len(rows.classes):,} rows can be held out for the "
            f"test, because no class ({_list_classes(list(classes))}) has two rows that differ; "
            "add rows to the table"
        )
    return Split(draw_test_rows(rows, plan, seed), tuple(describe(rows, plan, contract)))


def _check_classes(rows: Fingerprints, contract: Contract) -> None:
    """Raise a CairnError where a class has no row."""
    classes = contract.target.classes
    counts = np.bincount(rows.classes, minlength=len(classes))
    if not counts.all():
        raise CairnError(
            f"data/processed: class {classes[int(counts.argmin())]!r} has no row; add rows of it, "
            f"or remove it from the target's classes in {CONTRACT}"
        )


def describe(rows: Fingerprints, plan: HoldOut, contract: Contract) -> list[str]:
    """Describe how many rows are copies, and which classes have no test row."""
    counts = duplicates.count(rows.hashes, rows.classes)
    texts = [f"{counts.copies:,} of {counts.rows:,} rows repeat the features of another row"]
    if counts.copies:
        texts[0] += "; a row and its copies stay on one side of the split"
    if counts.contradicting:
        texts.append(
            f"{counts.contradicting:,} rows have the same features as another row but a different "
            f"{contract.target.name}: no model can predict all of them correctly"
        )
    tests = np.bincount(rows.classes[plan.is_test], minlength=len(plan.singles)) + plan.singles
    absent = [contract.target.classes[code] for code in np.flatnonzero(tests == 0)]
    if absent:
        texts.append(
            f"class {_list_classes(absent)} has no two rows that differ: all of its rows are for "
            "training, and the test cannot score it"
        )
    return texts


def _list_classes(classes: list[bool | int | str]) -> str:
    """List the first few classes."""
    more = f" and {len(classes) - LISTED:,} more" if len(classes) > LISTED else ""
    return f"{', '.join(map(repr, classes[:LISTED]))}{more}"


def draw_test_rows(rows: Fingerprints, plan: HoldOut, seed: int) -> Mask:
    """Draw the rows without a copy that are for the test, and add the plan's copies.

    Each row group is drawn with a seed of its own.
    """
    singles = np.where(plan.is_twin, COPY, rows.classes)
    groups = [slice(start, end) for start, end in pairwise([0, *rows.ends.tolist()])]
    width = len(plan.singles)
    counts = np.array([count_classes(singles[group], width) for group in groups])
    is_test = plan.is_test.copy()
    for index, number in enumerate(draw_counts(counts, plan.singles, seed)):
        random = np.random.default_rng([seed, index])
        is_test[groups[index]] |= draw_rows(singles[groups[index]], number, random)
    return is_test


def count_classes(classes: Codes, width: int) -> Counts:
    """Count the rows of each of so many classes, those with a copy aside."""
    return np.bincount(classes[classes != COPY], minlength=width)


def draw_counts(counts: Counts, sizes: Counts, seed: int) -> Counts:
    """Draw how many rows of each class in each row group are for the test.

    Parameters
    ----------
    counts
        Rows of each class in each group: groups × classes.
    sizes
        Of each class, how many are for the test in all.

    Returns
    -------
    array
        As `counts`; with rows drawn within groups by `draw_rows`, every choice of that many rows
        of a class is as likely as any other.
    """
    random = np.random.default_rng(seed)
    drawn = [
        random.multivariate_hypergeometric(counts[:, code], sizes[code], method="marginals")
        for code in range(len(sizes))
    ]
    return np.array(drawn).T


def draw_rows(classes: Codes, counts: Counts, random: np.random.Generator) -> Mask:
    """Draw so many rows of each class at random.

    Parameters
    ----------
    classes
        The class code of each row; COPY where the row is not to be drawn.
    counts
        How many rows to draw of each class.
    """
    is_drawn = np.zeros(len(classes), dtype=bool)
    for code, number in enumerate(counts):
        is_drawn[random.choice(np.flatnonzero(classes == code), number, replace=False)] = True
    return is_drawn
