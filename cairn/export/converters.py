"""Convert what skl2onnx converts inexactly, or not at all, into ONNX's operators in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto
from skl2onnx import get_model_alias, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from skl2onnx.operator_converters.gradient_boosting import (
    convert_sklearn_gradient_boosting_classifier,
)
from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

from cairn.export import compat, tree_ensembles
from cairn.export.tree_ensembles import Ensemble
from cairn.modeling.power import FARTHEST, Power

# The newest version of tree_ensembles.DOMAIN that skl2onnx 1.20 knows; `to_onnx` writes the version
# that the operator is of.
CONVERTER_VERSION = 3
Converter = Callable[[Any, Any, Any], None]
OPTIONS = {
    "nocl": [True, False],
    "raw_scores": [True, False],
    "zipmap": [True, False, "columns"],
}


def register(
    ensembles: Mapping[int, Ensemble] = MappingProxyType({}), *, has_lightgbm: bool = False
) -> None:
    """Register these converters with skl2onnx.

    Parameters
    ----------
    ensembles
        The trees of each boosting classifier by its `id`, to convert them in float64. Empty if
        there are forests beside them: the operators of the two do not go into one graph.
    has_lightgbm
        Whether to convert LightGBM, which is an optional extra.
    """
    update_registered_converter(Power, "CairnPower", _set_power_shape, convert_power)
    _register(CalibratedClassifierCV, convert_calibrated)
    _register(LinearDiscriminantAnalysis, convert_discriminant)
    boosting = [
        (GradientBoostingClassifier, convert_sklearn_gradient_boosting_classifier),
        (HistGradientBoostingClassifier, convert_histogram_boosting),
    ]
    if has_lightgbm:
        from lightgbm import LGBMClassifier  # noqa: PLC0415

        boosting.append((LGBMClassifier, compat.convert_lightgbm))

    def convert_in_float64(scope: Any, operator: Any, container: Any) -> None:
        convert_boosting(scope, operator, container, ensembles[id(operator.raw_operator)])

    for cls, converter in boosting:
        _register(cls, convert_in_float64 if ensembles else converter)


def _register(cls: type[Any], converter: Converter) -> None:
    update_registered_converter(
        cls,
        f"Cairn{cls.__name__}",
        calculate_linear_classifier_output_shapes,
        converter,
        options=OPTIONS,
    )


class Graph(NamedTuple):
    """Adds nodes to the graph that skl2onnx writes."""

    scope: Any
    container: Any

    def add(self, kind: str, *inputs: Any, into: str | None = None, **attributes: Any) -> str:
        """Add a node; inputs are names, or numbers that become float64 or int64 constants.

        Among the attributes, `op_domain` and `op_version` name the operator's set.
        """
        name = into or self.scope.get_unique_variable_name(kind.lower())
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        node = self.scope.get_unique_operator_name(kind)
        self.container.add_node(kind, names, [name], name=node, **attributes)
        return str(name)

    def _constant(self, values: ArrayLike) -> str:
        array = np.asarray(values)
        is_integer = np.issubdtype(array.dtype, np.integer)
        kind = TensorProto.INT64 if is_integer else TensorProto.DOUBLE
        name = self.scope.get_unique_variable_name("constant")
        self.container.add_initializer(name, kind, array.shape, array.ravel().tolist())
        return str(name)

    def to_float64(self, name: str) -> str:
        """Cast numbers to float64."""
        return self.add("Cast", name, to=TensorProto.DOUBLE)

    def to_float32(self, name: str, into: str | None = None) -> str:
        """Cast numbers to float32."""
        return self.add("Cast", name, into=into, to=TensorProto.FLOAT)


def convert_histogram_boosting(scope: Any, operator: Any, container: Any) -> None:
    """Convert a fitted HistGradientBoostingClassifier by skl2onnx's own converter.

    Raises
    ------
    RuntimeError
        If it splits by categories, which that converter does not know.
    """
    if operator.raw_operator.is_categorical_ is not None:
        raise RuntimeError("categorical_features do not work with forests or trees beside boosting")
    convert_sklearn_random_forest_classifier(scope, operator, compat.PlainAttributes(container))


def convert_boosting(scope: Any, operator: Any, container: Any, ensemble: Ensemble) -> None:
    """Convert boosted trees in float64."""
    model, graph = operator.raw_operator, Graph(scope, container)
    rows = graph.to_float64(operator.inputs[0].full_name)
    domain: dict[str, Any] = {"op_domain": tree_ensembles.DOMAIN, "op_version": CONVERTER_VERSION}
    sums = graph.add("TreeEnsemble", rows, **domain, **tree_ensembles.build_attributes(ensemble))
    scores = graph.add("Add", sums, ensemble.base)
    if ensemble.scale != 1:
        scores = graph.add("Mul", scores, ensemble.scale)
    if len(ensemble.base) == 1:
        scores = graph.add("Concat", graph.add("Mul", scores, 0.0), scores, axis=1)
    raw = container.get_options(model, {"raw_scores": False})["raw_scores"]
    _add_outputs(graph, operator, scores if raw else graph.add("Softmax", scores, axis=1))


def _set_power_shape(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([None, len(operator.raw_operator.lambdas_)])


def convert_power(scope: Any, operator: Any, container: Any) -> None:
    """Convert a `Power`.

    A negative number is the mirror of a positive one under the power 2 - λ.
    """
    model, graph = operator.raw_operator, Graph(scope, container)
    x = graph.to_float64(operator.inputs[0].full_name)
    size = graph.add("Abs", x)
    exponents = graph.add(
        "Where", graph.add("Less", x, 0.0), 2 - model.lambdas_, model.lambdas_.astype(np.float64)
    )
    log = _add_log1p(graph, size)
    power_of = graph.add("Div", _add_expm1(graph, graph.add("Mul", exponents, log)), exponents)
    is_zero_power = graph.add("Less", graph.add("Abs", exponents), float(np.finfo(np.float64).eps))
    bent = graph.add("Mul", graph.add("Sign", x), graph.add("Where", is_zero_power, log, power_of))
    centered = graph.add("Sub", bent, model.scaler_.mean_)
    scaled = graph.add("Div", centered, model.scaler_.scale_)
    low = graph.add("Where", graph.add("Less", scaled, -FARTHEST), -FARTHEST, scaled)
    finite = graph.add("Where", graph.add("Greater", low, FARTHEST), FARTHEST, low)
    graph.to_float32(finite, operator.outputs[0].full_name)


def _add_log1p(graph: Graph, x: str) -> str:
    """Add log(1 + x) of x ≥ 0, exact to the last bits, also of a small x.

    Source: W. Kahan; see N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, 1.14.1.
    """
    more = graph.add("Add", x, 1.0)
    step = graph.add("Sub", more, 1.0)
    exact = graph.add("Mul", graph.add("Log", more), graph.add("Div", x, step))
    return graph.add("Where", graph.add("Equal", step, 0.0), x, exact)


def _add_expm1(graph: Graph, x: str) -> str:
    """Add exp(x) - 1, exact to the last bits, also of a small x."""
    half = graph.add("Tanh", graph.add("Mul", x, 0.5))
    near = graph.add("Div", graph.add("Mul", half, 2.0), graph.add("Sub", 1.0, half))
    far = graph.add("Sub", graph.add("Exp", x), 1.0)
    return graph.add("Where", graph.add("Less", graph.add("Abs", x), 1.0), near, far)


def convert_calibrated(scope: Any, operator: Any, container: Any) -> None:
    """Convert a fitted CalibratedClassifierCV, by sigmoids or by isotonic regression.

    Raises
    ------
    RuntimeError
        If the method is another, or skl2onnx has no scores of the estimator.
    """
    model, graph = operator.raw_operator, Graph(scope, container)
    if model.method not in _CURVES:
        raise RuntimeError(f"method {model.method} is none of {', '.join(_CURVES)}")
    folds = model.calibrated_classifiers_
    scores = [_add_scores(graph, operator, each.estimator) for each in folds]
    every = graph.add("Concat", *scores, axis=1)  # n × (folds × calibrators)
    functions = [function for each in folds for function in each.calibrators]
    probabilities = _CURVES[model.method](graph, every, functions)
    probabilities = _average_folds(graph, probabilities, len(folds), len(model.classes_))
    _add_outputs(graph, operator, probabilities)


def _add_scores(graph: Graph, operator: Any, estimator: Any) -> str:
    """Add the scores that a fold is calibrated by: n × 1 for two classes, else n × classes."""
    alias = get_model_alias(type(estimator))
    inner = graph.scope.declare_local_operator(alias, estimator)
    if hasattr(estimator, "decision_function"):
        if not graph.container.has_options(estimator, "raw_scores"):
            raise RuntimeError(f"no scores of {type(estimator).__name__} to calibrate")
        for options in (graph.container, graph.scope):
            options.add_options(id(estimator), {"raw_scores": True})
    inner.inputs = operator.inputs
    inner.outputs.append(graph.scope.declare_local_variable("label", Int64TensorType()))
    scores = graph.scope.declare_local_variable("scores", FloatTensorType())
    inner.outputs.append(scores)
    result = graph.to_float64(scores.full_name)
    two = len(estimator.classes_) == 2  # noqa: PLR2004
    return graph.add("Gather", result, [1], axis=1) if two else result


def _add_sigmoids(graph: Graph, scores: str, functions: list[Any]) -> str:
    slopes, offsets = (
        np.array([getattr(each, name) for each in functions]) for name in ("a_", "b_")
    )
    exponents = graph.add("Add", graph.add("Mul", scores, slopes), offsets)
    return graph.add("Div", 1.0, graph.add("Add", graph.add("Exp", exponents), 1.0))


def _add_isotonic(graph: Graph, scores: str, functions: list[Any]) -> str:
    """Add up the rise of each line, as far as the score goes along it, from the lowest value."""
    lines = [_find_lines(each.X_thresholds_, each.y_thresholds_) for each in functions]
    most = max(len(starts) for starts, _, _ in lines)
    starts, ends, slopes = (
        np.stack([np.pad(each[index], (0, most - len(each[index]))) for each in lines])
        for index in range(3)
    )
    column = graph.add("Unsqueeze", scores, [2])
    least = graph.add("Where", graph.add("Less", column, starts), starts, column)
    within = graph.add("Where", graph.add("Greater", least, ends), ends, least)
    rises = graph.add("Mul", graph.add("Sub", within, starts), slopes)
    lowest = np.array([float(each.y_thresholds_[0]) for each in functions])
    return graph.add("Add", graph.add("ReduceSum", rises, [2], keepdims=0), lowest)


def _find_lines(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """Find starts, ends and slopes of the lines between k points; one point is an empty line."""
    x_values, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x_values) == 1:
        return x_values, x_values, np.zeros(1)
    return x_values[:-1], x_values[1:], np.diff(values) / np.diff(x_values)


_CURVES = {"sigmoid": _add_sigmoids, "isotonic": _add_isotonic}


def _average_folds(graph: Graph, probabilities: str, folds: int, classes: int) -> str:
    """Average the folds' n × classes probabilities, each fold's normalized to a sum of 1."""
    if classes == 2:  # noqa: PLR2004
        total = graph.add("ReduceSum", probabilities, [1], keepdims=1)
        second = graph.add("Div", total, float(folds))
        return graph.add("Concat", graph.add("Sub", 1.0, second), second, axis=1)
    each = graph.add("Reshape", probabilities, [-1, folds, classes])
    sums = graph.add("ReduceSum", each, [2], keepdims=1)
    is_zero = graph.add("Equal", sums, 0.0)
    normalized = graph.add("Where", is_zero, 1 / classes, graph.add("Div", each, sums))
    return graph.add("Div", graph.add("ReduceSum", normalized, [1], keepdims=0), float(folds))


def convert_discriminant(scope: Any, operator: Any, container: Any) -> None:
    """Convert linear discriminant analysis, whose probabilities skl2onnx gets wrong."""
    model, graph = operator.raw_operator, Graph(scope, container)
    rows = graph.to_float64(operator.inputs[0].full_name)
    scores = graph.add("Add", graph.add("MatMul", rows, model.coef_.T), model.intercept_)
    if len(model.classes_) == 2:  # noqa: PLR2004
        scores = graph.add("Concat", graph.add("Mul", scores, 0.0), scores, axis=1)
    raw = container.get_options(model, {"raw_scores": False})["raw_scores"]
    probabilities = scores if raw else graph.add("Softmax", scores, axis=1)
    _add_outputs(graph, operator, probabilities)


def _add_outputs(graph: Graph, operator: Any, probabilities: str) -> None:
    """Add the label of the largest probability, and all probabilities, as float32 outputs."""
    label, out = (output.full_name for output in operator.outputs)
    graph.to_float32(probabilities, out)
    largest = graph.add("ArgMax", out, axis=1, keepdims=0)
    classes = np.asarray(operator.raw_operator.classes_, dtype=np.int64)
    graph.add("Gather", classes, largest, into=label)
