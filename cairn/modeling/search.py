"""Choose among candidates for the `train` params by cross-validation on the training rows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import ParameterGrid, train_test_split
from sklearn.pipeline import Pipeline

from cairn.compute.engine import Engine
from cairn.console import Bar
from cairn.contract import Contract
from cairn.errors import CairnError, Unfit
from cairn.evaluation import metrics
from cairn.evaluation.metrics import DIGITS, ScoredRows
from cairn.export.onnx import sklearn_predictions
from cairn.modeling import compat, fitting
from cairn.modeling.candidates import Candidate, list_candidates
from cairn.modeling.folds import LEAST, Folds, count_distinct, is_short, limit_folds
from cairn.params.train import Train

ETA = 3  # of a halving: one of three candidates stays, on three times the rows

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


class Rows(NamedTuple):
    """Training rows: n × k features, and n class codes."""

    features: Floats
    classes: Codes


class CandidateScore(NamedTuple):
    """Mean and standard deviation of a candidate's score over the folds of some rows."""

    candidate: Candidate
    rows: int
    value: float
    deviation: float


class SearchResult(NamedTuple):
    """The best params, which search no more, and the search for evaluation.json.

    Attributes
    ----------
    note
        What the search could not do as asked; empty: nothing.
    """

    params: Train
    report: dict[str, Any] | None
    note: str = ""


class Scorer(NamedTuple):
    """A scorer for scikit-learn by a metric of `evaluate`; larger is better."""

    metric: str
    classes: int

    def __call__(self, pipeline: Pipeline, features: Floats, truth: Codes) -> float:
        """Score a fitted Pipeline on n rows."""
        with fitting.limit_threads():
            predictions = sklearn_predictions(pipeline, features)
        rows = ScoredRows(features, truth, predictions)
        value = metrics.SCORES[self.metric](rows, self.classes)
        return -value if self.metric in metrics.LOSSES else value


def choose(
    features: Floats, classes: Codes, contract: Contract, params: Train, engine: Engine
) -> SearchResult:
    """Choose the best candidate of `params.search`; the engine runs the folds.

    Parameters
    ----------
    features, classes
        n × k, and n codes.

    Raises
    ------
    CairnError
        If an estimator does not take an argument, or one of its values.
    """
    if params.search.method == "none":
        return SearchResult(params, None)
    counts = count_distinct(features, classes)
    if is_short(counts):
        return SearchResult(
            params.model_copy(
                update={"search": params.search.model_copy(update={"method": "none"})}
            ),
            None,
            "train.search has no effect: it needs two classes with two rows that differ; the model "
            "is that of train.estimator",
        )
    number = limit_folds(params.search.folds, counts)
    scores: list[CandidateScore] = []
    remaining = list_candidates(params)
    rarest = int(counts[counts >= LEAST].min())
    for size in _plan_rungs(len(remaining), len(features), rarest, params):
        indices = _sample(classes, size, params.seed)
        rows = Rows(features[indices], classes[indices])
        latest = _score_candidates(rows, contract, params, remaining, engine)
        scores += latest
        remaining = [each.candidate for each in rank(latest)][: math.ceil(len(remaining) / ETA)]
    if not math.isfinite(scores[-1].value):
        raise Unfit(
            f"train.search.metric: {params.search.metric} cannot be computed from so few rows; set "
            "log_loss or accuracy"
        )
    return SearchResult(
        remaining[0].params,
        build_report(params, scores, remaining[0]),
        _describe_folds(number, params),
    )


def _describe_folds(number: int, params: Train) -> str:
    """Describe that the search had to use fewer folds; empty if it did not."""
    folds = params.search.folds
    return (
        ""
        if number == folds
        else f"train.search used {number} folds, not {folds}: a class has no more distinct rows"
    )


def rank(scores: Iterable[CandidateScore]) -> list[CandidateScore]:
    """Sort the scores, the best first; of equal scores, the first candidate first."""
    return sorted(scores, key=lambda each: -each.value)


def build_report(params: Train, scores: list[CandidateScore], winner: Candidate) -> dict[str, Any]:
    """Build the search's part of evaluation.json, where losses are positive."""
    metric = params.search.metric
    sign = -1 if metric in metrics.LOSSES else 1
    return {
        "method": params.search.method,
        "metric": metric,
        "best": winner.name,
        "estimator": winner.params.estimator,
        "changes": winner.changes,
        "tried": [
            {
                "candidate": each.candidate.name,
                "rows": each.rows,
                "value": round(sign * each.value, DIGITS),
                "deviation": round(each.deviation, DIGITS),
            }
            for each in scores
        ],
    }


