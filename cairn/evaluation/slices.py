"""The scores of parts: of each class against the rest, and of the rows where a column is so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn.compute.processes import Run, here
from cairn.console import CairnError
from cairn.contract import Column, Contract
from cairn.evaluation import intervals, metrics
from cairn.evaluation.intervals import Interval, Resampled, Values, effective, interval, plain
from cairn.evaluation.metrics import (
    BINARY,
    CLASS_SCORES,
    OF_ALL_CLASSES,
    SCORES,
    Labels,
    Scored,
    rounded,
)

RESAMPLES = 100  # of each part
MOST = 50  # slices with intervals: each takes a second or so
PARTS = 4  # of a number's range, with as many rows in each
FEW = 6  # values that are shown one by one


class Counts(NamedTuple):
    """How many rows are of a class, of another, and are said to be of it."""

    true: int
    rest: int
    said: int


def by_class(rows: Scored, contract: Contract, seed: int, run: Run = here) -> list[dict[str, Any]]:
    """Of each class its rows, and CLASS_SCORES with their intervals."""
    classes = len(contract.target.classes)
    measure = partial(_class_by_class, classes=classes)
    found = intervals.resample(rows, measure, seed, RESAMPLES, run)
    true, said = _counted(rows.truth, classes), _counted(rows.said.labels, classes)
    rest = [len(rows.truth) - count for count in true]
    of_all = zip(contract.target.keys, map(Counts, true, rest, said), strict=True)
    return [
        {"class": key, "rows": of.true, **plain(_of_one(found, place, of))}
        for place, (key, of) in enumerate(of_all)
    ]


def _counted(labels: Labels, classes: int) -> list[int]:
    """How many rows have each class."""
    counts: list[int] = np.bincount(labels, minlength=classes).tolist()
    return counts


def _of_one(found: Resampled, place: int, of: Counts) -> dict[str, Interval]:
    """CLASS_SCORES of the class at a place."""
    first = place * len(CLASS_SCORES)
    rows = {"precision": max(1, of.said), "roc_auc": effective([of.true, of.rest])}
    return {
        name: interval(name, found, first + at, rows.get(name, of.true), BINARY)
        for at, name in enumerate(CLASS_SCORES)
    }


def _class_by_class(rows: Scored, classes: int) -> Values:
    return each_class(rows, classes).ravel()


def each_class(rows: Scored, classes: int) -> Values:
    """CLASS_SCORES of each class, classes × scores."""
    return np.array([metrics.of_class(rows, place) for place in range(classes)])


def check_slices(wanted: Iterable[str], contract: Contract) -> None:
    """Refuse a column that the table has not."""
    unknown = next((name for name in wanted if name not in contract.names), None)
    if unknown is not None:
        raise CairnError(
            f"train.slices: no column {unknown!r}; the columns are {', '.join(contract.names)}"
        )


def by_slice(
    rows: Scored, contract: Contract, wanted: Iterable[str], seed: int, run: Run = here
) -> list[dict[str, Any]]:
    """The scores by the values of columns; null where a class has no row there, and no score."""
    names = [feature.name for feature in contract.own]
    found = (
        (feature, value, rows.at(mask))
        for column in map(contract.column, dict.fromkeys(wanted))
        for feature in column.features
        for value, mask in _slices(rows.features[:, names.index(feature)], column)
    )
    classes = len(contract.target.classes)
    return [
        {
            "column": feature,
            "value": value,
            "rows": len(part.truth),
            **_of_a_slice(part, classes, seed, run, sure=place < MOST),
        }
        for place, (feature, value, part) in enumerate(found)
    ]


def _slices(values: NDArray[np.float32], column: Column) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What to call some of the rows, and which they are; empty ones are left out."""
    gone = np.isnan(values)
    different = np.unique(values[~gone])
    if column.kind in {"category", "boolean"} or len(different) <= FEW:
        for value in different:
            yield _value(float(value), column), values == value
    else:
        edges = np.unique(np.quantile(different, np.linspace(0, 1, PARTS + 1)).astype(np.float32))
        for place, (low, high) in enumerate(pairwise(edges)):
            above = values >= low if place == 0 else values > low
            if (mask := above & (values <= high)).any():
                yield f"{low:.6g} to {high:.6g}", mask
    if gone.any():
        yield "missing", gone


def _value(value: float, column: Column) -> str:
    if column.kind == "category":
        known = int(value) < len(column.categories)
        return str(column.categories[int(value)]) if known else "another"
    return ("false", "true")[int(value)] if column.kind == "boolean" else f"{value:g}"


def _of_a_slice(rows: Scored, classes: int, seed: int, run: Run, *, sure: bool) -> dict[str, Any]:
    """The scores of some rows, which may not have every class; with intervals if it is to be."""
    missing = OF_ALL_CLASSES if len(np.unique(rows.truth)) < classes else set()
    wanted = [name for name in SCORES if name not in missing]
    if sure:
        found = intervals.of_some(wanted, rows, classes, (seed, RESAMPLES), run)
    else:
        middles = zip(wanted, metrics.values(rows, classes, wanted), strict=True)
        found = {name: Interval(rounded(value), None, None) for name, value in middles}
    return dict.fromkeys(SCORES) | plain(found)
