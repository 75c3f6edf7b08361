"""Encode labels as the class codes that estimators fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cairn.contract import Contract

Codes = NDArray[np.int64]


def encode_labels(labels: Any, contract: Contract) -> Codes:
    """Encode each label as its index among the contract's classes.

    Parameters
    ----------
    labels
        An Arrow array of n labels, or anything that `pyarrow.array` accepts.

    Returns
    -------
    array
        n int64.
    """
    values = labels if isinstance(labels, pa.Array | pa.ChunkedArray) else pa.array(labels)
    classes = pa.array(contract.target.classes, type=values.type)
    return np.asarray(pc.index_in(values, classes), dtype=np.int64)
