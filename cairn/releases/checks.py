"""Put a version through the gates: measure it, and compare it with the version in the stage."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cairn.console import patience
from cairn.evaluation.metrics import ScoredRows
from cairn.params.gates import Against, Gates
from cairn.paths import METRICS, MODEL_CONTRACT, ONNX, TEST, TRAIN
from cairn.releases import comparison, gates, revision
from cairn.releases.comparison import IncomparableError, LabeledRows, Model, ScoreDifference
from cairn.releases.gates import Gate
from cairn.releases.versions import Version

# Bytes of production's training rows; to search more of them for test rows would take minutes.
MAX_TRAIN = 2**31


class GateResults(NamedTuple):
    """The results of all gates, and the rows on which the two models were compared."""

    gates: list[Gate]
    note: str


class Measurements(NamedTuple):
    """A model by itself: `test` of metrics.json, µs for one row, bytes of its graph."""

    scores: dict[str, float]
    time: float | None
    size: float | None


class Candidate(NamedTuple):
    """The candidate, its test rows, and its measurements."""

    model: Model
    rows: LabeledRows
    measurements: Measurements


class Comparison(NamedTuple):
    """Two models' predictions for the same n rows, the number of classes, and which rows."""

    candidate: ScoredRows
    production: ScoredRows
    classes: int
    note: str


NOTHING = Measurements({}, None, None)


def check_gates(version: Version, holder: Version | None, params: Gates) -> GateResults:
    """Check a version against the gates, and against the version in the stage, if any."""
    with _open_files(version, TEST) as folder:
        model = comparison.load_model(folder, version.number)
        rows = comparison.read_rows(folder / TEST, model.contract)
        candidate = Candidate(model, rows, _measure(folder, model, rows, model))
        if holder is None:
            relative = list(map(gates.pass_without_holder, params.against))
            return GateResults(_collect(params, candidate.measurements, NOTHING, relative), "")
        with _open_files(holder, *list_training_files(holder.tag.commit)) as other:
            return _check_against(params, other, holder.number, candidate)


def _check_against(params: Gates, folder: Path, number: str, candidate: Candidate) -> GateResults:
    """Check the gates against the version whose files are in a folder."""
    before = NOTHING
    try:
        production = comparison.load_model(folder, number)
        before = Measurements(_read_scores(folder), None, float(production.size))
        before = _measure(folder, production, candidate.rows, candidate.model)
        compared = compare(candidate, production, folder / TRAIN)
    except IncomparableError as error:
        reason = str(error)
        relative = [gates.fail_incomparable(rule, number, reason) for rule in params.against]
        return GateResults(_collect(params, candidate.measurements, before, relative), "")
    relative = [
        gates.check_relative(rule, _compute_difference(rule, compared)) for rule in params.against
    ]
    return GateResults(_collect(params, candidate.measurements, before, relative), compared.note)


def _collect(
    params: Gates, own: Measurements, before: Measurements, relative: list[Gate]
) -> list[Gate]:
    """Collect every gate, in the order of params.yaml."""
    return [
        *gates.check_absolute(params, own.scores, before.scores),
        *relative,
        *gates.check_latency(params.latency_us, own.time or 0, before.time),
        *gates.check_size(params.size_mb, own.size or 0, before.size),
    ]


def _measure(folder: Path, model: Model, rows: LabeledRows, candidate: Model) -> Measurements:
    """Measure a model by itself, its time on the first of the candidate's test rows."""
    first = comparison.build_inputs(rows.select(np.arange(1)), candidate.contract, model.contract)
    return Measurements(
        _read_scores(folder), gates.measure_latency(model, first), float(model.size)
    )


def _read_scores(folder: Path) -> dict[str, float]:
    return dict(json.loads((folder / METRICS).read_bytes())["test"])


def _open_files(version: Version, *more: Path) -> AbstractContextManager[Path]:
    return revision.open_files(version.tag.commit, (MODEL_CONTRACT, ONNX, METRICS, *more))


def list_training_files(commit: str) -> tuple[Path, ...]:
    """List the files of a commit's training rows to search; none if they are too large."""
    train = revision.list_outs(commit).get(TRAIN)
    return (TRAIN,) if train and train.size <= MAX_TRAIN else ()


def compare(candidate: Candidate, production: Model, train: Path) -> Comparison:
    """Predict by both models the candidate's test rows that production was not trained on.

    Parameters
    ----------
    train
        Production's training rows; if there is no such file, all test rows count.

    Raises
    ------
    IncomparableError
        If production does not take these rows, or too few of them are left.
    """
    model, rows = candidate.model, candidate.rows
    inputs = comparison.build_inputs(rows, model.contract, production.contract)
    is_searched = train.is_file()
    is_unseen = (
        comparison.find_unseen(inputs, train, production.contract)
        if is_searched
        else np.ones(len(inputs), bool)
    )
    unseen, classes = rows.select(is_unseen), len(model.contract.target.classes)
    _check_classes(rows, unseen, classes)
    own = comparison.build_inputs(unseen, model.contract, model.contract)
    theirs = inputs[is_unseen]
    return Comparison(
        ScoredRows(own, unseen.classes, comparison.predict(model, own)),
        ScoredRows(theirs, unseen.classes, comparison.predict(production, theirs)),
        classes,
        _describe_rows(
            (model.number, production.number), len(inputs), len(theirs), is_searched=is_searched
        ),
    )


def _check_classes(rows: LabeledRows, unseen: LabeledRows, classes: int) -> None:
    """Raise an IncomparableError if some class has no row left."""
    if len(np.unique(unseen.classes)) < classes:
        raise IncomparableError(
            f"it was trained on {len(rows.classes) - len(unseen.classes):,} of the "
            f"{len(rows.classes):,} test rows, and some class has no row among the others"
        )


def _describe_rows(numbers: tuple[str, str], total: int, unseen: int, *, is_searched: bool) -> str:
    """Describe which test rows of the candidate the two were compared on."""
    candidate, production = numbers
    text = f"compared on {unseen:,} test rows of {candidate}"
    if not is_searched:
        return f"{text}; {production} may have been trained on some, which flatters it"
    if unseen < total:
        return f"{text}, without {total - unseen:,} that {production} was trained on"
    return f"{text}, none of which {production} was trained on"


def _compute_difference(rule: Against, compared: Comparison) -> ScoreDifference:
    with patience(f"promote: resampling rows for {rule.metric}"):
        return comparison.compute_difference(
            rule.metric,
            compared.candidate,
            compared.production,
            compared.classes,
            rule.confidence,
        )
