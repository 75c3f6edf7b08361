from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from cairn.contract import Column, Contract, Target
from cairn.export import parity, tree_ensembles
from cairn.export.onnx import to_onnx
from cairn.modeling import alignment, fitting
from tests import small

HISTOGRAM = "sklearn.ensemble.HistGradientBoostingClassifier"
GRADIENT = "sklearn.ensemble.GradientBoostingClassifier"
LIGHTGBM = "lightgbm.LGBMClassifier"
BOOSTING: list[tuple[str, dict[str, Any]]] = [
    (HISTOGRAM, {"max_iter": 4}),
    (GRADIENT, {"n_estimators": 4}),
    (LIGHTGBM, {"n_estimators": 4}),
]
FAR = 1e5  # as the scores of rare classes are
CODES = 9


def contract(classes: int) -> Contract:
    numbers = [Column(name=f"x{index}", kind="number") for index in range(3)]
    code = Column(name="c", kind="category", categories=tuple(range(CODES)), unknown=True)
    target = Target(name="y", classes=tuple(range(classes)))
    return Contract(columns=(*numbers, code), target=target)


def table(classes: int, rows: int = 300) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Numbers, a category of which the class depends in no order, and so many classes."""
    random = np.random.default_rng(classes)
    x = random.normal(size=(rows, 4))
    x[:, 3] = random.integers(0, CODES - 1, rows)  # the last one never comes
    drawn = np.floor(x[:, 0] * 2 + x[:, 3] * 5 + random.normal(scale=0.3, size=rows))
    y = drawn.astype(np.int64) % classes
    x[random.random(rows) < 0.1, 1] = np.nan
    return x.astype(np.float32), y


def fitted(name: str, arguments: dict[str, Any], classes: int, **changes: Any) -> Pipeline:
    train_params = small.LINEAR.model_copy(
        update={"estimator": name, "arguments": arguments, "scale": False, **changes}
    )
    x, y = table(classes)
    return fitting.fit(x, y, contract(classes), train_params)


def move(model: Any, classes: int) -> None:
    """Add FAR to the scores of every row and class; of two classes, take it away again."""
    scores = 1 if classes == 2 else classes
    for score in range(scores):
        for step, amount in ((0, FAR), (1, -FAR)) if scores == 1 else ((0, FAR),):
            if isinstance(model, HistGradientBoostingClassifier):
                model._predictors[step][score].nodes["value"] += amount
            elif isinstance(model, GradientBoostingClassifier):
                model.estimators_[step, score].tree_.value[:] += amount / model.learning_rate
            else:
                booster, tree = model.booster_, step * scores + score
                for leaf in range(
                    booster.trees_to_dataframe()
                    .query("tree_index == @tree")
                    .split_feature.isna()
                    .sum()
                ):
                    value = booster.get_leaf_output(tree, leaf)
                    booster.set_leaf_output(tree, leaf, value + amount)


def unseen() -> NDArray[np.float32]:
    """Other rows, with more gaps, and with categories that no model has seen."""
    x, _ = table(50)
    x[:, 3] = np.arange(len(x)) % (CODES + 2) - 1
    x[::7, 0] = np.nan
    return x


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize(("name", "arguments"), BOOSTING)
def test_scores_that_float32_cannot_hold_agree_as_well(
    name: str, arguments: dict[str, Any], classes: int
) -> None:
    pipeline = fitted(name, arguments, classes)
    x, _ = table(classes)
    before = pipeline.predict_proba(x)
    move(pipeline[-1], classes)
    np.testing.assert_allclose(pipeline.predict_proba(x), before, atol=1e-9)
    assert 0.1 < before.max(axis=1).mean() < 0.95  # float32 would make 0 or 1 of some
    graph = to_onnx(pipeline, x.shape[1])
    predictions = parity.verify_predictions("train", pipeline, graph, x)
    np.testing.assert_allclose(predictions.probabilities, before, atol=1e-7)


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (HISTOGRAM, {"max_iter": 4, "categorical_features": [3]}),
        (HISTOGRAM, {"max_iter": 4, "categorical_features": [3], "min_samples_leaf": 5}),
        (LIGHTGBM, {"n_estimators": 4, "categorical_feature": [3], "min_data_per_group": 1}),
    ],
)
@pytest.mark.parametrize("calibration", ["none", "isotonic"])
def test_splits_by_sets_of_categories_agree(
    name: str, arguments: dict[str, Any], classes: int, calibration: str
) -> None:
    pipeline = fitted(name, arguments, classes, calibration=calibration, encode="ordinal")
    graph = to_onnx(pipeline, 4)
    assert any(
        tree_ensembles.MEMBER in modes(node) for node in onnx.load_from_string(graph).graph.node
    )
    parity.verify_predictions("train", pipeline, graph, table(classes)[0])
    parity.verify_predictions("test", pipeline, graph, unseen())


def modes(node: onnx.NodeProto) -> list[int]:
    """List the comparisons of a tree ensemble; none for another node."""
    arrays: Iterator[Any] = (each.t for each in node.attribute if each.name == "nodes_modes")
    return [int(mode) for tensor in arrays for mode in onnx.numpy_helper.to_array(tensor)]


@pytest.mark.parametrize(("name", "arguments"), BOOSTING)
def test_what_is_calibrated_is_summed_in_float64_too(name: str, arguments: dict[str, Any]) -> None:
    pipeline = fitted(name, arguments, 7, calibration="sigmoid")
    graph = to_onnx(pipeline, 4)
    parity.verify_predictions("train", pipeline, graph, table(7)[0])
    kinds = {node.op_type for node in onnx.load_from_string(graph).graph.node}
    assert {kind for kind in kinds if kind.startswith("Tree")} == {"TreeEnsemble"}


def test_a_tree_that_is_one_leaf_is_converted_too() -> None:
    pipeline = fitted(HISTOGRAM, {"max_iter": 2, "min_samples_leaf": 290}, 7)
    graph = to_onnx(pipeline, 4)
    parity.verify_predictions("train", pipeline, graph, table(7)[0])


TREE = {"class": "sklearn.tree.DecisionTreeClassifier", "max_depth": 3}
FOREST = {"class": "sklearn.ensemble.RandomForestClassifier", "n_estimators": 3}


@pytest.mark.parametrize("other", [TREE, FOREST])
def test_beside_other_trees_boosting_is_converted_in_float32(other: dict[str, Any]) -> None:
    boosted = {"class": HISTOGRAM, "max_iter": 4}
    voters = {"estimators": [["boosted", boosted], ["other", other]]}
    pipeline = fitted("sklearn.ensemble.VotingClassifier", voters, 7)
    graph = to_onnx(pipeline, 4)
    assert not tree_ensembles.find_ensembles(alignment.walk(pipeline[-1]))
    parity.verify_predictions("train", pipeline, graph, table(7)[0])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (GRADIENT, {"n_estimators": 4, "loss": "exponential"}),
        (GRADIENT, {"n_estimators": 4, "init": "zero"}),
        (LIGHTGBM, {"n_estimators": 4, "sigmoid": 2.5}),
        (LIGHTGBM, {"n_estimators": 4, "use_missing": False}),
        (LIGHTGBM, {"n_estimators": 4, "num_iteration": 2}),
    ],
)
def test_unusual_scores_agree(name: str, arguments: dict[str, Any]) -> None:
    pipeline = fitted(name, arguments, 2)
    graph = to_onnx(pipeline, 4)
    parity.verify_predictions("train", pipeline, graph, table(2)[0])
    known = unseen()[~np.isnan(unseen()[:, 0])]  # else scikit-learn's own trees take no such row
    parity.verify_predictions("test", pipeline, graph, known)
