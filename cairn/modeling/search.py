"""Which of several train blocks is the best, by cross-validation on the training rows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import loguniform, randint, uniform
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    ParameterSampler,
    train_test_split,
)
from sklearn.pipeline import Pipeline

from cairn.compute.engine import Engine
from cairn.console import Bar, CairnError, Unfit
from cairn.contract import Contract
from cairn.evaluation import metrics
from cairn.evaluation.metrics import DIGITS, ScoredRows
from cairn.export.onnx import sklearn_predictions
from cairn.modeling import fitting
from cairn.modeling.folds import LEAST, Folds, count_distinct, fewer, is_short
from cairn.params.train import Range, Space, Train, parse_train

PAIR = 2  # a name and its estimator
ETA = 3  # of a halving: one in so many stays, on so many times the rows
# What a candidate may change beside the estimator's arguments.
KNOBS = ("scale", "encode", "rare", "calibration", "early_stopping")

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


class Candidate(NamedTuple):
    """A train block to try, and what it changes."""

    block: Train
    changes: dict[str, Any]

    @property
    def name(self) -> str:
        """The estimator and the changes on one line.

        >>> Candidate(Train(), {"max_depth": 4}).name
        'RandomForestClassifier max_depth=4'
        """
        changes = ", ".join(f"{name}={value}" for name, value in self.changes.items())
        return f"{self.block.estimator.rpartition('.')[2]} {changes}".strip()


class Tried(NamedTuple):
    """How good a candidate is: mean and standard deviation over the folds of so many rows."""

    candidate: Candidate
    rows: int
    value: float
    deviation: float


class Found(NamedTuple):
    """The best block, which searches no more, and what evaluation.json says of the search.

    Attributes
    ----------
    note
        What the search could not judge; empty: nothing.
    """

    block: Train
    report: dict[str, Any] | None
    note: str = ""


class Judge(NamedTuple):
    """A scorer of scikit-learn, larger is better, by the scores that `evaluate` has."""

    metric: str
    classes: int

    def __call__(self, pipeline: Pipeline, features: Floats, truth: Codes) -> float:
        """The score of a fitted Pipeline on n rows."""
        with fitting.alone():
            said = sklearn_predictions(pipeline, features)
        rows = ScoredRows(features, truth, said)
        value = metrics.SCORES[self.metric](rows, self.classes)
        return -value if self.metric in metrics.LOSSES else value


def best(
    features: Floats, classes: Codes, contract: Contract, block: Train, engine: Engine
) -> Found:
    """Choose among the candidates of `block.search`, the folds wherever parts run.

    Parameters
    ----------
    features, classes
        n × k, and n codes.

    Raises
    ------
    CairnError
        Where an estimator does not take an argument, or one of its values.
    """
    if block.search.method == "none":
        return Found(block, None)
    counts = count_distinct(features, classes)
    if is_short(counts):
        return Found(
            block.model_copy(update={"search": block.search.model_copy(update={"method": "none"})}),
            None,
            "train.search is left out: it needs two classes of two rows that differ; the model is "
            "that of train.estimator",
        )
    number = fewer(block.search.folds, counts)
    tried: list[Tried] = []
    left = candidates(block)
    for rows in _rungs(len(left), len(features), int(counts[counts >= LEAST].min()), block):
        part = _sample(classes, rows, block.seed)
        tried += (now := _try(features[part], classes[part], contract, block, left, engine))
        left = [each.candidate for each in ranked(now)][: math.ceil(len(left) / ETA)]
    if not math.isfinite(tried[-1].value):
        raise Unfit(
            f"train.search.metric: {block.search.metric} says nothing of so few rows; set log_loss "
            "or accuracy"
        )
    return Found(left[0].block, report(block, tried, left[0]), _fewer(number, block))


def _fewer(number: int, block: Train) -> str:
    """What is to be said of the number of folds."""
    wanted = block.search.folds
    return (
        ""
        if number == wanted
        else (
            f"train.search used {number} folds, not {wanted}: a class has no more rows that differ"
        )
    )


def ranked(tried: Iterable[Tried]) -> list[Tried]:
    """The best first; of equals, the one that was named first."""
    return sorted(tried, key=lambda each: -each.value)


def report(block: Train, tried: list[Tried], winner: Candidate) -> dict[str, Any]:
    """What evaluation.json says of a search; losses are losses there."""
    metric = block.search.metric
    sign = -1 if metric in metrics.LOSSES else 1
    return {
        "method": block.search.method,
        "metric": metric,
        "best": winner.name,
        "estimator": winner.block.estimator,
        "changes": winner.changes,
        "tried": [
            {
                "candidate": each.candidate.name,
                "rows": each.rows,
                "value": round(sign * each.value, DIGITS),
                "deviation": round(each.deviation, DIGITS),
            }
            for each in tried
        ],
    }


def candidates(block: Train) -> list[Candidate]:
    """Every block that the search tries, each once, in the order of params.yaml."""
    settings = block.search
    if settings.method == "grid":
        return _once(made for place, space in _spaces(block) for made in _grid(block, space, place))
    drawn = [_drawn(block, space, place) for place, space in _spaces(block)]
    # Each estimator gets its share of the draws, and what one has too few of goes to the others.
    turns = (made for round_ in _rounds(drawn) for made in round_)
    return _once(turns)[: settings.candidates]


def _once(made: Iterable[Candidate]) -> list[Candidate]:
    """Those whose blocks differ, in their order."""
    return list({repr(each.block): each for each in made}.values())


def _spaces(block: Train) -> Iterator[tuple[str, Space]]:
    for place, space in enumerate(block.search.over):
        yield f"train.search.over.{place}", space


def _grid(block: Train, space: Space, place: str) -> list[Candidate]:
    lists = {name: values for name, values in space.values.items() if isinstance(values, list)}
    return [_candidate(block, space, changes, place) for changes in ParameterGrid(lists)]


def _drawn(block: Train, space: Space, place: str) -> list[Candidate]:
    """As many different draws of one entry as there are, at most all that are wanted."""
    values = {name: _draws(values) for name, values in space.values.items()}
    wanted = block.search.candidates
    if all(isinstance(each, list) for each in values.values()):
        wanted = min(wanted, len(ParameterGrid(values)))
    draws = ParameterSampler(values, wanted, random_state=block.seed)
    return _once(_candidate(block, space, _rounded(changes), place) for changes in draws)


def _draws(values: Any) -> Any:
    """A list as it is, a range as a distribution of SciPy."""
    if not isinstance(values, Range):
        return values
    low, high = values.low, values.high
    if values.log:
        return _Whole(loguniform(low, high)) if values.whole else loguniform(low, high)
    return randint(int(low), int(high) + 1) if values.whole else uniform(low, high - low)


class _Whole(NamedTuple):
    """A distribution's draws as whole numbers."""

    of: Any

    def rvs(self, random_state: Any = None) -> int:
        """One draw."""
        return round(float(self.of.rvs(random_state=random_state)))


