from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
import pytest
from scipy import stats

from cairn.compute import processes
from cairn.compute.engine import Local
from cairn.compute.processes import Run
from cairn.console import CairnError
from cairn.contract import Target
from cairn.evaluation import cross_validation, metrics
from cairn.evaluation.cross_validation import Judged, Rows, Validated
from cairn.params import Train
from tests import small

RECALL = {"class": "yes", "rule": "recall", "at_least": 0.9}


def block(train: Any = (), **knobs: Any) -> Train:
    content = small.LINEAR.model_dump(by_alias=True)
    own = {**content["cross_validation"], **knobs}
    return Train.model_validate({**content, "cross_validation": own, **dict(train)})


def rows() -> Rows:
    fitted = small.fitted()
    return Rows(fitted.features, fitted.classes, small.CONTRACT)


def judge(given: Train, threads: int = 2, run: Run = processes.here) -> Judged:
    with ThreadPoolExecutor(1) as pool, joblib.parallel_config("threading", n_jobs=threads):
        return cross_validation.judge(rows(), given, given, Local(pool), run)


def validate(given: Train, repeats: int) -> Validated:
    with ThreadPoolExecutor(1) as pool:
        return cross_validation.validate(rows(), given, Local(pool), repeats)


def test_each_row_is_asked_once_a_repeat_of_models_that_had_not_seen_it() -> None:
    found = validate(block(folds=4), 2)
    assert found.shares.shape == (2, small.ROWS, 2)
    np.testing.assert_allclose(found.shares.sum(axis=2), 1)
    assert [np.unique(folds).tolist() for folds in found.folds] == [[0, 1, 2, 3]] * 2
    assert (found.folds[0] != found.folds[1]).any()
    memory = block({"estimator": "sklearn.neighbors.KNeighborsClassifier",
                    "arguments": {"n_neighbors": 1}})  # fmt: skip
    shares = validate(memory, 1).shares[0]
    assert (shares.argmax(axis=1) != rows().classes).any()  # it knows each row that it has seen


def test_scores_are_the_mean_over_folds_with_the_corrected_interval() -> None:
    given = block(folds=4)
    found = validate(given, 2)
    truth = rows().classes
    hits = [
        (shares.argmax(axis=1) == truth)[folds == fold].mean()
        for shares, folds in zip(*found, strict=True)
        for fold in range(4)
    ]
    half = stats.t.ppf(0.975, 7) * np.sqrt(np.var(hits, ddof=1) * (1 / 8 + 1 / 3))
    scores = cross_validation.scores(found, truth, small.CONTRACT, None, 0)
    assert scores["scores"]["accuracy"] == {
        "value": pytest.approx(np.mean(hits), abs=1e-6),
        "low": pytest.approx(np.mean(hits) - half, abs=1e-6),
        "high": pytest.approx(min(1, np.mean(hits) + half), abs=1e-6),
    }
    recalls = [each["recall"]["value"] for each in scores["classes"]]
    assert np.mean(recalls) == pytest.approx(scores["scores"]["balanced_accuracy"]["value"])


@pytest.mark.parametrize(("repeats", "most_rows"), [(0, 1000), (3, small.ROWS - 1)])
def test_it_is_left_out_where_it_is_not_wanted(repeats: int, most_rows: int) -> None:
    assert judge(block(repeats=repeats, most_rows=most_rows)) == Judged(None, None)


def test_the_threshold_is_chosen_by_rows_that_were_not_seen() -> None:
    judged = judge(block({"threshold": RECALL}))
    assert judged.threshold
    assert judged.threshold["label"] == "yes"
    assert judged.threshold["reached"]["recall"] >= 0.9
    found = validate(block(), 1)
    shares = found.shares[0][rows().classes == 1, 1]
    assert (shares >= judged.threshold["value"]).mean() >= 0.9


def test_without_cross_validation_the_threshold_is_still_one_that_was_not_learned() -> None:
    judged = judge(block({"threshold": RECALL}, repeats=0))
    assert judged.cross_validation is None
    assert judged.threshold == judge(block({"threshold": RECALL}, repeats=1)).threshold
    fixed = judge(block({"threshold": {"class": "no", "rule": "value", "value": 0.3}}, repeats=0))
    assert fixed.threshold
    assert (fixed.threshold["value"], fixed.threshold["reached"]) == (0.3, None)


def test_a_fold_is_labelled_by_the_threshold_of_the_others() -> None:
    """One that it chose itself would always find all of the class."""
    given = block({"threshold": {**RECALL, "at_least": 1.0}}, repeats=3)
    found = validate(given, 3)
    truth = rows().classes
    assert given.threshold
    recalls = []
    for shares, folds in zip(*found, strict=True):
        for fold in range(3):
            lowest = shares[(folds != fold) & (truth == 1), 1].min()
            test = (folds == fold) & (truth == 1)
            recalls.append((shares[test, 1] >= lowest).mean())
    report = judge(given).cross_validation
    assert report
    assert min(recalls) < 1
    assert report["scores"]["balanced_accuracy"]["value"] < 1


def test_a_search_is_inside_and_is_said_to_be() -> None:
    over = [{"values": {"C": [1e-6, 1.0]}}]
    search = {**block().search.model_dump(), "method": "grid", "over": over}
    nested, plain = (judge(block({"search": each})) for each in (search, block().search))
    assert nested.cross_validation
    assert plain.cross_validation
    assert (nested.cross_validation["nested"], plain.cross_validation["nested"]) == (True, False)
    # 1e-6 never wins, so what it finds in each fold is the block without a search.
    assert nested.cross_validation["scores"] == plain.cross_validation["scores"]


