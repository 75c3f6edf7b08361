from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cairn.contract import Column, Contract, Feature, Kind
from cairn.modeling import histograms
from tests import small
from tests.small import ENGINEERING

VALUES = st.lists(st.floats(allow_infinity=False, width=32), min_size=1).filter(
    lambda values: not np.isnan(values).all()
)


@pytest.mark.parametrize("kind", ["number", "integer"])
@given(values=VALUES)
def test_each_value_is_counted_in_the_bucket_that_holds_it(kind: Kind, values: list[float]) -> None:
    array: NDArray[np.float32] = np.array(values, dtype=np.float32)
    histogram = histograms.histogram(array, Column(name="n", kind=kind, missing=True))
    present = array[~np.isnan(array)]
    assert histogram.missing == len(array) - len(present)
    ends = [-np.inf, *histogram.edges, np.inf]
    assert ends == sorted(set(ends))
    expected = [int(((low < present) & (present <= high)).sum()) for low, high in pairwise(ends)]
    assert list(histogram.counts) == expected
    assert len(histogram.counts) <= histograms.BUCKETS


def test_deciles_split_many_values_evenly() -> None:
    values = np.arange(1000, dtype=np.float32)[::-1]
    histogram = histograms.histogram(values, Column(name="n", kind="number"))
    assert histogram.counts == (100,) * 10
    assert histogram.edges == tuple(range(99, 999, 100))


@pytest.mark.parametrize(
    ("kind", "values", "listed"),
    [
        ("integer", [1, 0, np.nan, 1], (0, 1)),
        ("integer", [5, -15], (-15, 5)),
        ("integer", [6, -15], ()),
        ("integer", [np.nan], ()),
        ("integer", [3.4e38, -3.4e38], ()),
        ("number", [0, 1], ()),
    ],
)
def test_whole_numbers_that_are_close_together_are_listed(
    kind: Kind, values: list[float], listed: tuple[int, ...]
) -> None:
    column = Column(name="n", kind=kind, missing=True)
    histogram = histograms.histogram(np.array(values, dtype=np.float32), column)
    assert histogram.values == listed


BRANCH = Column(name="b", kind="category", categories=(-7, 30), unknown=True, missing=True)


@pytest.mark.parametrize(
    ("column", "values", "counts", "missing"),
    [
        (small.CONTRACT.columns[4], [0, 2, 2, np.nan], (1, 0, 2), 1),
        (small.CONTRACT.columns[3], [1, 1, np.nan, np.nan], (0, 2), 2),
        (small.CONTRACT.columns[3], [np.nan], (0, 0), 1),
        (BRANCH, [0, 2, 2, np.nan], (1, 0, 2), 1),
        (BRANCH, [0], (1, 0, 0), 0),
    ],
)
def test_categories_and_booleans_are_counted_each(
    column: Column, values: list[float], counts: tuple[int, ...], missing: int
) -> None:
    histogram = histograms.histogram(np.array(values, dtype=np.float32), column)
    assert (histogram.edges, histogram.counts, histogram.missing) == ((), counts, missing)


def test_parts_of_dates_and_engineered_features_are_numbers() -> None:
    values: NDArray[np.float32] = np.array([3, 5, np.nan], dtype=np.float32)
    for column in (Column(name="d", kind="date", parts=("year",)), None):
        histogram = histograms.histogram(values, column)
        assert (histogram.edges, histogram.counts, histogram.missing) == ((3.0, 5.0), (1, 1, 0), 1)


def test_a_column_without_a_value_among_the_training_rows_has_an_empty_histogram() -> None:
    gone: NDArray[np.float32] = np.array([np.nan], dtype=np.float32)
    histogram = histograms.histogram(gone, Column(name="n", kind="number", missing=True))
    assert (histogram.edges, histogram.counts, histogram.missing) == ((), (0,), 1)


def test_the_contract_says_what_the_model_has_seen() -> None:
    fitted = small.fitted()
    contract = histograms.describe_rows(small.CONTRACT, fitted.features, fitted.classes)
    assert [feature.name for feature in contract.features] == list(small.CONTRACT.names)
    for feature in contract.features:
        assert feature.histogram is not None
        assert sum(feature.histogram.counts) + feature.histogram.missing == small.ROWS
    assert contract.target.counts == tuple(np.bincount(fitted.classes))
    assert contract.columns == small.CONTRACT.columns
    assert contract.engineering is None
    assert Contract.model_validate_json(contract.model_dump_json()) == contract
    assert not small.CONTRACT.features


def test_a_date_gives_several_features_and_engineering_its_own() -> None:
    day = Column(name="day", kind="date", parts=("year", "month"))
    contract = Contract(columns=(day,), identifier="id", target=small.CONTRACT.target)
    rows: NDArray[np.float32] = np.array([[2000, 1, 0.5], [2001, 2, 0.25]], dtype=np.float32)
    contract = contract.model_copy(
        update={"features": (*contract.own, Feature(name="ratio", column=None))}
    )
    described = histograms.describe_rows(contract, rows, np.array([0, 1]), ENGINEERING.sha256)
    assert [(each.name, each.column) for each in described.features] == [
        ("day_year", "day"),
        ("day_month", "day"),
        ("ratio", None),
    ]
    assert described.engineering == ENGINEERING.sha256
    assert described.identifier == "id"
