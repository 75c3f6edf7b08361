from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from cairn import inference
from cairn.export.onnx import to_onnx
from cairn.export.parity import TOLERANCE
from cairn.modeling.power import FARTHEST, Power
from tests import small

RANDOM = np.random.default_rng(0)
COLUMNS = {
    "long tail": RANDOM.lognormal(0, 2, 300),
    "long tail below": -RANDOM.lognormal(0, 1, 300),
    "years": RANDOM.integers(2000, 2021, 300),
    "far from 0": 1e6 + RANDOM.normal(size=300),
    "tiny": 1e-8 * RANDOM.lognormal(size=300),
    "huge": 1e30 * RANDOM.lognormal(size=300),
    "both ends": np.linspace(-3e38, 3e38, 300),
    "one value": np.full(300, 7),
    "rarely 1": RANDOM.random(300) < 0.02,
    "even": RANDOM.normal(size=300),
}


def column(name: str) -> NDArray[np.float32]:
    return np.asarray(COLUMNS[name], dtype=np.float32)[:, None]


def graph(power: Power) -> Any:
    """Open an ONNX Runtime session of the step by itself."""
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - slow to import
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

    from cairn.export import converters  # noqa: PLC0415

    converters.register()
    estimator = convert_sklearn(
        power, initial_types=[(inference.INPUT, FloatTensorType([None, len(power.lambdas_)]))]
    )
    return inference.open_session(estimator.SerializeToString())


def predict(session: Any, rows: NDArray[np.float32]) -> Any:
    return session.run(None, {inference.INPUT: rows})[0]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_gets_mean_0_and_variance_1_and_keeps_its_order(name: str) -> None:
    rows = column(name)
    result = Power().fit_transform(rows)
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(0, abs=1e-5)
    assert result.std() == pytest.approx(0.0 if name == "one value" else 1.0, abs=1e-5)
    order = rows[:, 0].argsort(kind="stable")
    assert (np.diff(result[order, 0]) >= 0).all()


@pytest.mark.parametrize("name", ["long tail", "long tail below", "tiny", "huge"])
def test_a_long_tail_becomes_short(name: str) -> None:
    result = Power().fit_transform(column(name))
    assert abs(stats.skew(result[:, 0])) < 0.5 < abs(stats.skew(column(name)[:, 0].astype(float)))


@pytest.mark.parametrize("name", COLUMNS)
def test_onnx_says_the_same_of_rows_near_and_far(name: str) -> None:
    power = Power().fit(column(name))
    far = np.array([-3.4e38, -1e20, -1e3, -1, -1e-9, -1e-45, 0, 1e-45, 1e-9, 1, 1e3, 1e20, 3.4e38])
    rows = np.concatenate([column(name), far.astype(np.float32)[:, None]])
    expected = power.transform(rows)
    assert np.isfinite(expected).all()
    assert np.abs(expected).max() <= FARTHEST
    np.testing.assert_allclose(predict(graph(power), rows), expected, rtol=1e-6, atol=1e-6)


@cache
def long() -> tuple[Power, Any]:
    """Build a step and its session, once for all examples."""
    power = Power().fit(column("long tail"))
    return power, graph(power)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_onnx_says_the_same_of_any_number(value: float) -> None:
    power, session = long()
    rows = np.array([[value]], dtype=np.float32)
    np.testing.assert_allclose(predict(session, rows), power.transform(rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("exponent", [0, 1e-20, 1e-12, 1, 2 - 1e-12, 2, -40, 40])
def test_onnx_says_the_same_of_any_power(exponent: float) -> None:
    power = Power().fit(column("even"))
    power.lambdas_ = np.array([float(exponent)])
    rows = np.linspace(-4, 4, 801, dtype=np.float32)[:, None]
    np.testing.assert_allclose(predict(graph(power), rows), power.transform(rows), rtol=2e-6)


def test_what_is_missing_stays_missing() -> None:
    rows = np.array([[1], [np.nan], [3], [40]], dtype=np.float32)
    power = Power().fit(rows)
    for result in (power.transform(rows), predict(graph(power), rows)):
        assert np.isnan(result[:, 0]).tolist() == [False, True, False, False]


def test_the_rows_that_come_in_are_not_changed() -> None:
    rows = column("long tail").astype(np.float64)
    before = rows.copy()
    Power().fit_transform(rows)
    np.testing.assert_array_equal(rows, before)


def test_a_service_s_answer_of_any_number_is_a_probability() -> None:
    rows, classes = small.fitted().features[:, :1], small.fitted().classes
    pipeline = Pipeline([("power", Power()), ("model", LogisticRegression())]).fit(rows, classes)
    session = inference.open_session(to_onnx(pipeline, 1))
    values = np.array([[-3.4e38], [-1e9], [0], [1e9], [3.4e38]], dtype=np.float32)
    answer = inference.predict(session, values).probabilities
    assert np.isfinite(answer).all()
    np.testing.assert_allclose(answer, pipeline.predict_proba(values), atol=TOLERANCE)
