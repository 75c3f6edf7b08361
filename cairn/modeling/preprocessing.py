"""Build the steps before the estimator in the one Pipeline: by kind, and only those needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from cairn.contract import Column, Contract
from cairn.errors import Unfit
from cairn.modeling import estimators
from cairn.modeling.power import Power
from cairn.params.train import Train

BATCH = 2**17  # rows
MISSING = -1.0  # the code of a missing category

Floats = NDArray[np.float32]
Steps = list[tuple[str, BaseEstimator]]


def list_columns(contract: Contract, width: int) -> list[Column | None]:
    """List the column of each feature; None for a feature that `stages.engineering` makes."""
    of_table: list[Column | None] = [
        contract.column(str(feature.column)) for feature in contract.own
    ]
    return [*of_table, *[None] * (width - len(of_table))]


def prepare(features: Floats, contract: Contract, params: Train, model: BaseEstimator) -> Steps:
    """Build the steps that the features need before the estimator: one, or none.

    Parameters
    ----------
    features
        n × k training rows, which show what is missing and how often each category occurs.
    model
        Decides whether to scale numbers, how to encode categories, and whether missing numbers may
        stay.
    """
    columns = list_columns(contract, features.shape[1])
    categories = [i for i, column in enumerate(columns) if column and column.kind == "category"]
    numbers = [i for i in range(len(columns)) if i not in categories]
    gaps = [i for i in _find_gaps(features, columns, model) if i in numbers]
    scaler = _build_scaler(params, model)
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    parts = [
        ("numbers", scaler, [i for i in numbers if i not in gaps]),
        ("gaps", [median, *scaler], gaps),
        _build_categories(features, columns, categories, params, model),
    ]
    non_empty = [(name, steps, indices) for name, steps, indices in parts if indices]
    if not non_empty:
        raise Unfit(
            f"train.rare: {params.rare} makes every category rare, so no column is left to learn "
            "from; lower it"
        )
    if not scaler and len(parts[0][2]) == len(columns):
        return []
    return [
        (
            "prepare",
            ColumnTransformer(
                [
                    (name, make_pipeline(*steps) if steps else "passthrough", indices)
                    for name, steps, indices in non_empty
                ]
            ),
        )
    ]


def _build_scaler(params: Train, model: BaseEstimator) -> list[BaseEstimator]:
    """Build the scaler of the numbers, if they need one."""
    if params.scale == "power":
        return [Power()]
    scale = estimators.is_scale_sensitive(model) if params.scale == "auto" else params.scale
    return [StandardScaler()] if scale else []


def _find_gaps(
    features: Floats, columns: Sequence[Column | None], model: BaseEstimator
) -> list[int]:
    """Find the features to impute: those that may be missing, here or in a request.

    A model that takes missing values has learned where to send them only if it saw some.
    """
    seen = find_missing(features)
    return [
        index
        for index, column in enumerate(columns)
        if (
            not estimators.is_histogram_boosting(model)
            if seen[index]
            else column is None or column.missing
        )
    ]


def find_missing(features: Floats) -> NDArray[np.bool_]:
    """Find which of the k features is missing in some row."""
    result = np.zeros(features.shape[1], dtype=bool)
    for start in range(0, len(features), BATCH):
        result |= np.isnan(features[start : start + BATCH]).any(axis=0)
    return result


def _build_categories(
    features: Floats,
    columns: Sequence[Column | None],
    indices: list[int],
    params: Train,
    model: BaseEstimator,
) -> tuple[str, list[BaseEstimator], list[int]]:
    """Build the steps of the categories, and list the features that they take."""
    kept = {
        index: find_common(features[:, index], len(column.categories), params.rare)
        for index, column in enumerate(columns)
        if column and index in indices
    }
    fill = SimpleImputer(strategy="constant", fill_value=MISSING, keep_empty_features=True)
    auto = "ordinal" if estimators.is_histogram_boosting(model) else "one_hot"
    if (auto if params.encode == "auto" else params.encode) == "one_hot":
        frequent = [index for index in indices if kept[index]]
        return "categories", [fill, _build_one_hot([kept[index] for index in frequent])], frequent
    if not params.rare:
        return "categories", [fill], indices
    lists = [[MISSING, *(code for code in kept[index] if code != MISSING)] for index in indices]
    return "categories", [fill, _build_ordinal(lists)], indices


def find_common(values: Floats, categories: int, rare: float) -> list[float]:
    """List the codes that at least the fraction `rare` of n rows has, and MISSING if any is.

    >>> find_common(np.float32([0, 0, 0, 2, np.nan, 3]), 3, rare=0.2)
    [-1.0, 0.0]
    """
    codes = np.where(np.isnan(values), MISSING, values).astype(np.int64)
    missing, *counts = np.bincount(codes + 1, minlength=categories + 2)[: categories + 1].tolist()
    least = max(1, rare * len(values))
    result = [float(code) for code, count in enumerate(counts) if count >= least]
    return [MISSING, *result] if missing else result


def _build_one_hot(kept: list[list[float]]) -> OneHotEncoder:
    """Build an encoder with one column for each kept category, and zeros for any other."""
    return OneHotEncoder(
        categories=kept, handle_unknown="ignore", sparse_output=False, dtype=np.float32
    )


def _build_ordinal(kept: list[list[float]]) -> OrdinalEncoder:
    """Build an encoder to the position of a kept category, one past the last for any other."""
    return OrdinalEncoder(
        categories=kept,
        handle_unknown="use_encoded_value",
        unknown_value=max(map(len, kept), default=0),
        dtype=np.float32,
    )
