"""From which probability a class is predicted, by the rule that params.yaml names."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn.console import CairnError
from cairn.contract import Contract
from cairn.evaluation.metrics import BINARY, DIGITS, rounded
from cairn.params import FixedValue, LowestCost, MinimumRecall, Threshold

Hits = NDArray[np.bool_]
Shares = NDArray[np.float64]


class Counts(NamedTuple):
    """What each threshold gives, the highest first.

    Attributes
    ----------
    values
        m thresholds, each half-way between two probabilities that came.
    found, wrong
        Rows of the class, and others, that reach it.
    """

    values: Shares
    found: NDArray[np.int64]
    wrong: NDArray[np.int64]


def place(rule: Threshold, contract: Contract) -> int:
    """The class of the rule, by its place.

    Raises
    ------
    CairnError
        Where there is no such class, or there are more than two.
    """
    classes = contract.target.classes
    # 1 is True to Python, and no label is both.
    places = [at for at, label in enumerate(classes) if (label, type(label)) == _typed(rule.label)]
    if not places:
        raise CairnError(
            f"train.threshold.class: got {rule.label!r}; the classes are "
            f"{', '.join(map(repr, classes))}"
        )
    if len(classes) != BINARY:
        raise CairnError(
            f"train.threshold: for a target of two classes, not of {len(classes)}; set it to null"
        )
    return places[0]


def _typed(label: Any) -> tuple[Any, type[Any]]:
    return label, type(label)


def chosen(rule: Threshold, hits: Hits, shares: Shares) -> float:
    """The threshold that the rule wants.

    Parameters
    ----------
    hits, shares
        n: which rows are of the class, and its probability by models that had not seen the row.
    """
    if isinstance(rule, FixedValue):
        return rule.value
    counts = _counts(hits, shares)
    return float(counts.values[_best(rule, counts, int(hits.sum()))])


def _best(rule: Threshold, counts: Counts, all_of_it: int) -> int:
    """The place of the best threshold; of equals the highest."""
    if isinstance(rule, MinimumRecall):
        return int(np.argmax(counts.found >= rule.at_least * all_of_it))
    missed = all_of_it - counts.found
    if isinstance(rule, LowestCost):
        return int(np.argmin(rule.false_positive * counts.wrong + rule.false_negative * missed))
    return int(np.argmax(2 * counts.found / (2 * counts.found + counts.wrong + missed)))


def _counts(hits: Hits, shares: Shares) -> Counts:
    came, at = np.unique(shares, return_inverse=True)
    found = _from_above(np.bincount(at, hits))
    every = _from_above(np.bincount(at))
    values = came[::-1]
    below = np.append(values[1:], 0)
    middles = ((values + below) / 2).round(DIGITS)
    # With fewer digits it may be none between the two any more.
    kept = np.where((below < middles) & (middles <= values), middles, values)
    every_one = Counts(kept, found, every - found)
    # Of a probability of 1 there is none above that no row reaches.
    return every_one if values[0] >= 1 else _and_none(every_one, values[0])


def _and_none(counts: Counts, highest: float) -> Counts:
    """The thresholds with one that no row reaches before them."""
    scale = 10**DIGITS
    none = np.ceil((1 + highest) / 2 * scale) / scale
    return Counts(
        *(np.append(first, each) for first, each in zip((none, 0, 0), counts, strict=True))
    )


def _from_above(counts: NDArray[Any]) -> NDArray[np.int64]:
    return counts[::-1].cumsum().astype(np.int64)


def reached(value: float, hits: Hits, shares: Shares) -> dict[str, float]:
    """Recall, precision and F1 of the class at a threshold."""
    said = shares >= value
    both = int((said & hits).sum())
    return {
        "recall": rounded(both / max(1, hits.sum())),
        "precision": rounded(both / max(1, said.sum())),
        "f1": rounded(2 * both / max(1, said.sum() + hits.sum())),
    }


def words(rule: Threshold) -> str:
    """The rule as people say it."""
    if isinstance(rule, FixedValue):
        return "a given value"
    if isinstance(rule, MinimumRecall):
        return f"recall at least {rule.at_least:g}"
    if isinstance(rule, LowestCost):
        return (
            f"lowest cost, a false positive at {rule.false_positive:g} and a false negative at "
            f"{rule.false_negative:g}"
        )
    return "largest F1"
