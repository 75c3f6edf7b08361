"""Boosted trees as ONNX's operator TreeEnsemble, in float64 as they were fitted.

A boosted score is a sum over all trees, and of many or rare classes it may be as large as 1e5,
where float32 has two digits left behind the point. The operator before it, TreeEnsembleClassifier,
sums and answers in float32, and takes twice the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.ensemble._forest import BaseForest
from sklearn.tree import DecisionTreeClassifier

# Whose operator it is, and since which version of that set.
DOMAIN, VERSION = "ai.onnx.ml", 5
# ONNX's numbers of the comparisons x <= split and x in set, and of the sum over the trees.
AT_MOST, MEMBER = 0, 6
SUM = 1

Values = tuple[float, ...]


class Tree(NamedTuple):
    """One tree of n nodes, the root first.

    Attributes
    ----------
    leaf, value
        Of each node whether it is a leaf, and what a leaf adds to the score.
    feature, split
        A row whose feature is at most this goes left.
    left, right
        Places of the children; of a leaf, any.
    missing_left
        Whether a row without the feature goes left.
    members
        Place of a node → the values that go left, in the place of `split`. Any other value, and a
        missing one, goes as `missing_left` says.
    others
        Place of a node → the values that go right, where `missing_left` is true.
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
        What each score begins with: one of two classes, n of n.
    scale
        What the scores are multiplied by before they become probabilities.
    """

    trees: list[Tree]
    base: NDArray[np.float64]
    scale: float


def of(model: Any) -> Ensemble | None:
    """The trees of a fitted boosting classifier; None of one that this module does not know."""
    if isinstance(model, HistGradientBoostingClassifier):
        return _histogram_boosting(model)
    if isinstance(model, GradientBoostingClassifier):
        return _gradient_boosting(model)
    return _lightgbm(model) if hasattr(model, "booster_") else None  # an optional extra


def attributes(ensemble: Ensemble) -> dict[str, Any]:
    """The attributes of the operator TreeEnsemble, whose output is n × scores."""
    scores = len(ensemble.base)
    flat = [_flat(tree) for tree in ensemble.trees]
    nodes = np.cumsum([0, *(len(each.feature) for each in flat)])
    leaves = np.cumsum([0, *(len(each.weight) for each in flat)])

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(each, name) for each in flat])

    def children(side: str) -> list[int]:
        found = [
            getattr(each, side) + np.where(getattr(each, f"{side}_leaf"), leaf, node)
            for each, node, leaf in zip(flat, nodes, leaves, strict=False)
        ]
        return [int(place) for place in np.concatenate(found)]

    targets = [np.full(len(each.weight), i % scores) for i, each in enumerate(flat)]
    members = [value for each in flat for values in each.members for value in (*values, np.nan)]
    return {
        "n_targets": scores,
        "aggregate_function": SUM,
        "tree_roots": nodes[:-1].tolist(),
        "nodes_featureids": joined("feature").tolist(),
        "nodes_modes": numpy_helper.from_array(joined("mode").astype(np.uint8)),
        "nodes_splits": numpy_helper.from_array(joined("split")),
        "nodes_missing_value_tracks_true": joined("missing_true").astype(np.int64).tolist(),
        "nodes_truenodeids": children("true"),
        "nodes_trueleafs": joined("true_leaf").astype(np.int64).tolist(),
        "nodes_falsenodeids": children("false"),
        "nodes_falseleafs": joined("false_leaf").astype(np.int64).tolist(),
        "leaf_targetids": np.concatenate(targets).tolist(),
        "leaf_weights": numpy_helper.from_array(joined("weight")),
        **({"membership_values": numpy_helper.from_array(np.array(members))} if members else {}),
    }


class _Flat(NamedTuple):
    """A tree with its leaves apart from its other nodes, as the operator has them."""

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


def _flat(tree: Tree) -> _Flat:
    if tree.leaf[0]:  # both ways lead to it
        return _flat(_stump(float(tree.value[0])))
    inner = np.flatnonzero(~tree.leaf)
    # A set whose other side takes what is unknown is asked the other way round.
    turned = np.isin(inner, list(tree.others))
    true = np.where(turned, tree.right[inner], tree.left[inner])
    false = np.where(turned, tree.left[inner], tree.right[inner])
    sets = {**tree.members, **tree.others}
    has_set = np.isin(inner, list(sets))
    place = np.where(tree.leaf, np.cumsum(tree.leaf) - 1, np.cumsum(~tree.leaf) - 1)
    return _Flat(
        feature=tree.feature[inner],
        mode=np.where(has_set, MEMBER, AT_MOST),
        split=np.where(has_set, 0.0, tree.split[inner]),
        missing_true=tree.missing_left[inner] & ~has_set,
        true=place[true],
        true_leaf=tree.leaf[true],
        false=place[false],
        false_leaf=tree.leaf[false],
        weight=tree.value[tree.leaf],
        members=[sets[node] for node in inner.tolist() if node in sets],
    )


def _stump(value: float) -> Tree:
    """A node both of whose leaves have the same value."""
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


def _histogram_boosting(model: HistGradientBoostingClassifier) -> Ensemble:
    columns = _Columns.of(model)
    # Private, as skl2onnx reads them: there is no public way to the trees.
    trees = [
        _histogram_tree(tree, columns)
        for iteration in model._predictors  # noqa: SLF001
        for tree in iteration
    ]
    base = np.asarray(model._baseline_prediction, dtype=np.float64).ravel()  # noqa: SLF001
    return Ensemble(trees, base, 1.0)


class _Columns(NamedTuple):
    """Where the columns of histogram boosting were before it put its categories first.

    Attributes
    ----------
    places
        Of its columns in the features that it is given.
    categories
        Of each of its first columns: the value behind each code; NaN: a missing one.
    """

    places: NDArray[np.int64]
    categories: list[NDArray[np.float64]]

    @classmethod
    def of(cls, model: HistGradientBoostingClassifier) -> _Columns:
        categorical = model.is_categorical_
        if categorical is None:
            return cls(np.arange(model.n_features_in_), [])
        places = np.r_[np.flatnonzero(categorical), np.flatnonzero(~categorical)]
        encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001
        return cls(places, [np.asarray(each, dtype=np.float64) for each in encoder.categories_])


def _histogram_tree(tree: Any, columns: _Columns) -> Tree:
    nodes = tree.nodes
    leaf, missing_left = nodes["is_leaf"].astype(bool), nodes["missing_go_to_left"].astype(bool)
    members: dict[int, Values] = {}
    others: dict[int, Values] = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf).tolist():
        bits = tree.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        known = columns.categories[int(nodes["feature_idx"][node])]
        codes = np.arange(len(known))
        goes_left = (bits[codes // 32] >> (codes % 32).astype(np.uint32) & 1).astype(bool)
        side, wanted = (others, ~goes_left) if missing_left[node] else (members, goes_left)
        side[node] = tuple(known[wanted & ~np.isnan(known)].tolist())
    return Tree(
        leaf=leaf,
        value=nodes["value"].astype(np.float64),
        feature=columns.places[nodes["feature_idx"]],
        split=nodes["num_threshold"].astype(np.float64),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=missing_left,
        members=members,
        others=others,
    )


def _gradient_boosting(model: GradientBoostingClassifier) -> Ensemble | None:
    if model.init is not None and not isinstance(model.init, str):
        return None  # an estimator gives the base, another one for each row
    row = np.zeros((1, model.n_features_in_), dtype=np.float32)
    base = np.asarray(model._raw_predict_init(row), dtype=np.float64).ravel()  # noqa: SLF001
    trees = [
        _binary_tree(each.tree_, model.learning_rate)
        for iteration in model.estimators_
        for each in iteration
    ]
    return Ensemble(trees, base, 2.0 if model.loss == "exponential" else 1.0)


def _binary_tree(tree: Any, weight: float) -> Tree:
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


def _lightgbm(model: Any) -> Ensemble | None:
    content = model.booster_.dump_model()
    kind, *settings = str(content.get("objective", "")).split()
    given = dict(setting.split(":") for setting in settings if ":" in setting)
    walks = [list(_walk(each["tree_structure"])) for each in content["tree_info"]]
    if (
        kind not in {"binary", "multiclass"}
        or content.get("average_output")
        or any(_is_unusual(node) for nodes in walks for node in nodes)
    ):
        return None
    scale = float(given.get("sigmoid", 1)) if kind == "binary" else 1.0
    return Ensemble(list(map(_lightgbm_tree, walks)), np.zeros(int(content["num_class"])), scale)


def _is_unusual(node: dict[str, Any]) -> bool:
    """Whether a leaf holds a linear model, or a split takes 0 for a missing value."""
    return "leaf_coeff" in node or node.get("missing_type") == "Zero"


def _lightgbm_tree(nodes: list[dict[str, Any]]) -> Tree:
    places = {id(node): place for place, node in enumerate(nodes)}
    leaf = np.array(["left_child" not in node for node in nodes])

    def child(side: str) -> NDArray[np.int64]:
        return np.array([places[id(node[side])] if side in node else 0 for node in nodes])

    sets = {
        place: tuple(float(value) for value in str(node["threshold"]).split("||"))
        for place, node in enumerate(nodes)
        if node.get("decision_type") == "=="
    }
    splits = [
        0.0 if place in sets else float(node.get("threshold", 0))
        for place, node in enumerate(nodes)
    ]
    return Tree(
        leaf=leaf,
        value=np.array([float(node.get("leaf_value", 0)) for node in nodes]),
        feature=np.array([int(node.get("split_feature", 0)) for node in nodes]),
        split=np.array(splits),
        left=child("left_child"),
        right=child("right_child"),
        missing_left=np.array(
            [
                # Where it saw none missing, LightGBM takes a missing value for 0.
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


def ensembles(parts: Iterable[Any]) -> dict[int, Ensemble]:
    """The trees of each fitted boosting classifier among estimators, by its `id`.

    None at all where one of them holds other trees: the operator is of another version of ONNX's
    set than that of forests, and a graph names one.
    """
    found: dict[int, Ensemble] = {}
    for part in filter(_has_trees, parts):
        ensemble = of(part)
        if ensemble is None:
            return {}
        found[id(part)] = ensemble
    return found


def _has_trees(part: Any) -> bool:
    """Whether it is fitted and holds trees; a calibration keeps one that is not fitted, too."""
    kinds = (BaseForest, DecisionTreeClassifier, GradientBoostingClassifier)
    known = isinstance(part, kinds) or hasattr(part, "_predictors") or hasattr(part, "booster_")
    return known and hasattr(part, "classes_")
