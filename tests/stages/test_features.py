from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import contract, features
from stages.console import CairnError
from stages.contract import Column, Contract, Target
from stages.paths import PROCESSED, TERMS, TEST, TRAIN
from tests import small
from tests.small import PARAMS


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
    of_rows = features.matrix(rows, FOUR)
    of_columns = features.features(dict(zip("nibc", zip(*rows, strict=True), strict=True)), FOUR)
    assert of_rows.dtype == np.float32
    assert [values.dtype for values in of_columns.values()] == [np.float32] * 4
    np.testing.assert_array_equal(of_rows, numbers)
    np.testing.assert_array_equal(np.column_stack(list(of_columns.values())), numbers)


def test_columns_that_the_contract_does_not_know_are_left_out() -> None:
    given = {"n": [1.0], "i": [1], "b": [True], "c": ["x"], "t": [0], "other": ["?"]}
    assert list(features.features(given, FOUR)) == ["n", "i", "b", "c"]


def test_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="c"):
        features.features({"n": [1.0], "i": [1], "b": [True]}, FOUR)


@settings(max_examples=50)
@given(request=small.requests())
def test_a_row_alone_gives_what_it_gives_among_others(
    request: tuple[Contract, list[dict[str, Any]]],
) -> None:
    terms, rows = request
    values = [tuple(row[name] for name in terms.names) for row in rows]
    together = features.matrix(values, terms)
    alone = [features.matrix([row], terms) for row in values]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    missing = [[row[name] is None for name in terms.names] for row in rows]
    np.testing.assert_array_equal(np.isnan(together), missing)


def test_what_was_given_is_not_changed() -> None:
    rows = small.frame()
    before = rows.copy(deep=True)
    features.features({str(name): rows[name] for name in rows}, small.TERMS)
    pd.testing.assert_frame_equal(rows, before)


@settings(max_examples=50)
@given(terms=small.contracts(), data=st.data())
def test_codes_and_labels_go_round(terms: Contract, data: st.DataObject) -> None:
    classes = terms.target.classes
    labels = data.draw(st.lists(st.sampled_from(classes), min_size=1))
    codes = features.codes(pd.Series(labels), terms)
    assert codes.dtype == np.int64
    assert [classes[code] for code in codes] == labels


ROWS = pd.DataFrame({"x": range(50), "y": [0] * 10 + [1] * 40})


def test_a_split_keeps_every_row_once_and_each_class_in_proportion() -> None:
    train, test = features.split(ROWS, "y", 0.2, 0)
    assert sorted([*train["x"], *test["x"]]) == list(range(50))
    assert test["y"].value_counts().to_dict() == {0: 2, 1: 8}


def test_a_split_is_its_seed_s() -> None:
    _, one = features.split(ROWS, "y", 0.2, 1)
    _, again = features.split(ROWS, "y", 0.2, 1)
    _, other = features.split(ROWS, "y", 0.2, 2)
    pd.testing.assert_frame_equal(one, again)
    assert set(one["x"]) != set(other["x"])


@pytest.mark.parametrize(
    ("labels", "size", "says"),
    [
        ([0, 0, 0, 0, 1], 0.4, "class 1 has 1"),
        ([0, 0, 1, 1], 0.2, "class 0 has 2, class 1 has 2"),
        ([0, 0, 1, 1], 0.8, "class 0 has 2, class 1 has 2"),
        ([], 0.2, "0.2 of 0 rows"),
    ],
)
def test_classes_that_do_not_go_round_are_named(labels: list[int], size: float, says: str) -> None:
    rows = pd.DataFrame({"x": range(len(labels)), "y": labels})
    with pytest.raises(CairnError) as error:
        features.split(rows, "y", size, 0)
    assert "features.test_size" in str(error.value)
    assert says in str(error.value)


def test_the_stage_writes_the_features_and_codes_of_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    PROCESSED.parent.mkdir(parents=True)
    contract.write(small.TERMS, TERMS)
    small.frame().to_parquet(PROCESSED, index=False)
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS))
    features.main()
    train, test = pd.read_parquet(TRAIN), pd.read_parquet(TEST)
    assert (len(train), len(test)) == (64, 16)
    for part in train, test:
        assert list(part) == [*small.TERMS.names, "kind"]
        assert [str(dtype) for dtype in part.dtypes] == [*["float32"] * 5, "int64"]
    both = pd.concat([train, test]).sort_values("area", ignore_index=True).to_numpy()
    fitted = small.fitted()
    whole = np.column_stack([fitted.features, fitted.classes])
    np.testing.assert_array_equal(both, whole[np.argsort(whole[:, 0])])
    before = TRAIN.read_bytes(), TEST.read_bytes()
    features.main()
    assert (TRAIN.read_bytes(), TEST.read_bytes()) == before


def test_a_class_of_which_no_row_is_tested_is_named() -> None:
    rows = pd.DataFrame({"x": range(202), "y": [0] * 100 + [1] * 100 + [2] * 2})
    with pytest.raises(
        CairnError, match=r"features\.test_size: 0\.1 of 202 .*class 2 has 2"
    ) as error:
        features.split(rows, "y", 0.1, 0)
    assert "a class has no row to test on" in str(error.value)


def test_a_class_of_which_no_row_is_trained_on_is_named() -> None:
    rows = pd.DataFrame({"x": range(202), "y": [0] * 100 + [1] * 100 + [2] * 2})
    with pytest.raises(CairnError, match=r"features\.test_size: 0\.8 .*class 2 has 2") as error:
        features.split(rows, "y", 0.8, 0)
    assert "a class has no row to train on" in str(error.value)
