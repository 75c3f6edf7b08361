from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from cairn import inference
from cairn.contract import Column, Contract, Feature, Target, Threshold
from cairn.evaluation.metrics import SCORES, ScoredRows
from cairn.inference import Predictions
from cairn.releases import comparison
from cairn.releases.comparison import IncomparableError, LabeledRows, Model
from tests import history, small

NAN = float("nan")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as tell what these tests ask."""
    monkeypatch.setattr(comparison, "RESAMPLES", 200)


def contract(*columns: Column, classes: tuple[Any, ...] = ("no", "yes"), **more: Any) -> Contract:
    """Build a contract that takes its columns as they are."""
    result = Contract(columns=columns, target=Target(name="kind", classes=classes), **more)
    return result.model_copy(update={"features": (*result.own, *result.features)})


def number(name: str, unit: str | None = None) -> Column:
    return Column(name=name, kind="number", unit=unit)


def colour(*categories: str, unknown: bool = False) -> Column:
    return Column(
        name="colour", kind="category", categories=categories, unknown=unknown, missing=True
    )


def rows(**columns: list[float]) -> LabeledRows:
    result = {name: np.array(values, dtype=np.float32) for name, values in columns.items()}
    return LabeledRows(result, np.zeros(len(next(iter(result.values()))), dtype=np.int64))


def given_to(result: LabeledRows, own: Contract, other: Contract) -> list[list[float]]:
    return comparison.build_inputs(result, own, other).T.tolist()  # type: ignore[no-any-return]


def test_features_are_matched_by_name() -> None:
    own = contract(number("a"), number("b"), number("c"))
    other = contract(number("c"), number("a"))
    assert given_to(rows(a=[1], b=[2], c=[3]), own, other) == [[3.0], [1.0]]


def test_categories_in_other_places_are_the_same_categories() -> None:
    own, other = contract(colour("blue", "red")), contract(colour("amber", "blue", "red"))
    [result] = given_to(rows(colour=[0, 1, NAN]), own, other)
    assert result[:2] == [1.0, 2.0]
    assert np.isnan(result[2])


def test_a_category_that_is_new_is_an_unknown_one_where_these_are_taken() -> None:
    own, other = contract(colour("blue", "red")), contract(colour("red", unknown=True))
    assert given_to(rows(colour=[0, 1]), own, other) == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (contract(number("b")), "it takes b, which the rows do not have"),
        (contract(number("a", "cm")), "its a is a number in cm, not a number"),
        (contract(Column(name="a", kind="integer")), "its a is an integer, not a number"),
        (contract(number("a"), classes=("no", "x")), r"it predicts kind \('no', 'x'\), not kind"),
        (contract(number("a"), classes=(0, 1)), r"it predicts kind \(0, 1\)"),
    ],
)
def test_what_cannot_be_compared_is_reported(other: Contract, reason: str) -> None:
    with pytest.raises(IncomparableError, match=reason):
        comparison.build_inputs(rows(a=[1.0]), contract(number("a")), other)


def test_a_category_that_is_refused_there_cannot_be_compared() -> None:
    other = contract(colour("red"))
    own = contract(colour("blue", "red", unknown=True))
    assert given_to(rows(colour=[1]), own, other) == [[0.0]]
    with pytest.raises(IncomparableError, match="does not know the colour 'blue', which rows have"):
        comparison.build_inputs(rows(colour=[1, 0]), own, other)
    with pytest.raises(IncomparableError, match="rows have an unlisted colour"):
        comparison.build_inputs(rows(colour=[2]), own, other)


def test_features_of_other_code_are_other_features() -> None:
    estimator = (Feature(name="ratio"),)
    own, other = (contract(number("a"), features=estimator, engineering=sha) for sha in ("1", "2"))
    result = rows(a=[1], ratio=[2])
    assert given_to(result, own, own) == [[1.0], [2.0]]
    with pytest.raises(IncomparableError, match=r"features of another stages/engineering\.py"):
        comparison.build_inputs(result, own, other)
    assert given_to(result, own, contract(number("a"))) == [[1.0]]


def save(path: Path, columns: dict[str, Any], group: int = 3) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def test_rows_are_read_as_they_are_and_a_part_of_them_is_always_the_same(tmp_path: Path) -> None:
    values = np.arange(10, dtype=np.float32)
    path = save(tmp_path / "t.parquet", {"a": values, "kind": np.arange(10) % 2})
    every = comparison.read_rows(path, contract(number("a")))
    assert every.features["a"].tolist() == values.tolist()
    assert every.classes.tolist() == [0, 1] * 5
    part, again = (comparison.read_rows(path, contract(number("a")), max_rows=4) for _ in range(2))
    assert part.features["a"].tolist() == again.features["a"].tolist()
    assert len(set(part.features["a"].tolist())) == 4
    assert part.classes.tolist() == [int(value) % 2 for value in part.features["a"]]


def test_rows_of_the_training_are_found_by_all_that_the_model_takes(tmp_path: Path) -> None:
    train = {"b": [1.0, 0.0, NAN, 5.0], "extra": [9.0] * 4, "a": [1.0, -0.0, 2.0, 5.0]}
    columns = {name: pa.array(values, pa.float32()) for name, values in train.items()}
    path = save(tmp_path / "t.parquet", columns)
    rows = np.array([[1, 1], [0, 0], [2, NAN], [5, 6], [NAN, 2]], dtype=np.float32)
    result = comparison.find_unseen(rows, path, contract(number("a"), number("b")))
    assert result.tolist() == [False, False, False, True, True]


def scored(
    labels: NDArray[Any], truth: NDArray[Any], probabilities: NDArray[Any] | None = None
) -> ScoredRows:
    """Build the predictions of a model of two classes."""
    of_second = labels * 0.8 + 0.1 if probabilities is None else probabilities
    predictions = Predictions(labels, np.column_stack([1 - of_second, of_second]))
    return ScoredRows(np.zeros((len(truth), 1), dtype=np.float32), truth, predictions)


BITS = st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=1, max_size=40)


@given(BITS, st.sampled_from([0.8, 0.95, 0.99]))
def test_accuracy_is_surely_lower_where_the_exact_test_of_mcnemar_says_so(
    table: list[tuple[int, int, int]], confidence: float
) -> None:
    truth, one, two = np.array(table, dtype=np.int64).T
    low, high = comparison.compute_mcnemar_bounds(
        scored(one, truth), scored(two, truth), confidence
    )
    gained = int(((one == truth) & (two != truth)).sum())
    lost = int(((one != truth) & (two == truth)).sum())
    tests = (
        binomtest(gained, gained + lost, alternative=side).pvalue if gained + lost else 1.0
        for side in ("less", "greater")
    )
    assert [high < 0, low > 0] == [p < 1 - confidence for p in tests]
    assert low <= (gained - lost) / len(truth) <= high


@pytest.mark.parametrize("metric", sorted(SCORES))
def test_the_same_answers_differ_by_nothing(metric: str) -> None:
    random = np.random.default_rng(0)
    truth = np.array([0, 1] * 10)
    side = scored(random.integers(0, 2, 20), truth)
    result = comparison.compute_difference(metric, side, side, 2, 0.95)
    assert result.candidate == result.production
    assert (result.low, result.high) == (0.0, 0.0)


@pytest.mark.parametrize(
    "metric", ["roc_auc", "average_precision", "log_loss", "brier", "accuracy"]
)
def test_a_clear_difference_is_certain_and_a_small_one_is_not(metric: str) -> None:
    random = np.random.default_rng(5)
    truth = random.integers(0, 2, 300)
    signal = (2 * truth - 1) + random.normal(size=300)
    good, alike, bad = (
        1 / (1 + np.exp(-signal - noise * random.normal(size=300))) for noise in (0.1, 0.1, 3)
    )
    sides = [scored((p > 0.5).astype(np.int64), truth, p) for p in (good, alike, bad)]
    clear = comparison.compute_difference(metric, sides[0], sides[2], 2, 0.95)
    close = comparison.compute_difference(metric, sides[0], sides[1], 2, 0.95)
    assert clear.low * clear.high > 0
    assert close.low < 0 < close.high
    turned = comparison.compute_difference(metric, sides[2], sides[0], 2, 0.95)
    assert (turned.low, turned.high) == pytest.approx((-clear.high, -clear.low))


def test_both_are_asked_about_the_same_resamples() -> None:
    """Two that differ by one constant differ by it on every resample."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 50)
    labels = np.array(truth)
    labels[:3] = 1 - labels[:3]
    drawn = comparison.bootstrap_differences(
        "accuracy", scored(truth, truth), scored(1 - truth, truth), 2, 50
    )
    assert drawn.tolist() == [1.0] * 50
    spread = comparison.bootstrap_differences(
        "accuracy", scored(truth, truth), scored(labels, truth), 2, 50
    )
    assert len(set(spread.tolist())) > 1


