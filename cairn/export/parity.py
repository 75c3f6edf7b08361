"""The proof that ONNX, and so the service, says what scikit-learn says, on every row."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from cairn import inference
from cairn.compute.engine import Local
from cairn.console import CairnError, Progress, say
from cairn.export.onnx import Parity, compare, judge, sklearn_predictions
from cairn.inference import Predictions
from cairn.modeling import estimators

BLOCK = 2**13  # rows that are predicted at once: what a core's cache holds in float64

Floats = NDArray[np.float32]


def predictions(part: str, pipeline: Pipeline, graph: bytes, features: Floats) -> Predictions:
    """What ONNX, and so the service, says of the rows, proved against scikit-learn.

    Blocks of rows are predicted side by side, each on one thread: the bits depend on no count of
    cores, and of all blocks together only what ONNX says is kept.
    """
    session = _session(pipeline, graph)

    def both(start: int) -> tuple[Predictions, Parity]:
        rows = features[start : start + BLOCK]
        onnx = _run(pipeline, session, rows)
        sklearn = sklearn_predictions(pipeline, rows)
        return onnx, compare(part, sklearn, onnx, start)

    said: list[Predictions] = []
    blocks: list[Parity] = []
    with (
        estimators.quiet("the check"),
        # OpenMP keeps a limit for each thread.
        ThreadPoolExecutor(os.cpu_count(), "check", threadpool_limits, (1, "openmp")) as pool,
        Progress(f"train: ONNX against scikit-learn on {part}") as progress,
    ):
        for onnx, parity in Local(pool).map(both, range(0, len(features), BLOCK)):
            said.append(onnx)
            blocks.append(parity)
            progress.add(parity.rows)
    gap = judge(part, blocks)
    say(f"train: ONNX agrees on {len(features):,} {part} rows, to {gap:.0e}")
    return Predictions(*map(np.concatenate, zip(*said, strict=True)))


def _session(pipeline: Pipeline, graph: bytes) -> Any:
    """An ONNX Runtime session, of a graph that it may not take."""
    try:
        return inference.session(graph)
    except Exception as error:  # ONNX Runtime raises kinds of its own, of no common parent
        raise _unrunnable(pipeline, error) from error


def _run(pipeline: Pipeline, session: Any, rows: Floats) -> Predictions:
    try:
        return inference.predict(session, rows)
    except Exception as error:  # as above
        raise _unrunnable(pipeline, error) from error


def _unrunnable(pipeline: Pipeline, error: Exception) -> CairnError:
    reason = str(error).strip().splitlines()[0]
    return CairnError(
        f"train.estimator: {pipeline[-1]} cannot be run by ONNX Runtime: {reason}; "
        f"those that can: {', '.join(estimators.PROVED)}"
    )
