from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from cairn import inference
from cairn.console import CairnError
from cairn.export.onnx import check_parity, compare, judge, sklearn_predictions, to_onnx
from cairn.inference import Predictions
from cairn.modeling import estimators
from tests import small


def said(labels: list[int], *probabilities: tuple[float, float]) -> Predictions:
    return Predictions(np.array(labels), np.array(probabilities))


TWO = said([0, 1], (0.9, 0.1), (0.2, 0.8))


def test_what_agrees_passes_with_its_largest_difference() -> None:
    near = said([0, 1], (0.9 + 4e-6, 0.1 - 4e-6), (0.2 - 9e-6, 0.8 + 9e-6))
    assert check_parity("test", TWO, TWO) == 0
    assert check_parity("test", TWO, near) == pytest.approx(9e-6)


@pytest.mark.parametrize(
    "other",
    [
        said([0, 1], (0.9, 0.1), (0.2 + 2e-5, 0.8 - 2e-5)),
        said([0, 1], (0.9, 0.1), (np.nan, 0.8)),
        said([0, 1], (0.9, 0.1), (0.2, np.inf)),
        said([0, 0], (0.9, 0.1), (0.2, 0.8)),
    ],
)
def test_what_differs_fails_with_the_row(other: Predictions) -> None:
    for one, two in ((TWO, other), (other, TWO)):
        with pytest.raises(CairnError) as error:
            check_parity("test", one, two)
        assert "differ on 1 of 2 test rows; worst is test row 1" in str(error.value)


def test_the_worst_of_several_rows_is_shown_with_what_both_say() -> None:
    other = said([0, 1], (0.8, 0.2), (0.5, 0.5))
    with pytest.raises(CairnError) as error:
        check_parity("train", TWO, other)
    assert "differ on 2 of 2 train rows; worst is train row 1" in str(error.value)
    assert "scikit-learn says class 1 with [0.2, 0.8], ONNX 1 with [0.5, 0.5]" in str(error.value)
    assert "allowed difference 1e-05" in str(error.value)


def test_a_graph_says_what_its_pipeline_says() -> None:
    fitted = small.fitted()
    onnx = inference.predict(inference.session(fitted.graph), fitted.features)
    sklearn = sklearn_predictions(fitted.pipeline, fitted.features)
    assert check_parity("train", sklearn, onnx) < 1e-6


def test_the_same_pipeline_gives_the_same_bytes() -> None:
    assert to_onnx(small.fitted().pipeline, 5) == small.fitted().graph


def test_an_estimator_that_onnx_does_not_know_is_named() -> None:
    pipeline = Pipeline([("model", DummyClassifier())]).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(CairnError) as error:
        to_onnx(pipeline, 1)
    assert "train.estimator: DummyClassifier cannot be converted to ONNX" in str(error.value)
    assert f"those that can: {', '.join(estimators.PROVED)}" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_an_answer_of_another_shape_is_no_agreement() -> None:
    labels, shares = np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(CairnError, match="shape"):
        check_parity("test", Predictions(labels, shares), Predictions(labels[None], shares))


def test_blocks_are_judged_together_and_the_worst_is_shown() -> None:
    near, far = said([0, 1], (0.8, 0.2), (0.2, 0.8)), said([0, 1], (0.9, 0.1), (0.5, 0.5))
    blocks = [compare("test", TWO, each, start) for each, start in ((near, 0), (TWO, 2), (far, 4))]
    assert [(block.rows, block.bad) for block in blocks] == [(2, 1), (2, 0), (2, 1)]
    with pytest.raises(CairnError, match=r"differ on 2 of 6 test rows; worst is test row 5: "):
        judge("test", blocks)
    assert judge("test", blocks[1:2]) == 0


def test_a_scaler_gives_a_tree_the_same_bits() -> None:
    random = np.random.default_rng(0)
    rows = (random.normal(size=(5000, 3)) * [1, 50, 1e6] + [0, 3, 9e6]).astype(np.float32)
    pipeline = Pipeline([("scale", StandardScaler()), ("model", DecisionTreeClassifier())])
    pipeline.fit(rows, random.integers(0, 2, len(rows)))  # a leaf for each row
    onnx = inference.predict(inference.session(to_onnx(pipeline, 3)), rows)
    np.testing.assert_array_equal(onnx.labels, pipeline.predict(rows))


@pytest.mark.slow
def test_the_graph_depends_on_no_order_of_a_set(tmp_path: Path) -> None:
    fitted, path = small.fitted(), tmp_path / "pipeline"
    joblib.dump(fitted.pipeline, path)
    code = (
        "import sys, joblib; from cairn.export.onnx import to_onnx; "
        f"pipeline = joblib.load({str(path)!r}); "
        f"sys.stdout.buffer.write(to_onnx(pipeline, {fitted.features.shape[1]}))"
    )
    graphs = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert graphs == {fitted.graph}  # in whatever order this process has a set
