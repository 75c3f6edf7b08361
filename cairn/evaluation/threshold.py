"""Choose from which probability a class is predicted, by the rule that params.yaml names.

Not scikit-learn's TunedThresholdClassifierCV: it tries 100 evenly spaced thresholds, of which the
best cost 1,498 on 4,000 rows where the best of all, found here, cost 1,468. Nor can it ask for the
highest threshold with a given recall. It also wraps the estimator, which the export to ONNX would
have to unwrap.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn.contract import Contract
from cairn.errors import CairnError
from cairn.evaluation.metrics import BINARY, DIGITS, rounded
from cairn.modeling import records
from cairn.modeling.records import Reached
from cairn.params.train import FixedValue, LowestCost, MinimumRecall, Threshold

Hits = NDArray[np.bool_]
Probabilities = NDArray[np.float64]


class Counts(NamedTuple):
    """What each threshold gives, the highest first.

    Attributes
    ----------
    values
        m thresholds, each half-way between two probabilities that occur.
    true_positives, false_positives
        Rows of the class, and others, that reach it.
    """

    values: Probabilities
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]


def class_code(rule: Threshold, contract: Contract) -> int:
    """Return the code of the rule's class.

    Raises
    ------
    CairnError
        Where there is no such class, or there are more than two.
    """
    classes = contract.target.classes
    # 1 is True to Python, and no label is both.
    codes = [at for at, label in enumerate(classes) if (label, type(label)) == _typed(rule.label)]
    if not codes:
        raise CairnError(
            f"train.threshold.class: got {rule.label!r}; the classes are "
            f"{', '.join(map(repr, classes))}"
        )
    if len(classes) != BINARY:
        raise CairnError(
            f"train.threshold: for a target of two classes, not of {len(classes)}; set it to null"
        )
    return codes[0]


def _typed(label: Any) -> tuple[Any, type[Any]]:
    return label, type(label)


def choose(rule: Threshold, hits: Hits, probabilities: Probabilities) -> float:
    """Choose the threshold by the rule.

    Parameters
    ----------
    hits, probabilities
        n: which rows are of the class, and its probability by models that had not seen the row.
    """
    if isinstance(rule, FixedValue):
        return rule.value
    counts = _counts(hits, probabilities)
    return float(counts.values[_best(rule, counts, int(hits.sum()))])


def _best(rule: Threshold, counts: Counts, positives: int) -> int:
    """Return the index of the best threshold; of equals the highest."""
    if isinstance(rule, MinimumRecall):
        return int(np.argmax(counts.true_positives >= rule.at_least * positives))
    missed = positives - counts.true_positives
    if isinstance(rule, LowestCost):
        cost = rule.false_positive * counts.false_positives + rule.false_negative * missed
        return int(np.argmin(cost))
    twice = 2 * counts.true_positives
    return int(np.argmax(twice / (twice + counts.false_positives + missed)))


def _counts(hits: Hits, probabilities: Probabilities) -> Counts:
    ascending, at = np.unique(probabilities, return_inverse=True)
    true_positives = _from_above(np.bincount(at, hits))
    rows = _from_above(np.bincount(at))
    values = ascending[::-1]
    below = np.append(values[1:], 0)
    middles = ((values + below) / 2).round(DIGITS)
    # With fewer digits it may be none between the two any more.
    thresholds = np.where((below < middles) & (middles <= values), middles, values)
    counts = Counts(thresholds, true_positives, rows - true_positives)
    # Above a probability of 1 there is no threshold that no row reaches.
    return counts if values[0] >= 1 else _with_empty(counts, values[0])


def _with_empty(counts: Counts, highest: float) -> Counts:
    """Put a threshold that no row reaches before the others."""
    scale = 10**DIGITS
    empty = np.ceil((1 + highest) / 2 * scale) / scale
    return Counts(
        *(np.append(first, each) for first, each in zip((empty, 0, 0), counts, strict=True))
    )


def _from_above(counts: NDArray[Any]) -> NDArray[np.int64]:
    return counts[::-1].cumsum().astype(np.int64)


def measure(value: float, hits: Hits, probabilities: Probabilities) -> Reached:
    """Measure recall, precision and F1 of the class at a threshold."""
    predicted = probabilities >= value
    both = int((predicted & hits).sum())
    return Reached(
        recall=rounded(both / max(1, hits.sum())),
        precision=rounded(both / max(1, predicted.sum())),
        f1=rounded(2 * both / max(1, predicted.sum() + hits.sum())),
    )


def record(rule: Threshold, value: float, reached: Reached | None) -> records.Threshold:
    """Return what evaluation.json holds of a threshold."""
    return records.Threshold(rule.label, value, describe(rule), reached)


def describe(rule: Threshold) -> str:
    """Put a rule into words."""
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
