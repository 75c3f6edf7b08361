"""Run the ONNX graph: the same few lines prove parity in `train` and answer in the service."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

INPUT = "features"
TIE = 1e-6


class Predictions(NamedTuple):
    """What a model says of n rows.

    Attributes
    ----------
    labels
        n class codes, int64.
    probabilities
        n × classes.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.floating[Any]]


def session(graph: bytes) -> ort.InferenceSession:
    """An ONNX Runtime session on one thread, so that the bits depend on no count of cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def predict(model: ort.InferenceSession, features: NDArray[np.float32]) -> Predictions:
    """What the graph says of the rows of an n × k matrix.

    Where the best classes tie, the first of them is the label, as it is for scikit-learn's
    forests: in float32 the votes of an even number of trees may miss the tie by the last bit.
    """
    labels, shares = model.run(None, {INPUT: features})
    probabilities = np.clip(shares, 0, 1, out=shares)  # float32 may add up to a bit beyond
    best = probabilities >= probabilities.max(axis=1, keepdims=True) - TIE
    if np.count_nonzero(best) > len(best):
        labels = np.where(best.sum(axis=1) > 1, best.argmax(axis=1), labels)
    return Predictions(labels, probabilities)
