"""What is trained on is what is served: the same features, and the same answers from ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from service.rows import Reader
from stages import export, features, inference, processed, train
from stages.console import CairnError
from stages.contract import Contract
from stages.params import Train
from stages.processed import DTYPES
from tests import small


def offline(rows: pd.DataFrame, terms: Contract) -> NDArray[np.float32]:
    """The features as the pipeline makes them: from a frame, column by column."""
    made = pd.DataFrame(features.features({str(name): rows[name] for name in rows}, terms))
    return made.to_numpy(dtype=np.float32)


def online(rows: list[dict[str, Any]], terms: Contract) -> NDArray[np.float32]:
    """The features as the service makes them: from the body of a request."""
    read = Reader(terms).read(orjson.dumps({"records": rows}))
    return features.matrix(read.values, terms)


def test_features_of_a_table_are_those_of_its_rows_as_requests(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(small.text())
    _, frame = processed.read(path)
    typed = processed.typed(frame.set_axis([*small.TERMS.names, "kind"], axis=1), small.TERMS)
    typed.to_parquet(tmp_path / "table.parquet", index=False)
    kept = pd.read_parquet(tmp_path / "table.parquet")
    np.testing.assert_array_equal(offline(kept, small.TERMS), online(small.rows(), small.TERMS))


@settings(max_examples=50)
@given(request=small.requests())
def test_features_of_any_frame_are_those_of_its_rows_as_requests(
    request: tuple[Contract, list[dict[str, Any]]],
) -> None:
    terms, rows = request
    frame = pd.DataFrame(
        {
            column.name: pd.Series([row[column.name] for row in rows], dtype=DTYPES[column.kind])
            for column in terms.columns
        }
    )
    np.testing.assert_array_equal(offline(frame, terms), online(rows, terms))


def unseen() -> NDArray[np.float32]:
    """Rows that no model was fitted to, further out than the table and with more gaps."""
    random = np.random.default_rng(1)
    rows = 300
    found: NDArray[np.float32] = np.column_stack(
        [
            *random.normal(scale=3, size=(2, rows)),
            random.integers(-9, 20, rows),
            random.integers(0, 2, rows),
            random.integers(0, 3, rows),
        ]
    ).astype(np.float32)
    gaps = random.random(found.shape) < 0.3
    gaps[:, [0, 2]] = False
    found[gaps] = np.nan
    return found


def compared(estimator: str, arguments: dict[str, Any], *, scale: bool) -> None:
    """Fit, export and compare as the stage does."""
    fitted = small.fitted()
    block = Train(
        name="m", estimator=f"sklearn.{estimator}", arguments=arguments, scale=scale, seed=0
    )
    pipeline = train.fit(fitted.features, fitted.classes, small.TERMS, block)
    graph = export.to_onnx(pipeline, fitted.features.shape[1])
    train.predictions("train", pipeline, graph, fitted.features)
    said = train.predictions("test", pipeline, graph, unseen())
    assert len(set(said.labels.tolist())) == 2  # a model that says one thing agrees with anything


# What scikit-learn and ONNX say of themselves and of each other, where such a model is made.
PROBABILITY = "ignore:The `probability` parameter was deprecated:FutureWarning"
PROB = "ignore:Attribute `prob[AB]_` was deprecated:FutureWarning"
CONVERGENCE = "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
BOOLEAN = "ignore:Field onnx.AttributeProto.ints:DeprecationWarning"


@pytest.mark.filterwarnings(PROBABILITY, PROB, CONVERGENCE, BOOLEAN)
@pytest.mark.parametrize(
    ("estimator", "arguments", "scale"),
    [
        ("ensemble.RandomForestClassifier", {"n_estimators": 20}, False),
        ("ensemble.ExtraTreesClassifier", {"n_estimators": 20}, False),
        ("ensemble.GradientBoostingClassifier", {"n_estimators": 20}, False),
        ("ensemble.HistGradientBoostingClassifier", {"max_iter": 10}, False),
        ("ensemble.AdaBoostClassifier", {"n_estimators": 10}, False),
        ("tree.DecisionTreeClassifier", {}, False),
        ("naive_bayes.GaussianNB", {}, False),
        ("linear_model.LogisticRegression", {}, True),
        ("linear_model.SGDClassifier", {}, True),
        ("linear_model.RidgeClassifier", {}, True),
        ("neighbors.KNeighborsClassifier", {}, True),
        ("neural_network.MLPClassifier", {"max_iter": 30}, True),
        ("svm.LinearSVC", {}, True),
        ("svm.SVC", {}, True),
        ("svm.SVC", {"probability": True}, True),
    ],
)
def test_onnx_says_what_scikit_learn_says(
    estimator: str,
    arguments: dict[str, Any],
    scale: bool,  # noqa: FBT001
) -> None:
    compared(estimator, arguments, scale=scale)


def forest(**arguments: Any) -> tuple[Pipeline, bytes]:
    """A forest of the small table, and its graph."""
    fitted = small.fitted()
    block = Train(
        name="m",
        estimator="sklearn.ensemble.RandomForestClassifier",
        arguments=arguments,
        scale=False,
        seed=0,
    )
    pipeline = train.fit(fitted.features, fitted.classes, small.TERMS, block)
    return pipeline, export.to_onnx(pipeline, fitted.features.shape[1])


@pytest.mark.parametrize("trees", [4, 10, 20, 30])
def test_where_an_even_forest_ties_both_say_the_first_class(trees: int) -> None:
    rows = unseen()
    pipeline, graph = forest(n_estimators=trees)
    sklearn = export.sklearn_predictions(pipeline, rows)
    tied = sklearn.probabilities[:, 0] == sklearn.probabilities[:, 1]
    assert tied.any()
    said = train.predictions("test", pipeline, graph, rows)
    np.testing.assert_array_equal(said.labels, sklearn.labels)
    assert set(said.labels[tied]) == {0}


def test_without_the_rule_for_ties_onnx_says_another_class() -> None:
    rows = unseen()
    pipeline, graph = forest(n_estimators=20)
    labels, _ = inference.session(graph).run(None, {inference.INPUT: rows})
    shares = pipeline.predict_proba(rows)
    other = labels != pipeline.predict(rows)
    assert other.any()
    np.testing.assert_array_equal(shares[other], 0.5)


def border() -> NDArray[np.float32]:
    """Rows at which the linear model goes over from one class to the other, bit by bit."""
    fitted = small.fitted()

    def at(areas: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.repeat(fitted.features[1:2], len(areas), axis=0)
        found[:, 0] = areas
        return found

    low, high = np.float32(-10), np.float32(10)
    while np.nextafter(low, high) < high:
        middle = np.float32((low + high) / 2)
        (label,) = fitted.pipeline.predict(at(np.array([middle])))
        low, high = (low, middle) if label else (middle, high)
    steps = np.arange(-20, 21) * np.spacing(high)
    return at(np.asarray(high + steps, dtype=np.float32))


def test_a_row_at_the_border_of_two_classes_is_no_difference() -> None:
    fitted, rows = small.fitted(), border()
    sklearn = export.sklearn_predictions(fitted.pipeline, rows)
    assert set(sklearn.labels) == {0, 1}
    assert np.abs(sklearn.probabilities - 0.5).max() < 1e-6
    train.predictions("test", fitted.pipeline, fitted.graph, rows)


@pytest.mark.parametrize("name", ["GradientBoostingClassifier", "HistGradientBoostingClassifier"])
@pytest.mark.filterwarnings(BOOLEAN)
def test_where_nothing_tells_two_classes_apart_there_is_no_difference(name: str) -> None:
    terms = Contract(columns=small.TERMS.columns[:1], target=small.TERMS.target)
    rows: NDArray[np.float32] = np.ones((40, 1), dtype=np.float32)
    block = Train(name="m", estimator=f"sklearn.ensemble.{name}", arguments={}, scale=False, seed=0)
    pipeline = train.fit(rows, np.arange(40) % 2, terms, block)
    train.predictions("train", pipeline, export.to_onnx(pipeline, 1), rows)


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        ("dummy.DummyClassifier", "train.estimator: DummyClassifier cannot be converted to ONNX"),
        ("neighbors.NearestCentroid", "NearestCentroid cannot be converted to ONNX"),
        ("discriminant_analysis.LinearDiscriminantAnalysis", "ONNX and scikit-learn differ on"),
    ],
)
def test_what_onnx_cannot_say_fails_by_name(estimator: str, says: str) -> None:
    with pytest.raises(CairnError, match=says):
        compared(estimator, {}, scale=True)
