from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from cairn.modeling.folds import Folds, count_distinct

ROWS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2)), min_size=4, max_size=80)


def features(groups: Any) -> NDArray[np.float32]:
    """Rows that are alike where their groups are."""
    return np.column_stack([groups, np.zeros(len(groups))]).astype(np.float32)


def splits(folds: Folds, groups: Any, classes: Any) -> list[tuple[Any, Any]]:
    result = list(folds.split(features(groups), np.array(classes)))
    assert len(result) == folds.get_n_splits(features(groups), np.array(classes))
    return result


@pytest.mark.parametrize("classes", [[0, 1] * 30, [0] * 50 + [1] * 6, list(range(4)) * 10])
def test_without_copies_they_are_scikit_learn_s(classes: list[int]) -> None:
    result = splits(Folds(5, seed=3), range(len(classes)), classes)
    plain = StratifiedKFold(5, shuffle=True, random_state=3).split(classes, classes)
    for (train, test), (their_train, their_test) in zip(result, plain, strict=True):
        np.testing.assert_array_equal(train, their_train)
        np.testing.assert_array_equal(test, their_test)


def test_one_state_goes_on_as_in_scikit_learn() -> None:
    ours, theirs = np.random.RandomState(0), np.random.RandomState(0)
    classes = np.array([0, 1] * 20)
    for _ in range(2):
        result = splits(Folds(4, seed=ours), range(40), classes)
        plain = StratifiedKFold(4, shuffle=True, random_state=theirs).split(classes, classes)
        for (_, test), (_, their_test) in zip(result, plain, strict=True):
            np.testing.assert_array_equal(test, their_test)


@given(rows=ROWS, number=st.integers(2, 6), learns_all=st.booleans())
@example(rows=[(0, 0), (0, 2), (1, 0), (2, 1), (2, 2), (3, 1)], number=2, learns_all=True)
def test_copies_are_in_one_fold_and_training_has_every_class(
    rows: list[tuple[int, int]],
    number: int,
    learns_all: bool,  # noqa: FBT001
) -> None:
    groups, classes = np.array(rows).T
    counts = count_distinct(features(groups), classes)
    folds = Folds(number, seed=0, learns_all=learns_all)
    if (counts >= 2).sum() < 2:
        with pytest.raises(ValueError, match="fewer than two classes"):
            splits(folds, groups, classes)
        return
    tested = np.zeros(len(classes), dtype=int)
    for train, test in splits(folds, groups, classes):
        assert len(test)
        assert not set(groups[train]) & set(groups[test])
        assert sorted([*train, *test]) == list(range(len(classes)))
        tested[test] += 1
        if learns_all:
            assert set(classes[train]) == set(classes)
    assert set(tested) <= ({0, 1} if learns_all else {1})


def test_each_fold_has_its_share_within_the_largest_group() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 6, 120)
    groups = np.repeat(np.arange(120), sizes)
    classes = np.repeat(np.arange(120) % 3, sizes)
    for _, test in splits(Folds(5, seed=1), groups, classes):
        probabilities = np.bincount(classes[test]) - np.bincount(classes) / 5
        assert np.abs(probabilities).max() <= 5


def test_the_rarest_class_says_how_many_folds_there_are() -> None:
    """Six rows of class 1, but three that differ; one of class 2 stays among the training rows."""
    groups = [*range(20), *[20, 21, 22] * 2, 23]
    classes = [0] * 20 + [1] * 6 + [2]
    result = splits(Folds(5, seed=0), groups, classes)
    assert len(result) == 3
    for train, test in result:
        assert set(np.array(classes)[test]) == {0, 1}
        assert 2 in np.array(classes)[train]


def test_inner_folds_go_on_where_nothing_can_be_kept_aside() -> None:
    folds = Folds(5, seed=0, is_inner=True)
    ((train, test),) = splits(folds, [0, 1, 2, 3, 3], [0, 0, 0, 1, 1])
    assert train.tolist() == test.tolist() == list(range(5))


def test_the_seed_deals_copies_out() -> None:
    groups, classes = np.arange(60) // 2, np.arange(60) // 2 % 2
    first, again, other = (splits(Folds(3, seed=seed), groups, classes) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0][1], again[0][1])
    assert not np.array_equal(first[0][1], other[0][1])


def test_fewer_than_two_folds_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 folds"):
        Folds(1, seed=0)
