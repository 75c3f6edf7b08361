"""How much the scores vary: all of the training, again and again on other training rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from cairn.compute.engine import Engine, Local
from cairn.compute.processes import Run, fits, here
from cairn.console import Bar, Unfit
from cairn.contract import Contract
from cairn.evaluation import metrics, slices, threshold
from cairn.evaluation.intervals import over_folds, plain
from cairn.evaluation.metrics import BINARY, CLASS_SCORES, SCORES, Scored
from cairn.export.onnx import sklearn_predictions
from cairn.inference import Predictions
from cairn.modeling import fitting, search
from cairn.modeling.folds import LEAST, Folds, count_distinct, is_short, limit_folds
from cairn.params import FixedValue, Threshold, Train

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]
Split = tuple[NDArray[np.int64], NDArray[np.int64]]


class Validated(NamedTuple):
    """What models that had not seen a row said of it.

    Attributes
    ----------
    shares
        repeats × n × classes probabilities; NaN of a row that no fold tests.
    folds
        repeats × n: of which fold the row was the test; -1: of none.
    """

    shares: NDArray[np.float64]
    folds: NDArray[np.int64]


class Rows(NamedTuple):
    """Training rows, n × k and n, and what they are."""

    features: Floats
    classes: Codes
    contract: Contract


class Judged(NamedTuple):
    """What evaluation.json says of the cross-validation and of the threshold, if there are any.

    Attributes
    ----------
    note
        What they could not judge; empty: nothing.
    """

    cross_validation: dict[str, Any] | None
    threshold: dict[str, Any] | None
    note: str = ""


def wanted(block: Train, rows: int) -> bool:
    """Whether params.yaml asks for it, of so many training rows."""
    settings = block.cross_validation
    return settings.repeats > 0 and rows <= settings.most_rows


def validate(rows: Rows, block: Train, engine: Engine, repeats: int, run: Run = here) -> Validated:
    """Search and fit anew on all folds but one, and ask of that one, for each in turn.

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
    number, count = possible(rows, block).folds, len(rows.classes)
    folds = Folds(number, seed=np.random.RandomState(block.seed))
    splits = [split for _ in range(repeats) for split in folds.split(rows.features, rows.classes)]
    shares = np.full((repeats, count, len(rows.contract.target.classes)), np.nan)
    places = np.full((repeats, count), -1, dtype=np.int64)
    with Bar("train: cross-validating", len(splits), "folds") as bar:
        for done, said in enumerate(_said(rows, block, engine, splits, run)):
            repeat, fold = divmod(done, number)
            shares[repeat, splits[done][1]] = said
            places[repeat, splits[done][1]] = fold
            bar.to(done + 1)
    return Validated(shares, places)


class Possible(NamedTuple):
    """How many folds there can be, and what is to be said of that; empty: nothing."""

    folds: int
    note: str


def possible(rows: Rows, block: Train) -> Possible:
    """How many folds there can be: as asked for, or fewer, so that each has all classes.

    Raises
    ------
    Unfit
        Where fewer than two classes have two rows that differ.
    """
    labels = [repr(rows.contract.target.classes[code]) for code in np.unique(rows.classes)]
    counts = count_distinct(rows.features, rows.classes)
    wanted, number = block.cross_validation.folds, limit_folds(block.cross_validation.folds, counts)
    lone = [label for label, own in zip(labels, counts, strict=True) if own < LEAST]
    if is_short(counts):
        raise Unfit(f"class {lone[0]} has no two rows to train on that differ; add rows")
    texts = []
    if number < wanted:
        rarest = int(np.where(counts < LEAST, counts.max() + 1, counts).argmin())
        texts.append(
            f"cross-validating by {number} folds, not {wanted}: class {labels[rarest]} has no more "
            "rows to train on that differ"
        )
    if lone:
        texts.append(
            f"cross-validation says nothing of class {', '.join(lone)}: it has no two rows to "
            "train on that differ"
        )
    return Possible(number, "; ".join(texts))


def _said(
    rows: Rows, block: Train, engine: Engine, splits: Iterable[Split], run: Run
) -> Iterator[NDArray[np.float64]]:
    """The probabilities of each split's test rows, in order."""
    if block.search.method != "none":  # it is what runs side by side
        for train, test in splits:
            part = rows._replace(features=rows.features[train], classes=rows.classes[train])
            best = search.choose(*part, block, engine).params
            pipeline = fitting.build_pipeline(part.features, part.contract, best)
            with fitting.guard_fit([pipeline], f"train.search: {best.estimator}"):
                said = _ask(pipeline, part.features, part.classes, rows.features[test])
            yield said
        return
    pipeline = fitting.build_pipeline(rows.features, rows.contract, block)
    fold = partial(_fold, rows.features, rows.classes, rows.contract, block)
    with fitting.guard_fit([pipeline], f"train.estimator: {block.estimator}"):
        if isinstance(engine, Local) and fits(rows.features.nbytes):
            yield from run(fold, splits)
            return
        with engine.joblib(rows.features, rows.classes):
            yield from joblib.Parallel(return_as="generator")(
                joblib.delayed(_fold)(rows.features, rows.classes, rows.contract, block, split)
                for split in splits
            )


