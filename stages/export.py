"""The fitted Pipeline as an ONNX graph, and the proof that both say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from stages.console import CairnError
from stages.inference import INPUT, Predictions

TOLERANCE = 1e-5


def to_onnx(pipeline: Pipeline, width: int) -> bytes:
    """Convert a fitted Pipeline over `width` float32 features into a serialized ONNX graph.

    Raises
    ------
    CairnError
        Where skl2onnx has no converter for a step.
    """
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - two seconds that `parity` need not pay
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

    estimator = pipeline.steps[-1][1]
    try:
        graph = convert_sklearn(
            pipeline,
            name="cairn",
            initial_types=[(INPUT, FloatTensorType([None, width]))],
            options={id(estimator): {"zipmap": False, **_faster(estimator)}},
        )
    except Exception as error:  # skl2onnx raises many kinds, some of them plain RuntimeError
        reason = str(error).strip().splitlines()[0]
        raise CairnError(
            f"train.estimator: {type(estimator).__name__} cannot be converted to ONNX: {reason}"
        ) from error
    # skl2onnx keeps them in a set, whose order changes from run to run.
    opsets = sorted(graph.opset_import, key=lambda opset: opset.domain)
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)
    return bytes(graph.SerializeToString(deterministic=True))


def _faster(estimator: Any) -> dict[str, str]:
    """Neighbours by ONNX Runtime's own operator of distances: twenty times as fast as the loop."""
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415, as above

    neighbours = isinstance(estimator, KNeighborsClassifier)
    return {"optim": "cdist"} if neighbours and estimator.effective_metric_ == "euclidean" else {}


def sklearn_predictions(pipeline: Pipeline, features: NDArray[np.float32]) -> Predictions:
    """What the Pipeline says of the rows of an n × k matrix."""
    return Predictions(pipeline.predict(features), pipeline.predict_proba(features))


def check_parity(part: str, sklearn: Predictions, onnx: Predictions) -> float:
    """Hold ONNX to what scikit-learn says.

    Returns
    -------
    float
        The largest difference of a probability.

    Raises
    ------
    CairnError
        Where a probability differs by more than TOLERANCE, or the label does though scikit-learn
        itself sees no tie, within that, of the two: on how many rows of `part`, and the worst.
    """
    shapes = [tuple(map(np.shape, said)) for said in (sklearn, onnx)]
    if shapes[0] != shapes[1]:
        raise CairnError(f"train: ONNX answers in the shape {shapes[1]}, scikit-learn {shapes[0]}")
    gaps = np.abs(sklearn.probabilities - onnx.probabilities).max(axis=1)
    gaps = np.where(np.isfinite(gaps), gaps, np.inf)
    rows = np.arange(len(gaps))
    shares = np.nan_to_num(sklearn.probabilities)
    leads = np.abs(shares[rows, sklearn.labels] - shares[rows, onnx.labels])
    bad = (gaps > TOLERANCE) | (leads > TOLERANCE)
    if bad.any():
        row = int(np.argmax(np.where(bad, gaps, -1)))
        raise CairnError(
            f"train: ONNX and scikit-learn differ on {int(bad.sum()):,} of {len(bad):,} {part} "
            f"rows; worst is {part} row {row}: scikit-learn says class {sklearn.labels[row]} with "
            f"{sklearn.probabilities[row].tolist()}, ONNX {onnx.labels[row]} with "
            f"{onnx.probabilities[row].tolist()} (allowed difference {TOLERANCE}); "
            "another estimator, or train.scale the other way round, may convert exactly"
        )
    return float(gaps.max())
