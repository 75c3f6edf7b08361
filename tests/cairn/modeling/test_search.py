from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.compute.engine import Local
from cairn.errors import CairnError
from cairn.modeling import candidates, search
from cairn.modeling.search import SearchResult
from cairn.params.train import Train
from tests import small

TREE = "sklearn.tree.DecisionTreeClassifier"
LINEAR = "sklearn.linear_model.LogisticRegression"
WRAPPER = "sklearn.calibration.CalibratedClassifierCV"


def train_params(
    *over: dict[str, Any], method: str = "grid", train: Any = (), **search: Any
) -> Train:
    """Build params that search among these."""
    content = small.LINEAR.model_dump(by_alias=True)
    space = {**content["search"], "method": method, "over": list(over), **search}
    return Train.model_validate({**content, "search": space, **dict(train)})


def best(params: Train) -> SearchResult:
    fitted = small.fitted()
    with ThreadPoolExecutor(1) as pool:
        here = Local(pool)
        return search.choose(fitted.features, fitted.classes, small.CONTRACT, params, here)


def names(params: Train) -> list[str]:
    return [each.name for each in candidates.list_candidates(params)]


def test_without_a_search_the_block_stays() -> None:
    params = train_params(method="none")
    assert best(params) == SearchResult(params, None)


def test_a_grid_keeps_the_block_that_loses_least() -> None:
    values = {"C": [1e-6, 1.0], "class_weight": [None, {"yes": 1000}]}
    result = best(train_params({"values": values}))
    report = result.report
    assert report
    assert [each["candidate"] for each in report["tried"]] == [
        "LogisticRegression C=1e-06, class_weight=None",
        "LogisticRegression C=1e-06, class_weight={'yes': 1000}",
        "LogisticRegression C=1.0, class_weight=None",
        "LogisticRegression C=1.0, class_weight={'yes': 1000}",
    ]
    losses = [each["value"] for each in report["tried"]]
    assert losses[2] == min(losses)
    assert report["best"] == report["tried"][2]["candidate"]
    assert report["changes"] == result.params.arguments == {"C": 1.0, "class_weight": None}
    assert result.params.search.method == "none"
    probabilities = np.bincount(small.fitted().classes) / small.ROWS
    prior = -(probabilities * np.log(probabilities)).sum()  # all that is left to say
    assert losses[0] == pytest.approx(prior, abs=0.02)
    assert json.loads(json.dumps(report)) == report
    assert best(train_params({"values": values})) == result


def test_several_estimators_and_what_stands_before_them_are_in_one_search() -> None:
    result = best(
        train_params(
            {"estimator": TREE, "arguments": {"max_depth": 1}},
            {"estimator": LINEAR, "values": {"C": [1.0], "scale": [True, False]}},
            metric="accuracy",
        )
    )
    assert result.report
    tried = {each["candidate"]: each["value"] for each in result.report["tried"]}
    assert list(tried) == [
        "DecisionTreeClassifier",
        "LogisticRegression C=1.0, scale=True",
        "LogisticRegression C=1.0, scale=False",
    ]
    assert result.report["best"] == max(tried, key=lambda name: tried[name])
    assert result.params.estimator == LINEAR
    assert result.params.arguments == {"C": 1.0}
    assert result.params.scale is result.report["changes"]["scale"]


def test_the_arguments_of_the_entry_and_of_the_block_stay() -> None:
    (of_block,) = candidates.list_candidates(
        train_params({"values": {"C": [3.0]}}, train={"arguments": {"tol": 0.01}})
    )
    assert of_block.params.arguments == {"tol": 0.01, "C": 3.0}
    (of_entry,) = candidates.list_candidates(
        train_params(
            {"estimator": TREE, "arguments": {"min_samples_leaf": 2}, "values": {"max_depth": [3]}},
            train={"arguments": {"tol": 0.01}},
        )
    )
    assert of_entry.params.arguments == {"min_samples_leaf": 2, "max_depth": 3}