def _fold(
    features: Floats, classes: Codes, contract: Contract, block: Train, split: Split
) -> NDArray[np.float64]:
    train, test = split
    pipeline = fitting.build_pipeline(features[train], contract, block)
    return _ask(pipeline, features[train], classes[train], features[test])


def _ask(unfitted: Pipeline, features: Floats, classes: Codes, test: Floats) -> NDArray[np.float64]:
    """What a Pipeline, fitted to rows, says of others."""
    with fitting.limit_threads():
        pipeline = fitting.finalize(fitting.fit_rows(unfitted, features, classes))
        said = sklearn_predictions(pipeline, test).probabilities
    shares: NDArray[np.float64] = said.astype(np.float64)
    sums: NDArray[np.float64] = shares.sum(axis=1, keepdims=True)
    return np.divide(shares, sums)  # in float32 it is 1 to fewer digits


def scores(
    found: Validated, truth: Codes, contract: Contract, rule: Threshold | None, place: int
) -> dict[str, Any]:
    """The mean of each score over all folds, and where it lies, of all classes and of each.

    Parameters
    ----------
    rule, place
        Where there is a rule, the labels of each fold follow the threshold that the other folds
        choose for the class at this place.
    """
    rows = [
        _labelled(shares[folds >= 0], truth[folds >= 0], folds[folds >= 0] == fold, rule, place)
        for shares, folds in zip(*found, strict=True)
        for fold in range(folds.max() + 1)
    ]
    classes, folds = len(contract.target.classes), int(found.folds.max()) + 1
    values = np.array([metrics.values(each, classes) for each in rows])
    by_class = np.array([slices.each_class(each, classes) for each in rows])
    return {
        "scores": plain(over_folds(SCORES, values, folds, classes)),
        "classes": [
            {"class": key, **plain(over_folds(CLASS_SCORES, by_class[:, at], folds, BINARY))}
            for at, key in enumerate(contract.target.keys)
        ],
    }


def _labelled(
    shares: NDArray[np.float64],
    truth: Codes,
    test: NDArray[np.bool_],
    rule: Threshold | None,
    place: int,
) -> Scored:
    """A fold's test rows with their labels."""
    said = Predictions(shares[test].argmax(axis=1), shares[test])
    if rule:
        rest = ~test
        value = threshold.chosen(rule, truth[rest] == place, shares[rest, place])
        said = said.decided(place, value)
    return Scored(np.empty((len(said.labels), 0), dtype=np.float32), truth[test], said)


def judge(rows: Rows, asked: Train, best: Train, engine: Engine, run: Run = here) -> Judged:
    """Cross-validate what was asked for, and choose the threshold by its rule.

    Parameters
    ----------
    best
        What the search found: it alone is asked where only the threshold wants to know.
    run
        As in `validate`.
    """
    rule = asked.threshold
    place = threshold.place(rule, rows.contract) if rule else 0
    found, note = _validated(rows, asked, engine, run)
    report = _report(found, rows, asked, place) if found else None
    if rule is None:
        return Judged(report, None, note)
    if isinstance(rule, FixedValue) and found is None:  # nothing depends on what it reaches
        return Judged(None, {**_named(rule, rule.value), "reached": None}, note)
    found = found or _for_threshold(rows, best, engine, run)
    return Judged(report, decide(found, rows.classes, rule, place), note)


def _validated(rows: Rows, asked: Train, engine: Engine, run: Run) -> tuple[Validated | None, str]:
    """What params.yaml asks for; None where it does not, or the rows are too few; and a note."""
    if not wanted(asked, len(rows.classes)):
        return None, ""
    try:
        note = possible(rows, asked).note
        return validate(rows, asked, engine, asked.cross_validation.repeats, run), note
    except Unfit as error:  # all of the rows suffice for a model, and that is what is wanted
        return None, f"cross-validation is left out, with fewer rows: {error}"


def _for_threshold(rows: Rows, best: Train, engine: Engine, run: Run) -> Validated:
    try:
        return validate(rows, best, engine, 1, run)
    except Unfit as error:
        raise Unfit(
            f"train.threshold: the rule asks models of fewer rows: {error}; or give the threshold "
            "itself: rule: value"
        ) from None


def _report(found: Validated, rows: Rows, asked: Train, place: int) -> dict[str, Any]:
    """What evaluation.json says of the cross-validation."""
    return {
        "folds": int(found.folds.max()) + 1,
        "repeats": len(found.folds),
        "nested": asked.search.method != "none",
        **scores(found, rows.classes, rows.contract, asked.threshold, place),
    }


def decide(found: Validated, truth: Codes, rule: Threshold, place: int) -> dict[str, Any]:
    """The threshold that the rule wants of all that was said, and what it reaches there."""
    asked = (found.folds >= 0).ravel()
    hits = np.tile(truth == place, len(found.shares))[asked]
    shares = found.shares[:, :, place].ravel()[asked]
    value = threshold.chosen(rule, hits, shares)
    return {**_named(rule, value), "reached": threshold.reached(value, hits, shares)}


def _named(rule: Threshold, value: float) -> dict[str, Any]:
    return {"label": rule.label, "value": value, "rule": threshold.words(rule)}
