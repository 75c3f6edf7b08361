from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn import inference
from cairn.errors import CairnError
from cairn.export.onnx import to_onnx
from cairn.modeling import fitting
from tests import small


def test_a_model_says_a_label_and_probabilities_of_each_row() -> None:
    fitted = small.fitted()
    predictions = inference.predict(inference.open_session(fitted.graph), fitted.features)
    assert predictions.labels.dtype == np.int64
    assert predictions.probabilities.shape == (len(fitted.features), 2)
    np.testing.assert_array_equal(predictions.labels, predictions.probabilities.argmax(axis=1))
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-6)
    assert (predictions.labels == fitted.classes).mean() > 0.9


def test_two_sessions_say_the_same_to_the_last_bit() -> None:
    fitted = small.fitted()
    one, two = (
        inference.predict(inference.open_session(fitted.graph), fitted.features) for _ in range(2)
    )
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_a_session_uses_one_thread() -> None:
    options = inference.open_session(small.fitted().graph).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_no_probability_is_beyond_0_or_1() -> None:
    # Ten trees that agree, each with a share of 0.1 in float32, add up to 1.0000001.
    forest = {
        "estimator": "sklearn.ensemble.RandomForestClassifier",
        "arguments": {"n_estimators": 10},
        "scale": False,
    }
    block = small.LINEAR.model_copy(update=forest)
    fitted = small.fitted()
    pipeline = fitting.fit(fitted.features, fitted.classes, small.CONTRACT, block)
    graph = to_onnx(pipeline, fitted.features.shape[1])
    predictions = inference.predict(inference.open_session(graph), fitted.features)
    assert predictions.probabilities.min() == 0
    assert predictions.probabilities.max() == 1


PROBABILITY = st.floats(-2 * inference.TIE, 1 + 2 * inference.TIE)


@given(probabilities=st.lists(PROBABILITY, min_size=2, max_size=4), near=st.floats(-3e-6, 3e-6))
def test_a_single_row_gets_what_it_gets_among_others(
    probabilities: list[float], near: float
) -> None:
    row = np.array([[*probabilities, probabilities[0] + near]], np.float32)

    class Model:
        def run(self, _outputs: None, feeds: dict[str, Any], _options: None) -> list[Any]:
            probabilities = feeds[inference.INPUT].copy()
            return [probabilities.argmax(axis=1), probabilities]

    model: Any = Model()
    one = inference.predict(model, row)
    many = inference.predict(model, np.repeat(row, 2, axis=0))
    np.testing.assert_array_equal(one.labels, many.labels[:1])
    np.testing.assert_array_equal(one.probabilities, many.probabilities[:1])


def make_field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that is a message itself."""
    size, length = len(content), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def nest(depth: int) -> bytes:
    """A model with a graph in an attribute of a node of a graph, and so on."""
    graph = b""
    for _ in range(depth):
        graph = make_field(1, make_field(5, make_field(6, graph)))
    return make_field(7, graph)


@pytest.mark.parametrize(
    "graph", [b"", b"no graph", nest(20), nest(2000)], ids=["empty", "none", "nested", "deep"]
)
def test_what_is_no_graph_is_an_error_of_one_line(graph: bytes) -> None:
    with pytest.raises(CairnError, match=r"^the ONNX graph cannot be opened: ") as error:
        inference.open_session(graph)
    assert "\n" not in str(error.value)
