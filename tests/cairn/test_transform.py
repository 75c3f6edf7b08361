from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from sklearn.datasets import load_breast_cancer

from cairn import parquet, transform
from cairn.contract import Column, Contract, Part, Target
from cairn.errors import CairnError
from cairn.paths import PROCESSED
from cairn.sources import scikit_learn
from service.inference.rows import Reader
from stages import engineering
from tests import small
from tests.cairn.tables.tables import run
from tests.small import ENGINEERING, FOUR


def test_each_kind_becomes_its_number() -> None:
    rows = [(0.1, 3, True, "y"), (None, -2, False, None), (1e-300, None, None, "x")]
    numbers = np.array(
        [[0.1, 3, 1, 1], [np.nan, -2, 0, np.nan], [0, np.nan, np.nan, 0]], dtype=np.float32
    )
    of_rows = transform.to_matrix(rows, FOUR, ENGINEERING)
    of_columns = transform.to_features(
        dict(zip("nibc", zip(*rows, strict=True), strict=True)), FOUR, ENGINEERING
    )
    assert of_rows.dtype == np.float32
    assert [values.dtype for values in of_columns.values()] == [np.float32] * 4
    np.testing.assert_array_equal(of_rows, numbers)
    np.testing.assert_array_equal(np.column_stack(list(of_columns.values())), numbers)


def test_columns_that_the_contract_does_not_know_are_left_out() -> None:
    values = {"n": [1.0], "i": [1], "b": [True], "c": ["x"], "t": [0], "other": ["?"]}
    assert list(transform.to_features(values, FOUR, ENGINEERING)) == ["n", "i", "b", "c"]


def test_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="c"):
        transform.to_features({"n": [1.0], "i": [1], "b": [True]}, FOUR, ENGINEERING)


@settings(max_examples=50)
@given(request=small.requests())
def test_a_row_has_the_same_features_by_itself_as_among_others(
    request: tuple[Contract, list[dict[str, Any]]],
) -> None:
    contract, rows = request
    values = [tuple(row[name] for name in contract.names) for row in rows]
    together = transform.to_matrix(values, contract, ENGINEERING)
    by_itself = [transform.to_matrix([row], contract, ENGINEERING) for row in values]
    np.testing.assert_array_equal(together, np.concatenate(by_itself))
    of = [feature.column for feature in contract.own]
    missing = [[row[str(name)] is None for name in of] for row in rows]
    np.testing.assert_array_equal(np.isnan(together), missing)


def test_what_was_given_is_not_changed() -> None:
    rows = small.frame()
    before = rows.copy(deep=True)
    transform.to_features({str(name): rows[name] for name in rows}, small.CONTRACT, ENGINEERING)
    pd.testing.assert_frame_equal(rows, before)


DATES = ["2024-02-29T13:45:59", None, "1969-12-31 23:59", "0001-01-01", "9999-12-31T10:05:00.25"]
PARTS: dict[Part, list[float]] = {
    "year": [2024, np.nan, 1969, 1, 9999],
    "month": [2, np.nan, 12, 1, 12],
    "day": [29, np.nan, 31, 1, 31],
    "weekday": [3, np.nan, 2, 0, 4],
    "hour": [13, np.nan, 23, 0, 10],
    "minute": [45, np.nan, 59, 0, 5],
}


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_parts_of_a_date_are_those_of_the_calendar(unit: str) -> None:
    wanted = list(PARTS)
    of_texts = transform.extract_parts(DATES, wanted)
    times = np.array([text and text[:19] for text in DATES], dtype=f"datetime64[{unit}]")
    of_times = transform.extract_parts(times, wanted)
    for part, texts, dates in zip(wanted, of_texts, of_times, strict=True):
        assert texts.dtype == dates.dtype == np.float32
        np.testing.assert_array_equal(texts, np.array(PARTS[part], dtype=np.float32))
        np.testing.assert_array_equal(dates, texts)


