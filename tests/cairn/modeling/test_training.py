from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cairn.compute.engine import Local
from cairn.errors import CairnError
from cairn.modeling import fitting, records, training
from cairn.modeling.out_of_fold import TrainingRows
from cairn.modeling.records import Copies, Leak, Reached, RowCounts, Search, Threshold, Trial
from cairn.params.train import Train
from tests import small
from tests.cairn.modeling.test_out_of_fold import few_rows, predict, training_rows, with_params

RECALL = {"class": "yes", "rule": "recall", "at_least": 0.9}


def choose(params: Train, rows: TrainingRows | None = None) -> Threshold | None:
    with ThreadPoolExecutor(1) as pool:
        return training.choose_threshold(rows or training_rows(), params, Local(pool))


def test_the_threshold_is_chosen_by_rows_that_were_not_seen() -> None:
    threshold = choose(with_params(threshold=RECALL))
    assert threshold
    assert threshold.label == "yes"
    assert threshold.reached
    assert threshold.reached.recall >= 0.9
    predictions = predict(folds=training.FOLDS, repeats=training.REPEATS)
    of_class = predictions.probabilities[:, training_rows().classes == 1, 1]
    assert (of_class >= threshold.value).mean() >= 0.9
    assert choose(small.LINEAR) is None


def test_many_rows_choose_it_without_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    repeated = choose(with_params(threshold=RECALL))
    monkeypatch.setattr(training, "MANY_ROWS", small.ROWS - 1)
    once = choose(with_params(threshold=RECALL))
    monkeypatch.setattr(training, "REPEATS", 1)
    monkeypatch.setattr(training, "MANY_ROWS", small.ROWS)
    assert choose(with_params(threshold=RECALL)) == once != repeated


def test_a_threshold_that_cannot_be_chosen_is_refused_and_one_that_is_given_is_used() -> None:
    with pytest.raises(CairnError, match=r"train\.threshold.*'no' does not have two.*rule: value"):
        choose(with_params(threshold=RECALL), few_rows(1))
    fixed = {"class": "no", "rule": "value", "value": 0.3}
    threshold = choose(with_params(threshold=fixed), few_rows(1))
    assert threshold
    assert (threshold.value, threshold.reached) == (0.3, None)


def fitted(name: str, **arguments: Any) -> Any:
    fit = small.fitted()
    own = {"estimator": name, "arguments": arguments}
    params = small.LINEAR.model_copy(update=own)
    return fitting.fit(fit.features, fit.classes, small.CONTRACT, params)


def test_libraries_of_lightgbm_are_named_where_it_is_used() -> None:
    assert training.libraries(fitted("sklearn.tree.DecisionTreeClassifier")) == training.LIBRARIES
    assert set(training.libraries(fitted("lightgbm.LGBMClassifier", n_estimators=2))) == {
        *training.LIBRARIES,
        "lightgbm",
        "onnxmltools",
    }


RECORD = records.Training(
    rows=RowCounts(60, 20),
    duplicates=Copies(2, 1),
    leaks=(Leak("area", 0.999),),
    notes=("a class is rare",),
    params=with_params(threshold=RECALL, arguments={"tol": float("inf"), "C": 1e-300}),
    threshold=Threshold("yes", 0.25, "recall at least 0.9", Reached(0.9, 0.8, 0.85)),
    search=Search(
        "grid", "log_loss", "SVC C=1", "sklearn.svm.SVC", {"C": 1}, (Trial("C=1", 60, 0.1, 0.2),)
    ),
)


def test_the_record_of_a_training_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    path.write_text(json.dumps(RECORD.as_json()))
    assert records.read_training(path) == RECORD


@pytest.mark.parametrize("content", ["{}", "[", '{"rows": {"train": 1}}'])
def test_a_record_of_other_code_is_refused_with_what_to_do(content: str, tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    path.write_text(content)
    with pytest.raises(
        CairnError, match=r"training\.json is not in the form that this code writes; run `dvc"
    ):
        records.read_training(path)


def test_a_missing_record_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match=r"training\.json is missing; run `dvc repro`"):
        records.read_training(tmp_path / "training.json")
