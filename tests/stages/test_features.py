from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn import parquet, transform
from cairn.console import CairnError
from cairn.contract import Column, Contract, Part, Target
from cairn.paths import CONTRACT, PROCESSED, TEST, TRAIN
from cairn.tables import contract_file
from stages import features
from stages.features import Survey
from tests import small
from tests.small import ENGINEERING, PARAMS


def column(name: str, kind: Any, *categories: str) -> Column:
    return Column(name=name, kind=kind, categories=categories, missing=True)


FOUR = Contract(
    columns=(
        column("n", "number"),
        column("i", "integer"),
        column("b", "boolean"),
        column("c", "category", "x", "y"),
    ),
    target=Target(name="t", classes=(0, 1)),
)


def test_each_kind_becomes_its_number() -> None:
    rows = [(0.1, 3, True, "y"), (None, -2, False, None), (1e-300, None, None, "x")]
    numbers = np.array(
        [[0.1, 3, 1, 1], [np.nan, -2, 0, np.nan], [0, np.nan, np.nan, 0]], dtype=np.float32
    )
    of_rows = transform.matrix(rows, FOUR, ENGINEERING)
    of_columns = transform.features(
        dict(zip("nibc", zip(*rows, strict=True), strict=True)), FOUR, ENGINEERING
    )
    assert of_rows.dtype == np.float32
    assert [values.dtype for values in of_columns.values()] == [np.float32] * 4
    np.testing.assert_array_equal(of_rows, numbers)
    np.testing.assert_array_equal(np.column_stack(list(of_columns.values())), numbers)


def test_columns_that_the_contract_does_not_know_are_left_out() -> None:
    given = {"n": [1.0], "i": [1], "b": [True], "c": ["x"], "t": [0], "other": ["?"]}
    assert list(transform.features(given, FOUR, ENGINEERING)) == ["n", "i", "b", "c"]


def test_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="c"):
        transform.features({"n": [1.0], "i": [1], "b": [True]}, FOUR, ENGINEERING)


@settings(max_examples=50)
@given(request=small.requests())
def test_a_row_alone_gives_what_it_gives_among_others(
    request: tuple[Contract, list[dict[str, Any]]],
) -> None:
    contract, rows = request
    values = [tuple(row[name] for name in contract.names) for row in rows]
    together = transform.matrix(values, contract, ENGINEERING)
    alone = [transform.matrix([row], contract, ENGINEERING) for row in values]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    of = [feature.column for feature in contract.own]
    missing = [[row[str(name)] is None for name in of] for row in rows]
    np.testing.assert_array_equal(np.isnan(together), missing)


def test_what_was_given_is_not_changed() -> None:
    rows = small.frame()
    before = rows.copy(deep=True)
    transform.features({str(name): rows[name] for name in rows}, small.CONTRACT, ENGINEERING)
    pd.testing.assert_frame_equal(rows, before)


@settings(max_examples=50)
@given(contract=small.contracts(), data=st.data())
def test_codes_and_labels_go_round(contract: Contract, data: st.DataObject) -> None:
    classes = contract.target.classes
    labels = data.draw(st.lists(st.sampled_from(classes), min_size=1))
    codes = features.codes(pd.Series(labels), contract)
    assert codes.dtype == np.int64
    assert [classes[code] for code in codes] == labels


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
    of_texts = transform.parts(DATES, wanted)
    times = np.array([text and text[:19] for text in DATES], dtype=f"datetime64[{unit}]")
    of_times = transform.parts(times, wanted)
    for part, texts, dates in zip(wanted, of_texts, of_times, strict=True):
        assert texts.dtype == dates.dtype == np.float32
        np.testing.assert_array_equal(texts, np.array(PARTS[part], dtype=np.float32))
        np.testing.assert_array_equal(dates, texts)


def test_a_category_that_is_not_listed_has_the_place_after_the_last() -> None:
    column_ = Column(name="c", kind="category", categories=(5, 7), unknown=True, missing=True)
    contract = Contract(columns=(column_,), target=Target(name="t", classes=(0, 1)))
    found = transform.matrix([[5], [7], [99], [None]], contract, ENGINEERING)
    np.testing.assert_array_equal(found[:, 0], np.array([0, 1, 2, np.nan], dtype=np.float32))


