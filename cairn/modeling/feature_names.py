"""Translate arguments that name columns into positions after the preparation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder

from cairn.contract import Contract
from cairn.errors import CairnError
from cairn.modeling import estimators

# Arguments that hold a number for each feature → the number of a feature without a name there.
# Then arguments that hold features, and groups of features. LightGBM has several names for some.
PER_FEATURE: dict[str, int] = {
    **dict.fromkeys(("monotonic_cst", "monotone_constraints", "monotone_constraint", "mc"), 0),
    **dict.fromkeys(("feature_contri", "feature_contrib", "feature_penalty", "fc", "fp"), 1),
}
LISTS = (
    "categorical_features", "categorical_feature", "categorical_column", "cat_feature",
    "cat_column",
)  # fmt: skip
GROUPS = ("interaction_cst", "interaction_constraints")


class Positions(NamedTuple):
    """Positions of the features after the preparation.

    Attributes
    ----------
    by_feature
        Feature → its positions: several if it became several columns, none if nothing is left.
    width
        Number of positions.
    columns
        Column of the contract, or its header → its features.
    """

    by_feature: dict[str, list[int]]
    width: int
    columns: dict[str, tuple[str, ...]]


def translate(
    model: BaseEstimator, steps: Sequence[tuple[str, BaseEstimator]], contract: Contract
) -> None:
    """Replace names by positions in the arguments of an unfitted estimator and those inside it.

    Parameters
    ----------
    steps
        Steps before the estimator, unfitted.

    Raises
    ------
    CairnError
        If a name is not that of a column or feature, or its feature is not exactly one column.
    """
    for estimator in estimators.list_estimators(model):
        arguments = {
            name: value
            for name, value in estimator.get_params(deep=False).items()
            if _has_names(value)
        }
        named = {
            name: value
            for name, value in arguments.items()
            if name in {*PER_FEATURE, *LISTS, *GROUPS}
        }
        if named:
            positions = find_positions(steps, contract)
            estimator.set_params(
                **{name: _translate(name, value, positions) for name, value in named.items()}
            )


def _has_names(value: Any) -> bool:
    """Tell whether a value is a mapping, or a list with a text in it at any depth."""
    if isinstance(value, Mapping):
        return True
    if isinstance(value, list | tuple):
        return any(isinstance(each, str) or _has_names(each) for each in value)
    return False


def _translate(argument: str, value: Any, positions: Positions) -> Any:
    if argument in PER_FEATURE:
        if not isinstance(value, Mapping):
            raise CairnError(
                f"train.arguments: {argument}: got {value}; by name it is a mapping such as "
                f"{{{next(iter(positions.by_feature))}: 1}}"
            )
        result = [PER_FEATURE[argument]] * positions.width
        for name, number in value.items():
            result[_find_position(argument, name, positions)] = number
        return result
    if isinstance(value, Mapping):
        raise CairnError(
            f"train.arguments: {argument}: got a mapping; allowed: a list of columns, such as "
            f"[{next(iter(positions.by_feature))}]"
        )
    if argument in LISTS:
        return [_find_position(argument, name, positions) for name in value]
    return [[_find_position(argument, name, positions) for name in group] for group in value]


def _find_position(argument: str, name: Any, positions: Positions) -> int:
    """Find the position of a feature, or of a column's only feature; return a position as it is."""
    if isinstance(name, int):
        return name
    features = positions.columns.get(name, (name,))
    if len(features) > 1:
        raise CairnError(
            f"train.arguments: {argument}: {name!r} makes several features; name one of them: "
            f"{', '.join(features)}"
        )
    indices = positions.by_feature.get(features[0])
    if indices is None:
        raise CairnError(
            f"train.arguments: {argument}: no column or feature {name!r}; there are "
            f"{', '.join(positions.by_feature)}"
        )
    if len(indices) != 1:
        raise CairnError(
            f"train.arguments: {argument}: {name!r} is a category, which the estimator sees as "
            f"{len(indices)} columns; set train.encode to ordinal"
        )
    return indices[0]


def find_positions(steps: Sequence[tuple[str, BaseEstimator]], contract: Contract) -> Positions:
    """Find where each feature is after the steps before the estimator."""
    names = _list_features(contract)
    if not steps:
        return Positions(
            {name: [i] for i, name in enumerate(names)}, len(names), _map_columns(contract)
        )
    result: dict[str, list[int]] = {name: [] for name in names}
    start = 0
    ((_, transformer),) = steps
    for index, width in _measure_widths(transformer):
        result[names[index]] = list(range(start, start + width))
        start += width
    return Positions(result, start, _map_columns(contract))


def _list_features(contract: Contract) -> list[str]:
    """List the features in order, those of `stages.engineering` last."""
    return [feature.name for feature in contract.inputs]


def _map_columns(contract: Contract) -> dict[str, tuple[str, ...]]:
    named = {column.name: column.features for column in contract.columns}
    headers = {header: named[name] for header, name in contract.aliases.items() if name in named}
    return {**headers, **named}


def _measure_widths(transformer: ColumnTransformer) -> list[tuple[int, int]]:
    """List each input feature in the order of the output, with its number of output columns."""
    result: list[tuple[int, int]] = []
    for _, inner, indices in transformer.transformers:
        last = inner if isinstance(inner, str) else inner[-1]
        widths = [1] * len(indices)
        if isinstance(last, OneHotEncoder):
            widths = [len(kept) for kept in last.categories]
        result += zip(indices, widths, strict=True)
    return result
