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
from cairn.console import CairnError
from cairn.modeling import search
from cairn.modeling.search import Found
from cairn.params.train import Train
from tests import small

TREE = "sklearn.tree.DecisionTreeClassifier"
LINEAR = "sklearn.linear_model.LogisticRegression"
WRAPPER = "sklearn.calibration.CalibratedClassifierCV"


def block(*over: dict[str, Any], method: str = "grid", train: Any = (), **search: Any) -> Train:
    """A train block that searches among these."""
    content = small.LINEAR.model_dump(by_alias=True)
    asked = {**content["search"], "method": method, "over": list(over), **search}
    return Train.model_validate({**content, "search": asked, **dict(train)})


def best(given: Train) -> Found:
    fitted = small.fitted()
    with ThreadPoolExecutor(1) as pool:
        here = Local(pool)
        return search.best(fitted.features, fitted.classes, small.CONTRACT, given, here)


def names(given: Train) -> list[str]:
    return [each.name for each in search.candidates(given)]


def test_without_a_search_the_block_stays() -> None:
    given = block(method="none")
    assert best(given) == Found(given, None)


def test_a_grid_keeps_the_block_that_loses_least() -> None:
    values = {"C": [1e-6, 1.0], "class_weight": [None, {"yes": 1000}]}
    found = best(block({"values": values}))
    report = found.report
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
    assert report["changes"] == found.block.arguments == {"C": 1.0, "class_weight": None}
    assert found.block.search.method == "none"
    shares = np.bincount(small.fitted().classes) / small.ROWS
    prior = -(shares * np.log(shares)).sum()  # all that is left to say
    assert losses[0] == pytest.approx(prior, abs=0.02)
    assert json.loads(json.dumps(report)) == report
    assert best(block({"values": values})) == found


def test_several_estimators_and_what_stands_before_them_are_in_one_search() -> None:
    found = best(
        block(
            {"estimator": TREE, "arguments": {"max_depth": 1}},
            {"estimator": LINEAR, "values": {"C": [1.0], "scale": [True, False]}},
            metric="accuracy",
        )
    )
    assert found.report
    tried = {each["candidate"]: each["value"] for each in found.report["tried"]}
    assert list(tried) == [
        "DecisionTreeClassifier",
        "LogisticRegression C=1.0, scale=True",
        "LogisticRegression C=1.0, scale=False",
    ]
    assert found.report["best"] == max(tried, key=lambda name: tried[name])
    assert found.block.estimator == LINEAR
    assert found.block.arguments == {"C": 1.0}
    assert found.block.scale is found.report["changes"]["scale"]


def test_the_arguments_of_the_entry_and_of_the_block_stay() -> None:
    (of_block,) = search.candidates(
        block({"values": {"C": [3.0]}}, train={"arguments": {"tol": 0.01}})
    )
    assert of_block.block.arguments == {"tol": 0.01, "C": 3.0}
    (of_entry,) = search.candidates(
        block(
            {"estimator": TREE, "arguments": {"min_samples_leaf": 2}, "values": {"max_depth": [3]}},
            train={"arguments": {"tol": 0.01}},
        )
    )
    assert of_entry.block.arguments == {"min_samples_leaf": 2, "max_depth": 3}


def test_a_search_reaches_into_an_estimator_inside_and_may_put_another_there() -> None:
    inner = {"class": TREE, "max_depth": 1}
    space = {"estimator": WRAPPER, "arguments": {"estimator": inner}}
    (deep,) = search.candidates(block({**space, "values": {"estimator__max_depth": [2]}}))
    assert deep.block.arguments["estimator"] == {"class": TREE, "max_depth": 2}
    other = {"class": "sklearn.naive_bayes.GaussianNB"}
    (changed,) = search.candidates(block({**space, "values": {"estimator": [other]}}))
    assert changed.block.arguments["estimator"] == other
    voters = [["a", {"class": LINEAR}], ["b", {"class": TREE}]]
    vote = {
        "estimator": "sklearn.ensemble.VotingClassifier",
        "arguments": {"estimators": voters},
        "values": {"b__max_depth": [2]},
    }
    found = best(block(vote))
    assert found.block.arguments["estimators"] == [
        ["a", {"class": LINEAR}],
        ["b", {"class": TREE, "max_depth": 2}],
    ]
    assert voters[1] == ["b", {"class": TREE}]


