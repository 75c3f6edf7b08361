"""Count how the training rows are distributed: what drift is measured against."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cairn.contract import Column, Contract, Histogram
from cairn.modeling.preprocessing import list_columns

BUCKETS = 10
CLOSE = 20  # from the least to the greatest of integers that are listed
Floats = NDArray[np.float32]


def describe_rows(
    contract: Contract, features: Floats, classes: NDArray[np.int64], engineering: str | None = None
) -> Contract:
    """Add the histograms and class counts of the training rows to a contract.

    Parameters
    ----------
    contract
        With all features that the model takes.
    features, classes
        n × k and n, of the training rows.
    engineering
        SHA-256 of the code that makes the user's own features.
    """
    inputs = contract.inputs
    of_columns = list_columns(contract, features.shape[1])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        histograms = pool.map(histogram, features.T, of_columns)
    described = tuple(
        feature.model_copy(update={"histogram": each})
        for feature, each in zip(inputs, histograms, strict=True)
    )
    counts = np.bincount(classes, minlength=len(contract.target.classes)).tolist()
    return contract.model_copy(
        update={
            "features": described,
            "target": contract.target.model_copy(update={"counts": tuple(counts)}),
            "engineering": engineering if len(inputs) > len(contract.own) else None,
        }
    )


def histogram(values: Floats, column: Column | None) -> Histogram:
    """Count rows per bucket: deciles of a number, each value of a boolean or a category."""
    present = np.sort(values[~np.isnan(values)])
    edges: Floats = np.empty(0, dtype=np.float32)
    if column is None or column.kind in {"number", "integer", "date"}:
        edges = deciles(present)
        ends = np.searchsorted(present, edges, side="right")
        counts = np.diff(ends, prepend=0, append=len(present))
    else:
        buckets = len(column.categories) + column.unknown or 2
        counts = np.bincount(present.astype(np.int64), minlength=buckets)
    return Histogram(
        edges=tuple(float(str(edge)) for edge in edges),  # as short as float32 is exact
        counts=tuple(counts.tolist()),
        missing=len(values) - len(present),
        values=list_close(present) if column and column.kind == "integer" else (),
    )


def list_close(ordered: Floats) -> tuple[int, ...]:
    """List the distinct values of ascending integers where they are close together; else none.

    >>> list_close(np.float32([0, 0, 1])), list_close(np.float32([0, 99]))
    ((0, 1), ())
    """
    if not len(ordered) or float(ordered[-1]) - float(ordered[0]) > CLOSE:
        return ()
    return tuple(int(value) for value in np.unique(ordered))


def deciles(ordered: Floats) -> Floats:
    """Find values that split ascending ones into ten parts, as evenly as can be; fewer if alike."""
    ranks = -(-len(ordered) * np.arange(1, BUCKETS) // BUCKETS) - 1
    return np.unique(ordered[ranks]) if len(ordered) else ordered
