"""The scores of parts: of each class against the rest, and of the rows where a column is so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.console import CairnError
from stages.contract import Column, Contract
from stages.evaluation import evaluate, intervals
from stages.evaluation.evaluate import CLASS_SCORES, OF_ALL_CLASSES, SCORES, Scored
from stages.evaluation.intervals import Values, plain

RESAMPLES = 100  # of each part
PARTS = 4  # of a number's range, with as many rows in each
FEW = 6  # values that are shown one by one


def by_class(rows: Scored, terms: Contract, seed: int) -> list[dict[str, Any]]:
    """Of each class its rows, and CLASS_SCORES with their intervals."""
    classes, names = len(terms.target.classes), CLASS_SCORES
    found = intervals.resample(
        rows, lambda part: each_class(part, classes).ravel(), seed, RESAMPLES
    )
    true, said = (np.bincount(of, minlength=classes) for of in (rows.truth, rows.said.labels))
    return [
        {
            "class": key,
            "rows": int(true[place]),
            **plain(
                {
                    name: intervals.interval(
                        name,
                        found,
                        place * len(names) + at,
                        max(1, int((said if name == "precision" else true)[place])),
                    )
                    for at, name in enumerate(names)
                }
            ),
        }
        for place, key in enumerate(terms.target.keys)
    ]


def each_class(rows: Scored, classes: int) -> Values:
    """CLASS_SCORES of each class, classes × scores."""
    return np.array([evaluate.of_class(rows, place) for place in range(classes)])


def check_slices(wanted: Iterable[str], terms: Contract) -> None:
    """Refuse a column that the table has not."""
    unknown = next((name for name in wanted if name not in terms.names), None)
    if unknown is not None:
        raise CairnError(
            f"train.slices: no column {unknown!r}; the columns are {', '.join(terms.names)}"
        )


def by_slice(
    rows: Scored, terms: Contract, wanted: Iterable[str], seed: int
) -> list[dict[str, Any]]:
    """The scores by the values of columns; null where a class has no row there, and no score."""
    names = [feature.name for feature in terms.own]
    return [
        {"column": feature, "value": value, **_some(rows.at(mask), len(terms.target.classes), seed)}
        for column in map(terms.column, dict.fromkeys(wanted))
        for feature in column.features
        for value, mask in _slices(rows.features[:, names.index(feature)], column)
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


def _some(rows: Scored, classes: int, seed: int) -> dict[str, Any]:
    """The scores of some rows, which may not have every class."""
    missing = OF_ALL_CLASSES if len(np.unique(rows.truth)) < classes else set()
    wanted = [name for name in SCORES if name not in missing]
    found = plain(intervals.of_some(wanted, rows, classes, seed, RESAMPLES))
    return {"rows": len(rows.truth), **{name: found.get(name) for name in SCORES}}