def _rounded(changes: dict[str, Any]) -> dict[str, Any]:
    """Draws as people write them: six digits are more than any model tells apart."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else _plain(value)
        for name, value in changes.items()
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _rounds(drawn: list[list[Candidate]]) -> Iterator[list[Candidate]]:
    """The first of each list, then the second of each that has one, and so on."""
    for place in range(max(map(len, drawn))):
        yield [made[place] for made in drawn if place < len(made)]


def _candidate(block: Train, space: Space, changes: dict[str, Any], place: str) -> Candidate:
    """The block with one entry's estimator and these changes, checked as params.yaml is."""
    knobs = {name: value for name, value in changes.items() if name in KNOBS}
    named = space if space.estimator else block
    arguments = {**named.arguments, **space.arguments}
    for name in changes.keys() - knobs.keys():
        arguments = reach(arguments, name, changes[name], f"{place}.values.{name}")
    content = {
        **block.model_dump(by_alias=True),
        **knobs,
        "estimator": named.estimator,
        "arguments": arguments,
        "search": {**block.search.model_dump(), "method": "none"},
    }
    return Candidate(parse_train(content, f"{place}.values"), changes)


def reach(arguments: dict[str, Any], name: str, value: Any, place: str) -> dict[str, Any]:
    """Arguments with one more; `estimator__C` is C of the estimator among them.

    >>> reach({"estimator": {"class": "sklearn.svm.SVC"}}, "estimator__C", 2, "here")
    {'estimator': {'class': 'sklearn.svm.SVC', 'C': 2}}
    >>> reach({"estimators": [["a", {"class": "sklearn.svm.SVC"}]]}, "a__C", 2, "here")
    {'estimators': [['a', {'class': 'sklearn.svm.SVC', 'C': 2}]]}

    Raises
    ------
    CairnError
        Where there is none of that name.
    """
    first, inside, rest = name.partition("__")
    if not inside:
        return {**arguments, name: value}
    if isinstance(arguments.get(first), dict):
        return {**arguments, first: reach(arguments[first], rest, value, place)}
    members: Any = arguments.get("estimators")
    if first not in _named(members):
        raise CairnError(
            f"{place}: no estimator {first} in the arguments; write it there, such as "
            f"{first}: {{class: sklearn.svm.LinearSVC}}"
        )
    changed = [
        [member[0], reach(member[1], rest, value, place)] if first in _named([member]) else member
        for member in members
    ]
    return {**arguments, "estimators": changed}


