"""Private parts of scikit-learn and faults of skl2onnx that the export has to work around.

Each function says why. `tests/cairn/export/test_compat.py` fails when a library moves one, or when
a fault is gone, so that the function can go as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

# The versions whose source was read for this module.
SCIKIT_LEARN = ">=1.9,<1.10"
SKL2ONNX = ">=1.20,<1.21"
ONNXMLTOOLS = ">=1.16,<1.17"

Doubles = NDArray[np.float64]


def get_baseline(model: HistGradientBoostingClassifier) -> Doubles:
    """Return the scores to which histogram boosting adds its trees.

    There is no public attribute with them; skl2onnx reads the same one.
    """
    return np.asarray(model._baseline_prediction, dtype=np.float64).ravel()  # noqa: SLF001


def get_categories(model: HistGradientBoostingClassifier) -> list[Doubles]:
    """Return the category values behind the codes of each categorical column; NaN: missing.

    Histogram boosting encodes the columns by a private step, and splits on the codes.
    """
    encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001
    return [np.asarray(each, dtype=np.float64) for each in encoder.categories_]


def find_codes_left(tree: Any, node: int, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Find which category codes go left at a node of a tree of histogram boosting.

    A TreePredictor is private as a whole, and keeps the set as bits of 32-bit words.
    """
    words = tree.raw_left_cat_bitsets[tree.nodes["bitset_idx"][node]]
    is_left: NDArray[np.bool_] = (words[codes // 32] >> (codes % 32).astype(np.uint32) & 1) != 0
    return is_left


def compute_initial_scores(model: GradientBoostingClassifier) -> Doubles:
    """Compute the scores to which gradient boosting adds its trees.

    Publicly it has the estimator `init_` only, whose probabilities a private function turns into
    scores.
    """
    row = np.zeros((1, model.n_features_in_), dtype=np.float32)
    return np.asarray(model._raw_predict_init(row), dtype=np.float64).ravel()  # noqa: SLF001


def sort_opsets(graph: ModelProto) -> None:
    """Sort the opset imports of a graph, for the bytes to be the same in each run.

    skl2onnx collects them in a set, whose order changes with Python's hash seed.
    """
    opsets = sorted(graph.opset_import, key=lambda opset: opset.domain)
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)


class PlainAttributes:
    """A container of skl2onnx that turns NumPy's integers and booleans into Python's integers.

    From 1.20 on onnx refuses NumPy's among a node's attributes; skl2onnx 1.20.0 hands them on as
    scikit-learn keeps them in the nodes of a tree.
    """

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> None:
        """Add a node whose lists hold Python's own integers."""
        plain = {
            name: [_to_python(each) for each in value] if isinstance(value, list) else value
            for name, value in attributes.items()
        }
        self._container.add_node(*arguments, **plain)


def _to_python(value: Any) -> Any:
    return int(value) if isinstance(value, bool | np.bool_ | np.integer) else value


def convert_lightgbm(scope: Any, operator: Any, container: Any) -> None:
    """Convert LightGBM's classifier by onnxmltools; to scores if the options ask for them.

    onnxmltools has no option for scores: the nodes that it adds apply the link themselves.
    """
    from onnxmltools.convert.lightgbm.operator_converters import (  # noqa: PLC0415 - an extra
        LightGbm,
    )

    before = len(container.nodes)
    LightGbm.convert_lightgbm(scope, operator, container)
    if container.get_options(operator.raw_operator, {"raw_scores": False})["raw_scores"]:
        for node in container.nodes[before:]:
            for attribute in filter(lambda each: each.name == "post_transform", node.attribute):
                attribute.s = b"NONE"
