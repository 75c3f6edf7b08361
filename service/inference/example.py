"""A row that the contract allows, to show and to try the service with."""

from __future__ import annotations

import calendar
import json
import math
import shlex
import sys
from collections.abc import Mapping

from cairn.contract import Category, Column, Contract, Histogram, Part, read_contract
from cairn.paths import MODEL_CONTRACT
from service.inference.rows import Row, has_time

# Of a date of which the model takes nothing else.
PARTS: dict[Part, int] = {"year": 2000, "month": 1, "day": 1, "weekday": 0, "hour": 0, "minute": 0}

Histograms = Mapping[str, Histogram | None]
Value = Category | float | None


def main() -> None:
    """Print how to call the service at the URL that is the first argument.

    The others are options of curl.
    """
    url, *options = sys.argv[1:]
    print(
        f"\nserving on {url}; Ctrl-C stops it. Try it:\n\n{format_curl(url, *options)}\n",
        flush=True,
    )


def make_example(contract: Contract) -> Row:
    """Return the training row of the contract, without the identifier, or one of medians."""
    if contract.example:
        return dict(zip(contract.names, contract.example, strict=True))
    seen = {feature.name: feature.histogram for feature in contract.features}
    return {column.name: _choose_value(column, seen) for column in contract.columns}


def _choose_value(column: Column, seen: Histograms) -> Value:
    """Choose the median of a number and of each part of a date, else the most frequent value."""
    if column.kind == "date":
        return _choose_date(column, seen)
    histogram = seen.get(column.name)
    if column.kind in {"number", "integer"}:
        return _choose_number(column, histogram.edges if histogram else ())
    # Behind the counts of the categories may be that of those which are not listed.
    counts = histogram.counts[: len(column.categories) or None] if histogram else (1,)
    index = counts.index(max(counts))
    return column.categories[index] if column.kind == "category" else bool(index)


def _choose_number(column: Column, edges: tuple[float, ...]) -> float | None:
    """Return the median; without one, none, or the value nearest to 0 that is allowed."""
    if edges:
        middle = edges[len(edges) // 2]
    elif column.missing:
        return None
    else:
        lowest, highest = column.minimum, column.maximum
        middle = max(0.0 if highest is None else min(0.0, highest), lowest or -math.inf)
    return int(middle) if column.kind == "integer" else middle


def _choose_date(column: Column, seen: Histograms) -> str:
    """Return the date of the parts' medians, with a time if the model takes any of it."""
    parts = dict(PARTS)
    for part, name in zip(column.parts, column.features, strict=True):
        histogram = seen.get(name)
        if histogram and histogram.edges:
            parts[part] = int(histogram.edges[len(histogram.edges) // 2])
    year, month = parts["year"], parts["month"]
    day = min(parts["day"], calendar.monthrange(year, month)[1])
    date = f"{year:04}-{month:02}-{day:02}"
    return f"{date}T{parts['hour']:02}:{parts['minute']:02}" if has_time(column) else date


def format_curl(url: str, *options: str) -> str:
    """Return the command that sends the example to a service, with these options of curl."""
    values = list(make_example(read_contract(MODEL_CONTRACT)).values())
    body = json.dumps({"features": values})
    header = "Content-Type: application/json"
    return (
        f"{shlex.join(['curl', *options, f'{url}/predict'])} -H '{header}' -d {shlex.quote(body)}"
    )


if __name__ == "__main__":
    main()
