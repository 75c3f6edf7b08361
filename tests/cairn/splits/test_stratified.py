from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.contract import Contract, Target
from cairn.errors import CairnError
from cairn.modeling import duplicates
from cairn.splits import stratified
from cairn.splits.fingerprints import Fingerprints
from tests.small import FOUR

COUNTS = np.array([[10, 3, 0], [20, 0, 1], [30, 4, 4]])
THREE = Contract(columns=FOUR.columns, target=Target(name="t", classes=(0, 1, 2)))


def test_the_test_has_its_fraction_of_each_class() -> None:
    drawn = stratified.draw_counts(COUNTS, np.array([12, 1, 1]), 0)
    assert drawn.shape == COUNTS.shape
    assert (drawn >= 0).all()
    assert (drawn <= COUNTS).all()
    assert drawn.sum(axis=0).tolist() == [12, 1, 1]


def test_counts_depend_on_the_seed_and_every_group_has_some() -> None:
    many, half = np.tile([[50, 50]], (8, 1)), np.array([200, 200])
    one, again, other = (stratified.draw_counts(many, half, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (one > 0).all()


@given(
    classes=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    data=st.data(),
    seed=st.integers(0),
)
def test_so_many_rows_of_each_class_are_drawn(
    classes: list[int], data: st.DataObject, seed: int
) -> None:
    counts = np.bincount(classes, minlength=3)
    wanted = np.array([data.draw(st.integers(0, int(count))) for count in counts])
    is_drawn = stratified.draw_rows(np.array(classes), wanted, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.bincount(np.array(classes)[is_drawn], minlength=3), wanted)


def test_every_row_is_as_likely_to_be_drawn() -> None:
    """With groups of one row, the counts decide: 2,000 seeds, each row in half of them."""
    groups = np.tile([[1, 0], [0, 1]], (4, 1))
    half = np.array([2, 2])
    times = sum(stratified.draw_counts(groups, half, seed).sum(axis=1) for seed in range(2000))
    assert np.abs(np.asarray(times) - 1000).max() < 120  # over five standard deviations


def fingerprints(hashes: list[int], classes: list[int]) -> Fingerprints:
    return Fingerprints(
        np.array(hashes, dtype=np.uint64), np.array(classes), np.array([len(classes)])
    )


def test_a_class_without_a_row_is_named() -> None:
    with pytest.raises(CairnError, match=r"class 1 has no row; .* target's classes"):
        stratified.split_rows(fingerprints([1, 2], [0, 0]), FOUR, 0.2, 0)


def test_a_table_of_copies_only_cannot_be_split() -> None:
    with pytest.raises(CairnError, match=r"features\.test_size: none of the 4 rows .*\(0, 1\)"):
        stratified.split_rows(fingerprints([1, 1, 2, 2], [0, 0, 1, 1]), FOUR, 0.2, 0)


def test_the_notes_describe_copies_and_classes_without_a_test_row() -> None:
    rows = fingerprints([1, 2, 3, 4, 4, 5, 5, 5, 6, 7], [0, 0, 0, 0, 1, 2, 2, 2, 1, 1])
    assert stratified.split_rows(rows, THREE, 0.2, 0).notes == (
        (
            "3 of 10 rows repeat the features of another row; a row and its copies stay on one "
            "side of the split"
        ),
        (
            "2 rows have the same features as another row but a different t: no model can predict "
            "all of them correctly"
        ),
        (
            "class 2 has no two rows that differ: all of its rows are for training, and the test "
            "cannot score it"
        ),
    )
    unique = fingerprints([1, 2, 3, 4], [0, 0, 1, 1])
    assert stratified.split_rows(unique, FOUR, 0.2, 0).notes == (
        "0 of 4 rows repeat the features of another row",
    )


@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=20, max_size=60),
    ends=st.sets(st.integers(1, 19), max_size=3),
    test_size=st.floats(0.1, 0.9),
)
def test_the_mask_follows_the_plan_whatever_the_row_groups_are(
    rows: list[tuple[int, int]], ends: set[int], test_size: float
) -> None:
    """Copies are where the plan has them, and the test has as many other rows as the plan says."""
    many = [*rows, (100, 0), (101, 0), (102, 1), (103, 1), (104, 2), (105, 2)]
    hashes, classes = (np.array(each) for each in zip(*many, strict=True))
    table = Fingerprints(
        hashes.astype(np.uint64), classes, np.array([*sorted(ends), len(many)], dtype=np.int64)
    )
    plan = duplicates.hold_out(table.hashes, table.classes, 3, test_size, 5)
    is_test = stratified.split_rows(table, THREE, test_size, 5).is_test
    np.testing.assert_array_equal(is_test & plan.is_twin, plan.is_test)
    singles = classes[is_test & ~plan.is_twin]
    np.testing.assert_array_equal(np.bincount(singles, minlength=3), plan.singles)
