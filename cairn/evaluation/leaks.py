"""Find columns that predict the target by themselves: as a rule, it in another form.

By each feature in turn, rows are ranked for each class by the fraction of the class among other
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
from cairn.evaluation.metrics import rounded
from cairn.evaluation.sampling import sample_rows
from cairn.modeling import duplicates
from cairn.modeling.records import Leak

# The best column of the tables that scikit-learn ships has 0.967 (breast cancer) and 0.983 (iris)
# for the class that it tells worst; one that is the target has 1.
LEAST_AUC = 0.99
MOST_ROWS = 200_000
MOST_CELLS = 2**24  # rows × features: of a wide table fewer rows are looked at
LEAST_ROWS = 50  # with fewer, chance would find a column
LEAST_OF_A_CLASS = 5
FOLDS = 5
MOST_BINS = 256
MANY_OF_A_BIN = 50  # rows, which are more than one row and its copies
ROWS_OF_A_BIN = 10

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


class Folds(NamedTuple):
    """The fold of each row, and the classes with rows enough to be ranked."""

    of: Codes
    classes: Codes


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
    rows = sample_rows(len(classes), most, random)
    truth = classes[rows]
    if len(rows) < LEAST_ROWS:
        return []
    _, first = np.unique(hashes[rows], return_index=True)
    together = Folds(
        (hashes[rows] >> np.uint64(32)).astype(np.int64) % FOLDS, _rankable(truth[first])
    )
    apart = Folds(random.integers(0, FOLDS, len(rows)), _rankable(truth))
    leaks = []
    for index, name in enumerate(names):
        binned = bins(features[rows, index])
        many = len(rows) >= MANY_OF_A_BIN * (int(binned.max()) + 1)
        auc = worst_auc(binned, truth, apart if many else together)
        leaks.append(Leak(name, rounded(auc)))
    return sorted((leak for leak in leaks if leak.auc >= LEAST_AUC), key=lambda leak: -leak.auc)


def _rankable(truth: Codes) -> Codes:
    """Return the classes that have rows enough to be ranked."""
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
    index = np.searchsorted(edges, values, side="right") - 1
    return np.where(np.isnan(values), len(edges), index)


def worst_auc(bins: Codes, truth: Codes, folds: Folds) -> float:
    """Return the least of the classes' AUC, each row ranked by those of other folds in its bin."""
    if len(folds.classes) <= 1:
        return 0.0
    width, classes = int(bins.max()) + 1, int(truth.max()) + 1
    cells = (bins * FOLDS + folds.of) * classes + truth
    counts = np.bincount(cells, minlength=width * FOLDS * classes).reshape(width, FOLDS, classes)
    others = counts.sum(axis=1, keepdims=True) - counts
    rest = others.sum(axis=2)
    prior = others.sum(axis=0) / others.sum(axis=(0, 2))[:, None].clip(1)
    fractions = (others + prior) / (rest + 1)[:, :, None]
    worst = 1.0
    for code in folds.classes:
        worst = min(worst, _auc(fractions[:, :, code], counts, int(code)))
        if worst < LEAST_AUC:
            break
    return worst


def _auc(fractions: NDArray[np.float64], counts: Codes, code: int) -> float:
    """Compute the AUC of a class, of rows that are counted by bin and fold and ranked by fractions.

    Pairs are of one fold: the other folds of two have more rows of a class where they have less.
    """
    right = pairs = 0.0
    for fold in range(FOLDS):
        own = counts[:, fold, code]
        rest = counts[:, fold].sum(axis=1) - own
        _, at = np.unique(fractions[:, fold], return_inverse=True)
        hits, others = np.bincount(at, own), np.bincount(at, rest)
        below = np.cumsum(others) - others
        right += float((hits * (below + others / 2)).sum())
        pairs += float(own.sum() * rest.sum())
    return right / pairs if pairs else 0.0


def warning(leak: Leak, contract: Contract) -> str:
    """Say what to look at, and what to do.

    >>> from cairn.contract import Column, Target
    >>> target = Target(name="survived", classes=(0, 1))
    >>> contract = Contract(columns=(Column(name="alive", kind="boolean"),), target=target)
    >>> warning(Leak("alive", 1.0), contract)[:72]
    "column 'alive' by itself predicts survived almost perfectly (AUC 1.000):"
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
        f"{of} {leak.feature!r} by itself predicts {contract.target.name} almost perfectly (AUC "
        f"{leak.auc:.3f}): it looks like the target in another form; if it is not known at the "
        f"time of prediction, {remedy}"
    )
