from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cairn.modeling import duplicates
from cairn.modeling.duplicates import Counts

Codes = NDArray[np.int64]


def hashes(groups: list[int]) -> NDArray[np.uint64]:
    return duplicates.hash_matrix(np.array(groups, dtype=np.float32)[:, None])


def test_equal_numbers_have_one_hash_and_other_orders_another() -> None:
    odd = np.array([0x7FC00001, 0xFFC00000], dtype=np.uint32).view(np.float32)  # NaN as well
    rows = np.array(
        [[0.0, 1], [-0.0, 1], [odd[0], 2], [odd[1], 2], [1, 0], [2, np.nan]], dtype=np.float32
    )
    result = duplicates.hash_matrix(rows)
    assert result[0] == result[1]
    assert result[2] == result[3]
    assert len(set(result.tolist())) == 4
    np.testing.assert_array_equal(duplicates.hash_columns(list(rows.T)), result)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
def test_rows_of_a_large_matrix_are_told_apart(dtype: str) -> None:
    rows = np.arange(2 * 40_000).reshape(-1, 2).astype(dtype)
    assert not duplicates.find_twins(duplicates.hash_matrix(rows)).any()
    again = np.concatenate([rows, rows[5:7]])
    assert np.flatnonzero(duplicates.find_twins(duplicates.hash_matrix(again))).tolist() == [
        5, 6, 40_000, 40_001
    ]  # fmt: skip


def test_zeros_in_another_place_are_another_row() -> None:
    """As one-hot columns have them: every pair of places, in 64 columns."""
    rows = np.zeros((64 * 64, 64), dtype=np.float32)
    first, second = np.divmod(np.arange(64 * 64), 64)
    rows[np.arange(64 * 64), first] += 1
    rows[np.arange(64 * 64), second] += 1
    assert len(np.unique(duplicates.hash_matrix(rows))) == len(np.unique(rows, axis=0))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1))
def test_copies_and_contradictions_are_counted(rows: list[tuple[int, int]]) -> None:
    groups, classes = [row[0] for row in rows], [row[1] for row in rows]
    labels = {each: {label for one, label in rows if one == each} for each in groups}
    expected = Counts(
        len(rows),
        len(rows) - len(set(groups)),
        sum(len(labels[each]) > 1 for each in groups),
    )
    assert duplicates.count(hashes(groups), np.array(classes)) == expected


ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=80)


@given(rows=ROWS, fraction=st.floats(0.05, 0.95), seed=st.integers(0, 5))
def test_a_row_and_its_copies_are_on_one_side(
    rows: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    groups, classes = np.array(rows).T
    plan = duplicates.hold_out(hashes(groups.tolist()), classes, 3, fraction, seed)
    again = duplicates.hold_out(hashes(groups.tolist()), classes, 3, fraction, seed)
    np.testing.assert_array_equal(plan.is_test, again.is_test)
    _, of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(plan.is_twin, sizes[of] > 1)
    assert not (plan.is_test & ~plan.is_twin).any()
    assert not set(groups[plan.is_test]) & set(groups[plan.is_twin & ~plan.is_test])
    unique = np.bincount(classes[~plan.is_twin], minlength=3)
    assert ((plan.singles >= 0) & (plan.singles <= unique)).all()
    totals = np.bincount(classes, minlength=3)
    test = np.bincount(classes[plan.is_test], minlength=3) + plan.singles
    assert (test < totals)[totals > 0].all() or (sizes > 1).any()


@given(
    sizes=st.lists(st.lists(st.integers(1, 5), max_size=30), min_size=3, max_size=3),
    fraction=st.floats(0.1, 0.9),
)
def test_each_class_has_its_share_within_the_largest_group(
    sizes: list[list[int]], fraction: float
) -> None:
    """Without contradictions: each group is of one class."""
    of_each = [(size, code) for code, each in enumerate(sizes) for size in each]
    groups = [index for index, (size, _) in enumerate(of_each) for _ in range(size)]
    classes = np.array([code for size, code in of_each for _ in range(size)], dtype=np.int64)
    if not groups:
        return
    plan = duplicates.hold_out(hashes(groups), classes, 3, fraction, 0)
    totals = np.bincount(classes, minlength=3)
    test = np.bincount(classes[plan.is_test], minlength=3) + plan.singles
    for code, each in enumerate(sizes):
        if len(each) > 1:
            assert 0 < test[code] < totals[code]
            assert abs(test[code] - totals[code] * fraction) <= 1 + max(each)
        else:
            assert test[code] == 0


def test_what_has_no_copy_fills_each_class_to_its_share() -> None:
    groups = [*[0] * 30, *[1] * 20, *range(2, 152)]
    classes = np.array([*[0] * 30, *[1] * 20, *[0] * 70, *[1] * 80])
    plan = duplicates.hold_out(hashes(groups), classes, 2, 0.2, 0)
    test = np.bincount(classes[plan.is_test], minlength=2) + plan.singles
    assert test.tolist() == [20, 20]


def test_of_groups_alike_the_seed_chooses() -> None:
    groups = [index // 2 for index in range(200)]
    classes = np.zeros(200, dtype=np.int64)
    result = [
        duplicates.hold_out(hashes(groups), classes, 1, 0.2, seed).is_test.tobytes()
        for seed in range(5)
    ]
    assert len(set(result)) == 5
