"""Read a part of data/features."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cairn import parquet
from cairn.console import Progress

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


class FeatureRows(NamedTuple):
    """A part of data/features.

    Attributes
    ----------
    names
        Of the k features.
    features, classes
        n × k in C order, and n codes of classes.
    """

    names: tuple[str, ...]
    features: Floats
    classes: Codes

    def at(self, rows: Codes) -> FeatureRows:
        """Return the rows of these indices."""
        return FeatureRows(self.names, self.features[rows], self.classes[rows])


def read_rows(stage: str, path: Path, target: str, only: Codes | None = None) -> FeatureRows:
    """Read a part of data/features, a row group at a time and straight into its array.

    Parameters
    ----------
    stage
        Begins the progress messages.
    target
        The column of the class codes.
    only
        The indices of the rows that are wanted, in order; None: all of them.
    """
    schema, total = pq.read_schema(path), pq.read_metadata(path).num_rows
    names = tuple(name for name in schema.names if name != target)
    count = total if only is None else len(only)
    features: Floats = np.empty((count, len(names)), dtype=np.float32)
    classes: Codes = np.empty(count, dtype=np.int64)
    start = before = 0
    with Progress(f"{stage}: reading {path}") as progress:
        for group in parquet.groups(path):
            wanted = group if only is None else group.take(_list_within(only, before, len(group)))
            end = start + len(wanted)
            classes[start:end] = wanted[target].to_numpy()
            for index, name in enumerate(names):
                features[start:end, index] = wanted[name].to_numpy()
            start, before = end, before + len(group)
            progress.add(len(group))
    return FeatureRows(names, features, classes)


def _list_within(rows: Codes, first: int, count: int) -> Codes:
    """List which of ascending rows are among `count` from `first` on, counted from there.

    >>> _list_within(np.array([1, 4, 5, 9]), 4, 4).tolist()
    [0, 1]
    """
    start, end = np.searchsorted(rows, [first, first + count])
    return rows[start:end] - first
