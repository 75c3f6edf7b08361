"""What stands before the estimator, in the one Pipeline: by kind, and only what is needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from cairn.console import Unfit
from cairn.contract import Column, Contract
from cairn.modeling import estimators
from cairn.modeling.power import Power
from cairn.params.train import Train

BLOCK = 2**17  # rows
ABSENT = -1.0  # the code of a category that is missing

Floats = NDArray[np.float32]
Steps = list[tuple[str, BaseEstimator]]


def columns(contract: Contract, width: int) -> list[Column | None]:
    """The column of each feature; None of one that `stages.engineering` makes."""
    own: list[Column | None] = [contract.column(str(feature.column)) for feature in contract.own]
    return [*own, *[None] * (width - len(own))]


def prepare(features: Floats, contract: Contract, block: Train, model: BaseEstimator) -> Steps:
    """The steps that the features need before the estimator: one, or none.

    Parameters
    ----------
    features
        n × k, of the training rows: what is missing there, and how often each category comes.
    model
        Says whether numbers are scaled, how categories are encoded, and whether a missing
        number may stay.
    """
    of = columns(contract, features.shape[1])
    categories = [i for i, column in enumerate(of) if column and column.kind == "category"]
    numbers = [i for i in range(len(of)) if i not in categories]
    gaps = [i for i in _gaps(features, of, model) if i in numbers]
    scaler = _scaler(block, model)
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    parts = [
        ("numbers", scaler, [i for i in numbers if i not in gaps]),
        ("gaps", [median, *scaler], gaps),
        _categories(features, of, categories, block, model),
    ]
    used = [(name, steps, places) for name, steps, places in parts if places]
    if not used:
        raise Unfit(
            f"train.rare: {block.rare} makes every category rare, and nothing is left to learn "
            "from; lower it"
        )
    if not scaler and len(parts[0][2]) == len(of):
        return []
    return [
        (
            "prepare",
            ColumnTransformer(
                [
                    (name, make_pipeline(*steps) if steps else "passthrough", places)
                    for name, steps, places in used
                ]
            ),
        )
    ]


def _scaler(block: Train, model: BaseEstimator) -> list[BaseEstimator]:
    """What numbers are scaled by, if they are."""
    if block.scale == "power":
        return [Power()]
    scale = estimators.wants_scale(model) if block.scale == "auto" else block.scale
    return [StandardScaler()] if scale else []


def _gaps(features: Floats, of: Sequence[Column | None], model: BaseEstimator) -> list[int]:
    """The features that are imputed: those that may be missing, here or in a request.

    A model that takes a missing value has learned where to send it only if it saw some.
    """
    seen = missing(features)
    return [
        place
        for place, column in enumerate(of)
        if (not estimators.is_histogram(model) if seen[place] else column is None or column.missing)
    ]


def missing(features: Floats) -> NDArray[np.bool_]:
    """Which of the k features is missing in some row."""
    found = np.zeros(features.shape[1], dtype=bool)
    for start in range(0, len(features), BLOCK):
        found |= np.isnan(features[start : start + BLOCK]).any(axis=0)
    return found


def _categories(
    features: Floats,
    of: Sequence[Column | None],
    places: list[int],
    block: Train,
    model: BaseEstimator,
) -> tuple[str, list[BaseEstimator], list[int]]:
    """The steps of the categories, and the features that they take."""
    kept = {
        place: common(features[:, place], len(column.categories), block.rare)
        for place, column in enumerate(of)
        if column and place in places
    }
    absent = SimpleImputer(strategy="constant", fill_value=ABSENT, keep_empty_features=True)
    auto = "ordinal" if estimators.is_histogram(model) else "one_hot"
    if (auto if block.encode == "auto" else block.encode) == "one_hot":
        some = [place for place in places if kept[place]]
        return "categories", [absent, _one_hot([kept[place] for place in some])], some
    if not block.rare:
        return "categories", [absent], places
    lists = [[ABSENT, *(code for code in kept[place] if code != ABSENT)] for place in places]
    return "categories", [absent, _ordinal(lists)], places


def common(values: Floats, categories: int, rare: float) -> list[float]:
    """The codes that at least this share of n rows have, and that of a missing one if it comes.

    >>> common(np.float32([0, 0, 0, 2, np.nan, 3]), 3, rare=0.2)
    [-1.0, 0.0]
    """
    codes = np.where(np.isnan(values), ABSENT, values).astype(np.int64)
    absent, *counts = np.bincount(codes + 1, minlength=categories + 2)[: categories + 1].tolist()
    least = max(1, rare * len(values))
    found = [float(code) for code, count in enumerate(counts) if count >= least]
    return [ABSENT, *found] if absent else found


def _one_hot(kept: list[list[float]]) -> OneHotEncoder:
    """A column for each category that is kept, zeros for any other."""
    return OneHotEncoder(
        categories=kept, handle_unknown="ignore", sparse_output=False, dtype=np.float32
    )


def _ordinal(kept: list[list[float]]) -> OrdinalEncoder:
    """The place of each category that is kept, one beyond the last for any other."""
    return OrdinalEncoder(
        categories=kept,
        handle_unknown="use_encoded_value",
        unknown_value=max(map(len, kept), default=0),
        dtype=np.float32,
    )
