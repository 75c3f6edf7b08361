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

    @property
    def confidences(self) -> NDArray[np.floating[Any]]:
        """The probability of each row's label."""
        return self.probabilities[np.arange(len(self.labels)), self.labels]

    def decided(self, place: int, value: float) -> Predictions:
        """Of two classes, the one at `place` wherever its probability is at least `value`.

        >>> Predictions(np.array([1]), np.array([[0.3, 0.7]])).decided(0, 0.3).labels.tolist()
        [0]
        """
        reached = self.probabilities[:, place] >= value
        return Predictions(np.where(reached, place, 1 - place), self.probabilities)


def decided(said: Predictions, decision: tuple[int, float] | None) -> Predictions:
    """What was said, its labels by the contract's threshold if there is one."""
    return said.decided(*decision) if decision else said


def session(graph: bytes, threads: int = 1) -> ort.InferenceSession:
    """An ONNX Runtime session; on one thread the bits depend on no count of cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # of a graph that it simplifies it has nothing to warn
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def predict(
    model: ort.InferenceSession,
    features: NDArray[np.float32],
    options: ort.RunOptions | None = None,
) -> Predictions:
    """What the graph says of the rows of an n × k matrix.

    Where the best classes tie, the first of them is the label, as it is for scikit-learn's
    forests: in float32 the votes of an even number of trees may miss the tie by the last bit.
    """
    labels, shares = model.run(None, {INPUT: features}, options)
    if len(shares) == 1 and clear(shares[0].tolist()):
        return Predictions(labels, shares)
    probabilities = np.clip(shares, 0, 1, out=shares)  # float32 may add up to a bit beyond
    best = probabilities >= probabilities.max(axis=1, keepdims=True) - TIE
    if np.count_nonzero(best) > len(best):
        labels = np.where(best.sum(axis=1) > 1, best.argmax(axis=1), labels)
    return Predictions(labels, probabilities)


def clear(shares: list[float]) -> bool:
    """Whether one row has neither a tie nor a share beyond 0 and 1.

    So it is with almost every row, and for a single one NumPy would take as long as the model to
    find that out. Near to a tie, where float64 and float32 may differ, it is NumPy that decides.
    """
    ordered = sorted(shares)
    return ordered[0] >= 0 and ordered[-1] <= 1 and ordered[-2] < ordered[-1] - 2 * TIE