def _plan_rungs(number: int, rows: int, rarest: int, params: Train) -> list[int]:
    """List the number of rows of each round of a halving."""
    if params.search.method != "halving":
        return [rows]
    # Enough rows for each class to be in every fold.
    least = math.ceil(params.search.folds * rows / rarest)
    steps = range(1 + int(math.log(max(number, 1), ETA)))
    result = [rows // ETA**step for step in reversed(steps)]
    return [max(each, min(least, rows)) for each in result]


def _sample(classes: Codes, rows: int, seed: int) -> NDArray[np.int64]:
    """Draw a stratified sample of rows; return their indices in ascending order."""
    all_rows = np.arange(len(classes))
    if rows >= len(classes):
        return all_rows
    counts = np.bincount(classes)
    rare = np.flatnonzero(counts[classes] < LEAST)  # too few to draw a part of them
    others = np.setdiff1d(all_rows, rare, assume_unique=True)
    rest, kinds = rows - len(rare), (counts >= LEAST).sum()
    if rest < kinds or len(others) - rest < kinds:
        return all_rows
    subset, _ = train_test_split(
        others, train_size=rest, stratify=classes[others], random_state=seed
    )
    return np.sort(np.concatenate([subset, rare]))


def _score_candidates(
    rows: Rows, contract: Contract, params: Train, remaining: list[Candidate], engine: Engine
) -> list[CandidateScore]:
    """Cross-validate candidates on these rows."""
    pipelines = [_build_pipeline(rows.features, contract, each) for each in remaining]
    search = params.search
    names = " or ".join(dict.fromkeys(each.params.estimator for each in remaining))
    grid = _ReportingSearch(
        # A search can replace a step by another Pipeline.
        _CandidatePipeline([("candidate", pipelines[0])]),
        [
            {"candidate": [pipeline], "label": [each.name]}
            for pipeline, each in zip(pipelines, remaining, strict=True)
        ],
        scoring=Scorer(search.metric, len(contract.target.classes)),
        cv=Folds(search.folds, seed=params.seed),
        error_score="raise",
        refit=False,
    )
    grid.metric = search.metric
    with fitting.guard_fit(pipelines, f"train.search: {names}"), engine.joblib(*rows):
        grid.fit(*rows)
    means, deviations = (grid.cv_results_[f"{name}_test_score"] for name in ("mean", "std"))
    sizes = [len(rows.classes)] * len(remaining)
    return list(map(CandidateScore, remaining, sizes, means.tolist(), deviations.tolist()))


def _build_pipeline(features: Floats, contract: Contract, candidate: Candidate) -> Pipeline:
    try:
        return fitting.build_pipeline(features, contract, candidate.params)
    except CairnError as error:
        raise type(error)(f"train.search: {candidate.name}: {error}") from None


class _CandidatePipeline(Pipeline):  # type: ignore[misc]
    """A Pipeline that is fitted beside others, and whose errors name the candidate."""

    steps: list[tuple[str, Pipeline]]

    def __init__(
        self,
        steps: Any,
        *,
        transform_input: Any = None,
        memory: Any = None,
        verbose: bool = False,
        label: str = "",
    ) -> None:
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)
        self.label = label

    def fit(self, *rows: Any) -> Self:
        """Fit the candidate on one OpenMP thread."""
        ((name, candidate),) = self.steps
        with fitting.translate_errors(f"train.search: {self.label}"), fitting.limit_threads():
            self.steps = [(name, fitting.fit_rows(candidate, *rows))]
        return self


class _ReportingSearch(compat.GridSearch):
    """A search that prints its progress, and the best candidate so far."""

    metric: str

    def run_search(self, evaluate_candidates: Callable[[Any], dict[str, Any]]) -> None:
        """Evaluate a few candidates at a time."""
        candidates = list(ParameterGrid(self.param_grid))
        step = os.cpu_count() or 1
        with Bar("train: searching", len(candidates), "candidates") as bar:
            for start in range(0, len(candidates), step):
                results = evaluate_candidates(candidates[start : start + step])
                means = results["mean_test_score"]
                best = int(means.argmax())
                text = f"best {self.metric} {abs(means[best]):.4f}: {candidates[best]['label']}"
                bar.to(len(means), text)
