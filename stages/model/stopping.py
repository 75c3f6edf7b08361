"""LightGBM that stops early, by rows that it keeps aside itself."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from lightgbm import LGBMClassifier  # an optional extra: whoever imports this has it
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

ASIDE = 0.1  # of the rows


class Stopping(LGBMClassifier):  # type: ignore[misc]  # untyped
    """LightGBM's classifier, fitted until the loss of a tenth of the rows no longer falls.

    After how many trees without a gain, `early_stopping_round` says. The tenth is drawn by
    `random_state`, each class in proportion, and weighted as the classes are.
    """

    def fit(self, X: Any, y: Any, **arguments: Any) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit to n × k rows and n classes."""
        seed = self.get_params()["random_state"]
        kept, aside, classes, truth = train_test_split(
            X, y, test_size=ASIDE, stratify=y, random_state=seed
        )
        judged = {
            "eval_X": aside,
            "eval_y": truth,
            "eval_metric": _loss,
            "eval_class_weight": [self.class_weight],
        }
        super().fit(kept, classes, **{**judged, **arguments})
        return self


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
