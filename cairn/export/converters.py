"""What skl2onnx says inexactly, or not at all, in ONNX's own operators and float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from skl2onnx.operator_converters.gradient_boosting import (
    convert_sklearn_gradient_boosting_classifier,
)
from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

from cairn.export import tree_ensembles
from cairn.export.tree_ensembles import Ensemble
from cairn.modeling.power import FARTHEST, Power

NEWEST = (
    3  # of tree_ensembles.DOMAIN that skl2onnx 1.20 takes; `export.to_onnx` writes the true version
)
Converter = Callable[[Any, Any, Any], None]
OPTIONS = {
    "nocl": [True, False],
    "raw_scores": [True, False],
    "zipmap": [True, False, "columns"],
}


def register(
    doubles: Mapping[int, Ensemble] = MappingProxyType({}), *, has_lightgbm: bool = False
) -> None:
    """Have skl2onnx take these converters.

    Parameters
    ----------
    doubles
        The trees of each boosting classifier by its `id`, to convert them in float64; empty where
        there are forests beside them, with whose operator that one does not go into one graph.
    has_lightgbm
        Whether there is LightGBM, which is an optional extra.
    """
    update_registered_converter(Power, "CairnPower", _power_shape, power)
    _register(CalibratedClassifierCV, calibrated)
    _register(LinearDiscriminantAnalysis, discriminant)
    boosting = [
        (GradientBoostingClassifier, convert_sklearn_gradient_boosting_classifier),
        (HistGradientBoostingClassifier, convert_histogram_boosting),
    ]
    if has_lightgbm:
        from lightgbm import LGBMClassifier  # noqa: PLC0415

        boosting.append((LGBMClassifier, lightgbm))

    def in_doubles(scope: Any, operator: Any, container: Any) -> None:
        convert_boosting(scope, operator, container, doubles[id(operator.raw_operator)])

    for kind, single in boosting:
        _register(kind, in_doubles if doubles else single)


def _register(kind: type[Any], converter: Converter) -> None:
    update_registered_converter(
        kind,
        f"Cairn{kind.__name__}",
        calculate_linear_classifier_output_shapes,
        converter,
        options=OPTIONS,
    )


class Graph(NamedTuple):
    """Adds nodes to what skl2onnx writes."""

    scope: Any
    container: Any

    def add(self, kind: str, *inputs: Any, into: str | None = None, **attributes: Any) -> str:
        """Add a node; inputs are names, or numbers that are kept as float64 or int64.

        Among the attributes `op_domain` and `op_version` say whose operator it is.
        """
        name = into or self.scope.get_unique_variable_name(kind.lower())
        of = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        node = self.scope.get_unique_operator_name(kind)
        self.container.add_node(kind, of, [name], name=node, **attributes)
        return str(name)

    def _constant(self, values: ArrayLike) -> str:
        array = np.asarray(values)
        whole = np.issubdtype(array.dtype, np.integer)
        kind = TensorProto.INT64 if whole else TensorProto.DOUBLE
        name = self.scope.get_unique_variable_name("constant")
        self.container.add_initializer(name, kind, array.shape, array.ravel().tolist())
        return str(name)

    def double(self, name: str) -> str:
        """The same numbers as float64."""
        return self.add("Cast", name, to=TensorProto.DOUBLE)

    def single(self, name: str, into: str | None = None) -> str:
        """The same numbers as float32."""
        return self.add("Cast", name, into=into, to=TensorProto.FLOAT)


class _PlainAttributes:
    """A container of skl2onnx that takes any whole number in the lists of a node's attributes.

    From 1.20 on onnx refuses NumPy's integers and booleans among ints; skl2onnx 1.20.0 hands both
    on as scikit-learn keeps them in the nodes of a tree.
    """

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> None:
        """Add a node whose lists hold Python's own integers."""
        plain = {
            name: [_plain(each) for each in value] if isinstance(value, list) else value
            for name, value in attributes.items()
        }
        self._container.add_node(*arguments, **plain)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool | np.bool_ | np.integer) else value


def convert_histogram_boosting(scope: Any, operator: Any, container: Any) -> None:
    """Convert a fitted HistGradientBoostingClassifier by skl2onnx's own converter.

    Raises
    ------
    RuntimeError
        Where it splits by categories, which that converter does not know.
    """
    if operator.raw_operator.is_categorical_ is not None:
        raise RuntimeError("categorical_features do not go with forests or trees beside boosting")
    convert_sklearn_random_forest_classifier(scope, operator, _PlainAttributes(container))


