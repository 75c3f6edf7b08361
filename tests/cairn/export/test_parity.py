from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cairn.contract import Contract
from cairn.errors import CairnError
from cairn.export import parity
from cairn.export.onnx import to_onnx
from cairn.inference import Predictions
from cairn.modeling import fitting
from cairn.params.train import Train
from tests import small

TREE = "sklearn.tree.DecisionTreeClassifier"


def predictions(labels: list[int], *probabilities: tuple[float, float]) -> Predictions:
    return Predictions(np.array(labels), np.array(probabilities))


def check(part: str, sklearn: Predictions, onnx: Predictions) -> float:
    return parity.require_parity(part, [parity.compare(part, sklearn, onnx)])


TWO = predictions([0, 1], (0.9, 0.1), (0.2, 0.8))


def test_what_agrees_passes_with_its_largest_difference() -> None:
    near = predictions([0, 1], (0.9 + 4e-6, 0.1 - 4e-6), (0.2 - 9e-6, 0.8 + 9e-6))
    assert check("test", TWO, TWO) == 0
    assert check("test", TWO, near) == pytest.approx(9e-6)


@pytest.mark.parametrize(
    "other",
    [
        predictions([0, 1], (0.9, 0.1), (0.2 + 2e-5, 0.8 - 2e-5)),
        predictions([0, 1], (0.9, 0.1), (np.nan, 0.8)),
        predictions([0, 1], (0.9, 0.1), (0.2, np.inf)),
        predictions([0, 0], (0.9, 0.1), (0.2, 0.8)),
    ],
)
def test_what_differs_fails_with_the_row(other: Predictions) -> None:
    for one, two in ((TWO, other), (other, TWO)):
        with pytest.raises(CairnError) as error:
            check("test", one, two)
        assert "differ on 1 of 2 test rows; the worst is test row 1" in str(error.value)


def test_the_worst_of_several_rows_is_shown_with_both_predictions() -> None:
    other = predictions([0, 1], (0.8, 0.2), (0.5, 0.5))
    with pytest.raises(CairnError) as error:
        check("train", TWO, other)
    assert "differ on 2 of 2 train rows; the worst is train row 1" in str(error.value)
    assert "scikit-learn predicts class 1 with [0.2, 0.8], ONNX 1 with [0.5, 0.5]" in str(
        error.value
    )
    assert "allowed difference 1e-05" in str(error.value)


def test_predictions_of_another_shape_do_not_agree() -> None:
    labels, probabilities = np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(CairnError, match="shape"):
        check("test", Predictions(labels, probabilities), Predictions(labels[None], probabilities))


def test_batches_are_checked_together_and_the_worst_is_shown() -> None:
    near, far = (
        predictions([0, 1], (0.8, 0.2), (0.2, 0.8)),
        predictions([0, 1], (0.9, 0.1), (0.5, 0.5)),
    )
    batches = [
        parity.compare("test", TWO, each, start) for each, start in ((near, 0), (TWO, 2), (far, 4))
    ]
    assert [(each.rows, each.different) for each in batches] == [(2, 1), (2, 0), (2, 1)]
    with pytest.raises(CairnError, match=r"differ on 2 of 6 test rows; the worst is test row 5: "):
        parity.require_parity("test", batches)
    assert parity.require_parity("test", batches[1:2]) == 0


def params(estimator: str = TREE, /, **arguments: Any) -> Train:
    own = {"estimator": estimator, "arguments": arguments, "scale": "auto", "seed": 3}
    return small.LINEAR.model_copy(update=own)


def test_rows_are_predicted_in_batches_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = small.fitted()
    expected = parity.verify_predictions("train", fitted.pipeline, fitted.graph, fitted.features)
    monkeypatch.setattr(parity, "BATCH", 7)
    actual = parity.verify_predictions("train", fitted.pipeline, fitted.graph, fitted.features)
    np.testing.assert_array_equal(actual.labels, expected.labels)
    np.testing.assert_allclose(actual.probabilities, expected.probabilities, atol=1e-6)
    assert actual.probabilities.dtype == np.float32


def test_a_row_that_differs_is_named_by_its_index_among_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contract = Contract(columns=small.CONTRACT.columns[:1], target=small.CONTRACT.target)
    rows: NDArray[np.float32] = np.arange(20, dtype=np.float32)[:, None]
    classes = (rows[:, 0] > 10).astype(np.int64)
    other = np.where(np.arange(20) == 13, 0, classes)
    one, two = (fitting.fit(rows, each, contract, params()) for each in (classes, other))
    monkeypatch.setattr(parity, "BATCH", 5)
    with pytest.raises(
        CairnError, match=r"differ on 1 of 20 test rows; the worst is test row 13: "
    ):
        parity.verify_predictions("test", one, to_onnx(two, 1), rows)


def test_a_graph_that_onnx_runtime_cannot_run_is_the_estimator_s_error() -> None:
    fitted = small.fitted()
    pipeline = fitting.fit(
        fitted.features,
        fitted.classes,
        small.CONTRACT,
        params("sklearn.gaussian_process.GaussianProcessClassifier"),
    )
    graph = to_onnx(pipeline, 5)
    with pytest.raises(
        CairnError, match=r"train\.estimator: ONNX Runtime cannot run GaussianProcessClassifier"
    ):
        parity.verify_predictions("train", pipeline, graph, fitted.features)
