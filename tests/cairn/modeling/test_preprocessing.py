from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from cairn.contract import Column, Contract
from cairn.errors import CairnError
from cairn.modeling import preprocessing
from cairn.params.train import Train
from tests import small

NUMBER = Column(name="n", kind="number")
GAPS = Column(name="g", kind="number", missing=True)
FLAG = Column(name="f", kind="boolean")
DAY = Column(name="d", kind="date", parts=("year", "month"))
COLOUR = Column(name="c", kind="category", categories=("blue", "green", "red"), unknown=True)
FOREST, BOOSTED = RandomForestClassifier(), HistGradientBoostingClassifier()
LINEAR = LogisticRegression()
GONE = np.nan


def train_params(**changes: Any) -> Train:
    return small.LINEAR.model_copy(update={"scale": "auto", **changes})


def contract(*columns: Column) -> Contract:
    return Contract(columns=columns, target=small.CONTRACT.target)


def matrix(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def steps(features: NDArray[np.float32], columns: Contract, model: Any, **changes: Any) -> Any:
    """Map the steps before the estimator to the features that they take."""
    result = preprocessing.prepare(features, columns, train_params(**changes), model)
    return {
        name: (indices, inner if inner == "passthrough" else [step for step, _ in inner.steps])
        for _, transformer in result
        for name, inner, indices in transformer.transformers
    }


def prepared(
    features: NDArray[np.float32],
    columns: Contract,
    model: Any,
    later: NDArray[np.float32] | None = None,
    **changes: Any,
) -> Any:
    """Transform later rows, or the training rows themselves, as the estimator gets them."""
    ((_, result),) = preprocessing.prepare(features, columns, train_params(**changes), model)
    assert isinstance(result, ColumnTransformer)
    result.fit(features)
    return result.transform(features if later is None else later).tolist()


WHOLE, HOLES = matrix([1, 2], [3, 4]), matrix([1, GONE], [3, 4])


def test_whole_numbers_go_to_a_tree_as_they_are() -> None:
    assert steps(WHOLE, contract(NUMBER, FLAG), FOREST) == {}
    assert steps(matrix([2000, 1], [2001, 2]), contract(DAY), FOREST) == {}


@pytest.mark.parametrize(
    ("scale", "model", "scaled"),
    [
        ("auto", LINEAR, True),
        ("auto", FOREST, False),
        (True, FOREST, True),
        (False, LINEAR, False),
        ("power", FOREST, True),
    ],
)
def test_numbers_are_scaled_where_the_estimator_wants_it_or_the_user(
    scale: Any,
    model: Any,
    scaled: bool,  # noqa: FBT001
) -> None:
    result = steps(WHOLE, contract(NUMBER, FLAG), model, scale=scale)
    step = "power" if scale == "power" else "standardscaler"
    assert result == ({"numbers": ([0, 1], [step])} if scaled else {})


def test_a_feature_is_imputed_where_it_is_missing_or_may_be() -> None:
    imputed = {"numbers": ([0], "passthrough"), "gaps": ([1], ["simpleimputer"])}
    assert steps(HOLES, contract(NUMBER, GAPS), FOREST) == imputed
    assert steps(WHOLE, contract(NUMBER, GAPS), FOREST) == imputed
    assert steps(HOLES, contract(NUMBER, FLAG), FOREST) == imputed  # the contract was mended since
    assert steps(HOLES, contract(NUMBER, GAPS), LINEAR)["gaps"] == (
        [1],
        ["simpleimputer", "standardscaler"],
    )


def test_powers_are_taken_of_numbers_alone_and_of_what_was_imputed() -> None:
    rows = matrix([1, 5, 0], [3, GONE, 1], [900, 7, 2])
    columns = contract(NUMBER, GAPS, COLOUR)
    result = steps(rows, columns, FOREST, scale="power")
    assert (result["numbers"], result["gaps"]) == (
        ([0], ["power"]),
        ([1], ["simpleimputer", "power"]),
    )
    assert result["categories"][0] == [2]
    scaled = prepared(rows, columns, FOREST, scale="power")
    assert np.mean(scaled, axis=0)[:2] == pytest.approx([0, 0], abs=1e-6)


def test_a_feature_that_is_engineered_may_always_be_missing() -> None:
    result = steps(matrix([1, 2, 3], [3, 4, 5]), contract(NUMBER, FLAG), FOREST)
    assert result == {"numbers": ([0, 1], "passthrough"), "gaps": ([2], ["simpleimputer"])}


def test_what_was_missing_goes_to_boosted_histograms_and_is_imputed_where_it_never_was() -> None:
    assert steps(HOLES, contract(NUMBER, GAPS), BOOSTED) == {}
    assert steps(WHOLE, contract(NUMBER, GAPS), BOOSTED)["gaps"] == ([1], ["simpleimputer"])


def test_a_missing_number_becomes_the_median_of_the_others() -> None:
    rows = matrix([1, 5], [3, GONE], [3, 7], [9, 9])
    assert [row[1] for row in prepared(rows, contract(NUMBER, GAPS), FOREST)] == [5, 7, 7, 9]


CODES = matrix([0], [0], [0], [0], [2], [GONE], [3])
ASKED = matrix([0], [1], [2], [3], [GONE])


def test_a_category_is_a_column_a_missing_one_too_and_an_unknown_one_none() -> None:
    assert prepared(CODES, contract(COLOUR), FOREST, ASKED) == [
        [0, 1, 0],
        [0, 0, 0],  # green, of which nothing was learned
        [0, 0, 1],
        [0, 0, 0],
        [1, 0, 0],
    ]


def test_a_rare_category_is_taken_for_an_unknown_one() -> None:
    assert prepared(CODES, contract(COLOUR), FOREST, ASKED, rare=0.2) == [
        [0, 1],
        [0, 0],
        [0, 0],
        [0, 0],
        [1, 0],
    ]


@pytest.mark.parametrize(("encode", "model"), [("ordinal", FOREST), ("auto", BOOSTED)])
def test_a_category_s_place_is_a_number_and_so_is_a_missing_one(encode: Any, model: Any) -> None:
    result = prepared(CODES, contract(COLOUR), model, ASKED, encode=encode)
    assert result == [[0], [1], [2], [3], [-1]]


def test_rare_places_are_one_that_no_other_has() -> None:
    result = prepared(CODES, contract(COLOUR), BOOSTED, ASKED, rare=0.2)
    assert result == [[1], [2], [2], [2], [0]]


def test_boosted_histograms_take_columns_if_the_user_says() -> None:
    result = prepared(CODES, contract(COLOUR), BOOSTED, ASKED, encode="one_hot")
    assert len(result[0]) == 3


def test_a_column_all_of_whose_categories_are_rare_is_left_out() -> None:
    rows = matrix([0, 1], [1, 2], [2, 3])
    result = steps(rows, contract(COLOUR, NUMBER), FOREST, rare=0.5)
    assert result == {"numbers": ([1], "passthrough")}
    with pytest.raises(CairnError, match=r"train\.rare: 0\.5 makes every category rare"):
        steps(rows[:, :1], contract(COLOUR), FOREST, rare=0.5)


def test_what_is_prepared_is_float32() -> None:
    ((_, result),) = preprocessing.prepare(CODES, contract(COLOUR), train_params(), FOREST)
    assert result.fit_transform(CODES).dtype == np.float32


def test_missing_is_found_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "BATCH", 2)
    rows = np.zeros((5, 3), dtype=np.float32)
    rows[4, 1] = GONE
    assert preprocessing.find_missing(rows).tolist() == [False, True, False]


def test_without_a_category_there_is_nothing_to_encode_by_place() -> None:
    numbers = Contract(columns=small.CONTRACT.columns[:1], target=small.CONTRACT.target)
    train_params = small.LINEAR.model_copy(update={"encode": "ordinal", "rare": 0.1})
    rows: NDArray[np.float32] = np.array([[1], [2]], dtype=np.float32)
    [(_, estimator)] = preprocessing.prepare(rows, numbers, train_params, LogisticRegression())
    assert estimator.fit_transform(rows).ravel().tolist() == [-1, 1]
