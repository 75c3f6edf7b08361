"""Score parts of the rows: each class against the rest, and the rows where a column has a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn.compute.processes import Run, here
from cairn.contract import Column, Contract
from cairn.errors import CairnError
from cairn.evaluation import intervals, metrics
from cairn.evaluation.intervals import Bootstrap, Values, effective_rows
from cairn.evaluation.metric_table import BINARY, NEED_ALL_CLASSES, OVERALL, PER_CLASS
from cairn.evaluation.metrics import Labels, ScoredRows, rounded
from cairn.evaluation.records import ClassScores, Interval, SliceScores

RESAMPLES = 100  # of each part
MOST = 50  # slices with intervals: each takes a second or so
PARTS = 4  # of a number's range, with as many rows in each
FEW = 6  # values that are shown one by one


class Counts(NamedTuple):
    """How many rows are of a class, of another one, and predicted to be of it."""

    true: int
    rest: int
    predicted: int


def score_classes(
    rows: ScoredRows, contract: Contract, seed: int, run: Run = here
) -> tuple[ClassScores, ...]:
    """Score each class against the rest, with intervals."""
    classes = len(contract.target.classes)
    result = intervals.bootstrap(
        rows, partial(_flat_class_scores, classes=classes), seed, RESAMPLES, run
    )
    true = _count(rows.truth, classes)
    predicted = _count(rows.predictions.labels, classes)
    rest = [len(rows.truth) - count for count in true]
    counts = list(map(Counts, true, rest, predicted))
    return tuple(
        ClassScores(key, counts[code].true, _scores_of_class(result, code, counts[code]))
        for code, key in enumerate(contract.target.keys)
    )


def _count(labels: Labels, classes: int) -> list[int]:
    """Count the rows of each class."""
    counts: list[int] = np.bincount(labels, minlength=classes).tolist()
    return counts


def _scores_of_class(result: Bootstrap, code: int, counts: Counts) -> dict[str, Interval]:
    """Return the intervals of the class with this code."""
    first = code * len(PER_CLASS)
    rows = {
        "precision": max(1, counts.predicted),
        "roc_auc": effective_rows([counts.true, counts.rest]),
    }
    return {
        name: intervals.interval(name, result, first + at, rows.get(name, counts.true), BINARY)
        for at, name in enumerate(PER_CLASS)
    }


def _flat_class_scores(rows: ScoredRows, classes: int) -> Values:
    return measure_classes(rows, classes).ravel()


def measure_classes(rows: ScoredRows, classes: int) -> Values:
    """Measure each class against the rest, classes × metrics."""
    return np.array([metrics.measure_class(rows, code) for code in range(classes)])


def check_slices(columns: Iterable[str], contract: Contract) -> None:
    """Refuse a column that the table does not have."""
    unknown = next((name for name in columns if name not in contract.names), None)
    if unknown is not None:
        raise CairnError(
            f"evaluate.slices: no column {unknown!r}; the columns are {', '.join(contract.names)}"
        )


def score_slices(
    rows: ScoredRows, contract: Contract, columns: Iterable[str], seed: int, run: Run = here
) -> tuple[SliceScores, ...]:
    """Score the rows by the values of columns; a score is None where a class has no row there."""
    names = [feature.name for feature in contract.own]
    parts = (
        (feature, value, rows.at(mask))
        for column in map(contract.column, dict.fromkeys(columns))
        for feature in column.features
        for value, mask in _slices(rows.features[:, names.index(feature)], column)
    )
    classes = len(contract.target.classes)
    return tuple(
        SliceScores(
            feature,
            value,
            len(part.truth),
            _score_slice(part, classes, seed, run, has_intervals=number < MOST),
        )
        for number, (feature, value, part) in enumerate(parts)
    )


def _slices(values: NDArray[np.float32], column: Column) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the name of each slice and its rows; skip empty ones."""
    missing = np.isnan(values)
    different = np.unique(values[~missing])
    if column.kind in {"category", "boolean"} or len(different) <= FEW:
        for value in different:
            yield _value(float(value), column), values == value
    else:
        edges = np.unique(np.quantile(different, np.linspace(0, 1, PARTS + 1)).astype(np.float32))
        for number, (low, high) in enumerate(pairwise(edges)):
            above = values >= low if number == 0 else values > low
            if (mask := above & (values <= high)).any():
                yield f"{low:.6g} to {high:.6g}", mask
    if missing.any():
        yield "missing", missing


def _value(value: float, column: Column) -> str:
    if column.kind == "category":
        known = int(value) < len(column.categories)
        return str(column.categories[int(value)]) if known else "another"
    return ("false", "true")[int(value)] if column.kind == "boolean" else f"{value:g}"


def _score_slice(
    rows: ScoredRows, classes: int, seed: int, run: Run, *, has_intervals: bool
) -> dict[str, Interval | None]:
    """Score some rows, which may lack a class."""
    undefined = NEED_ALL_CLASSES if len(np.unique(rows.truth)) < classes else frozenset()
    scored = [name for name in OVERALL if name not in undefined]
    if has_intervals:
        scores = intervals.measure_some(scored, rows, classes, (seed, RESAMPLES), run)
    else:
        values = metrics.measure(rows, classes, scored)
        scores = {
            name: Interval(rounded(value)) for name, value in zip(scored, values, strict=True)
        }
    return {name: scores.get(name) for name in OVERALL}