def test_a_search_reaches_into_an_estimator_inside_and_may_put_another_there() -> None:
    inner = {"class": TREE, "max_depth": 1}
    space = {"estimator": WRAPPER, "arguments": {"estimator": inner}}
    (deep,) = candidates.list_candidates(
        train_params({**space, "values": {"estimator__max_depth": [2]}})
    )
    assert deep.params.arguments["estimator"] == {"class": TREE, "max_depth": 2}
    other = {"class": "sklearn.naive_bayes.GaussianNB"}
    (changed,) = candidates.list_candidates(
        train_params({**space, "values": {"estimator": [other]}})
    )
    assert changed.params.arguments["estimator"] == other
    voters = [["a", {"class": LINEAR}], ["b", {"class": TREE}]]
    vote = {
        "estimator": "sklearn.ensemble.VotingClassifier",
        "arguments": {"estimators": voters},
        "values": {"b__max_depth": [2]},
    }
    result = best(train_params(vote))
    assert result.params.arguments["estimators"] == [
        ["a", {"class": LINEAR}],
        ["b", {"class": TREE, "max_depth": 2}],
    ]
    assert voters[1] == ["b", {"class": TREE}]


@pytest.mark.parametrize("method", ["random", "halving"])
def test_draws_are_shared_among_the_estimators_and_come_again(method: str) -> None:
    drawn = {"low": 0.01, "high": 10, "log": True}
    params = train_params(
        {"values": {"C": drawn}},
        {"estimator": TREE, "values": {"max_depth": [1, 2]}},
        {"estimator": TREE, "values": {"min_samples_leaf": {"low": 1, "high": 9, "whole": True}}},
        method=method,
        candidates=8,
    )
    result = candidates.list_candidates(params)
    assert len(result) == len(set(names(params))) == 8
    assert names(params) == names(params)
    assert sum("max_depth" in name for name in names(params)) == 2  # there are no more
    values = [each.changes["C"] for each in result if "C" in each.changes]
    assert len(values) == 3
    assert all(0.01 <= value <= 10 and value == float(f"{value:.6g}") for value in values)
    leaves = [each.changes.get("min_samples_leaf", 1) for each in result]
    assert all(isinstance(leaf, int) and 1 <= leaf <= 9 for leaf in leaves)


@given(
    ends=st.tuples(st.integers(1, 50), st.integers(1, 50)).filter(lambda two: two[0] < two[1]),
    log=st.booleans(),
    seed=st.integers(0, 99),
)
def test_draws_of_whole_numbers_stay_in_their_range(
    ends: tuple[int, int], seed: int, *, log: bool
) -> None:
    values = {"low": ends[0], "high": ends[1], "log": log, "whole": True}
    space = {"estimator": TREE, "values": {"max_depth": values}}
    params = train_params(space, method="random", candidates=5, train={"seed": seed})
    drawn = [each.changes["max_depth"] for each in candidates.list_candidates(params)]
    assert all(type(depth) is int and ends[0] <= depth <= ends[1] for depth in drawn)


@pytest.mark.parametrize("method", ["grid", "random"])
def test_what_is_named_or_drawn_twice_is_tried_once(method: str) -> None:
    twice = {"values": {"C": [1.0, 1.0, 2.0]}}
    assert len(names(train_params(twice, twice, method=method, candidates=9))) == 2
    few = {"values": {"max_iter": {"low": 50, "high": 51, "whole": True}}}
    assert len(names(train_params(few, method="random", candidates=9))) == 2


