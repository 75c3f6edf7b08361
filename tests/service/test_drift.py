from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import drift
from stages.contract import Column, Histogram
from tests import small

COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=8).filter(any)


def column(kind: str, edges: tuple[float, ...] = (), counts: tuple[int, ...] = (3, 4)) -> Column:
    return Column(
        name="c",
        kind=kind,
        categories=("x", "y") if kind == "category" else (),
        histogram=Histogram(edges=edges, counts=counts, missing=2),
    )


def count(values: list[float], buckets: drift.Buckets) -> list[int]:
    found: list[int] = (
        drift.Counter([buckets]).count(np.array(values, np.float32)[:, None]).tolist()
    )
    return found


@pytest.mark.parametrize(
    ("given", "names", "values", "counts"),
    [
        (column("number", (1.5,)), ("(-inf, 1.5]", "(1.5, inf)"), [1.5, 1.6, -9], [2, 1, 0]),
        (column("integer", (1.0,)), ("(-inf, 1]", "(1, inf)"), [1, 2, math.nan], [1, 1, 1]),
        (column("boolean"), ("false", "true"), [0, 1, 1], [1, 2, 0]),
        (column("category"), ("x", "y"), [1, math.nan, 0], [1, 1, 1]),
    ],
)
def test_values_are_counted_in_the_buckets_of_the_training_data(
    given: Column, names: tuple[str, ...], values: list[float], counts: list[int]
) -> None:
    buckets = drift.buckets(given)
    assert buckets.names == (*names, "missing")
    assert buckets.expected.tolist() == [3, 4, 2]
    assert count(values, buckets) == counts


def test_a_number_of_which_the_contract_has_no_histogram_has_one_bucket() -> None:
    buckets = drift.buckets(Column(name="n", kind="number"))
    assert buckets.names == ("(-inf, inf)", "missing")
    assert count([1, 2, math.nan], buckets) == [2, 1]


def test_the_training_data_itself_falls_as_its_histogram_says() -> None:
    fitted = small.fitted()
    columns = drift.all_buckets(fitted.terms)
    expected = np.concatenate([column.expected for column in columns])
    assert drift.Counter(columns).count(fitted.features).tolist() == expected.tolist()


@given(values=st.lists(st.floats(width=32), min_size=1), edges=st.sets(st.floats(-5, 5, width=32)))
def test_a_number_is_in_the_bucket_that_numpy_says(values: list[float], edges: set[float]) -> None:
    ordered = sorted(edges)
    finite = [value for value in values if not math.isnan(value)]
    places = np.searchsorted(np.array(ordered, np.float32), np.array(finite, np.float32))
    wanted = [*np.bincount(places, minlength=len(ordered) + 1), len(values) - len(finite)]
    given = column("number", tuple(ordered), (0,) * (len(ordered) + 1))
    assert count(values, drift.buckets(given)) == wanted


@given(counts=COUNTS, times=st.integers(1, 5))
def test_the_same_shares_have_almost_no_index(counts: list[int], times: int) -> None:
    both = np.array(counts, float), np.array(counts, float) * times
    assert 0 <= drift.psi(*both) < 0.3 / min(both[0].sum(), 1) + 0.2


@given(one=COUNTS, other=COUNTS)
def test_the_index_is_finite_and_never_negative(one: list[int], other: list[int]) -> None:
    size = max(len(one), len(other))
    padded = [np.array(counts + [0] * (size - len(counts)), float) for counts in (one, other)]
    index = drift.psi(padded[0], padded[1])
    assert math.isfinite(index)
    assert index >= -1e-12
    assert index == pytest.approx(drift.psi(padded[1], padded[0]))


def test_the_index_is_that_of_the_formula() -> None:
    expected, observed = np.array([500.0, 500.0]), np.array([900.0, 100.0])
    by_hand = (0.9 - 0.5) * math.log(0.9 / 0.5) + (0.1 - 0.5) * math.log(0.1 / 0.5)
    assert drift.psi(expected, observed) == pytest.approx(by_hand, rel=0.01)


@pytest.mark.parametrize(("expected", "observed"), [([0, 0], [1, 2]), ([1, 2], [0, 0])])
def test_of_nothing_there_is_no_index(expected: list[float], observed: list[float]) -> None:
    assert drift.psi(np.array(expected), np.array(observed)) == 0
