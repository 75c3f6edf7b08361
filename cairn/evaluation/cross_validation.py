"""Measure how much the scores vary: train again and again on other training rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn.compute.engine import Engine
from cairn.compute.processes import Run, here
from cairn.contract import Contract
from cairn.errors import Unfit
from cairn.evaluation import metrics, slices, threshold
from cairn.evaluation.intervals import average_folds
from cairn.evaluation.metric_table import BINARY, OVERALL, PER_CLASS
from cairn.evaluation.metrics import ScoredRows
from cairn.evaluation.records import ClassScores, CrossValidation
from cairn.inference import Predictions
from cairn.modeling.out_of_fold import (
    Codes,
    OutOfFold,
    Probabilities,
    Splits,
    TrainingRows,
    count_folds,
    predict_out_of_fold,
)
from cairn.modeling.records import Reached
from cairn.params.evaluate import CrossValidation as Settings
from cairn.params.train import FixedValue, Threshold, Train

STAGE = "evaluate"


class Result(NamedTuple):
    """What came of a cross-validation.

    Attributes
    ----------
    record
        What evaluation.json holds of it; None: it was not wanted, or not possible.
    note
        What it left out; empty: nothing.
    reached
        What a threshold that params.yaml gives reaches; None: it gives none.
    """

    record: CrossValidation | None
    note: str = ""
    reached: Reached | None = None


def is_wanted(settings: Settings, rows: int) -> bool:
    """Tell whether params.yaml asks for it, with so many training rows."""
    return settings.repeats > 0 and rows <= settings.most_rows


def cross_validate(
    rows: TrainingRows, params: Train, settings: Settings, engine: Engine, run: Run = here
) -> Result:
    """Train on all folds but one and score that one, for each in turn, a search included.

    Where the rows are too few there is a note and no record: all of them suffice for a model, and
    that is what is wanted.
    """
    if not is_wanted(settings, len(rows.classes)):
        return Result(None)
    splits = Splits(STAGE, settings.folds, settings.repeats)
    try:
        note = count_folds(rows, settings.folds).note
        predictions = predict_out_of_fold(rows, params, engine, splits, run)
    except Unfit as error:
        return Result(
            None, f"cross-validation was skipped, because it trains on fewer rows: {error}"
        )
    record = score_folds(predictions, rows.classes, rows.contract, params)
    return Result(record, note, _measure_given(predictions, rows, params.threshold))


def _measure_given(
    predictions: OutOfFold, rows: TrainingRows, rule: Threshold | None
) -> Reached | None:
    """Measure a threshold that was given; of one that was chosen, the training knows it."""
    if not isinstance(rule, FixedValue):
        return None
    code = threshold.class_code(rule, rows.contract)
    return threshold.measure(rule.value, *predictions.of_class(rows.classes, code))


def score_folds(
    predictions: OutOfFold, truth: Codes, contract: Contract, params: Train
) -> CrossValidation:
    """Score each fold, and average them with their intervals, of all classes and of each.

    Where params.yaml has a threshold's rule, the labels of each fold follow the threshold that the
    other folds choose.
    """
    rule = params.threshold
    code = threshold.class_code(rule, contract) if rule else 0
    folds = [
        _decide(probabilities[known], truth[known], of[known] == fold, rule, code)
        for probabilities, of in zip(*predictions, strict=True)
        for known in [of >= 0]
        for fold in range(of.max() + 1)
    ]
    classes, number = len(contract.target.classes), int(predictions.folds.max()) + 1
    values = np.array([metrics.measure(fold, classes) for fold in folds])
    by_class = np.array([slices.measure_classes(fold, classes) for fold in folds])
    return CrossValidation(
        folds=number,
        repeats=len(predictions.folds),
        nested=params.search.method != "none",
        scores=average_folds(OVERALL, values, number, classes),
        classes=tuple(
            ClassScores(key, None, average_folds(PER_CLASS, by_class[:, at], number, BINARY))
            for at, key in enumerate(contract.target.keys)
        ),
    )


def _decide(
    probabilities: Probabilities,
    truth: Codes,
    is_test: NDArray[np.bool_],
    rule: Threshold | None,
    code: int,
) -> ScoredRows:
    """Return a fold's test rows with their labels."""
    own = probabilities[is_test]
    predictions = Predictions(own.argmax(axis=1), own)
    if rule:
        rest = ~is_test
        value = threshold.choose(rule, truth[rest] == code, probabilities[rest, code])
        predictions = predictions.with_threshold(code, value)
    features = np.empty((len(own), 0), dtype=np.float32)
    return ScoredRows(features, truth[is_test], predictions)