def test_a_category_that_is_not_listed_has_the_place_after_the_last() -> None:
    column_ = Column(name="c", kind="category", categories=(5, 7), unknown=True, missing=True)
    contract = Contract(columns=(column_,), target=Target(name="t", classes=(0, 1)))
    result = transform.to_matrix([[5], [7], [99], [None]], contract, ENGINEERING)
    np.testing.assert_array_equal(result[:, 0], np.array([0, 1, 2, np.nan], dtype=np.float32))


ONE = Contract(
    columns=(Column(name="a", kind="number"),),
    target=Target(name="y", classes=(0, 1)),
    engineering="0" * 64,
)


def engineer(columns: engineering.Columns) -> engineering.Columns:
    """The example of the module's docstring."""
    area, radius = columns["mean_area"], columns["mean_radius"]
    return {"roundness": area / (np.pi * radius**2), "growth": columns["worst_area"] / area}


def test_a_table_and_its_rows_as_requests_have_the_same_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engineering, "engineer", engineer)
    contract, _, _ = run(scikit_learn.format_table("breast_cancer"), target="target")
    contract = contract.model_copy(update={"engineering": ENGINEERING.sha256})
    [group] = parquet.groups(PROCESSED)
    offline = transform.to_features(transform.read_columns(group, contract), contract, ENGINEERING)
    rows = load_breast_cancer().data.tolist()
    reader = Reader(contract)
    online = transform.to_matrix(reader.check({"features": rows}).values, contract, ENGINEERING)
    assert list(offline)[30:] == ["roundness", "growth"]
    assert online.shape == (569, 32)
    assert np.column_stack(list(offline.values())).tobytes() == online.tobytes()
    by_itself = [
        transform.to_matrix(reader.check({"features": row}).values, contract, ENGINEERING)
        for row in rows
    ]
    assert np.concatenate(by_itself).tobytes() == online.tobytes()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"a": [1.0, 2.0]}, "'a' is already the name of a feature or of the target"),
        ({"y": [1.0, 2.0]}, "'y' is already the name of a feature or of the target"),
        ({3: [1.0, 2.0]}, "the name 3 is not text"),
        ({"b": ["x", "y"]}, "ValueError: "),
        (None, "TypeError: "),
        ({"b": 1.0}, r"'b' has the shape \(\)"),
        ({"b": [1.0]}, r"'b' has the shape \(1,\)"),
        ({"b": [[1.0], [2.0]]}, r"'b' has the shape \(2, 1\)"),
    ],
)
def test_what_is_not_one_number_a_row_under_a_new_name_is_refused(
    features: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engineering, "engineer", lambda _: features)
    with pytest.raises(CairnError, match=rf"stages/engineering\.py: {message}"):
        transform.to_matrix([[1.0], [2.0]], ONE, ENGINEERING)


def writes(columns: Any) -> Any:
    columns["a"][:] = 0
    return {"b": columns["a"]}


@pytest.mark.parametrize(
    ("engineer", "message"),
    [
        (writes, "ValueError: assignment destination is read-only"),
        (lambda columns: {"b": columns["c"]}, "KeyError: 'c'"),
    ],
)
def test_code_that_fails_or_changes_what_it_is_given_is_named(
    engineer: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engineering, "engineer", engineer)
    with pytest.raises(CairnError, match=rf"stages/engineering\.py: {message}"):
        transform.to_matrix([[1.0], [2.0]], ONE, ENGINEERING)


def test_a_feature_that_looks_at_other_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        engineering, "engineer", lambda columns: {"b": columns["a"] - columns["a"].mean()}
    )
    values = {"a": np.array([1.0, 2.0, 4.0])}
    with pytest.raises(
        CairnError,
        match=r"'b' depends on other rows: in data row 1 it is 0 when .* -1\.33333 among",
    ):
        transform.check_row_wise(
            values, transform.to_features(values, ONE, ENGINEERING), ONE, ENGINEERING
        )


def test_the_code_is_known_by_its_bytes() -> None:
    code = Path(str(engineering.__file__)).read_bytes()
    assert ENGINEERING.sha256 == hashlib.sha256(code).hexdigest()
