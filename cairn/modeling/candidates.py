"""List the candidates that a search tries: `train` params with changes from `train.search.over`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import loguniform, randint, uniform
from sklearn.model_selection import ParameterGrid, ParameterSampler

from cairn.errors import CairnError
from cairn.params.train import Range, Space, Train, parse_train

PAIR = 2  # a name and its estimator
# Params that a candidate may change beside the estimator's arguments.
PARAMS = ("scale", "encode", "rare", "calibration", "early_stopping")


class Candidate(NamedTuple):
    """Params of `train` to try, and what they change."""

    params: Train
    changes: dict[str, Any]

    @property
    def name(self) -> str:
        """The estimator and the changes on one line.

        >>> Candidate(Train(), {"max_depth": 4}).name
        'RandomForestClassifier max_depth=4'
        """
        changes = ", ".join(f"{name}={value}" for name, value in self.changes.items())
        return f"{self.params.estimator.rpartition('.')[2]} {changes}".strip()


def list_candidates(params: Train) -> list[Candidate]:
    """List the candidates that the search tries, each once, in the order of params.yaml."""
    search = params.search
    if search.method == "grid":
        spaces = _iterate_spaces(params)
        return _deduplicate(
            each for key, space in spaces for each in _expand_grid(params, space, key)
        )
    draws = [_draw(params, space, path) for path, space in _iterate_spaces(params)]
    # Each space gets an equal part of the candidates; what one lacks goes to the others.
    turns = (candidate for turn in _interleave(draws) for candidate in turn)
    return _deduplicate(turns)[: search.candidates]


def _deduplicate(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Drop candidates with the same params as an earlier one."""
    return list({repr(each.params): each for each in candidates}.values())


def _iterate_spaces(params: Train) -> Iterator[tuple[str, Space]]:
    for index, space in enumerate(params.search.over):
        yield f"train.search.over.{index}", space


def _expand_grid(params: Train, space: Space, path: str) -> list[Candidate]:
    lists = {name: values for name, values in space.values.items() if isinstance(values, list)}
    return [_build_candidate(params, space, changes, path) for changes in ParameterGrid(lists)]


def _draw(params: Train, space: Space, path: str) -> list[Candidate]:
    """Draw different candidates of one entry, at most the number of candidates of the search."""
    values = {name: _to_distribution(values) for name, values in space.values.items()}
    count = params.search.candidates
    if all(isinstance(each, list) for each in values.values()):
        count = min(count, len(ParameterGrid(values)))
    draws = ParameterSampler(values, count, random_state=params.seed)
    return _deduplicate(_build_candidate(params, space, _round(changes), path) for changes in draws)


def _to_distribution(values: Any) -> Any:
    """Turn a range into a distribution of SciPy; return a list as it is."""
    if not isinstance(values, Range):
        return values
    low, high = values.low, values.high
    if values.log:
        return (
            _IntegerDistribution(loguniform(low, high)) if values.whole else loguniform(low, high)
        )
    return randint(int(low), int(high) + 1) if values.whole else uniform(low, high - low)


class _IntegerDistribution(NamedTuple):
    """A distribution whose draws are rounded to integers."""

    of: Any

    def rvs(self, random_state: Any = None) -> int:
        """Draw one value."""
        return round(float(self.of.rvs(random_state=random_state)))


def _round(changes: dict[str, Any]) -> dict[str, Any]:
    """Round draws to six digits, which are more than any model can tell apart."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else _to_python(value)
        for name, value in changes.items()
    }


def _to_python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _interleave(draws: list[list[Candidate]]) -> Iterator[list[Candidate]]:
    """Yield the first of each list, then the second of each that has one, and so on."""
    for index in range(max(map(len, draws))):
        yield [candidates[index] for candidates in draws if index < len(candidates)]


def _build_candidate(params: Train, space: Space, changes: dict[str, Any], path: str) -> Candidate:
    """Build the params with one entry's estimator and changes, validated as params.yaml is."""
    own = {name: value for name, value in changes.items() if name in PARAMS}
    base = space if space.estimator else params
    arguments = {**base.arguments, **space.arguments}
    for name in changes.keys() - own.keys():
        arguments = set_argument(arguments, name, changes[name], f"{path}.values.{name}")
    content = {
        **params.model_dump(by_alias=True),
        **own,
        "estimator": base.estimator,
        "arguments": arguments,
        "search": {**params.search.model_dump(), "method": "none"},
    }
    return Candidate(parse_train(content, f"{path}.values"), changes)


def set_argument(arguments: dict[str, Any], name: str, value: Any, path: str) -> dict[str, Any]:
    """Set an argument; `estimator__C` is C of the estimator among the arguments.

    >>> set_argument({"estimator": {"class": "sklearn.svm.SVC"}}, "estimator__C", 2, "here")
    {'estimator': {'class': 'sklearn.svm.SVC', 'C': 2}}
    >>> set_argument({"estimators": [["a", {"class": "sklearn.svm.SVC"}]]}, "a__C", 2, "here")
    {'estimators': [['a', {'class': 'sklearn.svm.SVC', 'C': 2}]]}

    Raises
    ------
    CairnError
        If there is no estimator of that name.
    """
    first, inside, rest = name.partition("__")
    if not inside:
        return {**arguments, name: value}
    if isinstance(arguments.get(first), dict):
        return {**arguments, first: set_argument(arguments[first], rest, value, path)}
    members: Any = arguments.get("estimators")
    if first not in _list_names(members):
        raise CairnError(
            f"{path}: no estimator {first} in the arguments; write it there, such as "
            f"{first}: {{class: sklearn.svm.LinearSVC}}"
        )
    changed = [
        [member[0], set_argument(member[1], rest, value, path)]
        if first in _list_names([member])
        else member
        for member in members
    ]
    return {**arguments, "estimators": changed}


def _list_names(members: Any) -> list[Any]:
    """List the names in a list of [name, estimator]; building it reports anything else."""
    pairs = members if isinstance(members, list) else []
    pairs = [each for each in pairs if isinstance(each, list) and len(each) == PAIR]
    return [name for name, inner in pairs if isinstance(inner, dict)]
