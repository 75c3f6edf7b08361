"""A row that the contract allows, to show and to try the service with."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time

from service import health
from service.rows import Row
from stages import contract
from stages.contract import Column, Contract
from stages.paths import CONTRACT

WAIT = 60.0


def main() -> None:
    """Wait until a service at localhost:PORT is ready, then print how to call it."""
    port = int(sys.argv[1])
    if not ready(port, WAIT):
        sys.exit(f"error: nothing ready on port {port} after {WAIT:.0f} s")
    url = f"http://localhost:{port}"
    print(f"\nserving on {url}; Ctrl-C stops it. Try it:\n\n{curl(url)}\n", flush=True)


def example(terms: Contract) -> Row:
    """A row from the middle of the training data."""
    return {column.name: _middle(column) for column in terms.columns}


def _middle(column: Column) -> float | str | bool | None:
    """The median of a number, the commonest of the other kinds."""
    histogram = column.histogram
    if column.kind in {"number", "integer"}:
        return _number(column, histogram.edges if histogram else ())
    counts = histogram.counts if histogram else (1,)
    place = counts.index(max(counts))
    return column.categories[place] if column.kind == "category" else bool(place)


def _number(column: Column, edges: tuple[float, ...]) -> float | None:
    """The median; where no value has been seen none, or the nearest to 0 that is allowed."""
    if edges:
        middle = edges[len(edges) // 2]
    elif column.missing:
        return None
    else:
        lowest, highest = column.minimum, column.maximum
        middle = max(0.0 if highest is None else min(0.0, highest), lowest or -math.inf)
    return int(middle) if column.kind == "integer" else middle


def curl(url: str) -> str:
    """The command line that sends the example to a service."""
    values = list(example(contract.read(CONTRACT)).values())
    body = shlex.quote(json.dumps({"features": values}))
    return f"curl {url}/predict -H 'Content-Type: application/json' -d {body}"


def ready(port: int, seconds: float) -> bool:
    """Whether a service on the port became ready within that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if health.problem(port, seconds=1) is None:
            return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    main()