def test_a_class_with_one_row_is_in_every_resample() -> None:
    truth = np.array([0] * 20 + [1])
    side, other = (scored(np.zeros(21, int), truth, np.linspace(0, end, 21)) for end in (1, 0.5))
    assert np.isfinite(comparison.bootstrap_differences("roc_auc", side, other, 2, 30)).all()


def test_a_threshold_decides() -> None:
    estimator = small.fitted()
    session = inference.open_session(estimator.graph)
    target = Target(name="kind", classes=("no", "yes"), threshold=Threshold(label="no", value=0.0))
    strict = estimator.contract.model_copy(update={"target": target})
    plain = comparison.predict(Model("v1.0.0", estimator.contract, session, 1), estimator.features)
    settings = comparison.predict(Model("v1.0.0", strict, session, 1), estimator.features)
    assert set(plain.labels.tolist()) == {0, 1}
    assert set(settings.labels.tolist()) == {0}


def test_a_model_is_read_from_its_files(tmp_path: Path) -> None:
    small.save_tree(tmp_path)
    model = comparison.load_model(tmp_path, "v1.0.0")
    assert (model.number, model.size) == ("v1.0.0", len(small.fitted().graph))
    predictions = comparison.predict(model, small.fitted().features).labels
    chance = Model("v2.0.0", model.contract, inference.open_session(history.worse().graph), 1)
    other = comparison.predict(chance, small.fitted().features).labels
    right = [int((labels == small.fitted().classes).sum()) for labels in (predictions, other)]
    assert right[0] > right[1]


def test_a_contract_of_other_code_cannot_be_compared(tmp_path: Path) -> None:
    small.save_tree(tmp_path)
    (tmp_path / "data/model/contract.json").write_text('{"columns": [], "of later code": 1}')
    with pytest.raises(IncomparableError, match=r"another release .* the contract of v1\.0\.0"):
        comparison.load_model(tmp_path, "v1.0.0")
