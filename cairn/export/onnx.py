"""Convert the fitted Pipeline into an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from cairn.errors import CairnError
from cairn.inference import INPUT, Predictions
from cairn.modeling import alignment, estimators

# Operator sets that both libraries know, if onnxmltools converts LightGBM.
OPSETS = {"": 15, "ai.onnx.ml": 3}


def to_onnx(pipeline: Pipeline, width: int) -> bytes:
    """Convert a fitted Pipeline over `width` float32 features into a serialized ONNX graph.

    Raises
    ------
    CairnError
        If there is no converter for a step.
    """
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - two seconds, which `parity` need not pay
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

    from cairn.export import compat, converters, tree_ensembles  # noqa: PLC0415

    model = pipeline.steps[-1][1]
    ensembles = tree_ensembles.find_ensembles(alignment.walk(model))
    has_lightgbm = estimators.has_lightgbm(model)
    converters.register(ensembles, has_lightgbm=has_lightgbm)
    try:
        with estimators.summarize_warnings("the conversion"):
            graph = convert_sklearn(
                pipeline,
                name="cairn",
                initial_types=[(INPUT, FloatTensorType([None, width]))],
                options={
                    id(model): {"zipmap": False, **_speed_up(model)},
                    # scikit-learn divides, too: a tree after the scaler gets the same bits.
                    StandardScaler: {"div": "div"},
                },
                target_opset=OPSETS if has_lightgbm and not ensembles else None,
            )
    except Exception as error:  # skl2onnx raises many classes, some of them RuntimeError
        reason = str(error).strip().splitlines()[0]
        raise CairnError(
            f"train.estimator: {type(model).__name__} cannot be converted to ONNX: {reason}; "
            f"estimators that can: {', '.join(estimators.SUPPORTED)}"
        ) from error
    for opset in graph.opset_import:
        if ensembles and opset.domain == tree_ensembles.DOMAIN:
            opset.version = tree_ensembles.VERSION
    compat.sort_opsets(graph)
    return bytes(graph.SerializeToString(deterministic=True))


def _speed_up(model: Any) -> dict[str, str]:
    """Return the options for ONNX Runtime's distances, which are twenty times as fast as a loop."""
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415 - as above

    is_neighbors = isinstance(model, KNeighborsClassifier)
    return {"optim": "cdist"} if is_neighbors and model.effective_metric_ == "euclidean" else {}


def sklearn_predictions(pipeline: Pipeline, features: NDArray[np.float32]) -> Predictions:
    """Predict the rows of an n × k matrix by the Pipeline."""
    probabilities = pipeline.predict_proba(features)
    if estimators.is_histogram_boosting(pipeline[-1]):
        # Its label is the largest probability's; `predict` would run every tree once more.
        return Predictions(probabilities.argmax(axis=1), probabilities)
    return Predictions(pipeline.predict(features), probabilities)
