"""The training row that is shown as an example: the one that is nearest to all the others."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cairn.contract import Column, Contract, Part, Value
from cairn.evaluation.metrics import DIGITS
from cairn.evaluation.sampling import sample_rows

ROWS = 2**14  # that are held to each other
NUMBERS = 2**24  # in those, at most
LEAST = 2**8  # rows, however wide they are
CYCLE = range(2000, 2028)  # the years after which each date has its weekday again
Floats = NDArray[np.float32]
Distances = NDArray[np.float64]


def find_example(contract: Contract, features: Floats, seed: int) -> tuple[Value, ...]:
    """Find the medoid of the training rows, as a request has it.

    It is the row with the least sum of distances to the others, by Gower's distance (1971) on
    ranks: the mean over the columns of the difference in rank of two numbers, or of whether two
    categories differ, each as a share of what is usual in its column. Unlike a row of medians it
    exists, so its values go together.

    Parameters
    ----------
    contract
        Says what the features are of.
    features
        n × k, of the training rows; those of the columns come first.
    seed
        Draws ROWS of them where there are more.

    Returns
    -------
    values
        One for each column. A number has the digits of float32, a date is one of which the model
        sees the same as of the row's own. Empty where each of the rows has a category that the
        contract does not list, for the features do not tell which.
    """
    most = min(ROWS, max(LEAST, NUMBERS // max(1, features.shape[1])))
    rows = sample_rows(len(features), most, np.random.default_rng(seed))
    columns = [contract.column(str(feature.column)) for feature in contract.own]
    known = np.ones(len(rows), dtype=bool)
    total = np.zeros(len(rows))
    for index, column in enumerate(columns):
        values = features[rows, index]
        if column.kind == "category":
            known &= ~(values >= len(column.categories))
        total += distances(values, is_number=column.kind not in {"category", "boolean"})
    if not known.any():
        return ()
    # To so many digits: the last ones depend on the processor, and the row must not.
    total = np.where(known, (total / len(columns) / len(rows)).round(DIGITS), np.inf)
    return values_of(features[rows[total.argmin()]], contract)


def distances(values: Floats, *, is_number: bool) -> Distances:
    """Return the sum of each value's distances to all of the n, of which the mean is 1.

    A missing value is as far from the others as two of them usually are, and at none from
    another missing one. Where all are the same, it is 0.

    >>> distances(np.float32([1, 2, 9, np.nan]), is_number=True).round(2).tolist()
    [4.38, 3.25, 4.38, 3.0]
    >>> distances(np.float32([0, 0, 1]), is_number=False).tolist()
    [2.25, 2.25, 4.5]
    """
    missing = np.isnan(values)
    present = values[~missing].astype(np.float64)
    sums = np.zeros(len(values))
    own = _rank_distances(present) if is_number else _category_distances(present)
    mean = own.sum() / max(1, len(own)) ** 2
    sums[~missing] = (own / mean if mean else own) + missing.sum()
    sums[missing] = len(present)
    return sums


def _rank_distances(values: Distances) -> Distances:
    """Return the sums of the differences in rank, from the values in order, not from all pairs."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    left, right = (np.searchsorted(ascending, ascending, side) for side in ("left", "right"))
    rank = (left + right) / 2
    index = np.arange(len(values))
    before = np.cumsum(rank) - rank
    after = np.cumsum(rank[::-1])[::-1] - rank
    sums = np.empty(len(values))
    sums[order] = index * rank - before + after - index[::-1] * rank
    return sums


def _category_distances(values: Distances) -> Distances:
    """Return for each value how many are not the same."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (len(values) - counts[group]).astype(np.float64)


def values_of(row: Floats, contract: Contract) -> tuple[Value, ...]:
    """Return the columns' values that have these k features, None where one is missing.

    A category that the contract does not list has none.
    """
    values: list[Value] = []
    start = 0
    for column in contract.columns:
        end = start + len(column.features)
        values.append(_value(column, row[start:end]))
        start = end
    return tuple(values)


def _value(column: Column, features: Floats) -> Value:
    """Return the value of one column."""
    first = features[0]
    if np.isnan(first):
        return None
    if column.kind == "category":
        return column.categories[int(first)]
    if column.kind == "boolean":
        return bool(first)
    if column.kind == "date":
        return _date({part: int(each) for part, each in zip(column.parts, features, strict=True)})
    # As short as float32 is exact, and in the range, whose ends need not be float32.
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    number = min(max(float(str(first)), low), high)
    return int(number) if column.kind == "integer" else number


def _date(parts: Mapping[Part, int]) -> str:
    """Return the first date that has these parts, ISO 8601; with a time if they have any of it.

    >>> _date({"year": 2024, "weekday": 3, "hour": 9})
    '2024-01-04T09:00'
    """
    first = next(day for day in _days(parts) if parts.get("weekday") in {None, day.weekday()})
    if not {"hour", "minute"} & parts.keys():
        return first.isoformat()
    return f"{first.isoformat()}T{parts.get('hour', 0):02}:{parts.get('minute', 0):02}"


def _days(parts: Mapping[Part, int]) -> Iterator[date]:
    """Yield the days of the calendar that have the year, month and day, where these are given."""
    years = [parts["year"]] if "year" in parts else CYCLE
    months = [parts["month"]] if "month" in parts else range(1, 13)
    days = [parts["day"]] if "day" in parts else range(1, 32)
    for year, month, day in product(years, months, days):
        if day <= calendar.monthrange(year, month)[1]:
            yield date(year, month, day)
