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
from cairn.contract import Target
from cairn.errors import CairnError
from cairn.evaluation import cross_validation, metrics
from cairn.evaluation.cross_validation import Result
from cairn.evaluation.records import CrossValidation, Interval
from cairn.modeling.out_of_fold import TrainingRows
from cairn.params.evaluate import CrossValidation as Settings
from cairn.params.train import Train
from tests import small
from tests.cairn.modeling.test_out_of_fold import few_rows, predict, training_rows, with_params

RECALL = {"class": "yes", "rule": "recall", "at_least": 0.9}
GIVEN = {"class": "no", "rule": "value", "value": 0.3}


def settings(**changes: int) -> Settings:
    return Settings.model_validate({**small.PARAMS["evaluate"]["cross_validation"], **changes})


def validate(
    params: Train = small.LINEAR,
    rows: TrainingRows | None = None,
    threads: int = 2,
    run: Run = processes.here,
    **changes: int,
) -> Result:
    with ThreadPoolExecutor(1) as pool, joblib.parallel_config("threading", n_jobs=threads):
        return cross_validation.cross_validate(
            rows or training_rows(), params, settings(**changes), Local(pool), run
        )


def record(*arguments: Any, **changes: Any) -> CrossValidation:
    result = validate(*arguments, **changes).record
    assert result
    return result


def test_scores_are_the_mean_over_folds_with_the_corrected_interval() -> None:
    predictions = predict(folds=4, repeats=2)
    truth = training_rows().classes
    hits = [
        (probabilities.argmax(axis=1) == truth)[folds == fold].mean()
        for probabilities, folds in zip(*predictions, strict=True)
        for fold in range(4)
    ]
    half = stats.t.ppf(0.975, 7) * np.sqrt(np.var(hits, ddof=1) * (1 / 8 + 1 / 3))
    scores = cross_validation.score_folds(predictions, truth, small.CONTRACT, small.LINEAR)
    mean = float(np.mean(hits))
    ends = [mean, mean - half, min(1, mean + half)]
    assert scores.scores["accuracy"] == Interval(*(round(float(end), 6) for end in ends))
    recalls = [each.scores["recall"].value or 0 for each in scores.classes]
    assert np.mean(recalls) == pytest.approx(scores.scores["balanced_accuracy"].value)


@pytest.mark.parametrize(("repeats", "most_rows"), [(0, 1000), (3, small.ROWS - 1)])
def test_it_is_skipped_where_it_is_not_wanted(repeats: int, most_rows: int) -> None:
    assert validate(repeats=repeats, most_rows=most_rows) == Result(None)


def test_a_fold_is_labelled_by_the_threshold_of_the_others() -> None:
    """One that it chose itself would always find all of the class."""
    params = with_params(threshold={**RECALL, "at_least": 1.0})
    predictions = predict(repeats=3)
    truth = training_rows().classes
    recalls = []
    for probabilities, folds in zip(*predictions, strict=True):
        for fold in range(3):
            lowest = probabilities[(folds != fold) & (truth == 1), 1].min()
            test = (folds == fold) & (truth == 1)
            recalls.append((probabilities[test, 1] >= lowest).mean())
    assert min(recalls) < 1
    assert (record(params, repeats=3).scores["balanced_accuracy"].value or 0) < 1


def test_a_threshold_that_is_given_is_measured() -> None:
    result = validate(with_params(threshold=GIVEN))
    assert result.reached
    assert 0 < result.reached.recall <= 1
    assert validate(with_params(threshold=RECALL)).reached is None
    assert validate(with_params(threshold=GIVEN), repeats=0).reached is None


def test_a_search_is_inside_and_recorded() -> None:
    over = [{"values": {"C": [1e-6, 1.0]}}]
    search = {**small.LINEAR.search.model_dump(), "method": "grid", "over": over}
    nested, plain = record(with_params(search=search)), record()
    assert (nested.nested, plain.nested) == (True, False)
    # 1e-6 never wins, so what it finds in each fold are the params without a search.
    assert nested.scores == plain.scores


def test_the_same_comes_out_on_any_number_of_threads_and_in_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forest = with_params(
        estimator="sklearn.ensemble.RandomForestClassifier", arguments={"n_estimators": 7}
    )
    expected = validate(forest)
    with processes.pool() as run:
        assert validate(forest, run=run) == expected
    monkeypatch.setattr(processes, "LARGEST", 0)
    assert validate(forest, threads=1) == validate(forest, threads=3) == expected


def test_every_score_is_there_with_its_interval() -> None:
    result = record(repeats=2)
    assert (result.folds, result.repeats) == (3, 2)
    assert set(result.scores) == set(metrics.SCORES)
    for score in result.scores.values():
        assert score.ends
        assert score.value is not None
        assert 0 <= score.ends[0] <= score.value <= score.ends[1]


def test_a_class_with_fewer_rows_than_folds_has_fewer_folds() -> None:
    result = validate(rows=few_rows(3), folds=5)
    assert result.record
    assert result.record.folds == 3
    assert result.note == (
        "cross-validation uses 3 folds, not 5: class 'no' has only 3 training rows that differ"
    )


def test_rows_that_are_too_few_skip_it_with_a_note() -> None:
    result = validate(rows=few_rows(1))
    assert result.record is None
    assert result.note.startswith("cross-validation was skipped")
    assert "class 'no' does not have two training rows that differ" in result.note


@pytest.mark.parametrize(
    ("changes", "rare"),
    [
        ({"estimator": "sklearn.svm.LinearSVC"}, 5),
        (
            {
                "search": {
                    **small.LINEAR.search.model_dump(), "method": "grid", "over": [{}], "folds": 4,
                }
            },
            4,
        ),
    ],
)  # fmt: skip
def test_inner_folds_are_fewer_where_a_class_is_rare(changes: dict[str, Any], rare: int) -> None:
    assert validate(with_params(**changes), few_rows(rare)).record


def test_a_class_of_one_row_is_learned_from_and_not_scored() -> None:
    every = training_rows()
    target = Target(name="kind", classes=("no", "once", "yes"))
    classes = np.where(every.classes == 1, 2, 0)
    classes[:6] = 1
    features = every.features.copy()
    features[:6] = features[0]
    contract = small.CONTRACT.model_copy(update={"target": target})
    result = validate(rows=TrainingRows(features, classes, contract))
    assert result.record
    undefined = [each.scores["recall"].value is None for each in result.record.classes]
    assert undefined == [False, True, False]
    assert 0.5 < (result.record.scores["roc_auc"].value or 0) <= 1
    assert result.note == (
        "cross-validation skips class 'once': it does not have two training rows that differ"
    )


def test_warnings_of_the_fits_inside_a_search_are_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    over = [{"arguments": {"max_iter": 1}}]
    search = {**small.LINEAR.search.model_dump(), "method": "grid", "over": over}
    assert validate(with_params(search=search)).record
    assert "train: the fit warns: lbfgs failed to converge" in capsys.readouterr().out


class Broken(Local):
    """An engine whose workers go away."""

    def joblib(self, *_: Any) -> Any:
        raise CairnError("dask: the workers were lost")


def test_an_error_that_is_not_for_want_of_rows_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LARGEST", 0)
    with ThreadPoolExecutor(1) as pool, pytest.raises(CairnError, match=r"^dask: the workers"):
        cross_validation.cross_validate(training_rows(), small.LINEAR, settings(), Broken(pool))
