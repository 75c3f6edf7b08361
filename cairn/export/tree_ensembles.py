"""Convert boosted trees to ONNX's operator TreeEnsemble, in float64 as they were fitted.

A boosted score is a sum over all trees, and of many or rare classes it may be as large as 1e5,
where float32 has two decimal places left. The older operator TreeEnsembleClassifier sums in float32
and takes twice the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from cairn.export import compat
from cairn.modeling import compat as modeling_compat

# The operator set of TreeEnsemble, and the first version that has it.
DOMAIN, VERSION = "ai.onnx.ml", 5
# ONNX's numbers of the comparisons x <= split and x in set, and of the sum over the trees.
AT_MOST, MEMBER = 0, 6
SUM = 1
# Classifiers of scikit-learn that hold trees.
TREES = (
    DecisionTreeClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)

Values = tuple[float, ...]


class Tree(NamedTuple):
    """One tree of n nodes, the root first.

    Attributes
    ----------
    leaf, value
        Whether each node is a leaf, and what a leaf adds to the score.
    feature, split
        A row whose feature is at most the split goes left.
    left, right
        Indices of the children; any for a leaf.
    missing_left
        Whether a row without the feature goes left.
    members
        Index of a node → the values that go left, instead of `split`. Any other value, and a
        missing one, goes where `missing_left` says.
    others
        Index of a node → the values that go right, if `missing_left` is true.
    """

    leaf: NDArray[np.bool_]
    value: NDArray[np.float64]
    feature: NDArray[np.int64]
    split: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    members: dict[int, Values]
    others: dict[int, Values]


class Ensemble(NamedTuple):
    """Trees whose sums are the scores of the classes.

    Attributes
    ----------
    trees
        Tree i adds to the score i % scores.
    base
        The initial scores: one for two classes, n for n classes.
    scale
        A factor of the scores before they become probabilities.
    """

    trees: list[Tree]
    base: NDArray[np.float64]
    scale: float


def read_ensemble(model: Any) -> Ensemble | None:
    """Read the trees of a fitted boosting classifier; None if this module does not know it."""
    if isinstance(model, HistGradientBoostingClassifier):
        return _read_histogram_boosting(model)
    if isinstance(model, GradientBoostingClassifier):
        return _read_gradient_boosting(model)
    return _read_lightgbm(model) if hasattr(model, "booster_") else None  # an optional extra


def build_attributes(ensemble: Ensemble) -> dict[str, Any]:
    """Build the attributes of the operator TreeEnsemble, whose output is n × scores."""
    scores = len(ensemble.base)
    flat_trees = [_flatten(tree) for tree in ensemble.trees]
    nodes = np.cumsum([0, *(len(each.feature) for each in flat_trees)])
    leaves = np.cumsum([0, *(len(each.weight) for each in flat_trees)])

    def join(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(each, name) for each in flat_trees])

    def list_children(side: str) -> list[int]:
        result = [
            getattr(each, side) + np.where(getattr(each, f"{side}_leaf"), leaf, node)
            for each, node, leaf in zip(flat_trees, nodes, leaves, strict=False)
        ]
        return [int(index) for index in np.concatenate(result)]

    targets = [np.full(len(each.weight), i % scores) for i, each in enumerate(flat_trees)]
    members = [
        value for each in flat_trees for values in each.members for value in (*values, np.nan)
    ]
    return {
        "n_targets": scores,
        "aggregate_function": SUM,
        "tree_roots": nodes[:-1].tolist(),
        "nodes_featureids": join("feature").tolist(),
        "nodes_modes": numpy_helper.from_array(join("mode").astype(np.uint8)),
        "nodes_splits": numpy_helper.from_array(join("split")),
        "nodes_missing_value_tracks_true": join("missing_true").astype(np.int64).tolist(),
        "nodes_truenodeids": list_children("true"),
        "nodes_trueleafs": join("true_leaf").astype(np.int64).tolist(),
        "nodes_falsenodeids": list_children("false"),
        "nodes_falseleafs": join("false_leaf").astype(np.int64).tolist(),
        "leaf_targetids": np.concatenate(targets).tolist(),
        "leaf_weights": numpy_helper.from_array(join("weight")),
        **({"membership_values": numpy_helper.from_array(np.array(members))} if members else {}),
    }


class _FlatTree(NamedTuple):
    """A tree with its leaves separate from its other nodes, as the operator has them."""

    feature: NDArray[np.int64]
    mode: NDArray[np.int64]
    split: NDArray[np.float64]
    missing_true: NDArray[np.bool_]
    true: NDArray[np.int64]
    true_leaf: NDArray[np.bool_]
    false: NDArray[np.int64]
    false_leaf: NDArray[np.bool_]
    weight: NDArray[np.float64]
    members: list[Values]


def _flatten(tree: Tree) -> _FlatTree:
    if tree.leaf[0]:
        return _flatten(_make_stump(float(tree.value[0])))
    inner = np.flatnonzero(~tree.leaf)
    # If unknown values go left, the set holds the values that go right, and the children swap.
    is_swapped = np.isin(inner, list(tree.others))
    true = np.where(is_swapped, tree.right[inner], tree.left[inner])
    false = np.where(is_swapped, tree.left[inner], tree.right[inner])
    sets = {**tree.members, **tree.others}
    has_set = np.isin(inner, list(sets))
    new_index = np.where(tree.leaf, np.cumsum(tree.leaf) - 1, np.cumsum(~tree.leaf) - 1)
    return _FlatTree(
        feature=tree.feature[inner],
        mode=np.where(has_set, MEMBER, AT_MOST),
        split=np.where(has_set, 0.0, tree.split[inner]),
        missing_true=tree.missing_left[inner] & ~has_set,
        true=new_index[true],
        true_leaf=tree.leaf[true],
        false=new_index[false],
        false_leaf=tree.leaf[false],
        weight=tree.value[tree.leaf],
        members=[sets[node] for node in inner.tolist() if node in sets],
    )


def _make_stump(value: float) -> Tree:
    """Make a tree of one node, both of whose leaves have the same value."""
    return Tree(
        leaf=np.array([False, True, True]),
        value=np.array([0.0, value, value]),
        feature=np.zeros(3, dtype=np.int64),
        split=np.zeros(3),
        left=np.array([1, 0, 0]),
        right=np.array([2, 0, 0]),
        missing_left=np.zeros(3, dtype=bool),
        members={},
        others={},
    )


def _read_histogram_boosting(model: HistGradientBoostingClassifier) -> Ensemble:
    columns = _Columns.read(model)
    trees = [
        _read_histogram_tree(tree, columns)
        for tree in modeling_compat.iterate_histogram_trees(model)
    ]
    return Ensemble(trees, compat.get_baseline(model), 1.0)


class _Columns(NamedTuple):
    """Columns of histogram boosting, which puts its categories first.

    Attributes
    ----------
    indices
        Index of each of its columns in the features.
    categories
        The value behind each code, for each of its first columns; NaN: missing.
    """

    indices: NDArray[np.int64]
    categories: list[NDArray[np.float64]]

    @classmethod
    def read(cls, model: HistGradientBoostingClassifier) -> _Columns:
        categorical = model.is_categorical_
        if categorical is None:
            return cls(np.arange(model.n_features_in_), [])
        indices = np.r_[np.flatnonzero(categorical), np.flatnonzero(~categorical)]
        return cls(indices, compat.get_categories(model))


def _read_histogram_tree(tree: Any, columns: _Columns) -> Tree:
    nodes = tree.nodes
    leaf, missing_left = nodes["is_leaf"].astype(bool), nodes["missing_go_to_left"].astype(bool)
    members: dict[int, Values] = {}
    others: dict[int, Values] = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf).tolist():
        known = columns.categories[int(nodes["feature_idx"][node])]
        codes = np.arange(len(known))
        is_left = compat.find_codes_left(tree, node, codes)
        side, selected = (others, ~is_left) if missing_left[node] else (members, is_left)
        side[node] = tuple(known[selected & ~np.isnan(known)].tolist())
    return Tree(
        leaf=leaf,
        value=nodes["value"].astype(np.float64),
        feature=columns.indices[nodes["feature_idx"]],
        split=nodes["num_threshold"].astype(np.float64),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=missing_left,
        members=members,
        others=others,
    )


def _read_gradient_boosting(model: GradientBoostingClassifier) -> Ensemble | None:
    if model.init is not None and not isinstance(model.init, str):
        return None  # an estimator computes the base, which differs by row
    trees = [
        _read_binary_tree(each.tree_, model.learning_rate)
        for iteration in model.estimators_
        for each in iteration
    ]
    return Ensemble(
        trees, compat.compute_initial_scores(model), 2.0 if model.loss == "exponential" else 1.0
    )


def _read_binary_tree(tree: Any, weight: float) -> Tree:
    return Tree(
        leaf=tree.children_left == tree.children_right,
        value=tree.value[:, 0, 0] * weight,
        feature=tree.feature,
        split=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        missing_left=tree.missing_go_to_left.astype(bool),
        members={},
        others={},
    )


def _read_lightgbm(model: Any) -> Ensemble | None:
    content = model.booster_.dump_model()
    kind, *settings = str(content.get("objective", "")).split()
    options = dict(setting.split(":") for setting in settings if ":" in setting)
    walks = [list(_walk(each["tree_structure"])) for each in content["tree_info"]]
    if (
        kind not in {"binary", "multiclass"}
        or content.get("average_output")
        or any(_is_unusual(node) for nodes in walks for node in nodes)
    ):
        return None
    scale = float(options.get("sigmoid", 1)) if kind == "binary" else 1.0
    return Ensemble(
        list(map(_read_lightgbm_tree, walks)), np.zeros(int(content["num_class"])), scale
    )


def _is_unusual(node: dict[str, Any]) -> bool:
    """Tell whether a leaf holds a linear model, or a split takes 0 as missing."""
    return "leaf_coeff" in node or node.get("missing_type") == "Zero"


def _read_lightgbm_tree(nodes: list[dict[str, Any]]) -> Tree:
    indices = {id(node): index for index, node in enumerate(nodes)}
    leaf = np.array(["left_child" not in node for node in nodes])

    def find_children(side: str) -> NDArray[np.int64]:
        return np.array([indices[id(node[side])] if side in node else 0 for node in nodes])

    sets = {
        index: tuple(float(value) for value in str(node["threshold"]).split("||"))
        for index, node in enumerate(nodes)
        if node.get("decision_type") == "=="
    }
    splits = [
        0.0 if index in sets else float(node.get("threshold", 0))
        for index, node in enumerate(nodes)
    ]
    return Tree(
        leaf=leaf,
        value=np.array([float(node.get("leaf_value", 0)) for node in nodes]),
        feature=np.array([int(node.get("split_feature", 0)) for node in nodes]),
        split=np.array(splits),
        left=find_children("left_child"),
        right=find_children("right_child"),
        missing_left=np.array(
            [
                # If it saw none missing, LightGBM takes a missing value as 0.
                split >= 0 if node.get("missing_type") == "None" else bool(node.get("default_left"))
                for node, split in zip(nodes, splits, strict=True)
            ]
        ),
        members=sets,
        others={},
    )


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for side in ("left_child", "right_child"):
        if side in node:
            yield from _walk(node[side])


def find_ensembles(parts: Iterable[Any]) -> dict[int, Ensemble]:
    """Find the trees of each fitted boosting classifier among estimators, by its `id`.

    The result is empty if one of them holds other trees: the operator for forests is in an older
    version of the operator set, and a graph has one version.
    """
    result: dict[int, Ensemble] = {}
    for part in filter(_has_trees, parts):
        ensemble = read_ensemble(part)
        if ensemble is None:
            return {}
        result[id(part)] = ensemble
    return result


def _has_trees(part: Any) -> bool:
    """Tell whether it is fitted and holds trees; a calibration also keeps an unfitted one."""
    has_booster = hasattr(part, "booster_")  # LightGBM, an optional extra
    return hasattr(part, "classes_") and (has_booster or isinstance(part, TREES))
