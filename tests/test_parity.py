"""What is trained on is what is served: the same features, and the same answers from ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.pipeline import Pipeline

from cairn import inference, transform
from cairn.contract import Column, Contract, Target
from cairn.errors import CairnError
from cairn.export import parity
from cairn.export.onnx import sklearn_predictions, to_onnx
from cairn.export.parity import TOLERANCE
from cairn.modeling import fitting
from cairn.modeling.estimators import SUPPORTED
from cairn.modeling.histograms import describe_rows
from cairn.params.train import Train
from cairn.tables import validate
from cairn.tables.part import Part
from service.inference.predictor import Predictor
from service.inference.rows import Reader
from tests import small, workers
from tests.small import ENGINEERING


def offline(rows: list[dict[str, Any]], contract: Contract) -> NDArray[np.float32]:
    """The features as the pipeline makes them: from a table, column by column."""
    target = contract.target.model_copy(update={"name": "as_an_identifier"})
    label = {target.name: target.classes[0]}
    content = b"".join(orjson.dumps({**row, **label}) + b"\n" for row in rows)
    part = Part("jsonl", content, "table.jsonl")
    result = validate.validate_part(part, contract.model_copy(update={"target": target}))
    assert result.total == len(result.rows) == len(rows)
    features = transform.to_features(
        transform.read_columns(result.rows, contract), contract, ENGINEERING
    )
    return np.column_stack(list(features.values()))


def online(rows: list[dict[str, Any]], contract: Contract) -> NDArray[np.float32]:
    """The features as the service makes them: from the body of a request."""
    read = Reader(contract).read(orjson.dumps({"records": rows}))
    return transform.to_matrix(read.values, contract, ENGINEERING)


@pytest.mark.parametrize(
    ("contract", "rows"), [(small.CONTRACT, small.rows()), (small.FULL, small.full_rows())]
)
def test_features_of_a_table_are_those_of_its_rows_as_requests(
    contract: Contract, rows: list[dict[str, Any]]
) -> None:
    named = [{**row, contract.identifier: str(i)} for i, row in enumerate(rows)]
    table = named if contract.identifier else rows
    np.testing.assert_array_equal(offline(table, contract), online(rows, contract))


@settings(max_examples=50)
@given(request=small.requests())
def test_features_of_any_table_are_those_of_its_rows_as_requests(
    request: tuple[Contract, list[dict[str, Any]]],
) -> None:
    contract, rows = request
    np.testing.assert_array_equal(offline(rows, contract), online(rows, contract))


def unseen() -> NDArray[np.float32]:
    """Rows that no model was fitted to, further out than the table and with more gaps."""
    random = np.random.default_rng(1)
    rows = 300
    result: NDArray[np.float32] = np.column_stack(
        [
            *random.normal(scale=3, size=(2, rows)),
            random.integers(-9, 20, rows),
            random.integers(0, 2, rows),
            random.integers(0, 4, rows),  # the last is a colour that the contract does not list
        ]
    ).astype(np.float32)
    gaps = random.random(result.shape) < 0.3
    gaps[:, [0, 2]] = False
    result[gaps] = np.nan
    return result


def train_block(estimator: str, arguments: dict[str, Any], **changes: Any) -> Train:
    name = estimator if estimator.startswith("lightgbm.") else f"sklearn.{estimator}"
    own = {"estimator": name, "arguments": arguments, "scale": "auto", **changes}
    return small.LINEAR.model_copy(update=own)


def compared(
    estimator: str,
    arguments: dict[str, Any],
    classes: NDArray[np.int64] | None = None,
    **changes: Any,
) -> None:
    """Fit, export and compare as the stage does."""
    fitted = small.fitted()
    truth = fitted.classes if classes is None else classes
    pipeline = fitting.fit(
        fitted.features, truth, small.CONTRACT, train_block(estimator, arguments, **changes)
    )
    graph = to_onnx(pipeline, fitted.features.shape[1])
    parity.verify_predictions("train", pipeline, graph, fitted.features)
    rows = unseen()
    predictions = parity.verify_predictions("test", pipeline, graph, rows)
    # A model that says one thing agrees with anything.
    assert set(predictions.labels.tolist()) == set(truth.tolist())
    session = inference.open_session(graph)
    for row in range(5):  # as a request has them
        by_itself = inference.predict(session, rows[row : row + 1])
        assert by_itself.labels.tolist() == [predictions.labels[row]]
        np.testing.assert_allclose(
            by_itself.probabilities[0], predictions.probabilities[row], atol=1e-6
        )


LINEAR = {"class": "sklearn.linear_model.LogisticRegression", "C": 0.5}
TREE = {"class": "sklearn.tree.DecisionTreeClassifier", "max_depth": 3}
BOOSTED = {"class": "sklearn.ensemble.HistGradientBoostingClassifier", "max_iter": 5}
SEVERAL = {"estimators": [["linear", LINEAR], ["tree", TREE], ["boosted", BOOSTED]]}
ESTIMATORS: list[tuple[str, dict[str, Any]]] = [
    ("lightgbm.LGBMClassifier", {"n_estimators": 10}),
    ("calibration.CalibratedClassifierCV", {"estimator": {"class": "sklearn.svm.LinearSVC"}}),
    ("calibration.CalibratedClassifierCV", {"estimator": BOOSTED, "cv": 3, "ensemble": False}),
    ("discriminant_analysis.LinearDiscriminantAnalysis", {}),
    ("ensemble.AdaBoostClassifier", {"n_estimators": 10}),
    ("ensemble.AdaBoostClassifier", {"estimator": TREE, "n_estimators": 5}),
    ("ensemble.BaggingClassifier", {"estimator": LINEAR, "n_estimators": 5}),
    ("ensemble.ExtraTreesClassifier", {"n_estimators": 20}),
    ("ensemble.GradientBoostingClassifier", {"n_estimators": 20}),
    ("ensemble.HistGradientBoostingClassifier", {"max_iter": 10}),
    ("ensemble.RandomForestClassifier", {"n_estimators": 20}),
    ("ensemble.StackingClassifier", {**SEVERAL, "final_estimator": LINEAR}),
    ("ensemble.VotingClassifier", SEVERAL),
    ("linear_model.LogisticRegression", {}),
    ("linear_model.RidgeClassifier", {}),
    ("linear_model.SGDClassifier", {}),
    ("naive_bayes.GaussianNB", {}),
    ("neighbors.KNeighborsClassifier", {}),
    ("neural_network.MLPClassifier", {"max_iter": 30}),
    ("svm.LinearSVC", {}),
    ("svm.SVC", {}),
    ("svm.SVC", {"probability": True}),
    ("tree.DecisionTreeClassifier", {}),
]
STOPPING: list[tuple[str, dict[str, Any]]] = [
    ("lightgbm.LGBMClassifier", {"min_child_samples": 5}),
    ("ensemble.GradientBoostingClassifier", {}),
    ("ensemble.HistGradientBoostingClassifier", {"min_samples_leaf": 5}),
    ("linear_model.SGDClassifier", {}),
    ("neural_network.MLPClassifier", {"max_iter": 100}),
]
# What ONNX says of itself.
BOOLEAN = "ignore:Field onnx.AttributeProto.ints:DeprecationWarning"


@pytest.mark.parametrize(("estimator", "arguments"), ESTIMATORS)
def test_onnx_says_what_scikit_learn_says(estimator: str, arguments: dict[str, Any]) -> None:
    compared(estimator, arguments)


@pytest.mark.parametrize(("estimator", "arguments"), ESTIMATORS)
def test_onnx_says_what_scikit_learn_says_of_three_classes(
    estimator: str, arguments: dict[str, Any]
) -> None:
    fitted = small.fitted()
    compared(estimator, arguments, fitted.classes + (fitted.features[:, 0] > 0.7))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("estimator", "arguments"), [each for each in ESTIMATORS if "probability" not in each[1]]
)
def test_onnx_calibrates_as_scikit_learn_does(
    estimator: str, arguments: dict[str, Any], classes: int, method: str
) -> None:
    fitted = small.fitted()
    truth = fitted.classes + (fitted.features[:, 0] > 0.7) * (classes == 3)
    compared(estimator, arguments, truth, calibration=method)


@pytest.mark.parametrize("estimator", ["VotingClassifier", "StackingClassifier"])
def test_onnx_calibrates_inside_others_too(estimator: str) -> None:
    inner = {"class": "sklearn.calibration.CalibratedClassifierCV", "method": "isotonic"}
    pair = [["linear", {**inner, "estimator": LINEAR}], ["tree", TREE]]
    compared(f"ensemble.{estimator}", {"estimators": pair})


@pytest.mark.parametrize(("estimator", "arguments"), ESTIMATORS)
def test_onnx_takes_powers_as_scikit_learn_does(estimator: str, arguments: dict[str, Any]) -> None:
    compared(estimator, arguments, scale="power")


@pytest.mark.parametrize(("estimator", "arguments"), STOPPING)
@pytest.mark.parametrize("calibration", ["none", "isotonic"])
def test_onnx_stops_where_scikit_learn_does(
    estimator: str, arguments: dict[str, Any], calibration: str
) -> None:
    compared(estimator, arguments, early_stopping=3, calibration=calibration)


def shipped(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64], Contract]:
    """A table of scikit-learn, and what its columns are."""
    rows, classes = getattr(datasets, f"load_{name}")(return_X_y=True)
    columns = tuple(Column(name=f"x{index}", kind="number") for index in range(rows.shape[1]))
    target = Target(name="y", classes=tuple(range(int(classes.max()) + 1)))
    return rows.astype(np.float32), classes, Contract(columns=columns, target=target)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"calibration": "isotonic"}, {"scale": "power"}])
@pytest.mark.parametrize("name", ["breast_cancer", "iris", "digits"])
@pytest.mark.parametrize(
    ("estimator", "arguments"),
    [
        ("linear_model.LogisticRegression", {"max_iter": 1000}),
        ("ensemble.RandomForestClassifier", {"n_estimators": 30}),
        ("ensemble.HistGradientBoostingClassifier", {"max_iter": 5}),
        ("svm.SVC", {}),
    ],
)
def test_onnx_says_the_same_of_tables_that_people_know(
    name: str, estimator: str, arguments: dict[str, Any], changes: dict[str, Any]
) -> None:
    rows, classes, contract = shipped(name)
    known = np.arange(len(rows)) % 4 > 0
    params = train_block(estimator, arguments, **changes)
    pipeline = fitting.fit(rows[known], classes[known], contract, params)
    predictions = parity.verify_predictions("all", pipeline, to_onnx(pipeline, rows.shape[1]), rows)
    assert (predictions.labels[~known] == classes[~known]).mean() > 0.85


@pytest.mark.parametrize(("estimator", "arguments"), ESTIMATORS)
def test_predict_answers_what_scikit_learn_says(
    estimator: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    records = small.full_rows()
    rows = online(records, small.FULL)
    truth = (rows[:, 6] > 0).astype(np.int64)
    pipeline = fitting.fit(rows, truth, small.FULL, train_block(estimator, arguments))
    graph = to_onnx(pipeline, rows.shape[1])
    fitted = small.Fitted(pipeline, graph, describe_rows(small.FULL, rows, truth), rows, truth)
    model = Predictor(small.save(tmp_path / "model", fitted), "small:0123456789ab", {})
    answer = workers.predict({"records": records}, server=workers.worker(model=model))
    assert answer.status == 200
    names = small.FULL.target.classes
    sklearn = sklearn_predictions(pipeline, rows)
    assert answer.content["predictions"] == [names[code] for code in sklearn.labels]
    probabilities = [list(row.values()) for row in answer.content["probabilities"]]
    np.testing.assert_allclose(probabilities, sklearn.probabilities, atol=TOLERANCE)


def test_every_estimator_that_is_promised_is_among_these() -> None:
    names = {name if name.startswith("lightgbm.") else f"sklearn.{name}" for name, _ in ESTIMATORS}
    assert names == set(SUPPORTED)


@pytest.mark.parametrize("encode", ["one_hot", "ordinal"])
@pytest.mark.parametrize("rare", [0.0, 0.3])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize(
    ("estimator", "arguments"),
    [
        ("linear_model.LogisticRegression", {}),
        ("ensemble.RandomForestClassifier", {"n_estimators": 20}),
        ("ensemble.HistGradientBoostingClassifier", {"max_iter": 10}),
        ("lightgbm.LGBMClassifier", {"n_estimators": 10}),
    ],
)
def test_onnx_prepares_as_scikit_learn_does(
    estimator: str,
    arguments: dict[str, Any],
    scale: bool,  # noqa: FBT001
    rare: float,
    encode: str,
) -> None:
    compared(estimator, arguments, scale=scale, rare=rare, encode=encode)


@pytest.mark.parametrize(
    ("estimator", "arguments"),
    [
        ("ensemble.HistGradientBoostingClassifier", {"min_samples_leaf": 1}),
        ("lightgbm.LGBMClassifier", {"min_child_samples": 1, "min_data_in_bin": 1}),
    ],
)
def test_values_that_are_neighbours_in_float32_are_told_apart(
    estimator: str, arguments: dict[str, Any]
) -> None:
    contract = Contract(columns=small.CONTRACT.columns[:1], target=small.CONTRACT.target)
    first = np.float32(1) + np.arange(40, dtype=np.float32) * np.spacing(np.float32(1))
    rows = np.repeat(first, 30)[:, None]
    classes = (np.arange(40).repeat(30) % 7 > 3).astype(np.int64)
    pipeline = fitting.fit(rows, classes, contract, train_block(estimator, arguments))
    predictions = parity.verify_predictions("train", pipeline, to_onnx(pipeline, 1), rows)
    assert (predictions.labels == classes).mean() > 0.9


def forest(**arguments: Any) -> tuple[Pipeline, bytes]:
    """A forest of the small table, and its graph."""
    fitted = small.fitted()
    params = train_block("ensemble.RandomForestClassifier", arguments)
    pipeline = fitting.fit(fitted.features, fitted.classes, small.CONTRACT, params)
    return pipeline, to_onnx(pipeline, fitted.features.shape[1])


@pytest.mark.parametrize("trees", [4, 10, 20, 30])
def test_where_an_even_forest_ties_both_say_the_first_class(trees: int) -> None:
    rows = unseen()
    pipeline, graph = forest(n_estimators=trees)
    sklearn = sklearn_predictions(pipeline, rows)
    tied = sklearn.probabilities[:, 0] == sklearn.probabilities[:, 1]
    assert tied.any()
    predictions = parity.verify_predictions("test", pipeline, graph, rows)
    np.testing.assert_array_equal(predictions.labels, sklearn.labels)
    assert set(predictions.labels[tied]) == {0}


def test_without_the_rule_for_ties_onnx_says_another_class() -> None:
    rows = unseen()
    pipeline, graph = forest(n_estimators=20)
    labels, _ = inference.open_session(graph).run(None, {inference.INPUT: rows})
    probabilities = pipeline.predict_proba(rows)
    other = labels != pipeline.predict(rows)
    assert other.any()
    np.testing.assert_array_equal(probabilities[other], 0.5)


def border() -> NDArray[np.float32]:
    """Rows at which the linear model goes over from one class to the other, bit by bit."""
    fitted = small.fitted()

    def at(areas: NDArray[np.float32]) -> NDArray[np.float32]:
        result = np.repeat(fitted.features[1:2], len(areas), axis=0)
        result[:, 0] = areas
        return result

    low, high = np.float32(-10), np.float32(10)
    while np.nextafter(low, high) < high:
        middle = np.float32((low + high) / 2)
        (label,) = fitted.pipeline.predict(at(np.array([middle])))
        low, high = (low, middle) if label else (middle, high)
    steps = np.arange(-20, 21) * np.spacing(high)
    return at(np.asarray(high + steps, dtype=np.float32))


def test_a_row_at_the_border_of_two_classes_is_no_difference() -> None:
    fitted, rows = small.fitted(), border()
    sklearn = sklearn_predictions(fitted.pipeline, rows)
    assert set(sklearn.labels) == {0, 1}
    assert np.abs(sklearn.probabilities - 0.5).max() < 1e-6
    parity.verify_predictions("test", fitted.pipeline, fitted.graph, rows)


@pytest.mark.parametrize("name", ["GradientBoostingClassifier", "HistGradientBoostingClassifier"])
@pytest.mark.filterwarnings(BOOLEAN)
def test_where_nothing_tells_two_classes_apart_there_is_no_difference(name: str) -> None:
    contract = Contract(columns=small.CONTRACT.columns[:1], target=small.CONTRACT.target)
    rows: NDArray[np.float32] = np.ones((40, 1), dtype=np.float32)
    params = train_block(f"ensemble.{name}", {})
    pipeline = fitting.fit(rows, np.arange(40) % 2, contract, params)
    parity.verify_predictions("train", pipeline, to_onnx(pipeline, 1), rows)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ("dummy.DummyClassifier", "train.estimator: DummyClassifier cannot be converted to ONNX"),
        ("neighbors.NearestCentroid", "NearestCentroid cannot be converted to ONNX"),
    ],
)
def test_what_onnx_cannot_say_fails_by_name(estimator: str, message: str) -> None:
    with pytest.raises(CairnError, match=message):
        compared(estimator, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # skl2onnx has no scores of such an SVC, and gives probabilities in their place.
        ({"estimator": {"class": "sklearn.svm.SVC", "probability": True}}, "learn differ on"),
        ({"estimator": LINEAR, "method": "temperature"}, "cannot be converted to ONNX: method"),
    ],
)
def test_what_onnx_cannot_calibrate_fails_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CairnError, match=message):
        compared("calibration.CalibratedClassifierCV", arguments)