COUNTS = np.array([[10, 3, 0], [20, 0, 1], [30, 4, 4]])
THREE = Contract(columns=FOUR.columns, target=Target(name="t", classes=(0, 1, 2)))


def test_the_test_has_its_share_of_each_class() -> None:
    found = features.shares(COUNTS, np.array([12, 1, 1]), 0)
    assert found.shape == COUNTS.shape
    assert (found >= 0).all()
    assert (found <= COUNTS).all()
    assert found.sum(axis=0).tolist() == [12, 1, 1]


def test_shares_are_their_seed_s_and_every_group_s() -> None:
    many, half = np.tile([[50, 50]], (8, 1)), np.array([200, 200])
    one, again, other = (features.shares(many, half, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (one > 0).all()


@given(
    classes=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    data=st.data(),
    seed=st.integers(0),
)
def test_so_many_rows_of_each_class_are_chosen(
    classes: list[int], data: st.DataObject, seed: int
) -> None:
    whole = np.bincount(classes, minlength=3)
    wanted = np.array([data.draw(st.integers(0, int(count))) for count in whole])
    found = features.chosen(np.array(classes), wanted, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.bincount(np.array(classes)[found], minlength=3), wanted)


def test_every_row_is_as_likely_to_be_chosen() -> None:
    """With groups of one row, shares alone choose: 2,000 seeds, each row in half of them."""
    groups = np.tile([[1, 0], [0, 1]], (4, 1))
    half = np.array([2, 2])
    found = sum(features.shares(groups, half, seed).sum(axis=1) for seed in range(2000))
    assert np.abs(np.asarray(found) - 1000).max() < 120  # over five standard deviations


def survey(hashes: list[int], classes: list[int]) -> Survey:
    return Survey(np.array(hashes, dtype=np.uint64), np.array(classes), np.array([len(classes)]))


def test_a_class_without_a_row_is_named() -> None:
    with pytest.raises(CairnError, match=r"class 1 has no row; .* target's classes"):
        features.plan(survey([1, 2], [0, 0]), 0.2, 0, FOUR)


def test_where_no_row_is_left_to_test_on_it_is_said() -> None:
    with pytest.raises(CairnError, match=r"features\.test_size: .* none of the 4 rows"):
        features.plan(survey([1, 1, 2, 2], [0, 0, 1, 1]), 0.2, 0, FOUR)


def test_copies_and_classes_without_a_test_are_said() -> None:
    found = survey([1, 2, 3, 4, 4, 5, 5, 5, 6, 7], [0, 0, 0, 0, 1, 2, 2, 2, 1, 1])
    split = features.plan(found, 0.2, 0, THREE)
    assert features.remarks(found, split, THREE) == [
        (
            "3 of 10 rows are copies of another in every feature; a row and its copies stay on "
            "one side of the split"
        ),
        (
            "2 rows have the features of another row and a different t: no model can get all of "
            "them right"
        ),
        (
            "class 2 has no two rows that differ: all of its rows are for training, and the test "
            "says nothing of it"
        ),
    ]
    alone = survey([1, 2, 3, 4], [0, 0, 1, 1])
    assert features.remarks(alone, features.plan(alone, 0.2, 0, FOUR), FOUR) == [
        "0 of 4 rows are copies of another in every feature"
    ]


def column_of(column: Column, values: list[Any]) -> pa.Array:
    """Values as data/processed has them."""
    if column.kind == "category":
        return pa.array(values, type=pa.array(column.categories).type)
    if column.kind == "boolean":
        return pa.array(values, type=pa.bool_())
    if column.kind == "date":
        return pa.array(np.array(values, dtype="datetime64[s]"))
    return pa.array(np.array(values, dtype=np.float32), from_pandas=True)


@settings(max_examples=50, deadline=None)
@given(request=small.requests())
def test_rows_are_hashed_by_the_features_that_the_model_takes(
    request: tuple[Contract, list[dict[str, Any]]],
) -> None:
    contract, rows = request
    given = [[row[name] for row in rows] for name in contract.names]
    typed = [
        column_of(column, values) for column, values in zip(contract.columns, given, strict=True)
    ]
    numbers = list(features.numbers(pa.table(typed, names=list(contract.names)), contract))
    wanted = transform.matrix(list(zip(*given, strict=True)), contract, ENGINEERING)
    np.testing.assert_array_equal(np.column_stack(numbers), wanted)


def stage(rows: int, groups: int, **block: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run the stage on so many rows of data/processed, in so many groups."""
    PROCESSED.parent.mkdir(parents=True, exist_ok=True)
    contract_file.write(FOUR, CONTRACT)
    table = pa.table(
        {
            "n": pa.array(range(rows), pa.float32()),
            "i": pa.array([None, *range(1, rows)], pa.float32()),
            "b": pa.array([None, *[True] * (rows - 1)]),
            "c": pa.array([None, *["y"] * (rows - 1)], pa.string()),
            "t": pa.array([row % 5 > 0 for row in range(rows)]).cast(pa.int64()),
        }
    )
    with parquet.Writer(PROCESSED) as writer:
        for place in range(groups):
            writer.write(table.slice(place * rows // groups, rows // groups))
    own = {**PARAMS["features"], **block}
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, "features": own}))
    features.main()
    return pd.read_parquet(TRAIN), pd.read_parquet(TEST)


@pytest.mark.parametrize("groups", [1, 4, 20])
def test_the_stage_writes_the_features_and_codes_of_every_row(
    groups: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train, test = stage(100, groups)
    for part in train, test:
        assert list(part) == ["n", "i", "b", "c", "t"]
        assert [str(dtype) for dtype in part.dtypes] == [*["float32"] * 4, "int64"]
        assert part["n"].is_monotonic_increasing
    assert test["t"].value_counts().to_dict() == {1: 16, 0: 4}
    both = pd.concat([train, test]).sort_values("n", ignore_index=True)
    assert both["n"].tolist() == list(range(100))
    assert both["t"].tolist() == [int(row % 5 > 0) for row in range(100)]
    assert both.loc[0, ["i", "b", "c"]].isna().all()
    assert (both.loc[1:, ["b", "c"]] == 1).all(axis=None)
    before = TRAIN.read_bytes(), TEST.read_bytes()
    features.main()
    assert (TRAIN.read_bytes(), TEST.read_bytes()) == before
    assert set(stage(100, groups, seed=1)[1]["n"]) != set(test["n"])


def twice(rows: int) -> pa.Table:
    """Rows of which every third has copies, some of another class, in any order."""
    random = np.random.default_rng(3)
    own = np.where(np.arange(rows) % 3, np.arange(rows), np.arange(rows) % 7 * 1000)
    own = random.permutation(own)
    return pa.table(
        {
            "n": pa.array(own, pa.float32()),
            "i": pa.array([None] * rows, pa.float32()),
            "b": pa.array([None] * rows, pa.bool_()),
            "c": pa.array(["x"] * rows),
            "t": pa.array((own % 5 > 0) ^ (random.random(rows) < 0.05)).cast(pa.int64()),
        }
    )


def test_no_test_row_has_a_copy_among_the_training_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    stage(10, 1)
    table = twice(300)
    with parquet.Writer(PROCESSED) as writer:
        for start in range(0, 300, 75):
            writer.write(table[start : start + 75])
    features.main()
    train, test = pd.read_parquet(TRAIN), pd.read_parquet(TEST)
    assert len(train) + len(test) == 300
    assert not set(train["n"]) & set(test["n"])
    assert test["n"].duplicated().any()
    whole = table["t"].to_pandas()
    assert (test["t"].value_counts() - whole.value_counts() * 0.2).abs().max() <= 1
    assert "of 300 rows are copies of another in every feature" in capsys.readouterr().out


def test_the_parts_of_a_split_are_not_written_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CairnError, match="class 1 has no row"):
        stage(1, 1)
    assert not TRAIN.exists()
    assert not TEST.exists()