def convert_boosting(scope: Any, operator: Any, container: Any, ensemble: Ensemble) -> None:
    """Convert boosted trees in float64."""
    model, graph = operator.raw_operator, Graph(scope, container)
    rows = graph.double(operator.inputs[0].full_name)
    domain: dict[str, Any] = {"op_domain": tree_ensembles.DOMAIN, "op_version": NEWEST}
    sums = graph.add("TreeEnsemble", rows, **domain, **tree_ensembles.attributes(ensemble))
    scores = graph.add("Add", sums, ensemble.base)
    if ensemble.scale != 1:
        scores = graph.add("Mul", scores, ensemble.scale)
    if len(ensemble.base) == 1:
        scores = graph.add("Concat", graph.add("Mul", scores, 0.0), scores, axis=1)
    raw = container.get_options(model, {"raw_scores": False})["raw_scores"]
    _answer(graph, operator, scores if raw else graph.add("Softmax", scores, axis=1))


def _power_shape(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([None, len(operator.raw_operator.lambdas_)])


def power(scope: Any, operator: Any, container: Any) -> None:
    """The graph of a `Power`.

    A negative number is the mirror of a positive one under the power 2 - λ.
    """
    model, graph = operator.raw_operator, Graph(scope, container)
    x = graph.double(operator.inputs[0].full_name)
    size = graph.add("Abs", x)
    exponents = graph.add(
        "Where", graph.add("Less", x, 0.0), 2 - model.lambdas_, model.lambdas_.astype(np.float64)
    )
    log = _log1p(graph, size)
    grown = graph.add("Div", _expm1(graph, graph.add("Mul", exponents, log)), exponents)
    none = graph.add("Less", graph.add("Abs", exponents), float(np.finfo(np.float64).eps))
    bent = graph.add("Mul", graph.add("Sign", x), graph.add("Where", none, log, grown))
    centred = graph.add("Sub", bent, model._scaler.mean_)  # noqa: SLF001 - there is no other place
    scaled = graph.add("Div", centred, model._scaler.scale_)  # noqa: SLF001
    low = graph.add("Where", graph.add("Less", scaled, -FARTHEST), -FARTHEST, scaled)
    finite = graph.add("Where", graph.add("Greater", low, FARTHEST), FARTHEST, low)
    graph.single(finite, operator.outputs[0].full_name)


def _log1p(graph: Graph, x: str) -> str:
    """log(1 + x) of x ≥ 0 to the last bits, also of a small x.

    Source: W. Kahan; see N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, 1.14.1.
    """
    more = graph.add("Add", x, 1.0)
    step = graph.add("Sub", more, 1.0)
    exact = graph.add("Mul", graph.add("Log", more), graph.add("Div", x, step))
    return graph.add("Where", graph.add("Equal", step, 0.0), x, exact)


def _expm1(graph: Graph, x: str) -> str:
    """exp(x) - 1 to the last bits, also of a small x."""
    half = graph.add("Tanh", graph.add("Mul", x, 0.5))
    near = graph.add("Div", graph.add("Mul", half, 2.0), graph.add("Sub", 1.0, half))
    far = graph.add("Sub", graph.add("Exp", x), 1.0)
    return graph.add("Where", graph.add("Less", graph.add("Abs", x), 1.0), near, far)


def calibrated(scope: Any, operator: Any, container: Any) -> None:
    """The graph of a fitted CalibratedClassifierCV, by sigmoids or by isotonic regression.

    Raises
    ------
    RuntimeError
        Of another method, or of an estimator whose scores ONNX does not have.
    """
    model, graph = operator.raw_operator, Graph(scope, container)
    if model.method not in _CURVES:
        raise RuntimeError(f"method {model.method} is none of {', '.join(_CURVES)}")
    made = model.calibrated_classifiers_
    scores = [_scores(graph, operator, each.estimator) for each in made]
    every = graph.add("Concat", *scores, axis=1)  # n × (folds × calibrators)
    functions = [function for each in made for function in each.calibrators]
    shares = _CURVES[model.method](graph, every, functions)
    probabilities = _mean(graph, shares, len(made), len(model.classes_))
    _answer(graph, operator, probabilities)


def _scores(graph: Graph, operator: Any, estimator: Any) -> str:
    """What a fold's estimator is calibrated by: n × 1 of two classes, n × classes of more."""
    kind = sklearn_operator_name_map[type(estimator)]
    inner = graph.scope.declare_local_operator(kind, estimator)
    if hasattr(estimator, "decision_function"):
        if not graph.container.has_options(estimator, "raw_scores"):
            raise RuntimeError(f"no scores of {type(estimator).__name__} to calibrate")
        for options in (graph.container, graph.scope):
            options.add_options(id(estimator), {"raw_scores": True})
    inner.inputs = operator.inputs
    inner.outputs.append(graph.scope.declare_local_variable("label", Int64TensorType()))
    scores = graph.scope.declare_local_variable("scores", FloatTensorType())
    inner.outputs.append(scores)
    found = graph.double(scores.full_name)
    two = len(estimator.classes_) == 2  # noqa: PLR2004
    return graph.add("Gather", found, [1], axis=1) if two else found


def _sigmoids(graph: Graph, scores: str, functions: list[Any]) -> str:
    slopes, offsets = (
        np.array([getattr(each, name) for each in functions]) for name in ("a_", "b_")
    )
    power = graph.add("Add", graph.add("Mul", scores, slopes), offsets)
    return graph.add("Div", 1.0, graph.add("Add", graph.add("Exp", power), 1.0))


def _isotonic(graph: Graph, scores: str, functions: list[Any]) -> str:
    """Each line's rise as far as the score goes along it, added up from the lowest value."""
    lines = [_lines(each.X_thresholds_, each.y_thresholds_) for each in functions]
    most = max(len(starts) for starts, _, _ in lines)
    starts, ends, slopes = (
        np.stack([np.pad(each[place], (0, most - len(each[place]))) for each in lines])
        for place in range(3)
    )
    column = graph.add("Unsqueeze", scores, [2])
    least = graph.add("Where", graph.add("Less", column, starts), starts, column)
    within = graph.add("Where", graph.add("Greater", least, ends), ends, least)
    rises = graph.add("Mul", graph.add("Sub", within, starts), slopes)
    lowest = np.array([float(each.y_thresholds_[0]) for each in functions])
    return graph.add("Add", graph.add("ReduceSum", rises, [2], keepdims=0), lowest)


def _lines(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """Starts, ends and slopes of the lines between k points; of one point a line of no length."""
    places, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(places) == 1:
        return places, places, np.zeros(1)
    return places[:-1], places[1:], np.diff(values) / np.diff(places)


_CURVES = {"sigmoid": _sigmoids, "isotonic": _isotonic}


def _mean(graph: Graph, shares: str, folds: int, classes: int) -> str:
    """The n × classes probabilities: each fold's add up to 1, and all folds weigh the same."""
    if classes == 2:  # noqa: PLR2004
        total = graph.add("ReduceSum", shares, [1], keepdims=1)
        second = graph.add("Div", total, float(folds))
        return graph.add("Concat", graph.add("Sub", 1.0, second), second, axis=1)
    each = graph.add("Reshape", shares, [-1, folds, classes])
    sums = graph.add("ReduceSum", each, [2], keepdims=1)
    nothing = graph.add("Equal", sums, 0.0)
    proper = graph.add("Where", nothing, 1 / classes, graph.add("Div", each, sums))
    return graph.add("Div", graph.add("ReduceSum", proper, [1], keepdims=0), float(folds))


def discriminant(scope: Any, operator: Any, container: Any) -> None:
    """The graph of linear discriminant analysis; skl2onnx has the shares of another model."""
    model, graph = operator.raw_operator, Graph(scope, container)
    rows = graph.double(operator.inputs[0].full_name)
    scores = graph.add("Add", graph.add("MatMul", rows, model.coef_.T), model.intercept_)
    if len(model.classes_) == 2:  # noqa: PLR2004
        scores = graph.add("Concat", graph.add("Mul", scores, 0.0), scores, axis=1)
    raw = container.get_options(model, {"raw_scores": False})["raw_scores"]
    shares = scores if raw else graph.add("Softmax", scores, axis=1)
    _answer(graph, operator, shares)


def _answer(graph: Graph, operator: Any, shares: str) -> None:
    """The largest share's class as the first output, all as the second, in float32."""
    label, out = (output.full_name for output in operator.outputs)
    graph.single(shares, out)
    largest = graph.add("ArgMax", out, axis=1, keepdims=0)
    classes = np.asarray(operator.raw_operator.classes_, dtype=np.int64)
    graph.add("Gather", classes, largest, into=label)


def lightgbm(scope: Any, operator: Any, container: Any) -> None:
    """The graph of LightGBM's classifier as onnxmltools makes it; scores where these are asked."""
    from onnxmltools.convert.lightgbm.operator_converters import (  # noqa: PLC0415
        LightGbm,
    )

    before = len(container.nodes)
    LightGbm.convert_lightgbm(scope, operator, container)
    if container.get_options(operator.raw_operator, {"raw_scores": False})["raw_scores"]:
        for node in container.nodes[before:]:
            for attribute in filter(lambda each: each.name == "post_transform", node.attribute):
                attribute.s = b"NONE"
