"""LightGBM that stops early, by rows that it holds out itself."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from lightgbm import LGBMClassifier  # an optional extra: whoever imports this has it
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from cairn.modeling import duplicates

HELD_OUT = 0.1  # of the rows

Indices = NDArray[np.int64]


class EarlyStoppingClassifier(LGBMClassifier):  # type: ignore[misc]  # untyped
    """Fits LightGBM's classifier until the loss of a tenth of the rows no longer falls.

    `early_stopping_round` is the number of trees without a gain. `random_state` draws the tenth,
    each class in proportion, a row together with its copies, and weighted as the classes are. If no
    class has two rows that differ, it learns from all rows and evaluates all of them.
    """

    def fit(self, X: Any, y: Any, **arguments: Any) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit to n × k rows and n classes."""
        seed = self.get_params()["random_state"]
        kept, held_out = hold_out(X, np.asarray(y), seed)
        evaluation = {
            "eval_X": _take_rows(X, held_out),
            "eval_y": _take_rows(y, held_out),
            "eval_metric": _log_loss,
            "eval_class_weight": [self.class_weight],
        }
        super().fit(_take_rows(X, kept), _take_rows(y, kept), **{**evaluation, **arguments})
        return self


def hold_out(features: Any, classes: NDArray[Any], seed: Any) -> tuple[Indices, Indices]:
    """Split the rows into those to learn from and those whose loss decides when to stop."""
    _, codes = np.unique(classes, return_inverse=True)
    counts, every = np.bincount(codes), np.arange(len(codes))
    hashes = duplicates.hash_matrix(features)
    number = int(np.ceil(HELD_OUT * len(codes)))
    if not duplicates.find_twins(hashes).any() and counts.min() > 1 and number >= len(counts):
        kept, held_out = train_test_split(
            every, test_size=HELD_OUT, stratify=codes, random_state=seed
        )
        return kept, held_out
    random = np.random.RandomState(seed)
    plan = duplicates.hold_out(hashes, codes, len(counts), HELD_OUT, random.randint(2**31))
    is_test = plan.is_test.copy()
    for code, size in enumerate(plan.singles):
        singles = np.flatnonzero((codes == code) & ~plan.is_twin)
        is_test[random.choice(singles, size, replace=False)] = True
    held_out = np.flatnonzero(is_test)
    return (np.flatnonzero(~is_test), held_out) if len(held_out) else (every, every)


def _take_rows(values: Any, rows: Indices) -> Any:
    """Select some rows of an array or a frame."""
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]


def _log_loss(
    truth: NDArray[Any], probabilities: NDArray[Any], weights: NDArray[Any] | None = None
) -> tuple[str, float, bool]:
    """Compute the log loss, summed in one order: LightGBM's own depends on the threads."""
    codes = truth.astype(np.int64)
    if probabilities.ndim == 1:
        of_truth = np.where(codes, probabilities, 1 - probabilities)
    else:
        of_truth = np.take_along_axis(probabilities, codes[:, None], axis=1)[:, 0]
    losses = -np.log(np.clip(of_truth, np.finfo(np.float64).tiny, None))
    return "loss", float(np.average(losses, weights=weights)), False
