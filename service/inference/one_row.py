"""Run the model on one row with memory that is bound to the session once.

Most requests have one row, and a usual run of it spends half of its time on making the tensors.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn import onnx_runtime as ort
from cairn.inference import INPUT, is_clear

DEVICE = "cpu"
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


class ClearRow(NamedTuple):
    """A row that the model has no doubt about: no tie, and probabilities from 0 to 1.

    Attributes
    ----------
    features
        What the model took, as the bytes of float32.
    label
        The class code.
    confidence
        The probability of the label.
    probabilities
        1 × classes; to be read before the thread runs the next row.
    """

    features: bytes
    label: int
    confidence: float
    probabilities: NDArray[np.floating[Any]]


class Bound(threading.local):
    """The memory of one thread: features in, labels and probabilities out."""

    def __init__(self, session: ort.InferenceSession, width: int, classes: int) -> None:
        self.features = np.zeros((1, width), np.float32)
        self.packed = self.features.data.cast("B")
        outputs = session.get_outputs()
        shapes = ((1,), (1, classes))
        self.outputs = [
            np.zeros(shape, TYPES[output.type])
            for output, shape in zip(outputs, shapes, strict=True)
        ]
        self.binding = session.io_binding()
        _bind(self.binding.bind_input, INPUT, self.features)
        for output, memory in zip(outputs, self.outputs, strict=True):
            _bind(self.binding.bind_output, output.name, memory)


class OneRow:
    """Runs a session on rows one at a time, in any thread.

    Parameters
    ----------
    session
        A model with labels and probabilities as outputs.
    width, classes
        How many features it takes and how many classes it has.

    Attributes
    ----------
    shape
        Of the features: 1 × width. Others are for the session itself, which says what is wrong.
    """

    def __init__(self, session: ort.InferenceSession, width: int, classes: int) -> None:
        self.shape = (1, width)
        self._session = session
        self._bound = Bound(session, width, classes)

    def run(self, features: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the labels and probabilities of a 1 × k matrix, as the session does."""
        bound = self._bound
        bound.features[:] = features
        self._session.run_with_iobinding(bound.binding)
        labels, probabilities = bound.outputs
        return labels.copy(), probabilities.copy()

    def run_packed(self, features: bytes) -> ClearRow | None:
        """Predict a row from the bytes of its k float32; None where NumPy has to see to a tie."""
        bound = self._bound
        bound.packed[:] = features
        self._session.run_with_iobinding(bound.binding)
        labels, probabilities = bound.outputs
        values = probabilities.tolist()[0]
        if not is_clear(values):
            return None
        label = labels.item()
        return ClearRow(features, label, values[label], probabilities)


def has_known_types(session: ort.InferenceSession) -> bool:
    """Tell whether there is a OneRow of a session."""
    return all(output.type in TYPES for output in session.get_outputs())


def _bind(bind: Any, name: str, memory: NDArray[Any]) -> None:
    bind(name, DEVICE, 0, memory.dtype.type, memory.shape, memory.ctypes.data)
