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
from cairn.errors import CairnError
from cairn.export import parity
from cairn.export.onnx import sklearn_predictions, to_onnx
from cairn.modeling import estimators
from tests import small


def test_a_graph_predicts_what_its_pipeline_predicts() -> None:
    fitted = small.fitted()
    onnx = inference.predict(inference.open_session(fitted.graph), fitted.features)
    sklearn = sklearn_predictions(fitted.pipeline, fitted.features)
    assert parity.compare("train", sklearn, onnx).largest < 1e-6


def test_the_same_pipeline_gives_the_same_bytes() -> None:
    assert to_onnx(small.fitted().pipeline, 5) == small.fitted().graph


def test_an_estimator_that_onnx_does_not_know_is_named() -> None:
    pipeline = Pipeline([("model", DummyClassifier())]).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(CairnError) as error:
        to_onnx(pipeline, 1)
    assert "train.estimator: DummyClassifier cannot be converted to ONNX" in str(error.value)
    assert f"estimators that can: {', '.join(estimators.SUPPORTED)}" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_scaler_gives_a_tree_the_same_bits() -> None:
    random = np.random.default_rng(0)
    rows = (random.normal(size=(5000, 3)) * [1, 50, 1e6] + [0, 3, 9e6]).astype(np.float32)
    pipeline = Pipeline([("scale", StandardScaler()), ("model", DecisionTreeClassifier())])
    pipeline.fit(rows, random.integers(0, 2, len(rows)))  # a leaf for each row
    onnx = inference.predict(inference.open_session(to_onnx(pipeline, 3)), rows)
    np.testing.assert_array_equal(onnx.labels, pipeline.predict(rows))


@pytest.mark.slow
@pytest.mark.long
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
