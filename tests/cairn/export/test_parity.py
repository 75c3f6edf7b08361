from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cairn.console import CairnError
from cairn.contract import Contract
from cairn.export import parity
from cairn.export.onnx import to_onnx
from cairn.modeling import fitting
from cairn.params.train import Train
from tests import small

TREE = "sklearn.tree.DecisionTreeClassifier"


def block(estimator: str = TREE, /, **arguments: Any) -> Train:
    own = {"estimator": estimator, "arguments": arguments, "scale": "auto", "seed": 3}
    return small.LINEAR.model_copy(update=own)


def test_rows_are_predicted_in_blocks_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = small.fitted()
    whole = parity.predictions("train", fitted.pipeline, fitted.graph, fitted.features)
    monkeypatch.setattr(parity, "BLOCK", 7)
    found = parity.predictions("train", fitted.pipeline, fitted.graph, fitted.features)
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_allclose(found.probabilities, whole.probabilities, atol=1e-6)
    assert found.probabilities.dtype == np.float32


def test_a_row_that_differs_is_named_by_its_place_among_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contract = Contract(columns=small.CONTRACT.columns[:1], target=small.CONTRACT.target)
    rows: NDArray[np.float32] = np.arange(20, dtype=np.float32)[:, None]
    classes = (rows[:, 0] > 10).astype(np.int64)
    other = np.where(np.arange(20) == 13, 0, classes)
    one, two = (fitting.fit(rows, each, contract, block()) for each in (classes, other))
    monkeypatch.setattr(parity, "BLOCK", 5)
    with pytest.raises(CairnError, match=r"differ on 1 of 20 test rows; worst is test row 13: "):
        parity.predictions("test", one, to_onnx(two, 1), rows)


def test_a_graph_that_onnx_runtime_cannot_run_is_the_estimator_s_error() -> None:
    fitted = small.fitted()
    pipeline = fitting.fit(
        fitted.features,
        fitted.classes,
        small.CONTRACT,
        block("sklearn.gaussian_process.GaussianProcessClassifier"),
    )
    graph = to_onnx(pipeline, 5)
    with pytest.raises(
        CairnError, match=r"train\.estimator: GaussianProcessClassifier.* cannot be run"
    ):
        parity.predictions("train", pipeline, graph, fitted.features)
