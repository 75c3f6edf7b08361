"""Build the one Pipeline of the `train` params, fit it, and finalize it for ONNX."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from cairn.compute.engine import Engine, Local
from cairn.console import say
from cairn.contract import Contract
from cairn.errors import CairnError, Unfit
from cairn.modeling import alignment, estimators, feature_names
from cairn.modeling.folds import LEAST, count_distinct, is_short
from cairn.modeling.preprocessing import prepare
from cairn.params.train import Train
from cairn.paths import TRAIN

# scikit-learn raises these if an estimator does not take an argument, or the rows.
USER_ERRORS = (AttributeError, TypeError, ValueError)

CHECK_ROWS = 10_000  # training rows, or at least half as many, show whether a fit has diverged
REMEDIES = (
    "lower learning_rate (eta0, learning_rate_init) in train.arguments, require more rows in a "
    "leaf, merge rare classes, or choose another estimator"
)

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


def build_pipeline(features: Floats, contract: Contract, params: Train) -> Pipeline:
    """Build the unfitted Pipeline for n × k training rows."""
    model = estimators.build_estimator(params, contract)
    steps = prepare(features, contract, params, model)
    feature_names.translate(model, steps, contract)
    return Pipeline([*steps, ("model", model)])


def finalize(pipeline: Pipeline) -> Pipeline:
    """Return a fitted Pipeline whose estimator ONNX reproduces exactly."""
    return Pipeline([*pipeline.steps[:-1], ("model", alignment.align(pipeline[-1]))])


def fit(
    features: Floats,
    classes: Codes,
    contract: Contract,
    params: Train,
    engine: Engine | None = None,
) -> Pipeline:
    """Fit everything that is learned, in one Pipeline.

    Parameters
    ----------
    features, classes
        n × k, NaN if missing, and n class codes. With an engine, they are those of
        data/features/train.parquet, which its workers read.
    engine
        Runs LightGBM's fit, the only one that can use several machines; None: this process.

    Raises
    ------
    Unfit
        If the estimator does not take these rows.
    """
    pipeline = build_pipeline(features, contract, params)
    is_local = engine is None or isinstance(engine, Local)
    if not is_local and estimators.is_lightgbm(params.estimator):
        return _fit_on_cluster(pipeline, features, params, engine)
    with (
        joblib.parallel_config(n_jobs=1)
        if estimators.has_inner_ensemble(pipeline[-1])
        else nullcontext(),
        guard_fit([pipeline], f"train.estimator: {params.estimator}"),
    ):
        return finalize(fit_rows(pipeline, features, classes))


def fit_rows(pipeline: Pipeline, features: Floats, classes: Codes) -> Pipeline:
    """Fit a Pipeline; without early stopping if the rows are too few to hold some out."""
    try:
        return pipeline.fit(features, classes)
    except ValueError:
        changes = estimators.find_early_stopping(pipeline)
        if not changes:
            raise
        without_stopping = clone(pipeline).set_params(**changes)
        try:
            return without_stopping.fit(features, classes)
        except USER_ERRORS:
            pass  # too few rows was not the reason
        raise


def collect_notes(params: Train, pipeline: Pipeline, features: Floats, classes: Codes) -> list[str]:
    """Describe what the params ask for that the training could not do with so few rows."""
    notes = []
    if (
        params.early_stopping
        and not estimators.find_early_stopping(pipeline)
        and not estimators.has_lightgbm(pipeline[-1])
    ):
        notes.append(
            "train.early_stopping has no effect: there are too few rows to hold out some of each "
            "class"
        )
    if any(
        hasattr(part, "calibrated_classifiers_")
        for part in estimators.list_estimators(pipeline[-1])
    ):
        counts = count_distinct(features, classes)
        if is_short(counts):
            notes.append(
                "the probabilities are calibrated on the rows that the model learned from, because "
                "fewer than two classes have two rows that differ"
            )
        elif (counts < LEAST).any():
            notes.append(
                "the probabilities of a class whose rows are all alike are not calibrated, because "
                "no held-out rows have it"
            )
    return notes


def check_converged(pipeline: Pipeline, features: Floats, classes: Codes) -> None:
    """Raise an error or print a warning if a fit has diverged.

    Parameters
    ----------
    features, classes
        n × k training rows, of which some ten thousand are predicted, and n codes.

    Raises
    ------
    CairnError
        If a probability is not a finite number.
    """
    sample = slice(None, None, math.ceil(len(features) / CHECK_ROWS))
    with limit_threads(), estimators.summarize_warnings("the check"):
        probabilities = pipeline.predict_proba(features[sample])
    kind = type(pipeline[-1]).__name__
    if not np.isfinite(probabilities).all():
        rows = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise CairnError(
            f"train.estimator: the fit of {kind} has diverged: its probabilities of {rows:,} of "
            f"{len(probabilities):,} training rows are not finite; {REMEDIES}"
        )
    truth = np.take_along_axis(probabilities, classes[sample, None], axis=1)
    loss = float(-np.log(np.clip(truth, np.finfo(np.float64).eps, 1)).mean())
    guess = math.log(probabilities.shape[1])
    if loss > guess and estimators.is_iterative(pipeline[-1]):
        say(
            f"train: the fit of {kind} has diverged: its log loss on the rows that it was fitted "
            f"to is {loss:.2f}; a guess of equal probabilities has {guess:.2f}; {REMEDIES}"
        )


def _fit_on_cluster(pipeline: Pipeline, features: Floats, params: Train, engine: Any) -> Pipeline:
    """Fit LightGBM on the rows of data/features with all workers of a cluster."""
    # An optional extra.
    from cairn.compute import dask_lightgbm  # noqa: PLC0415

    *steps, (_, model) = pipeline.steps
    before = Pipeline(steps).fit(features).transform if steps else np.asarray
    with guard_fit([pipeline], f"train.estimator: {params.estimator}"):
        fitted = dask_lightgbm.fit(engine, model.get_params(), TRAIN, before)
    return finalize(Pipeline([*steps, ("model", fitted)]))


def limit_threads() -> threadpool_limits:
    """Limit OpenMP to one thread, for one of many fits or predictions that run side by side.

    Without it, OpenMP would start a thread per core in each of them.
    """
    return threadpool_limits(1, user_api="openmp")


@contextmanager
def guard_fit(pipelines: list[Pipeline], label: str) -> Iterator[None]:
    """Run fits with the threads that keep their bits the same, and report errors to the user.

    Parameters
    ----------
    label
        The key of params.yaml and its value, for an error.
    """
    is_invariant = all(estimators.is_thread_invariant(pipeline[-1]) for pipeline in pipelines)
    with (
        translate_errors(label),
        threadpool_limits(count_threads() if is_invariant else 1, user_api="openmp"),
        estimators.summarize_warnings("the fit"),
    ):
        yield


def count_threads() -> int:
    """Count the threads that OpenMP may use: OMP_NUM_THREADS, or the cores of this process.

    More threads than cores are not only useless: OpenMP's wait for each other without sleeping.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    threads = int(first) if first.isdecimal() else 0
    return threads or joblib.cpu_count()


@contextmanager
def translate_errors(label: str) -> Iterator[None]:
    """Turn what an estimator raises about its arguments or rows into an Unfit of one line."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, USER_ERRORS) and type(error).__name__ != "LightGBMError":
            raise
        reason = " ".join(str(error).split())
        raise Unfit(f"{label} cannot be fitted: {reason}") from None