def test_the_same_comes_out_on_any_number_of_threads_and_in_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forest = block({"estimator": "sklearn.ensemble.RandomForestClassifier",
                    "arguments": {"n_estimators": 7}})  # fmt: skip
    alone = judge(forest)
    with processes.pool() as run:
        assert judge(forest, run=run) == alone
    monkeypatch.setattr(processes, "LARGEST", 0)
    assert judge(forest, threads=1) == judge(forest, threads=3) == alone


def test_every_score_is_there_with_its_interval() -> None:
    report = judge(block(repeats=2)).cross_validation
    assert report
    assert (report["folds"], report["repeats"]) == (3, 2)
    assert set(report["scores"]) == set(metrics.SCORES)
    for each in report["scores"].values():
        assert 0 <= each["low"] <= each["value"] <= each["high"]


def few(rare: int) -> Rows:
    """The rows of the small table with so few of one class."""
    every = rows()
    kept = np.sort(np.r_[np.flatnonzero(every.classes), np.flatnonzero(every.classes == 0)[:rare]])
    return every._replace(features=every.features[kept], classes=every.classes[kept])


def judge_few(given: Train, rare: int) -> Judged:
    with ThreadPoolExecutor(1) as pool:
        return cross_validation.judge(few(rare), given, given, Local(pool))


def test_a_class_with_fewer_rows_than_folds_has_fewer_folds() -> None:
    judged = judge_few(block(folds=5), 3)
    assert judged.cross_validation
    assert judged.cross_validation["folds"] == 3
    assert judged.note == (
        "cross-validating by 3 folds, not 5: class 'no' has no more rows to train on that differ"
    )


def test_where_one_class_alone_could_be_judged_it_is_left_out_and_said() -> None:
    judged = judge_few(block(), 1)
    assert judged[:2] == (None, None)
    assert judged.note.startswith("cross-validation is left out")
    assert "class 'no' has no two rows to train on that differ" in judged.note


@pytest.mark.parametrize(
    ("train", "rare"),
    [
        ({"estimator": "sklearn.svm.LinearSVC"}, 5),
        ({"search": {**block().search.model_dump(), "method": "grid", "over": [{}], "folds": 4}},
         4),
    ],
)  # fmt: skip
def test_inner_folds_are_fewer_where_a_class_is_rare(train: dict[str, Any], rare: int) -> None:
    assert judge_few(block(train), rare).cross_validation


MEMORY = {"estimator": "sklearn.neighbors.KNeighborsClassifier", "arguments": {"n_neighbors": 1}}


def test_a_row_is_asked_of_models_that_had_not_seen_its_copy() -> None:
    """Labels by chance: who knows a copy is right, and nobody else is."""
    every = rows()
    noise = np.random.default_rng(0).integers(0, 2, len(every.classes))
    twice = np.tile(np.arange(len(noise)), 2)
    copied = every._replace(features=every.features[twice], classes=noise[twice])
    with ThreadPoolExecutor(1) as pool:
        found = cross_validation.validate(copied, block(MEMORY), Local(pool), 1)
    folds = found.folds[0].reshape(2, -1)
    np.testing.assert_array_equal(*folds)
    assert (found.shares[0].argmax(axis=1) == copied.classes).mean() < 0.7


def test_of_three_classes_one_that_is_one_row_is_learned_from_and_said() -> None:
    every = rows()
    target = Target(name="kind", classes=("no", "once", "yes"))
    classes = np.where(every.classes == 1, 2, 0)
    classes[:6] = 1
    features = every.features.copy()
    features[:6] = features[0]
    given = Rows(features, classes, small.CONTRACT.model_copy(update={"target": target}))
    with ThreadPoolExecutor(1) as pool:
        judged = cross_validation.judge(given, block(), block(), Local(pool))
    report = judged.cross_validation
    assert report
    assert [each["recall"]["value"] is None for each in report["classes"]] == [False, True, False]
    assert 0.5 < report["scores"]["roc_auc"]["value"] <= 1
    assert judged.note == (
        "cross-validation says nothing of class 'once': it has no two rows to train on that differ"
    )


def test_a_threshold_that_cannot_be_chosen_is_refused_and_one_that_is_given_is_taken() -> None:
    with pytest.raises(CairnError, match=r"train\.threshold.*'no' has no two rows.*rule: value"):
        judge_few(block({"threshold": RECALL}), 1)
    fixed = {"class": "no", "rule": "value", "value": 0.3}
    judged = judge_few(block({"threshold": fixed}), 1)
    assert judged.threshold
    assert (judged.threshold["value"], judged.threshold["reached"]) == (0.3, None)


def test_what_the_fits_inside_a_search_warn_of_is_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    over = [{"arguments": {"max_iter": 1}}]
    search = {**block().search.model_dump(), "method": "grid", "over": over}
    assert judge(block({"search": search})).cross_validation
    assert "train: the fit warns: lbfgs failed to converge" in capsys.readouterr().out


class Broken(Local):
    """An engine whose workers go away."""

    def joblib(self, *_: Any) -> Any:
        raise CairnError("dask: the workers were lost")


def test_what_is_not_for_want_of_rows_is_an_error_and_leaves_nothing_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "LARGEST", 0)
    with ThreadPoolExecutor(1) as pool, pytest.raises(CairnError, match=r"^dask: the workers"):
        cross_validation.judge(rows(), block(), block(), Broken(pool))
