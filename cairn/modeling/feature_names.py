"""Arguments that name columns, as an estimator takes them: by position behind the preparation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder

from cairn.console import CairnError
from cairn.contract import Contract
from cairn.modeling import estimators

# Arguments that hold a number for each feature → that of a feature which is not named; then those
# that hold features, and groups of features. LightGBM knows some by several names.
EACH: dict[str, int] = {
    **dict.fromkeys(("monotonic_cst", "monotone_constraints", "monotone_constraint", "mc"), 0),
    **dict.fromkeys(("feature_contri", "feature_contrib", "feature_penalty", "fc", "fp"), 1),
}
SOME = (
    "categorical_features", "categorical_feature", "categorical_column", "cat_feature",
    "cat_column",
)  # fmt: skip
GROUPS = ("interaction_cst", "interaction_constraints")


class Positions(NamedTuple):
    """Where the features are behind the preparation.

    Attributes
    ----------
    of
        Feature → its positions: several where it became columns, none where nothing is left of it.
    width
        How many there are in all.
    columns
        Column of the contract, or its header → its features.
    """

    of: dict[str, list[int]]
    width: int
    columns: dict[str, tuple[str, ...]]


def translate(
    model: BaseEstimator, steps: Sequence[tuple[str, BaseEstimator]], contract: Contract
) -> None:
    """Give an estimator of our own making, and those inside it, positions where names stand.

    Parameters
    ----------
    steps
        What stands before the estimator, not fitted yet.

    Raises
    ------
    CairnError
        Where a name is none of a column or a feature, or the feature is no single column there.
    """
    for part in estimators.parts(model):
        given = {
            name: value for name, value in part.get_params(deep=False).items() if _has_names(value)
        }
        named = {name: value for name, value in given.items() if name in {*EACH, *SOME, *GROUPS}}
        if named:
            where = positions(steps, contract)
            part.set_params(
                **{name: _translated(name, value, where) for name, value in named.items()}
            )


def _has_names(value: Any) -> bool:
    """Whether there is a text among the keys of a mapping, or in a list of any depth."""
    if isinstance(value, Mapping):
        return True
    if isinstance(value, list | tuple):
        return any(isinstance(each, str) or _has_names(each) for each in value)
    return False


def _translated(argument: str, value: Any, where: Positions) -> Any:
    if argument in EACH:
        if not isinstance(value, Mapping):
            raise CairnError(
                f"train.arguments: {argument}: got {value}; by name it is a mapping such as "
                f"{{{next(iter(where.of))}: 1}}"
            )
        found = [EACH[argument]] * where.width
        for name, number in value.items():
            found[_position(argument, name, where)] = number
        return found
    if isinstance(value, Mapping):
        raise CairnError(
            f"train.arguments: {argument}: got a mapping; allowed: a list of columns, such as "
            f"[{next(iter(where.of))}]"
        )
    if argument in SOME:
        return [_position(argument, name, where) for name in value]
    return [[_position(argument, name, where) for name in group] for group in value]


def _position(argument: str, name: Any, where: Positions) -> int:
    """The position of a feature, or of the only one of a column; a position as it is."""
    if isinstance(name, int):
        return name
    own = where.columns.get(name, (name,))
    if len(own) > 1:
        raise CairnError(
            f"train.arguments: {argument}: {name!r} is several features; name one of them: "
            f"{', '.join(own)}"
        )
    places = where.of.get(own[0])
    if places is None:
        raise CairnError(
            f"train.arguments: {argument}: no column or feature {name!r}; there are "
            f"{', '.join(where.of)}"
        )
    if len(places) != 1:
        raise CairnError(
            f"train.arguments: {argument}: {name!r} is a category, which the estimator has as "
            f"{len(places)} columns; set train.encode to ordinal"
        )
    return places[0]


def positions(steps: Sequence[tuple[str, BaseEstimator]], contract: Contract) -> Positions:
    """Where each feature is behind what stands before the estimator."""
    names = _names(contract)
    if not steps:
        return Positions(
            {name: [i] for i, name in enumerate(names)}, len(names), _columns(contract)
        )
    found: dict[str, list[int]] = {name: [] for name in names}
    start = 0
    ((_, transformer),) = steps
    for place, width in _widths(transformer):
        found[names[place]] = list(range(start, start + width))
        start += width
    return Positions(found, start, _columns(contract))


def _names(contract: Contract) -> list[str]:
    """The features in order, those of `stages.engineering` last."""
    return [feature.name for feature in contract.inputs]


def _columns(contract: Contract) -> dict[str, tuple[str, ...]]:
    named = {column.name: column.features for column in contract.columns}
    headers = {header: named[name] for header, name in contract.aliases.items() if name in named}
    return {**headers, **named}


def _widths(transformer: ColumnTransformer) -> list[tuple[int, int]]:
    """Each feature that goes in, in the order of what comes out, and its number of columns."""
    found: list[tuple[int, int]] = []
    for _, inner, places in transformer.transformers:
        last = inner if isinstance(inner, str) else inner[-1]
        widths = [1] * len(places)
        if isinstance(last, OneHotEncoder):
            widths = [len(kept) for kept in last.categories]
        found += zip(places, widths, strict=True)
    return found