@pytest.mark.parametrize("method", ["random", "halving"])
def test_draws_are_shared_among_the_estimators_and_come_again(method: str) -> None:
    drawn = {"low": 0.01, "high": 10, "log": True}
    given = block(
        {"values": {"C": drawn}},
        {"estimator": TREE, "values": {"max_depth": [1, 2]}},
        {"estimator": TREE, "values": {"min_samples_leaf": {"low": 1, "high": 9, "whole": True}}},
        method=method,
        candidates=8,
    )
    found = search.candidates(given)
    assert len(found) == len(set(names(given))) == 8
    assert names(given) == names(given)
    assert sum("max_depth" in name for name in names(given)) == 2  # there are no more
    values = [each.changes["C"] for each in found if "C" in each.changes]
    assert len(values) == 3
    assert all(0.01 <= value <= 10 and value == float(f"{value:.6g}") for value in values)
    leaves = [each.changes.get("min_samples_leaf", 1) for each in found]
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
    given = block(space, method="random", candidates=5, train={"seed": seed})
    drawn = [each.changes["max_depth"] for each in search.candidates(given)]
    assert all(type(depth) is int and ends[0] <= depth <= ends[1] for depth in drawn)


@pytest.mark.parametrize("method", ["grid", "random"])
def test_what_is_named_or_drawn_twice_is_tried_once(method: str) -> None:
    twice = {"values": {"C": [1.0, 1.0, 2.0]}}
    assert len(names(block(twice, twice, method=method, candidates=9))) == 2
    few = {"values": {"max_iter": {"low": 50, "high": 51, "whole": True}}}
    assert len(names(block(few, method="random", candidates=9))) == 2


def test_halving_goes_on_with_the_better_third_on_more_rows() -> None:
    given = block(
        {"values": {"C": [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0]}},
        method="halving",
        candidates=9,
    )
    report = best(given).report
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
    report = best(block({"values": {"C": [1e-9, 1.0]}}, metric=metric)).report
    assert report
    assert report["changes"] == {"C": 1.0}
    assert all(each["value"] >= 0 for each in report["tried"])


@pytest.mark.parametrize(
    ("space", "says"),
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
        ({"values": {"random_state": [None]}}, "null gives another model each time"),
    ],
)
def test_a_search_that_cannot_be_says_why(space: dict[str, Any], says: str) -> None:
    with pytest.raises(CairnError, match=says) as error:
        best(block(space))
    assert len(str(error.value).splitlines()) == 1


def of_rows(given: Train, rows: list[int]) -> Found:
    """The best on some rows of the small table, in an order."""
    made = small.fitted()
    with ThreadPoolExecutor(1) as pool, joblib.parallel_config("threading", n_jobs=2):
        return search.best(
            made.features[rows], made.classes[rows], small.CONTRACT, given, Local(pool)
        )


def places(code: int) -> list[int]:
    return np.flatnonzero(small.fitted().classes == code).tolist()


@pytest.mark.parametrize("method", ["grid", "halving"])
def test_a_class_with_fewer_rows_than_folds_has_fewer_folds(method: str) -> None:
    given = block({"values": {"C": [0.01, 0.1, 1.0]}}, method=method, folds=5)
    found = of_rows(given, [*places(0), *places(1)[:3]])
    assert found.report
    assert found.note.startswith("train.search used 3 folds, not 5")


def test_copies_are_in_one_fold() -> None:
    """A neighbour knows each row by its copy, and none without."""
    over = {"estimator": "sklearn.neighbors.KNeighborsClassifier", "values": {"n_neighbors": [1]}}
    made = small.fitted()
    noise = np.random.default_rng(0).integers(0, 2, len(made.classes))
    twice = np.tile(np.arange(len(made.classes)), 2)
    with ThreadPoolExecutor(1) as pool, joblib.parallel_config("threading", n_jobs=2):
        found = search.best(
            made.features[twice], noise[twice], small.CONTRACT, block(over, metric="accuracy"),
            Local(pool),
        )  # fmt: skip
    assert found.report
    assert found.report["tried"][0]["value"] < 0.75


def test_a_search_that_two_classes_cannot_judge_is_left_out() -> None:
    found = of_rows(block({"values": {"C": [0.1, 1.0]}}), [*places(0), *places(1)[:1] * 5])
    assert found.report is None
    assert found.block.search.method == "none"
    assert "train.search is left out" in found.note


def test_how_far_it_is_and_the_best_so_far_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cairn.console.Bar.__init__.__defaults__", (0.01,))
    best(block({"values": {"C": [1e-6, 1.0, *[1e-5] * 8, *np.logspace(-4, -3, 9).tolist()]}}))
    said = capsys.readouterr().out
    assert re.search(
        r"^train: searching: \d+ of 12 candidates, \d+ s; best log_loss 0\.\d{4}: Log.* C=1\.0$",
        said,
        re.MULTILINE,
    )
