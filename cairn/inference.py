"""Run the ONNX graph: the same few lines prove parity in `train` and answer in the service."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn import onnx_runtime as ort
from cairn.errors import CairnError

INPUT = "features"
TIE = 1e-6
LONGEST_REASON = 300  # characters of an error of ONNX Runtime's


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

    def with_threshold(self, index: int, threshold: float) -> Predictions:
        """Label each row of two classes with the one at `index` from its `threshold` on.

        >>> predictions = Predictions(np.array([1]), np.array([[0.3, 0.7]]))
        >>> predictions.with_threshold(0, 0.3).labels.tolist()
        [0]
        """
        is_reached = self.probabilities[:, index] >= threshold
        return Predictions(np.where(is_reached, index, 1 - index), self.probabilities)


def apply_decision(predictions: Predictions, decision: tuple[int, float] | None) -> Predictions:
    """Label the rows by the contract's class and threshold, if it has them."""
    return predictions.with_threshold(*decision) if decision else predictions


def open_session(graph: bytes, threads: int = 1) -> ort.InferenceSession:
    """Open an ONNX Runtime session; on one thread its bits do not depend on the count of cores.

    Raises
    ------
    CairnError
        Where the graph is none that ONNX Runtime can run.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # of a graph that it simplifies it has nothing to warn
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its errors have no class in common
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise CairnError(f"the ONNX graph cannot be opened: {reason}") from None


def predict(
    model: ort.InferenceSession,
    features: NDArray[np.float32],
    options: ort.RunOptions | None = None,
) -> Predictions:
    """Predict the rows of an n × k matrix."""
    return resolve_ties(*model.run(None, {INPUT: features}, options))


def resolve_ties(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]
) -> Predictions:
    """Label the rows that tie; the probabilities that a model returned are no longer needed.

    Where the best classes tie, the first of them is the label, as it is for scikit-learn's
    forests: in float32 the votes of an even number of trees may miss the tie by the last bit.
    """
    if len(probabilities) == 1 and is_clear(probabilities[0].tolist()):
        return Predictions(labels, probabilities)
    # One row a class: NumPy compares few long rows several times as fast as many short ones.
    columns = np.ascontiguousarray(probabilities.T)
    best = columns.max(axis=0)
    if not (columns.min() >= 0 and best.max() <= 1):
        # float32 may add up to a bit beyond 1.
        probabilities = np.clip(probabilities, 0, 1, out=probabilities)
        columns, best = np.clip(columns, 0, 1), np.clip(best, 0, 1)
    has_tied = columns >= best - TIE
    if np.count_nonzero(has_tied) > len(labels):
        labels = np.where(has_tied.sum(axis=0) > 1, has_tied.argmax(axis=0), labels)
    return Predictions(labels, probabilities)


def is_clear(probabilities: list[float]) -> bool:
    """Tell whether one row has neither a tie nor a probability beyond 0 and 1.

    Almost every row is clear, and for a single one NumPy would take as long as the model to find
    that out. Near a tie, where float64 and float32 may differ, NumPy decides.
    """
    ordered = sorted(probabilities)
    return ordered[0] >= 0 and ordered[-1] <= 1 and ordered[-2] < ordered[-1] - 2 * TIE
