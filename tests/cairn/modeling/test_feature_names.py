from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from cairn import transform
from cairn.contract import Column, Contract, Feature, Target
from cairn.errors import CairnError
from cairn.export import parity
from cairn.export.onnx import to_onnx
from cairn.modeling import candidates, fitting
from stages import engineering
from tests import small
from tests.small import ENGINEERING

HISTOGRAM = "sklearn.ensemble.HistGradientBoostingClassifier"
FOREST = "sklearn.ensemble.RandomForestClassifier"
LIGHTGBM = "lightgbm.LGBMClassifier"
CONTRACT = Contract(
    columns=(
        Column(name="plan", kind="category", categories=("a", "b", "c")),
        Column(name="age", header="age (y.)", kind="number"),
        Column(name="since", kind="date", parts=("year", "month")),
        Column(name="gap", kind="number", missing=True),
        Column(name="pay", kind="number"),
    ),
    target=Target(name="y", classes=("no", "yes")),
)
AGE, YEAR, PAY = 1, 2, 5


def rows(number: int = 400) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features of CONTRACT; the plan tells, and age rises and falls."""
    random = np.random.default_rng(5)
    x = random.normal(size=(number, 6)).astype(np.float32)
    x[:, 0] = random.integers(0, 3, number)
    y = (np.abs(x[:, AGE]) + x[:, PAY] + (x[:, 0] == 1) > 1).astype(np.int64)
    return x, y


def fit(name: str, changes: dict[str, Any] | None = None, /, **arguments: Any) -> Pipeline:
    own = {"estimator": name, "arguments": arguments, "scale": "auto", **(changes or {})}
    return fitting.fit(*rows(), CONTRACT, small.LINEAR.model_copy(update=own))


def rises(pipeline: Pipeline, index: int) -> NDArray[np.float32]:
    """How the second class's probability changes along a feature, the others as they are."""
    x, _ = rows(40)
    lines = np.repeat(x, 9, axis=0)
    lines[:, index] = np.tile(np.linspace(-2, 2, 9), len(x))
    return np.diff(pipeline.predict_proba(lines)[:, 1].reshape(len(x), 9), axis=1)


@pytest.mark.parametrize("name", ["age", "age (y.)"])
@pytest.mark.parametrize(
    ("estimator", "argument"),
    [
        (HISTOGRAM, "monotonic_cst"),
        (FOREST, "monotonic_cst"),
        (LIGHTGBM, "monotone_constraints"),
        (LIGHTGBM, "mc"),
    ],
)
def test_a_column_that_is_named_rises_wherever_the_preparation_puts_it(
    estimator: str, argument: str, name: str
) -> None:
    few = {"max_iter": 20} if estimator == HISTOGRAM else {"n_estimators": 20}
    free = rises(fit(estimator, **few), AGE)
    assert (free < -1e-6).any()
    held = fit(estimator, **few, **{argument: {name: 1, "pay": -1}})
    assert (rises(held, AGE) >= -1e-9).all()
    assert (rises(held, PAY) <= 1e-9).all()


@pytest.mark.parametrize(
    ("estimator", "argument"),
    [(HISTOGRAM, "categorical_features"), (LIGHTGBM, "categorical_feature")],
)
def test_a_category_that_is_named_is_split_by_sets(estimator: str, argument: str) -> None:
    pipeline = fit(estimator, **{argument: ["plan"]})
    graph = to_onnx(pipeline, 6)
    parity.verify_predictions("train", pipeline, graph, rows()[0])
    value = pipeline[-1].get_params()[argument]
    x, _ = rows()
    prepared = pipeline[:-1].transform(x)
    assert np.asarray(prepared)[:, value].tolist() == x[:, [0]].tolist()


def test_groups_of_columns_may_be_named() -> None:
    pipeline = fit(HISTOGRAM, max_iter=5, interaction_cst=[["age", "since_year"], ["pay"]])
    x, _ = rows()
    prepared = np.asarray(pipeline[:-1].transform(x))
    (first, second) = pipeline[-1].interaction_cst
    np.testing.assert_array_equal(prepared[:, first], x[:, [AGE, YEAR]])
    np.testing.assert_array_equal(prepared[:, second], x[:, [PAY]])


def test_names_reach_an_estimator_inside_another() -> None:
    inner = {"class": HISTOGRAM, "max_iter": 5, "monotonic_cst": {"age": 1}}
    pipeline = fit("sklearn.ensemble.BaggingClassifier", estimator=inner, n_estimators=3)
    assert (rises(pipeline, AGE) >= -1e-9).all()


def test_names_may_be_values_of_a_search() -> None:
    settings = {
        "method": "grid",
        "over": [{"values": {"monotonic_cst": [{"age": 1}, {"age": -1}]}}],
    }
    own = {**small.LINEAR.model_dump(by_alias=True), "estimator": HISTOGRAM, "arguments": {}}
    content = {**own, "search": {**own["search"], **settings}}
    first, second = candidates.list_candidates(type(small.LINEAR).model_validate(content))
    assert (rises(fitting.fit(*rows(), CONTRACT, first.params), AGE) >= -1e-9).all()
    assert (rises(fitting.fit(*rows(), CONTRACT, second.params), AGE) <= 1e-9).all()


def test_a_feature_of_your_own_is_named_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engineering, "engineer", lambda columns: {"twice": columns["age"] * 2})
    x, y = rows()
    twice = transform.engineer({"age": x[:, AGE]}, CONTRACT, ENGINEERING)["twice"]
    train_params = small.LINEAR.model_copy(
        update={
            "estimator": HISTOGRAM,
            "arguments": {"max_iter": 5, "monotonic_cst": {"twice": 1, "age": 1}},
        }
    )
    own = Feature(name="twice", column=None)
    contract = CONTRACT.model_copy(update={"features": (*CONTRACT.own, own)})
    pipeline = fitting.fit(np.column_stack([x, twice]), y, contract, train_params)
    assert pipeline[-1].monotonic_cst.count(1) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"monotonic_cst": {"agee": 1}},
            "monotonic_cst: no column or feature 'agee'; there are plan, age, since_year, ",
        ),
        (
            {"monotonic_cst": {"since": 1}},
            "'since' makes several features; name one of them: since_year, since_month",
        ),
        ({"monotonic_cst": ["age"]}, "by name it is a mapping such as {plan: 1}"),
        ({"categorical_features": {"plan": 1}}, "allowed: a list of columns, such as [plan]"),
        ({"categorical_features": ["plam"]}, "no column or feature 'plam'"),
    ],
)
def test_a_name_that_is_none_is_an_error_that_lists_them(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(CairnError, match=r"^train\.arguments: ") as error:
        fit(HISTOGRAM, **arguments)
    assert message in str(error.value)


def test_a_category_that_became_columns_says_what_to_do() -> None:
    with pytest.raises(CairnError, match=r"sees as 3 columns; set train\.encode to ordinal"):
        fit(HISTOGRAM, {"encode": "one_hot"}, categorical_features=["plan"])


def test_positions_stay_as_they_are() -> None:
    assert fit(HISTOGRAM, max_iter=5, categorical_features=[5])[-1].categorical_features == [5]
