"""LightGBM that stops early, by rows that it keeps aside itself."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from lightgbm import LGBMClassifier  # an optional extra: whoever imports this has it
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from cairn.modeling import duplicates

ASIDE = 0.1  # of the rows

Places = NDArray[np.int64]


class Stopping(LGBMClassifier):  # type: ignore[misc]  # untyped
    """LightGBM's classifier, fitted until the loss of a tenth of the rows no longer falls.

    After how many trees without a gain, `early_stopping_round` says. The tenth is drawn by
    `random_state`, each class in proportion and a row with its copies, and weighted as the classes
    are. Where no class has two rows that differ, all rows are learned from, and judge.
    """

    def fit(self, X: Any, y: Any, **arguments: Any) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit to n × k rows and n classes."""
        seed = self.get_params()["random_state"]
        kept, aside = keep_aside(X, np.asarray(y), seed)
        judged = {
            "eval_X": _take(X, aside),
            "eval_y": _take(y, aside),
            "eval_metric": _loss,
            "eval_class_weight": [self.class_weight],
        }
        super().fit(_take(X, kept), _take(y, kept), **{**judged, **arguments})
        return self


def keep_aside(features: Any, classes: NDArray[Any], seed: Any) -> tuple[Places, Places]:
    """Which rows to learn from, and which to judge by."""
    _, codes = np.unique(classes, return_inverse=True)
    counts, every = np.bincount(codes), np.arange(len(codes))
    hashes = duplicates.hash_matrix(features)
    number = int(np.ceil(ASIDE * len(codes)))
    if not duplicates.find_twins(hashes).any() and counts.min() > 1 and number >= len(counts):
        kept, aside = train_test_split(every, test_size=ASIDE, stratify=codes, random_state=seed)
        return kept, aside
    random = np.random.RandomState(seed)
    plan = duplicates.hold_out(hashes, codes, len(counts), ASIDE, random.randint(2**31))
    is_test = plan.is_test.copy()
    for code, wanted in enumerate(plan.singles):
        alone = np.flatnonzero((codes == code) & ~plan.is_twin)
        is_test[random.choice(alone, wanted, replace=False)] = True
    aside = np.flatnonzero(is_test)
    return (np.flatnonzero(~is_test), aside) if len(aside) else (every, every)


def _take(values: Any, rows: Places) -> Any:
    """Some rows of an array or a frame."""
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]


def _loss(
    truth: NDArray[Any], shares: NDArray[Any], weights: NDArray[Any] | None = None
) -> tuple[str, float, bool]:
    """The logarithmic loss, added up in one order: LightGBM's own depends on the threads."""
    codes = truth.astype(np.int64)
    found = np.where(codes, shares, 1 - shares) if shares.ndim == 1 else _of(shares, codes)
    losses = -np.log(np.clip(found, np.finfo(np.float64).tiny, None))
    return "loss", float(np.average(losses, weights=weights)), False


def _of(shares: NDArray[Any], codes: NDArray[np.int64]) -> NDArray[Any]:
    return np.take_along_axis(shares, codes[:, None], axis=1)[:, 0]
