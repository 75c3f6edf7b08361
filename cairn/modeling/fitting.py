"""The one Pipeline of a train block: made, fitted, and finished for ONNX."""

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
from cairn.console import CairnError, Unfit, say
from cairn.contract import Contract
from cairn.modeling import estimators, feature_names
from cairn.modeling.folds import LEAST, count_distinct, is_short
from cairn.modeling.preprocessing import prepare
from cairn.params.train import Train
from cairn.paths import TRAIN

# What scikit-learn raises where an argument or the rows are not what an estimator takes.
WRONG = (AttributeError, TypeError, ValueError)

CHECKED = 10_000  # training rows, at least half as many, that tell whether a fit has diverged
CALMER = (
    "lower learning_rate (eta0, learning_rate_init) in train.arguments, let a leaf have more rows, "
    "put rare classes together, or take another estimator"
)

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


def unfitted(features: Floats, contract: Contract, block: Train) -> Pipeline:
    """The Pipeline that n × k training rows ask for."""
    model = estimators.make(block, contract)
    steps = prepare(features, contract, block, model)
    feature_names.translate(model, steps, contract)
    return Pipeline([*steps, ("model", model)])


def finished(pipeline: Pipeline) -> Pipeline:
    """A fitted Pipeline whose estimator ONNX can say exactly."""
    return Pipeline([*pipeline.steps[:-1], ("model", estimators.exact(pipeline[-1]))])


def fit(
    features: Floats, classes: Codes, contract: Contract, block: Train, engine: Engine | None = None
) -> Pipeline:
    """Fit everything that is learned, in one Pipeline.

    Parameters
    ----------
    features, classes
        n × k, NaN where one is missing, and n codes; those of data/features/train.parquet where
        there is an engine, whose workers read that.
    engine
        Where LightGBM is fitted, which alone can be on several machines; None: here.

    Raises
    ------
    Unfit
        Where the estimator does not take the rows as they are.
    """
    pipeline = unfitted(features, contract, block)
    alone = engine is None or isinstance(engine, Local)
    if not alone and estimators.is_lightgbm(block.estimator):
        return _spread(pipeline, features, block, engine)
    with (
        joblib.parallel_config(n_jobs=1)
        if estimators.asks_an_ensemble(pipeline[-1])
        else nullcontext(),
        running([pipeline], f"train.estimator: {block.estimator}"),
    ):
        return finished(fit_rows(pipeline, features, classes))


def fit_rows(unfitted: Pipeline, features: Floats, classes: Codes) -> Pipeline:
    """Fit a Pipeline; without early stopping, where the rows are too few to keep some aside."""
    try:
        return unfitted.fit(features, classes)
    except ValueError:
        changes = estimators.stops(unfitted)
        if not changes:
            raise
        whole = clone(unfitted).set_params(**changes)
        try:
            return whole.fit(features, classes)
        except WRONG:
            pass  # it was not for want of rows
        raise


def notes(block: Train, pipeline: Pipeline, features: Floats, classes: Codes) -> list[str]:
    """What was not done as the block says, for want of rows."""
    found = []
    if (
        block.early_stopping
        and not estimators.stops(pipeline)
        and not estimators.uses_lightgbm(pipeline[-1])
    ):
        found.append(
            "train.early_stopping is left out: the rows are too few to keep some of each class "
            "aside"
        )
    if any(hasattr(part, "calibrated_classifiers_") for part in estimators.parts(pipeline[-1])):
        counts = count_distinct(features, classes)
        if is_short(counts):
            found.append(
                "the probabilities are calibrated on the rows that the model learned from: fewer "
                "than two classes have two rows that differ"
            )
        elif (counts < LEAST).any():
            found.append(
                "the probabilities of a class whose rows are all alike are not calibrated: no rows "
                "aside have it"
            )
    return found


def check_converged(pipeline: Pipeline, features: Floats, classes: Codes) -> None:
    """Say that a fit has diverged, before anything is made of it.

    Parameters
    ----------
    features, classes
        n × k training rows, of which some ten thousand are asked, and n codes.

    Raises
    ------
    CairnError
        Where a probability is no finite number.
    """
    some = slice(None, None, math.ceil(len(features) / CHECKED))
    with alone(), estimators.quiet("the check"):
        shares = pipeline.predict_proba(features[some])
    kind = type(pipeline[-1]).__name__
    if not np.isfinite(shares).all():
        rows = int((~np.isfinite(shares)).any(axis=1).sum())
        raise CairnError(
            f"train.estimator: the fit of {kind} has diverged: its probabilities of {rows:,} of "
            f"{len(shares):,} training rows are not finite; {CALMER}"
        )
    truth = np.take_along_axis(shares, classes[some, None], axis=1)
    loss = float(-np.log(np.clip(truth, np.finfo(np.float64).eps, 1)).mean())
    guess = math.log(shares.shape[1])
    if loss > guess and estimators.is_stepwise(pipeline[-1]):
        say(
            f"train: the fit of {kind} has diverged: its log loss on the rows that it was fitted "
            f"to is {loss:.2f}, and {guess:.2f} if each class were as likely; {CALMER}"
        )


def _spread(pipeline: Pipeline, features: Floats, block: Train, engine: Any) -> Pipeline:
    """Fit LightGBM on the rows of data/features by all workers of a cluster."""
    # An optional extra.
    from cairn.compute import dask_lightgbm  # noqa: PLC0415

    *steps, (_, model) = pipeline.steps
    before = Pipeline(steps).fit(features).transform if steps else np.asarray
    with running([pipeline], f"train.estimator: {block.estimator}"):
        fitted = dask_lightgbm.fit(engine, model.get_params(), TRAIN, before)
    return finished(Pipeline([*steps, ("model", fitted)]))


def alone() -> threadpool_limits:
    """While it lasts, one of many that are fitted or asked side by side, on one OpenMP thread.

    OpenMP would start all cores' threads in each.
    """
    return threadpool_limits(1, user_api="openmp")


@contextmanager
def running(pipelines: list[Pipeline], named: str) -> Iterator[None]:
    """As many threads as leave the bits as they are; an error is the user's to mend.

    Parameters
    ----------
    named
        The key of params.yaml and what it names, for that error.
    """
    free = all(estimators.any_threads(pipeline[-1]) for pipeline in pipelines)
    with (
        explained(named),
        threadpool_limits((os.cpu_count() or 1) if free else 1, user_api="openmp"),
        estimators.quiet("the fit"),
    ):
        yield


@contextmanager
def explained(named: str) -> Iterator[None]:
    """What an estimator does not take is an error of one line that says what it is of."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, WRONG) and type(error).__name__ != "LightGBMError":
            raise
        reason = " ".join(str(error).split())
        raise Unfit(f"{named} cannot be fitted: {reason}") from None
