"""What a process of the service does before it answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper, load_model_from_string, numpy_helper

from cairn.errors import CairnError
from cairn.inference import INPUT
from cairn.paths import ONNX
from service import instance
from service.bento.store import ServedModel
from service.process.settings import Settings
from tests import small

GIB_OF_FLOATS = 2**28


def bloat(model: ModelProto, count: int) -> bytes:
    """The same graph, which adds the sum of so many zeros to what comes in."""
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["bloat_sum" if name == INPUT else name for name in node.input]
    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["bloat_shape"], ["bloat_zeros"], value=zero),
        helper.make_node("ReduceSum", ["bloat_zeros"], ["bloat_zero"], keepdims=0),
        helper.make_node("Add", [INPUT, "bloat_zero"], ["bloat_sum"]),
        *graph.node,
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array([count], np.int64), "bloat_shape"))
    return bytes(model.SerializeToString())


@pytest.fixture
def served(tmp_path: Path) -> ServedModel:
    return ServedModel(small.save(tmp_path / "small"), "small:1", {})


def test_a_few_bytes_that_stand_for_gigabytes_are_refused_in_one_line(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "choose_model", lambda *_: served)
    assert instance.open_predictor(Settings(), lambda: served).version == "small:1"
    graph = served.folder / ONNX.name
    before = graph.read_bytes()
    graph.write_bytes(bloat(load_model_from_string(before), 10))
    assert instance.open_predictor(Settings(), lambda: served).version == "small:1"
    graph.write_bytes(bloat(load_model_from_string(before), GIB_OF_FLOATS))
    assert graph.stat().st_size < len(before) + 1024
    with pytest.raises(CairnError, match=r"^small:1: it cannot be run within \d+ MiB ") as error:
        instance.open_predictor(Settings(), lambda: served)
    assert "\n" not in str(error.value)
