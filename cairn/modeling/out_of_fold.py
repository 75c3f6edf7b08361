"""Predict each training row by models that did not learn from it, fold by fold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from cairn.compute.engine import Engine, Local
from cairn.compute.processes import Run, fits, here
from cairn.console import Bar
from cairn.contract import Contract
from cairn.errors import Unfit
from cairn.export.onnx import sklearn_predictions
from cairn.modeling import fitting, search
from cairn.modeling.folds import LEAST, Folds, count_distinct, is_short, limit_folds
from cairn.params.train import Train

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]
Probabilities = NDArray[np.float64]
Split = tuple[Codes, Codes]


class TrainingRows(NamedTuple):
    """Training rows, n × k features and n codes of classes, and their contract."""

    features: Floats
    classes: Codes
    contract: Contract


class Splits(NamedTuple):
    """How rows are split into folds.

    Attributes
    ----------
    stage
        Its name begins the progress bar.
    folds, repeats
        How many folds, and how often the rows are dealt out to them.
    """

    stage: str
    folds: int
    repeats: int


class OutOfFold(NamedTuple):
    """Predictions by models that had not seen the row.

    Attributes
    ----------
    probabilities
        repeats × n × classes; NaN of a row that no fold tests.
    folds
        repeats × n: the fold that tested the row; -1: none.
    """

    probabilities: Probabilities
    folds: Codes

    def of_class(self, truth: Codes, code: int) -> tuple[NDArray[np.bool_], Probabilities]:
        """Return of all predictions which are of rows of a class, and its probabilities."""
        known = (self.folds >= 0).ravel()
        hits = np.tile(truth == code, len(self.probabilities))[known]
        return hits, self.probabilities[:, :, code].ravel()[known]


class FoldCount(NamedTuple):
    """How many folds there can be, and a note where they are fewer than asked for."""

    folds: int
    note: str


def count_folds(rows: TrainingRows, folds: int) -> FoldCount:
    """Return how many folds there can be: `folds`, or fewer, so that each has all classes.

    Raises
    ------
    Unfit
        Where fewer than two classes have two rows that differ.
    """
    labels = [repr(rows.contract.target.classes[code]) for code in np.unique(rows.classes)]
    counts = count_distinct(rows.features, rows.classes)
    number = limit_folds(folds, counts)
    lone = [label for label, own in zip(labels, counts, strict=True) if own < LEAST]
    if is_short(counts):
        raise Unfit(f"class {lone[0]} does not have two training rows that differ; add rows")
    texts = []
    if number < folds:
        rarest = int(np.where(counts < LEAST, counts.max() + 1, counts).argmin())
        texts.append(
            f"cross-validation uses {number} folds, not {folds}: class {labels[rarest]} has only "
            f"{number} training rows that differ"
        )
    if lone:
        texts.append(
            f"cross-validation skips class {', '.join(lone)}: it does not have two training rows "
            "that differ"
        )
    return FoldCount(number, "; ".join(texts))


def predict_out_of_fold(
    rows: TrainingRows, params: Train, engine: Engine, splits: Splits, run: Run = here
) -> OutOfFold:
    """Search and fit anew on all folds but one, and predict that one, for each in turn.

    Parameters
    ----------
    run
        Runs the folds of few rows; those of many run on threads, which need no copies of them.

    Raises
    ------
    Unfit
        Where fewer than two classes have two rows that differ, or the rows of some folds are too
        few for the estimator.
    """
    number, count = count_folds(rows, splits.folds).folds, len(rows.classes)
    dealt = Folds(number, seed=np.random.RandomState(params.seed))
    parts = [
        part for _ in range(splits.repeats) for part in dealt.split(rows.features, rows.classes)
    ]
    classes = len(rows.contract.target.classes)
    probabilities = np.full((splits.repeats, count, classes), np.nan)
    folds = np.full((splits.repeats, count), -1, dtype=np.int64)
    with Bar(f"{splits.stage}: cross-validating", len(parts), "folds") as bar:
        for index, predicted in enumerate(_predict_parts(rows, params, engine, parts, run)):
            repeat, fold = divmod(index, number)
            probabilities[repeat, parts[index][1]] = predicted
            folds[repeat, parts[index][1]] = fold
            bar.to(index + 1)
    return OutOfFold(probabilities, folds)


def _predict_parts(
    rows: TrainingRows, params: Train, engine: Engine, parts: Iterable[Split], run: Run
) -> Iterator[Probabilities]:
    """Yield the probabilities of each part's test rows, in order."""
    if params.search.method != "none":  # its candidates are what runs side by side
        for train, test in parts:
            part = rows._replace(features=rows.features[train], classes=rows.classes[train])
            best = search.choose(*part, params, engine).params
            pipeline = fitting.build_pipeline(part.features, part.contract, best)
            with fitting.guard_fit([pipeline], f"train.search: {best.estimator}"):
                predicted = _fit_and_predict(
                    pipeline, part.features, part.classes, rows.features[test]
                )
            yield predicted
        return
    pipeline = fitting.build_pipeline(rows.features, rows.contract, params)
    predict = partial(_predict_part, rows.features, rows.classes, rows.contract, params)
    with fitting.guard_fit([pipeline], f"train.estimator: {params.estimator}"):
        if isinstance(engine, Local) and fits(rows.features.nbytes):
            yield from run(predict, parts)
            return
        with engine.joblib(rows.features, rows.classes):
            yield from joblib.Parallel(return_as="generator")(
                joblib.delayed(_predict_part)(
                    rows.features, rows.classes, rows.contract, params, part
                )
                for part in parts
            )


def _predict_part(
    features: Floats, classes: Codes, contract: Contract, params: Train, part: Split
) -> Probabilities:
    train, test = part
    pipeline = fitting.build_pipeline(features[train], contract, params)
    return _fit_and_predict(pipeline, features[train], classes[train], features[test])


def _fit_and_predict(
    unfitted: Pipeline, features: Floats, classes: Codes, test: Floats
) -> Probabilities:
    """Fit a Pipeline to rows, and predict others."""
    with fitting.limit_threads():
        pipeline = fitting.finalize(fitting.fit_rows(unfitted, features, classes))
        predicted = sklearn_predictions(pipeline, test).probabilities
    probabilities: Probabilities = predicted.astype(np.float64)
    sums: Probabilities = probabilities.sum(axis=1, keepdims=True)
    return np.divide(probabilities, sums)  # in float32 they add up to 1 to fewer digits
