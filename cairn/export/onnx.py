"""The fitted Pipeline as an ONNX graph, and the proof that both say the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from cairn.console import CairnError
from cairn.inference import INPUT, Predictions
from cairn.modeling import estimators

TOLERANCE = 1e-5
# Their label is the class of the largest probability: to ask for it as well doubles the time.
LARGEST = (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
# Operators that the converters of both libraries know, where onnxmltools converts LightGBM.
OPSETS = {"": 15, "ai.onnx.ml": 3}


class Parity(NamedTuple):
    """How ONNX compares with scikit-learn on some rows.

    Attributes
    ----------
    rows, bad
        How many there are, and how many differ.
    gap
        The largest difference of a probability.
    worst
        The largest on a row that differs; -1: none does.
    says
        What both say of that row.
    """

    rows: int
    bad: int
    gap: float
    worst: float
    says: str


def to_onnx(pipeline: Pipeline, width: int) -> bytes:
    """Convert a fitted Pipeline over `width` float32 features into a serialized ONNX graph.

    Raises
    ------
    CairnError
        Where there is no converter for a step.
    """
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - two seconds that `parity` need not pay
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

    from cairn.export import converters, tree_ensembles  # noqa: PLC0415

    model = pipeline.steps[-1][1]
    doubles = tree_ensembles.ensembles(estimators.inside(model))
    has_lightgbm = estimators.uses_lightgbm(model)
    converters.register(doubles, has_lightgbm=has_lightgbm)
    try:
        with estimators.quiet("the conversion"):
            graph = convert_sklearn(
                pipeline,
                name="cairn",
                initial_types=[(INPUT, FloatTensorType([None, width]))],
                options={
                    id(model): {"zipmap": False, **_faster(model)},
                    # By division, as scikit-learn does, a tree behind it gets the same bits.
                    StandardScaler: {"div": "div"},
                },
                target_opset=OPSETS if has_lightgbm and not doubles else None,
            )
    except Exception as error:  # skl2onnx raises many kinds, some of them plain RuntimeError
        reason = str(error).strip().splitlines()[0]
        raise CairnError(
            f"train.estimator: {type(model).__name__} cannot be converted to ONNX: {reason}; "
            f"those that can: {', '.join(estimators.PROVED)}"
        ) from error
    # skl2onnx keeps them in a set, whose order changes from run to run.
    opsets = sorted(graph.opset_import, key=lambda opset: opset.domain)
    for opset in opsets:
        if doubles and opset.domain == tree_ensembles.DOMAIN:
            opset.version = tree_ensembles.VERSION
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)
    return bytes(graph.SerializeToString(deterministic=True))


def _faster(model: Any) -> dict[str, str]:
    """Neighbours by ONNX Runtime's own operator of distances: twenty times as fast as the loop."""
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415, as above

    neighbours = isinstance(model, KNeighborsClassifier)
    return {"optim": "cdist"} if neighbours and model.effective_metric_ == "euclidean" else {}


def sklearn_predictions(pipeline: Pipeline, features: NDArray[np.float32]) -> Predictions:
    """What the Pipeline says of the rows of an n × k matrix."""
    shares = pipeline.predict_proba(features)
    if estimators.is_histogram(pipeline[-1]):
        # Its labels are the largest shares, but to ask for them runs every tree once more.
        return Predictions(shares.argmax(axis=1), shares)
    return Predictions(pipeline.predict(features), shares)


def check_parity(part: str, sklearn: Predictions, onnx: Predictions) -> float:
    """Hold ONNX to what scikit-learn says; as `judge` of one block."""
    return judge(part, [compare(part, sklearn, onnx)])


def compare(part: str, sklearn: Predictions, onnx: Predictions, start: int = 0) -> Parity:
    """Compare what both say of the rows of `part` that begin with row `start`.

    A row differs where a probability does by more than TOLERANCE, or the label does though
    scikit-learn itself sees no tie, within that, of the two.

    Raises
    ------
    CairnError
        Where the answers have not even the same shape.
    """
    shapes = [tuple(map(np.shape, said)) for said in (sklearn, onnx)]
    if shapes[0] != shapes[1]:
        raise CairnError(f"train: ONNX answers in the shape {shapes[1]}, scikit-learn {shapes[0]}")
    gaps = np.abs(sklearn.probabilities - onnx.probabilities).max(axis=1)
    gaps = np.where(np.isfinite(gaps), gaps, np.inf)
    rows = np.arange(len(gaps))
    shares = np.nan_to_num(sklearn.probabilities)
    leads = np.abs(shares[rows, sklearn.labels] - shares[rows, onnx.labels])
    bad = np.where((gaps > TOLERANCE) | (leads > TOLERANCE), gaps, -1)
    row = int(np.argmax(bad))
    says = (
        f"{part} row {start + row}: scikit-learn says class {sklearn.labels[row]} with "
        f"{sklearn.probabilities[row].tolist()}, ONNX {onnx.labels[row]} with "
        f"{onnx.probabilities[row].tolist()}"
    )
    return Parity(len(bad), int((bad >= 0).sum()), float(gaps.max()), float(bad[row]), says)


def judge(part: str, blocks: Iterable[Parity]) -> float:
    """Fail where any row differs.

    Returns
    -------
    float
        The largest difference of a probability.

    Raises
    ------
    CairnError
        On how many rows of `part` they differ, and the worst.
    """
    found = list(blocks)
    bad = sum(block.bad for block in found)
    if bad:
        worst = max(found, key=lambda block: block.worst)
        raise CairnError(
            f"train: ONNX and scikit-learn differ on {bad:,} of "
            f"{sum(block.rows for block in found):,} {part} rows; worst is {worst.says} (allowed "
            f"difference {TOLERANCE}); another estimator, or train.scale the other way round, may "
            "convert exactly"
        )
    return max(block.gap for block in found)
