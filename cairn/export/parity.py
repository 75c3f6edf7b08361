"""Prove that ONNX, and so the service, predicts what scikit-learn predicts, on every row."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from cairn import inference
from cairn.compute.engine import Local
from cairn.console import Progress, say
from cairn.errors import CairnError
from cairn.export.onnx import sklearn_predictions
from cairn.inference import Predictions
from cairn.modeling import estimators

TOLERANCE = 1e-5
BATCH = 2**13  # rows that are predicted at once: what a core's cache holds in float64

Floats = NDArray[np.float32]


class Parity(NamedTuple):
    """How ONNX compares with scikit-learn on some rows.

    Attributes
    ----------
    rows, different
        Number of rows, and of those that differ.
    largest
        The largest difference of a probability.
    worst
        The largest difference on a row that differs; -1: no row does.
    example
        The predictions of both for that row.
    """

    rows: int
    different: int
    largest: float
    worst: float
    example: str


def verify_predictions(
    part: str, pipeline: Pipeline, graph: bytes, features: Floats
) -> Predictions:
    """Predict the rows of a part by ONNX, and require that scikit-learn agrees.

    Batches of rows are predicted side by side, each on one thread: the bits depend on no number of
    cores. Of all batches together, only ONNX's predictions stay in memory.

    Raises
    ------
    CairnError
        If ONNX Runtime cannot run the graph, or the two differ on a row.
    """
    session = _open_session(pipeline, graph)

    def predict_both(start: int) -> tuple[Predictions, Parity]:
        rows = features[start : start + BATCH]
        onnx = _predict(pipeline, session, rows)
        sklearn = sklearn_predictions(pipeline, rows)
        return onnx, compare(part, sklearn, onnx, start)

    predictions: list[Predictions] = []
    results: list[Parity] = []
    with (
        estimators.summarize_warnings("the check"),
        # OpenMP keeps a limit for each thread.
        ThreadPoolExecutor(os.cpu_count(), "check", threadpool_limits, (1, "openmp")) as pool,
        Progress(f"train: ONNX against scikit-learn on {part}") as progress,
    ):
        for onnx, parity in Local(pool).map(predict_both, range(0, len(features), BATCH)):
            predictions.append(onnx)
            results.append(parity)
            progress.add(parity.rows)
    largest = require_parity(part, results)
    say(f"train: ONNX agrees on {len(features):,} {part} rows, to {largest:.0e}")
    return Predictions(*map(np.concatenate, zip(*predictions, strict=True)))


def compare(part: str, sklearn: Predictions, onnx: Predictions, start: int = 0) -> Parity:
    """Compare the predictions of both for the rows of `part` that begin with row `start`.

    A row differs if a probability does by more than TOLERANCE, or if the label does although
    scikit-learn itself has no tie, within that, between the two.

    Raises
    ------
    CairnError
        If the predictions do not even have the same shape.
    """
    shapes = [tuple(map(np.shape, predictions)) for predictions in (sklearn, onnx)]
    if shapes[0] != shapes[1]:
        raise CairnError(
            f"train: ONNX predicts in the shapes {shapes[1]}, scikit-learn in {shapes[0]}"
        )
    differences = np.abs(sklearn.probabilities - onnx.probabilities).max(axis=1)
    differences = np.where(np.isfinite(differences), differences, np.inf)
    rows = np.arange(len(differences))
    probabilities = np.nan_to_num(sklearn.probabilities)
    leads = np.abs(probabilities[rows, sklearn.labels] - probabilities[rows, onnx.labels])
    is_different = (differences > TOLERANCE) | (leads > TOLERANCE)
    different = np.where(is_different, differences, -1)
    row = int(np.argmax(different))
    example = (
        f"{part} row {start + row}: scikit-learn predicts class {sklearn.labels[row]} with "
        f"{sklearn.probabilities[row].tolist()}, ONNX {onnx.labels[row]} with "
        f"{onnx.probabilities[row].tolist()}"
    )
    return Parity(
        len(rows), int(is_different.sum()), float(differences.max()), float(different[row]), example
    )


def require_parity(part: str, results: Iterable[Parity]) -> float:
    """Require that no row differs.

    Returns
    -------
    float
        The largest difference of a probability.

    Raises
    ------
    CairnError
        With the number of rows of `part` that differ, and the worst of them.
    """
    parities = list(results)
    different = sum(parity.different for parity in parities)
    if different:
        worst = max(parities, key=lambda parity: parity.worst)
        raise CairnError(
            f"train: ONNX and scikit-learn differ on {different:,} of "
            f"{sum(parity.rows for parity in parities):,} {part} rows; the worst is "
            f"{worst.example} (allowed difference {TOLERANCE}); another estimator, or the opposite "
            "of train.scale, may convert exactly"
        )
    return max(parity.largest for parity in parities)


def _open_session(pipeline: Pipeline, graph: bytes) -> Any:
    """Open an ONNX Runtime session on a graph that it may refuse."""
    try:
        return inference.open_session(graph)
    except Exception as error:  # ONNX Runtime's exceptions have no common class
        raise _unrunnable(pipeline, error) from error


def _predict(pipeline: Pipeline, session: Any, rows: Floats) -> Predictions:
    try:
        return inference.predict(session, rows)
    except Exception as error:  # as above
        raise _unrunnable(pipeline, error) from error


def _unrunnable(pipeline: Pipeline, error: Exception) -> CairnError:
    reason = str(error).strip().splitlines()[0]
    return CairnError(
        f"train.estimator: ONNX Runtime cannot run {pipeline[-1]}: {reason}; "
        f"estimators that it can run: {', '.join(estimators.SUPPORTED)}"
    )
