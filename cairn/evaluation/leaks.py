"""Columns that tell the target by themselves: it in another form, as a rule.

Of each feature alone, rows are ranked for each class by the share that the class has among other
rows with the same value, a number's values in bins. So a number needs no order, a category with
many values gains nothing from that, and a value that is missing counts as one. The other rows are
those of other folds; where few rows share a value, a row and its copies are in one fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn.contract import Contract
from cairn.evaluation.intervals import drawn
from cairn.evaluation.metrics import rounded
from cairn.modeling import duplicates

# The best column of the tables that scikit-learn ships has 0.967 (breast cancer) and 0.983 (iris)
# for the class that it tells worst; one that is the target has 1.
LEAST_AUC = 0.99
MOST_ROWS = 200_000
MOST_CELLS = 2**24  # rows × features: a wide table is judged by fewer rows
LEAST_ROWS = 50  # by fewer, chance alone would find a column
LEAST_OF_A_CLASS = 5
FOLDS = 5
MOST_BINS = 256
MANY_OF_A_BIN = 50  # rows, which are more than one row and its copies
ROWS_OF_A_BIN = 10

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


class Leak(NamedTuple):
    """A feature that tells every class.

    Attributes
    ----------
    feature
        Its name.
    auc
        Area under the ROC curve, of the class that it tells worst, against the rest.
    """

    feature: str
    auc: float


class Folds(NamedTuple):
    """The fold of each row, and the classes that folds can tell."""

    of: Codes
    asked: Codes


def find(
    features: Floats, classes: Codes, names: Sequence[str], hashes: duplicates.Hashes, seed: int
) -> list[Leak]:
    """Find the features that tell the classes almost perfectly, the best first.

    Parameters
    ----------
    features, classes, hashes
        n × k, n class codes, and n hashes of rows.
    names
        Of the k features.
    seed
        Draws rows where there are many.

    Returns
    -------
    list
        None where the rows are too few to tell.
    """
    most = min(MOST_ROWS, MOST_CELLS // max(1, len(names)))
    random = np.random.default_rng(seed)
    rows = drawn(len(classes), most, random)
    truth = classes[rows]
    if len(rows) < LEAST_ROWS:
        return []
    _, first = np.unique(hashes[rows], return_index=True)
    together = Folds((hashes[rows] >> np.uint64(32)).astype(np.int64) % FOLDS, _asked(truth[first]))
    apart = Folds(random.integers(0, FOLDS, len(rows)), _asked(truth))
    found = []
    for place, name in enumerate(names):
        binned = bins(features[rows, place])
        many = len(rows) >= MANY_OF_A_BIN * (int(binned.max()) + 1)
        auc = worst_auc(binned, truth, apart if many else together)
        found.append(Leak(name, rounded(auc)))
    return sorted((leak for leak in found if leak.auc >= LEAST_AUC), key=lambda leak: -leak.auc)


def _asked(truth: Codes) -> Codes:
    """The classes that have rows enough to be told."""
    return np.flatnonzero(np.bincount(truth) >= LEAST_OF_A_CLASS)


def bins(values: Floats) -> Codes:
    """Put n values into bins: one each where few differ, otherwise of as many rows; NaN in one.

    >>> bins(np.float32([3, 1, np.nan, 3])).tolist()
    [1, 0, 2, 1]
    """
    known = np.sort(values)[: len(values) - int(np.isnan(values).sum())]
    most = int(np.clip(len(known) // ROWS_OF_A_BIN, 2, MOST_BINS))
    edges = known[np.append(True, known[1:] != known[:-1])] if len(known) else known
    if len(edges) > most:
        edges = np.unique(known[np.arange(most) * len(known) // most])
    # The last edge that is not above; NaN is after all of them.
    found = np.searchsorted(edges, values, side="right") - 1
    return np.where(np.isnan(values), len(edges), found)


def worst_auc(places: Codes, truth: Codes, folds: Folds) -> float:
    """The least of the classes' AUC, each row ranked by the rows of other folds in its bin."""
    if len(folds.asked) <= 1:
        return 0.0
    width, classes = int(places.max()) + 1, int(truth.max()) + 1
    cells = (places * FOLDS + folds.of) * classes + truth
    counts = np.bincount(cells, minlength=width * FOLDS * classes).reshape(width, FOLDS, classes)
    others = counts.sum(axis=1, keepdims=True) - counts
    rest = others.sum(axis=2)
    prior = others.sum(axis=0) / others.sum(axis=(0, 2))[:, None].clip(1)
    shares = (others + prior) / (rest + 1)[:, :, None]
    worst = 1.0
    for code in folds.asked:
        worst = min(worst, _auc(shares[:, :, code], counts, int(code)))
        if worst < LEAST_AUC:
            break
    return worst


def _auc(shares: NDArray[np.float64], counts: Codes, code: int) -> float:
    """The AUC of a class, of rows that are counted by bin and fold, each with the class's share.

    Pairs are of one fold: the other folds of two have more rows of a class where they have less.
    """
    right = pairs = 0.0
    for fold in range(FOLDS):
        own = counts[:, fold, code]
        rest = counts[:, fold].sum(axis=1) - own
        _, at = np.unique(shares[:, fold], return_inverse=True)
        hits, others = np.bincount(at, own), np.bincount(at, rest)
        below = np.cumsum(others) - others
        right += float((hits * (below + others / 2)).sum())
        pairs += float(own.sum() * rest.sum())
    return right / pairs if pairs else 0.0


def warning(leak: Leak, contract: Contract) -> str:
    """What people are to look at, and what to do.

    >>> from cairn.contract import Column, Target
    >>> target = Target(name="survived", classes=(0, 1))
    >>> contract = Contract(columns=(Column(name="alive", kind="boolean"),), target=target)
    >>> warning(Leak("alive", 1.0), contract)[:65]
    "column 'alive' alone tells survived almost perfectly (AUC 1.000):"
    """
    columns = {feature.name: feature.column for feature in contract.own}
    column = columns.get(leak.feature)
    of = "feature" if column != leak.feature else "column"
    remedy = (
        f"add {'it' if of == 'column' else repr(column)} to processed.drop"
        if column
        else "take it out of stages/engineering.py"
    )
    return (
        f"{of} {leak.feature!r} alone tells {contract.target.name} almost perfectly (AUC "
        f"{leak.auc:.3f}): it looks like the target in another form; if it is not known at the "
        f"time of prediction, {remedy}"
    )
