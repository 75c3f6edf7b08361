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


def read_rows(stage: str, path: Path, target: str) -> FeatureRows:
    """Read a part of data/features, a row group at a time and straight into its array.

    Parameters
    ----------
    stage
        Begins the progress messages.
    target
        The column of the class codes.
    """
    schema, count = pq.read_schema(path), pq.read_metadata(path).num_rows
    names = tuple(name for name in schema.names if name != target)
    features: Floats = np.empty((count, len(names)), dtype=np.float32)
    classes: Codes = np.empty(count, dtype=np.int64)
    start = 0
    with Progress(f"{stage}: reading {path}") as progress:
        for group in parquet.groups(path):
            end = start + len(group)
            classes[start:end] = group[target].to_numpy()
            for index, name in enumerate(names):
                features[start:end, index] = group[name].to_numpy()
            start = end
            progress.add(len(group))
    return FeatureRows(names, features, classes)
