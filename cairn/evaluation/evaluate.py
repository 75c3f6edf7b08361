"""Evaluate: score a model on rows that it has not seen, and measure how much the scores vary."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from cairn import inference
from cairn.compute.engine import Engine, Local
from cairn.compute.processes import Run, fits, here
from cairn.console import Progress, patience, say
from cairn.contract import Contract
from cairn.evaluation import cross_validation, curves, intervals, metrics, records, slices
from cairn.evaluation.metric_table import METRICS
from cairn.evaluation.metrics import ScoredRows
from cairn.evaluation.records import Evaluation, Importance, TableReport
from cairn.evaluation.sampling import Indices, sample_rows
from cairn.inference import Predictions
from cairn.modeling import fitting
from cairn.modeling.feature_rows import FeatureRows
from cairn.modeling.out_of_fold import TrainingRows
from cairn.modeling.records import Threshold, Training
from cairn.params.evaluate import Evaluate
from cairn.params.train import Train

BLOCK = 2**13  # rows that are predicted at once, as where parity is proved
# Training rows that are scored, at most: what they tell of overfitting is then known to 0.001.
TRAINING_ROWS = 1_000_000
SHOWN = 3  # classes that one line names
HEADLINE = ("accuracy", "balanced_accuracy", "roc_auc")


class Model(NamedTuple):
    """A model: the Pipeline, its ONNX graph and contract, and what is known of its training."""

    pipeline: Pipeline
    graph: bytes
    contract: Contract
    training: Training


class Data(NamedTuple):
    """What a model is evaluated on.

    Attributes
    ----------
    read_rows
        Reads a part, `train` or `test`: the rows of these indices, or all. One part at a time is in
        memory.
    report
        What `processed` reports of the table; None: nothing.
    """

    read_rows: Callable[[str, Indices | None], FeatureRows]
    report: TableReport | None


class Params(NamedTuple):
    """What params.yaml asks for: its blocks `train` and `evaluate`."""

    train: Train
    evaluate: Evaluate


class Result(NamedTuple):
    """What data/evaluation is written from: scores of the training rows, the rest, the plots."""

    train: dict[str, float]
    evaluation: Evaluation
    points: dict[str, DataFrame]

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds: no intervals."""
        validation = self.evaluation.cross_validation
        test = {"rows": self.evaluation.rows.test, **records.values(self.evaluation.test)}
        folds = {"cross_validation": records.values(validation.scores)} if validation else {}
        return {"train": self.train, "test": test, **folds}


def evaluate(data: Data, model: Model, params: Params, engine: Engine, run: Run = here) -> Result:
    """Evaluate a model: on the training rows by folds, then on those of the test.

    Parameters
    ----------
    run
        Runs what can be done side by side.
    """
    contract, training, seed = model.contract, model.training, params.train.seed
    slices.check_slices(params.evaluate.slices, contract)
    classes, count = len(contract.target.classes), training.rows.train
    drawn = draw_training_rows(count, seed)
    if cross_validation.is_wanted(params.evaluate.cross_validation, count):
        rows = data.read_rows("train", None)
        validation, learning = train_again(rows, model, params, engine, run)
        rows = rows if drawn is None else rows.at(drawn)
    else:  # the other rows are not even read
        rows = data.read_rows("train", drawn)
        validation, learning = cross_validation.Result(None), curves.empty_learning()
    train_scores = metrics.scores(score("train", rows, model), classes)
    sampling = describe_sample(len(rows.classes), count)
    del rows  # before the test rows come
    test = score("test", data.read_rows("test", None), model)
    say("evaluate: scoring")
    with patience("evaluate: still scoring"), open_thread() as thread:
        trials = training.search.tried if training.search else ()
        # Beside the intervals: it is one task, and takes as long as these. Python takes up little
        # of the time where rows are many.
        beside = run if fits(test.features.nbytes) else thread.map
        measured = beside(
            partial(curves.measure_points, model.pipeline, test, contract, seed), [trials]
        )
        scores = intervals.measure_all(test, classes, seed, run)
        scores_by_class = slices.score_classes(test, contract, seed, run)
        (points,) = measured
        evaluation = Evaluation(
            rows=training.rows,
            table=data.report,
            duplicates=training.duplicates,
            leaks=training.leaks,
            notes=(
                *training.notes,
                *filter(None, [validation.note, sampling]),
                *describe_absent_classes(test, contract),
            ),
            test=scores,
            cross_validation=validation.record,
            classes=scores_by_class,
            slices=slices.score_slices(test, contract, params.evaluate.slices, seed, run),
            threshold=_add_reached(training.threshold, validation),
            search=training.search,
            importance=tuple(
                Importance(*row) for row in points["importance"].itertuples(index=False)
            ),
        )
    return Result(train_scores, evaluation, {**points, "learning": learning})


