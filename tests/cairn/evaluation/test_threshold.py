from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter

from cairn.contract import Contract, Target
from cairn.errors import CairnError
from cairn.evaluation import threshold
from cairn.modeling.records import Reached
from cairn.params.train import Threshold
from tests import small

PROBABILITIES = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1])
HITS = np.array([1, 1, 0, 1, 0, 1, 0, 0], dtype=bool)
ROWS = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=2, max_size=30
).filter(lambda rows: any(hit for hit, _ in rows))


def rule(name: str, label: Any = "yes", **params: float) -> Threshold:
    adapter: TypeAdapter[Threshold] = TypeAdapter(Threshold)
    return adapter.validate_python({"class": label, "rule": name, **params})


def arrays(rows: list[tuple[bool, float]]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return np.array([hit for hit, _ in rows]), np.array([probability for _, probability in rows])


@pytest.mark.parametrize(
    ("params", "value"),
    [
        (rule("f1"), 0.25),  # four of four, and two wrong
        (rule("recall", at_least=0.5), 0.75),
        (rule("recall", at_least=0.51), 0.5),
        (rule("recall", at_least=1), 0.25),
        (rule("cost", false_positive=1, false_negative=1), 0.75),  # as good as 0.5, and higher
        (rule("cost", false_positive=1, false_negative=5), 0.25),
        (rule("cost", false_positive=9, false_negative=1), 0.75),
        (rule("value", value=0.33), 0.33),
    ],
)
def test_each_rule_finds_its_threshold(params: Threshold, value: float) -> None:
    assert threshold.choose(params, HITS, PROBABILITIES) == value


def test_a_class_that_is_not_worth_a_false_positive_is_never_predicted() -> None:
    params = rule("cost", false_positive=100, false_negative=1)
    value = threshold.choose(params, ~HITS, PROBABILITIES)
    assert PROBABILITIES.max() < value <= 1


def test_what_a_rule_counts_is_what_its_threshold_gives() -> None:
    """A probability of 1 reaches every threshold that there is."""
    hits = np.array([1, 0, 1, 1, 0, 0], dtype=bool)
    probabilities = np.array([1, 1, 0.8, 0.7, 0.2, 0])
    value = threshold.choose(
        rule("cost", false_positive=1.5, false_negative=1), hits, probabilities
    )
    assert value == 0.45  # one wrong, which is wrong at 1 as well


def test_a_threshold_that_no_row_reaches_has_six_digits() -> None:
    params = rule("cost", false_positive=100, false_negative=1)
    for highest in (1 / 3, 0.999999, 1 - 1e-9):
        value = threshold.choose(params, np.array([True, False]), np.array([0.1, highest]))
        assert highest < value == round(value, 6) <= 1


@given(ROWS, st.floats(0.01, 1))
def test_the_recall_that_is_asked_for_is_reached(
    rows: list[tuple[bool, float]], at_least: float
) -> None:
    hits, probabilities = arrays(rows)
    value = threshold.choose(rule("recall", at_least=at_least), hits, probabilities)
    recall = (probabilities >= value)[hits].mean()
    assert recall >= at_least or recall == pytest.approx(at_least)
    higher = probabilities[probabilities >= value].min()
    assert (probabilities > higher)[hits].mean() < at_least


@given(ROWS, st.floats(0.1, 10), st.floats(0.1, 10))
def test_no_other_threshold_costs_less(
    rows: list[tuple[bool, float]], positive: float, negative: float
) -> None:
    hits, probabilities = arrays(rows)
    params = rule("cost", false_positive=positive, false_negative=negative)

    def cost(value: float) -> float:
        predicted = probabilities >= value
        return float(positive * (predicted & ~hits).sum() + negative * (~predicted & hits).sum())

    value = threshold.choose(params, hits, probabilities)
    assert cost(value) <= min(map(cost, [*probabilities, 1.1])) + 1e-9 or probabilities.max() == 1


def test_what_is_reached_is_counted_at_that_threshold() -> None:
    assert threshold.measure(0.5, HITS, PROBABILITIES) == Reached(0.75, 0.75, 0.75)
    assert threshold.measure(0.95, HITS, PROBABILITIES) == Reached(0, 0, 0)


def test_the_class_is_found_by_value_and_type() -> None:
    assert threshold.class_code(rule("f1"), small.CONTRACT) == 1
    numbers = Contract(columns=small.CONTRACT.columns, target=Target(name="y", classes=(0, 1)))
    assert threshold.class_code(rule("f1", 0), numbers) == 0
    with pytest.raises(CairnError, match=r"train\.threshold\.class: got False; the classes are 0"):
        threshold.class_code(rule("f1", label=False), numbers)


def test_more_than_two_classes_have_no_threshold() -> None:
    three = Contract(columns=small.CONTRACT.columns, target=Target(name="y", classes=(0, 1, 2)))
    with pytest.raises(CairnError, match=r"train\.threshold: for a target of two classes, not"):
        threshold.class_code(rule("f1", 1), three)


def test_rules_are_described_in_words() -> None:
    assert threshold.describe(rule("recall", at_least=0.95)) == "recall at least 0.95"
    assert "false negative at 20" in threshold.describe(
        rule("cost", false_positive=1, false_negative=20)
    )
    assert len({threshold.describe(rule("f1")), threshold.describe(rule("value", value=0.3))}) == 2