def _named(members: Any) -> list[Any]:
    """The names in a list of [name, estimator]; what else there is, is refused where it is made."""
    every = members if isinstance(members, list) else []
    pairs = [each for each in every if isinstance(each, list) and len(each) == PAIR]
    return [name for name, inner in pairs if isinstance(inner, dict)]


def _rungs(number: int, rows: int, rarest: int, block: Train) -> list[int]:
    """On how many rows the candidates that are left are tried, one time after the other."""
    if block.search.method != "halving":
        return [rows]
    # So many that each class is in every fold.
    least = math.ceil(block.search.folds * rows / rarest)
    steps = range(1 + int(math.log(max(number, 1), ETA)))
    found = [rows // ETA**step for step in reversed(steps)]
    return [max(each, min(least, rows)) for each in found]


def _sample(classes: Codes, rows: int, seed: int) -> NDArray[np.int64]:
    """So many rows, each class in proportion, in order."""
    every = np.arange(len(classes))
    if rows >= len(classes):
        return every
    counts = np.bincount(classes)
    rare = np.flatnonzero(counts[classes] < LEAST)  # of which no part can be drawn
    others = np.setdiff1d(every, rare, assume_unique=True)
    rest, kinds = rows - len(rare), (counts >= LEAST).sum()
    if rest < kinds or len(others) - rest < kinds:
        return every
    part, _ = train_test_split(others, train_size=rest, stratify=classes[others], random_state=seed)
    return np.sort(np.concatenate([part, rare]))


def _try(  # noqa: PLR0913, PLR0917
    features: Floats,
    classes: Codes,
    contract: Contract,
    block: Train,
    left: list[Candidate],
    engine: Engine,
) -> list[Tried]:
    """Cross-validate candidates on these rows."""
    pipelines = [_unfitted(features, contract, each) for each in left]
    settings = block.search
    names = " or ".join(dict.fromkeys(each.block.estimator for each in left))
    grid = _Told(
        # A step that is a whole Pipeline can be another one.
        _Alone([("candidate", pipelines[0])]),
        [
            {"candidate": [pipeline], "named": [each.name]}
            for pipeline, each in zip(pipelines, left, strict=True)
        ],
        scoring=Judge(settings.metric, len(contract.target.classes)),
        cv=Folds(settings.folds, seed=block.seed),
        error_score="raise",
        refit=False,
    )
    grid.metric = settings.metric
    with fitting.running(pipelines, f"train.search: {names}"), engine.joblib(features, classes):
        grid.fit(features, classes)
    means, deviations = (grid.cv_results_[f"{name}_test_score"] for name in ("mean", "std"))
    rows = [len(features)] * len(left)
    return list(map(Tried, left, rows, means.tolist(), deviations.tolist()))


def _unfitted(features: Floats, contract: Contract, candidate: Candidate) -> Pipeline:
    try:
        return fitting.unfitted(features, contract, candidate.block)
    except CairnError as error:
        raise type(error)(f"train.search: {candidate.name}: {error}") from None


class _Alone(Pipeline):  # type: ignore[misc]
    """One of many that are fitted side by side; an error says which."""

    steps: list[tuple[str, Pipeline]]

    def __init__(
        self,
        steps: Any,
        *,
        transform_input: Any = None,
        memory: Any = None,
        verbose: bool = False,
        named: str = "",
    ) -> None:
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)
        self.named = named

    def fit(self, *rows: Any) -> Self:
        """As a Pipeline, on one thread of OpenMP."""
        ((name, candidate),) = self.steps
        with fitting.explained(f"train.search: {self.named}"), fitting.alone():
            self.steps = [(name, fitting.fit_rows(candidate, *rows))]
        return self


class _Told(GridSearchCV):  # type: ignore[misc]
    """A search that says how far it is, and which candidate is the best so far."""

    metric: str

    def _run_search(self, evaluate_candidates: Callable[[Any], dict[str, Any]]) -> None:
        """Ask for a few candidates at a time; scikit-learn's own way to search otherwise."""
        every = list(ParameterGrid(self.param_grid))
        step = os.cpu_count() or 1
        with Bar("train: searching", len(every), "candidates") as bar:
            for start in range(0, len(every), step):
                results = evaluate_candidates(every[start : start + step])
                means = results["mean_test_score"]
                best = int(means.argmax())
                named = every[best]["named"]
                bar.to(len(means), f"best {self.metric} {abs(means[best]):.4f}: {named}")
