from __future__ import annotations

import pickle
from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from cairn.modeling import alignment, estimators
from cairn.modeling.early_stopping import hold_out
from cairn.params.train import Train
from tests import small

TREES = 500


def rows(classes: int = 2) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows whose classes are uncertain."""
    random = np.random.default_rng(0)
    features = random.normal(size=(600, 5)).astype(np.float32)
    noisy = features[:, 0] + random.normal(size=600)
    return features, np.digitize(noisy, [0, 1][: classes - 1]).astype(np.int64)


def train_params(**changes: Any) -> Train:
    own = {"estimator": "lightgbm.LGBMClassifier", "early_stopping": 5, "seed": 3}
    arguments = {"n_estimators": TREES, **changes}
    return small.LINEAR.model_copy(update={**own, "arguments": arguments})


def build(**changes: Any) -> Any:
    return estimators.build_estimator(train_params(**changes), small.CONTRACT)


@pytest.mark.parametrize("weight", [None, "balanced", {"no": 1, "yes": 5}])
@pytest.mark.parametrize("classes", [2, 3])
def test_it_ends_where_rows_kept_aside_gain_nothing(classes: int, weight: Any) -> None:
    if classes == 3 and isinstance(weight, dict):
        weight = None
    features, truth = rows(classes)
    model = build(class_weight=weight).fit(features, truth)
    assert 1 <= model.best_iteration_ < TREES / 2
    assert model.best_iteration_ + 5 == len(model.evals_result_["valid_0"]["loss"])


def test_the_fitted_model_is_lightgbm_s_own_and_ends_at_the_best_tree() -> None:
    features, truth = rows()
    model = build().fit(features, truth)
    exact = alignment.align(model)
    assert type(exact) is lightgbm.LGBMClassifier
    assert exact.booster_.num_trees() == model.best_iteration_
    expected = model.predict_proba(features)
    np.testing.assert_array_equal(exact.predict_proba(features), expected)
    again = pickle.loads(pickle.dumps(exact))  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(features), expected)


def test_the_bits_depend_on_no_count_of_threads() -> None:
    features, truth = rows()
    result = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads, user_api="openmp"):
            result.append(build().fit(features, truth).booster_.model_to_string())
    assert len(set(result)) == 1


def test_the_rows_kept_aside_follow_the_seed_and_a_copy_keeps_them() -> None:
    features, truth = rows()
    losses = [
        clone(build(random_state=seed)).fit(features, truth).best_score_["valid_0"]["loss"]
        for seed in (3, 3, 4)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("name", ["early_stopping_round", "early_stopping_rounds"])
def test_the_user_s_own_number_of_steps_wins(name: str) -> None:
    features, truth = rows()
    model = build(**{name: 2}).fit(features, truth)
    assert model.best_iteration_ + 2 == len(model.evals_result_["valid_0"]["loss"])


def test_the_user_s_own_metric_decides() -> None:
    features, truth = rows()
    model = build(metric="auc").fit(features, truth)
    best = int(np.argmax(model.evals_result_["valid_0"]["auc"])) + 1
    assert model.best_iteration_ == best


def test_the_user_s_arguments_alone_are_enough() -> None:
    value = train_params(early_stopping_round=2).model_copy(update={"early_stopping": None})
    model = estimators.build_estimator(value, small.CONTRACT).fit(*rows())
    assert model.best_iteration_ < TREES


def test_a_row_and_its_copies_are_kept_aside_together() -> None:
    features, truth = rows()
    twice = np.tile(np.arange(len(truth)), 2)
    kept, aside = hold_out(features[twice], truth[twice], 3)
    assert sorted([*kept, *aside]) == list(range(1200))
    assert 110 <= len(aside) <= 130
    assert not set(twice[kept]) & set(twice[aside])


def test_without_copies_the_rows_kept_aside_are_scikit_learn_s() -> None:
    features, truth = rows()
    _, aside = hold_out(features, truth, 3)
    _, theirs = train_test_split(np.arange(600), test_size=0.1, stratify=truth, random_state=3)
    np.testing.assert_array_equal(aside, theirs)


@pytest.mark.parametrize("classes", [[0, 0, 0, 1], [0] * 30 + [1], [0, 1, 2] * 2])
def test_few_rows_are_fitted_all_the_same(classes: list[int]) -> None:
    features = np.random.default_rng(0).normal(size=(len(classes), 3)).astype(np.float32)
    kept, aside = hold_out(features, np.array(classes), 3)
    assert len(aside)
    assert set(np.array(classes)[kept]) == set(classes)
    model = build(min_child_samples=1).fit(features, np.array(classes))
    assert model.classes_.tolist() == sorted(set(classes))


def test_where_no_row_can_be_kept_aside_all_of_them_judge() -> None:
    features = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)
    kept, aside = hold_out(features, np.repeat([0, 1], 4), 3)
    assert kept.tolist() == aside.tolist() == list(range(8))
