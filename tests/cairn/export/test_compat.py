"""Canaries: each private name and each fault that `cairn.export.compat` is about is still there."""

from __future__ import annotations

from importlib import metadata
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from packaging.specifiers import SpecifierSet
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

from cairn.export import compat
from cairn.modeling.compat import iterate_histogram_trees

X = np.arange(60, dtype=np.float64)[:, None] % 6
Y = (X[:, 0] % 3 == 1).astype(np.int64)


@pytest.mark.parametrize(
    ("package", "versions"),
    [
        ("scikit-learn", compat.SCIKIT_LEARN),
        ("skl2onnx", compat.SKL2ONNX),
        ("onnxmltools", compat.ONNXMLTOOLS),
    ],
)
def test_the_module_was_read_for_the_installed_version(package: str, versions: str) -> None:
    assert metadata.version(package) in SpecifierSet(versions)


def test_histogram_boosting_adds_its_trees_to_the_baseline() -> None:
    model = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    for tree in iterate_histogram_trees(model):
        tree.nodes["value"] = 0
    assert model.decision_function(X) == pytest.approx(compat.get_baseline(model).item())


def test_the_codes_of_categories_go_where_the_bits_of_a_node_say() -> None:
    model = HistGradientBoostingClassifier(
        max_iter=1, categorical_features=[0], min_samples_leaf=5, max_depth=1
    ).fit(X, Y)
    (values,) = compat.get_categories(model)
    assert values.tolist() == [0, 1, 2, 3, 4, 5]
    (tree,) = iterate_histogram_trees(model)
    is_left = compat.find_codes_left(tree, 0, np.arange(6))
    scores = model.decision_function(values[:, None])
    assert 0 < is_left.sum() < 6
    assert len(np.unique(scores[is_left])) == len(np.unique(scores[~is_left])) == 1


def test_gradient_boosting_adds_its_trees_to_the_initial_scores() -> None:
    model = GradientBoostingClassifier(n_estimators=1, learning_rate=1e-300).fit(X, Y)
    assert model.decision_function(X) == pytest.approx(compat.compute_initial_scores(model).item())


def test_opsets_are_sorted_by_domain() -> None:
    opsets = [onnx.helper.make_opsetid(domain, 3) for domain in ("b", "", "a")]
    graph = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []), opset_imports=opsets)
    compat.sort_opsets(graph)
    assert [(each.domain, each.version) for each in graph.opset_import] == [
        ("", 3), ("a", 3), ("b", 3),
    ]  # fmt: skip


def test_onnx_takes_python_s_integers_alone_so_that_numpy_s_are_turned_into_them() -> None:
    numbers = [np.int64(1), np.bool_(True)]  # noqa: FBT003
    with pytest.raises((TypeError, ValueError)):
        onnx.helper.make_node("Op", [], [], ints=numbers)
    attributes: dict[str, Any] = {}
    container = SimpleNamespace(add_node=lambda *_, **values: attributes.update(values), nodes=[])
    plain = compat.PlainAttributes(container)
    assert plain.nodes is container.nodes
    plain.add_node("Op", ints=numbers, text="a")
    assert [type(each) for each in attributes["ints"]] == [int, int]
    onnx.helper.make_node("Op", [], [], **attributes)
