from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.contract import Column, Feature, Histogram
from service.inference import drift
from tests import small

COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=8).filter(any)


def column(kind: str, **more: Any) -> Column:
    return Column.model_validate({"name": "c", "kind": kind, "missing": True, **more})


def feature(edges: tuple[float, ...] = (), counts: tuple[int, ...] = (3, 4)) -> Feature:
    histogram = Histogram(edges=edges, counts=counts, missing=2)
    return Feature(name="c", column="c", histogram=histogram)


def count(values: list[float], buckets: drift.Buckets) -> list[int]:
    actual: list[int] = (
        drift.Counter([buckets]).count(np.array(values, np.float32)[:, None]).tolist()
    )
    return actual


TEXTS = column("category", categories=("x", "y"))
CODES = column("category", categories=(7, -1))
HALVES = ("(-inf, 1.5]", "(1.5, inf)")


@pytest.mark.parametrize(
    ("of", "edges", "names", "values", "counts"),
    [
        (column("number"), (1.5,), HALVES, [1.5, 1.6, -9], [2, 1, 0]),
        (column("integer"), (1.0,), ("(-inf, 1]", "(1, inf)"), [1, 2, math.nan], [1, 1, 1]),
        (column("boolean"), (), ("false", "true"), [0, 1, 1], [1, 2, 0]),
        (TEXTS, (), ("x", "y"), [1, math.nan, 0], [1, 1, 1]),
        (CODES, (), ("7", "-1"), [1, math.nan, 0], [1, 1, 1]),
        (column("date", parts=["year"]), (1.5,), HALVES, [1, 2, math.nan], [1, 1, 1]),
        (None, (1.5,), HALVES, [-math.inf, math.inf, math.nan, 9], [1, 2, 1]),
    ],
)
def test_values_are_counted_in_the_buckets_of_the_training_data(
    of: Column | None,
    edges: tuple[float, ...],
    names: tuple[str, ...],
    values: list[float],
    counts: list[int],
) -> None:
    buckets = drift.make_buckets(feature(edges), of)
    assert buckets.names == (*names, "missing")
    assert buckets.expected.tolist() == [3, 4, 2]
    assert count(values, buckets) == counts


@pytest.mark.parametrize("categories", [("x", "y"), (7, -1)])
def test_categories_that_are_not_listed_have_a_bucket_of_their_own(categories: Any) -> None:
    open_ended = column("category", categories=categories, unknown=True)
    buckets = drift.make_buckets(feature(counts=(3, 4, 5)), open_ended)
    assert buckets.names == (*map(str, categories), "unknown", "missing")
    assert buckets.expected.tolist() == [3, 4, 5, 2]
    assert count([2, 2, math.nan, 1], buckets) == [0, 1, 2, 1]


def test_a_category_may_have_the_name_of_a_bucket() -> None:
    named = column("category", categories=("missing", "unknown", "unknown_"), unknown=True)
    actual = drift.make_buckets(Feature(name="c", column="c"), named).names
    assert actual == ("missing", "unknown", "unknown_", "unknown__", "missing_")


def test_a_number_of_which_the_contract_has_no_histogram_has_one_bucket() -> None:
    buckets = drift.make_buckets(Feature(name="n", column="n"), column("number"))
    assert buckets.names == ("(-inf, inf)", "missing")
    assert count([1, 2, math.nan], buckets) == [2, 1]


def test_there_are_buckets_for_each_feature_and_before_training_for_those_of_the_columns() -> None:
    fitted = Feature(name="ratio", column=None)
    contract = small.FULL.model_copy(update={"features": (*small.FULL.own, fitted)})
    assert [feature.name for feature in contract.inputs] == [
        "opened_year", "opened_month", "opened_weekday", "opened_hour", "born_year", "born_day",
        "area", "size", "branch", "colour", "flag", "ratio",
    ]  # fmt: skip
    actual = drift.make_all_buckets(contract)
    assert [len(buckets.names) for buckets in actual] == [2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 3, 2]
    assert small.FULL.inputs == small.FULL.own
    names = [buckets.names for buckets in drift.make_all_buckets(small.FULL)]
    assert names == [buckets.names for buckets in actual[:-1]]


@pytest.mark.parametrize("model", [small.fitted, small.full])
def test_the_training_data_itself_falls_as_its_histogram_says(
    model: Callable[[], small.Fitted],
) -> None:
    fitted = model()
    columns = drift.make_all_buckets(fitted.contract)
    expected = np.concatenate([column.expected for column in columns])
    assert drift.Counter(columns).count(fitted.features).tolist() == expected.tolist()


@given(values=st.lists(st.floats(width=32), min_size=1), edges=st.sets(st.floats(-5, 5, width=32)))
def test_a_number_is_in_the_bucket_that_numpy_says(values: list[float], edges: set[float]) -> None:
    ordered = sorted(edges)
    finite = [value for value in values if not math.isnan(value)]
    positions = np.searchsorted(np.array(ordered, np.float32), np.array(finite, np.float32))
    wanted = [*np.bincount(positions, minlength=len(ordered) + 1), len(values) - len(finite)]
    feature_of = feature(tuple(ordered), (0,) * (len(ordered) + 1))
    assert count(values, drift.make_buckets(feature_of, column("number"))) == wanted


@given(counts=COUNTS, times=st.integers(1, 5))
def test_the_same_shares_have_almost_no_index(counts: list[int], times: int) -> None:
    both = np.array(counts, float), np.array(counts, float) * times
    assert 0 <= drift.compute_psi(*both) < 0.3 / min(both[0].sum(), 1) + 0.2


@given(one=COUNTS, other=COUNTS)
def test_the_index_is_finite_and_never_negative(one: list[int], other: list[int]) -> None:
    size = max(len(one), len(other))
    padded = [np.array(counts + [0] * (size - len(counts)), float) for counts in (one, other)]
    index = drift.compute_psi(padded[0], padded[1])
    assert math.isfinite(index)
    assert index >= -1e-12
    assert index == pytest.approx(drift.compute_psi(padded[1], padded[0]))


def test_the_index_is_that_of_the_formula() -> None:
    expected, observed = np.array([500.0, 500.0]), np.array([900.0, 100.0])
    by_hand = (0.9 - 0.5) * math.log(0.9 / 0.5) + (0.1 - 0.5) * math.log(0.1 / 0.5)
    assert drift.compute_psi(expected, observed) == pytest.approx(by_hand, rel=0.01)


@pytest.mark.parametrize(("expected", "observed"), [([0, 0], [1, 2]), ([1, 2], [0, 0])])
def test_of_nothing_there_is_no_index(expected: list[float], observed: list[float]) -> None:
    assert drift.compute_psi(np.array(expected), np.array(observed)) == 0