def test_halving_goes_on_with_the_better_third_on_more_rows() -> None:
    params = train_params(
        {"values": {"C": [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0]}},
        method="halving",
        candidates=9,
    )
    report = best(params).report
    assert report
    rungs = [each["rows"] for each in report["tried"]]
    assert rungs == sorted(rungs)
    assert [rungs.count(rows) for rows in dict.fromkeys(rungs)] == [9, 3, 1]
    assert rungs[-1] == small.ROWS
    first = sorted((each for each in report["tried"][:9]), key=lambda each: each["value"])[:3]
    assert {each["candidate"] for each in first} == {
        each["candidate"] for each in report["tried"][9:12]
    }
    assert report["best"] == report["tried"][-1]["candidate"]


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "brier", "balanced_accuracy"])
def test_a_score_is_to_be_large_and_a_loss_small(metric: str) -> None:
    report = best(train_params({"values": {"C": [1e-9, 1.0]}}, metric=metric)).report
    assert report
    assert report["changes"] == {"C": 1.0}
    assert all(each["value"] >= 0 for each in report["tried"])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"estimator": TREE, "values": {"depth": [1]}},
            r"train\.search: DecisionTreeClassifier depth=1: .*takes no depth; it takes .*max_dep",
        ),
        (
            {"estimator": TREE, "values": {"max_depth": ["2"]}},
            r"train\.search: DecisionTreeClassifier max_depth=2 cannot be fitted: .*'max_depth'",
        ),
        (
            {"estimator": TREE, "values": {"class_weight": [{"x": 1}]}},
            r"class_weight.*no class 'x'",
        ),
        (
            {"values": {"scale": ["much"]}},
            r"train\.search\.over\.0\.values: scale: got 'much'; allowed: true, false",
        ),
        (
            {"values": {"estimator__C": [1]}},
            r"train\.search\.over\.0\.values\.estimator__C: no estimator estimator in the argum",
        ),
        (
            {"arguments": {"estimators": None}, "values": {"a__C": [1]}},
            r"values\.a__C: no estimator a in the arguments",
        ),
        (
            {"arguments": {"estimators": [["a", "b"]]}, "values": {"a__C": [1]}},
            r"values\.a__C: no estimator a in the arguments",
        ),
        ({"values": {"random_state": [None]}}, "null trains a different model each time"),
    ],
)
def test_a_search_that_cannot_be_says_why(space: dict[str, Any], message: str) -> None:
    with pytest.raises(CairnError, match=message) as error:
        best(train_params(space))
    assert len(str(error.value).splitlines()) == 1


def of_rows(params: Train, rows: list[int]) -> SearchResult:
    """Search on some rows of the small table, in an order."""
    fitted = small.fitted()
    with ThreadPoolExecutor(1) as pool, joblib.parallel_config("threading", n_jobs=2):
        return search.choose(
            fitted.features[rows], fitted.classes[rows], small.CONTRACT, params, Local(pool)
        )


def indices(code: int) -> list[int]:
    return np.flatnonzero(small.fitted().classes == code).tolist()


@pytest.mark.parametrize("method", ["grid", "halving"])
def test_a_class_with_fewer_rows_than_folds_has_fewer_folds(method: str) -> None:
    params = train_params({"values": {"C": [0.01, 0.1, 1.0]}}, method=method, folds=5)
    result = of_rows(params, [*indices(0), *indices(1)[:3]])
    assert result.report
    assert result.note.startswith("train.search used 3 folds, not 5")


def test_copies_are_in_one_fold() -> None:
    """A neighbour knows each row by its copy, and none without."""
    over = {"estimator": "sklearn.neighbors.KNeighborsClassifier", "values": {"n_neighbors": [1]}}
    fitted = small.fitted()
    noise = np.random.default_rng(0).integers(0, 2, len(fitted.classes))
    twice = np.tile(np.arange(len(fitted.classes)), 2)
    with ThreadPoolExecutor(1) as pool, joblib.parallel_config("threading", n_jobs=2):
        result = search.choose(
            fitted.features[twice],
            noise[twice],
            small.CONTRACT,
            train_params(over, metric="accuracy"),
            Local(pool),
        )
    assert result.report
    assert result.report["tried"][0]["value"] < 0.75


def test_a_search_that_two_classes_cannot_judge_is_left_out() -> None:
    result = of_rows(
        train_params({"values": {"C": [0.1, 1.0]}}), [*indices(0), *indices(1)[:1] * 5]
    )
    assert result.report is None
    assert result.params.search.method == "none"
    assert "train.search has no effect" in result.note


def test_how_far_it_is_and_the_best_so_far_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cairn.console.Bar.__init__.__defaults__", (0.01,))
    best(
        train_params({"values": {"C": [1e-6, 1.0, *[1e-5] * 8, *np.logspace(-4, -3, 9).tolist()]}})
    )
    predictions = capsys.readouterr().out
    assert re.search(
        r"^train: searching: \d+ of 12 candidates, \d+ s; best log_loss 0\.\d{4}: Log.* C=1\.0$",
        predictions,
        re.MULTILINE,
    )
