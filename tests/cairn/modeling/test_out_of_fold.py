from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cairn.compute.engine import Local
from cairn.modeling.out_of_fold import OutOfFold, Splits, TrainingRows, predict_out_of_fold
from cairn.params.train import Train
from tests import small

NEIGHBOR = {
    "estimator": "sklearn.neighbors.KNeighborsClassifier",
    "arguments": {"n_neighbors": 1},
}


def with_params(**changes: Any) -> Train:
    return Train.model_validate({**small.LINEAR.model_dump(by_alias=True), **changes})


def training_rows() -> TrainingRows:
    fitted = small.fitted()
    return TrainingRows(fitted.features, fitted.classes, small.CONTRACT)


def few_rows(rare: int) -> TrainingRows:
    """The rows of the small table with so few of one class."""
    every = training_rows()
    kept = np.sort(np.r_[np.flatnonzero(every.classes), np.flatnonzero(every.classes == 0)[:rare]])
    return every._replace(features=every.features[kept], classes=every.classes[kept])


def predict(
    params: Train = small.LINEAR,
    rows: TrainingRows | None = None,
    folds: int = 3,
    repeats: int = 1,
) -> OutOfFold:
    with ThreadPoolExecutor(1) as pool:
        return predict_out_of_fold(
            rows or training_rows(), params, Local(pool), Splits("train", folds, repeats)
        )


def test_each_row_is_predicted_once_a_repeat_by_models_that_had_not_seen_it() -> None:
    predictions = predict(folds=4, repeats=2)
    assert predictions.probabilities.shape == (2, small.ROWS, 2)
    np.testing.assert_allclose(predictions.probabilities.sum(axis=2), 1)
    assert [np.unique(folds).tolist() for folds in predictions.folds] == [[0, 1, 2, 3]] * 2
    assert (predictions.folds[0] != predictions.folds[1]).any()
    own = predict(with_params(**NEIGHBOR)).probabilities[0]
    # A model that had seen a row would know its class.
    assert (own.argmax(axis=1) != training_rows().classes).any()


def test_a_row_is_predicted_by_models_that_had_not_seen_its_copy() -> None:
    """Labels by chance: who knows a copy is right, and nobody else is."""
    every = training_rows()
    noise = np.random.default_rng(0).integers(0, 2, len(every.classes))
    twice = np.tile(np.arange(len(noise)), 2)
    copied = every._replace(features=every.features[twice], classes=noise[twice])
    predictions = predict(with_params(**NEIGHBOR), copied)
    np.testing.assert_array_equal(*predictions.folds[0].reshape(2, -1))
    assert (predictions.probabilities[0].argmax(axis=1) == copied.classes).mean() < 0.7


def test_predictions_of_a_class_leave_out_rows_that_no_fold_tests() -> None:
    probabilities = np.array([[[0.2, 0.8], [0.6, 0.4], [np.nan, np.nan]]])
    predictions = OutOfFold(probabilities, np.array([[0, 1, -1]]))
    hits, own = predictions.of_class(np.array([1, 0, 1]), 1)
    assert hits.tolist() == [True, False]
    assert own.tolist() == [0.8, 0.4]
