from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata

from cairn.contract import Column, Contract, Target, read_contract, write_contract
from cairn.modeling import example
from cairn.transform import to_matrix
from service.inference.example import make_example as shown
from service.inference.rows import Reader
from tests import small
from tests.small import ENGINEERING

NUMBERS = st.lists(st.none() | st.integers(-3, 3) | st.floats(-9, 9, width=16), min_size=1)


def pairs(values: NDArray[np.float64], *, is_number: bool) -> NDArray[np.float64]:
    """The same sums of distances, from every pair."""
    missing = np.isnan(values)
    values = rankdata(values, nan_policy="omit")
    apart = np.abs(values[:, None] - values) if is_number else values[:, None] != values
    apart = np.where(missing[:, None] | missing, np.nan, apart)
    mean = np.nanmean(apart) if not missing.all() else 0
    apart = apart / mean if mean else apart
    one_missing = missing[:, None] != missing
    sums: NDArray[np.float64] = np.where(one_missing, 1, np.nan_to_num(apart)).sum(axis=1)
    return sums


@given(values=NUMBERS, is_number=st.booleans())
def test_distances_are_those_of_all_pairs(values: list[float | None], *, is_number: bool) -> None:
    array = np.array(values, dtype=np.float32)
    distances = example.distances(array, is_number=is_number)
    assert distances == pytest.approx(pairs(array.astype(float), is_number=is_number), abs=1e-6)


def test_it_is_a_row_whose_values_go_together() -> None:
    """Medians and commonest values make a row that does not exist: a man who is pregnant."""
    contract = Contract(
        columns=(
            Column(name="pregnant", kind="boolean"),
            Column(name="sex", kind="category", categories=("f", "m")),
            Column(name="weeks", kind="integer", missing=True),
        ),
        target=Target(name="y", classes=(0, 1)),
    )
    man, woman, mother = (0, 1, np.nan), (0, 0, np.nan), (1, 0, 20)
    rows = np.array([man] * 5 + [woman] * 2 + [mother] * 8, dtype=np.float32)
    index = example.find_example(contract, rows, 0)
    assert index == (True, "f", 20)
    assert [type(value) for value in index] == [bool, str, int]


def test_a_row_far_from_the_others_is_not_taken() -> None:
    contract = Contract(
        columns=(Column(name="a", kind="number"), Column(name="b", kind="number")),
        target=Target(name="y", classes=(0, 1)),
    )
    rows = np.array([[0, 0], [1, 1], [2, 2], [1e30, 3], [3, -1e30]], dtype=np.float32)
    assert example.find_example(contract, rows, 0) == (1.0, 1.0)


@pytest.mark.parametrize("fit", [small.fitted(), small.full()], ids=["small", "full"])
def test_it_is_one_of_the_rows_and_a_request(fit: small.Fitted, tmp_path: Path) -> None:
    contract = fit.contract
    index = example.find_example(contract, fit.features, 0)
    write_contract(contract.model_copy(update={"example": index}), tmp_path / "contract.json")
    read = read_contract(tmp_path / "contract.json")
    assert read.example == index
    row = shown(read)
    rows = Reader(contract).check(json.loads(json.dumps(row)))
    matrix = to_matrix(rows.values, contract, ENGINEERING)
    assert any(np.array_equal(matrix[0], each, equal_nan=True) for each in fit.features)


def test_a_row_with_a_category_that_is_not_listed_is_passed_over() -> None:
    column = Column(name="c", kind="category", categories=("a",), unknown=True)
    contract = Contract(columns=(column,), target=Target(name="y", classes=(0, 1)))
    assert example.find_example(contract, np.array([[1], [1], [1], [0]], dtype=np.float32), 0) == (
        "a",
    )
    none = contract.model_copy(
        update={
            "example": example.find_example(contract, np.array([[1], [1]], dtype=np.float32), 0)
        }
    )
    assert none.example == ()
    assert shown(none) == {"c": "a"}


def test_of_many_rows_some_are_drawn_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "ROWS", 16)
    fit = small.fitted()
    first = example.find_example(fit.contract, fit.features, 0)
    assert first == example.find_example(fit.contract, fit.features, 0)
    others = {example.find_example(fit.contract, fit.features, seed) for seed in range(9)}
    assert len(others) > 1


def test_a_number_stays_in_its_range_whose_ends_are_no_float32() -> None:
    column = Column(name="a", kind="number", minimum=0.123456789, maximum=0.123456789)
    contract = Contract(columns=(column,), target=Target(name="y", classes=(0, 1)))
    assert example.find_example(contract, np.array([[0.123456789]], dtype=np.float32), 0) == (
        0.123456789,
    )


@given(day=st.dates(), time=st.times(), parts=small.PARTS)
def test_a_date_is_what_the_model_sees_of_it(day: object, time: object, parts: object) -> None:
    column = Column.model_validate({"name": "d", "kind": "date", "parts": parts})
    contract = Contract(columns=(column,), target=Target(name="y", classes=(0, 1)))
    seen = to_matrix([[f"{day}T{time}"]], contract, ENGINEERING)
    (value,) = example.values_of(seen[0], contract)
    assert Reader(contract).check({"d": value}).single
    assert np.array_equal(to_matrix([[value]], contract, ENGINEERING), seen)