def headline(test: records.Scores, rows: int) -> str:
    """Put the main scores into a line, as far as the test rows define them.

    >>> headline({"accuracy": records.Interval(0.5)}, 2)
    'accuracy 0.500 on 2 test rows'
    """
    values = records.values(test)
    texts = [f"{METRICS[name].title} {values[name]:.3f}" for name in HEADLINE if name in values]
    return f"{', '.join(texts)} on {rows:,} test rows"


def open_thread() -> ThreadPoolExecutor:
    """Open a thread that works on one core, beside this one; OpenMP keeps a limit for each."""
    return ThreadPoolExecutor(1, "beside", threadpool_limits, (1, "openmp"))


def train_again(
    rows: FeatureRows, model: Model, params: Params, engine: Engine, run: Run = here
) -> tuple[cross_validation.Result, DataFrame]:
    """Train on parts of the training rows: cross-validate, and measure the learning curve."""
    trained = TrainingRows(rows.features, rows.classes, model.contract)
    settings = params.evaluate.cross_validation
    with joblib.parallel_config("threading", n_jobs=-1):
        validation = cross_validation.cross_validate(trained, params.train, settings, engine, run)
        learning = learn(trained, model.training.params, run)
    if validation.note:
        say(f"evaluate: {validation.note}")
    return validation, learning


def draw_training_rows(rows: int, seed: int) -> Indices | None:
    """Draw the indices of TRAINING_ROWS of the training rows, in order; None: there are no more."""
    if rows <= TRAINING_ROWS:
        return None
    return sample_rows(rows, TRAINING_ROWS, np.random.default_rng(seed))


def describe_sample(rows: int, all_rows: int) -> str:
    """Describe on how many training rows the model was scored; empty: on all.

    >>> describe_sample(2, 3000)
    'the training rows are scored on 2 of the 3,000, drawn at random'
    """
    if rows == all_rows:
        return ""
    return f"the training rows are scored on {rows:,} of the {all_rows:,}, drawn at random"


def score(part: str, rows: FeatureRows, model: Model) -> ScoredRows:
    """Predict rows as the service does, with the threshold of the contract."""
    predictions = predict(part, model.graph, rows.features)
    decision = model.contract.target.decision
    return ScoredRows(rows.features, rows.classes, inference.apply_decision(predictions, decision))


def predict(part: str, graph: bytes, features: NDArray[np.float32]) -> Predictions:
    """Predict rows by the ONNX graph, in blocks side by side, each on one thread."""
    session = inference.open_session(graph)
    starts = range(0, len(features), BLOCK)
    predictions: list[Predictions] = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(f"evaluate: predicting the {part} rows") as progress,
    ):
        for part_predictions in Local(pool).map(
            lambda start: inference.predict(session, features[start : start + BLOCK]), starts
        ):
            predictions.append(part_predictions)
            progress.add(len(part_predictions.labels))
    return Predictions(*map(np.concatenate, zip(*predictions, strict=True)))


def learn(rows: TrainingRows, params: Train, run: Run = here) -> DataFrame:
    """Measure the learning curve."""
    say("evaluate: measuring the learning curve")
    with patience("evaluate: still measuring the learning curve"):
        pipeline = fitting.build_pipeline(rows.features, rows.contract, params)
        return curves.measure_learning(pipeline, (rows.features, rows.classes), params.seed, run)


def describe_absent_classes(test: ScoredRows, contract: Contract) -> list[str]:
    """Name the classes that no test row has, in one sentence; none: no sentence."""
    counts = np.bincount(test.truth, minlength=len(contract.target.classes))
    absent = [repr(contract.target.classes[code]) for code in np.flatnonzero(counts == 0)]
    if not absent:
        return []
    more = f" and {len(absent) - SHOWN:,} more" if len(absent) > SHOWN else ""
    return [f"no test row is of class {', '.join(absent[:SHOWN])}{more}: the scores leave it out"]


def _add_reached(
    threshold: Threshold | None, validation: cross_validation.Result
) -> Threshold | None:
    """Add what a threshold that was given reaches, where folds show it."""
    if threshold is None or validation.reached is None:
        return threshold
    return replace(threshold, reached=validation.reached)
