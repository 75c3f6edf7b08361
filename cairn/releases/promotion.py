"""A version before the gates: its files and those of the version that holds the stage, measured."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cairn.console import patience
from cairn.evaluation.metrics import ScoredRows
from cairn.params.gates import Against, Gates
from cairn.paths import METRICS, MODEL_CONTRACT, ONNX, TEST, TRAIN
from cairn.releases import comparison, gates, revision
from cairn.releases.comparison import Incomparable, Rival, Rows
from cairn.releases.gates import Gate
from cairn.releases.versions import Version

# Of production's training rows; the search for test rows among more of them would take minutes.
MOST_TRAIN = 2**31


class Trial(NamedTuple):
    """The gates as they went, and on which rows the two were compared."""

    gates: list[Gate]
    note: str


class Measured(NamedTuple):
    """What a model is by itself: `test` of metrics.json, µs for one row, bytes of its graph."""

    scores: dict[str, float]
    time: float | None
    size: float | None


class Sides(NamedTuple):
    """Two models' answers to the same n rows, in how many classes, and which rows they are."""

    candidate: ScoredRows
    production: ScoredRows
    classes: int
    note: str


NOTHING = Measured({}, None, None)


def judged(version: Version, holder: Version | None, block: Gates) -> Trial:
    """How a version goes through the gates, against the one that holds the stage."""
    with _files(version, TEST) as mine:
        candidate = comparison.load(mine, version.number)
        rows = comparison.read(mine / TEST, candidate.contract)
        own = _measured(mine, candidate, rows, candidate)
        if holder is None:
            return Trial(_all(block, own, NOTHING, list(map(gates.free, block.against))), "")
        with _files(holder, *looked_through(holder.tag.commit)) as theirs:
            return _against(block, theirs, holder.number, Asked(candidate, rows, own))


class Asked(NamedTuple):
    """The candidate, its test rows, and what it is by itself."""

    rival: Rival
    rows: Rows
    measured: Measured


def _against(block: Gates, theirs: Path, number: str, asked: Asked) -> Trial:
    """The gates against the version whose files are in a folder."""
    before = NOTHING
    try:
        production = comparison.load(theirs, number)
        before = Measured(_scores(theirs), None, float(production.size))
        before = _measured(theirs, production, asked.rows, asked.rival)
        sides = compared(asked, production, theirs / TRAIN)
    except Incomparable as error:
        reason = str(error)
        lost = [gates.incomparable(rule, number, reason) for rule in block.against]
        return Trial(_all(block, asked.measured, before, lost), "")
    results = [gates.relative(rule, _difference(rule, sides)) for rule in block.against]
    return Trial(_all(block, asked.measured, before, results), sides.note)


def _all(block: Gates, own: Measured, before: Measured, compared: list[Gate]) -> list[Gate]:
    """Every gate, in the order of params.yaml."""
    return [
        *gates.absolute(block, own.scores, before.scores),
        *compared,
        *gates.latency(block.latency_us, own.time or 0, before.time),
        *gates.size(block.size_mb, own.size or 0, before.size),
    ]


def _measured(folder: Path, rival: Rival, rows: Rows, candidate: Rival) -> Measured:
    """A model by itself, timed on the first of the candidate's test rows."""
    first = comparison.inputs(rows.part(np.arange(1)), candidate.contract, rival.contract)
    return Measured(_scores(folder), gates.microseconds(rival, first), float(rival.size))


def _scores(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / METRICS).read_bytes())["test"])


def _files(version: Version, *more: Path) -> AbstractContextManager[Path]:
    return revision.files(version.tag.commit, (MODEL_CONTRACT, ONNX, METRICS, *more))


def looked_through(commit: str) -> tuple[Path, ...]:
    """The training rows of a commit's model, unless they are too many."""
    train = revision.outs(commit).get(TRAIN)
    return (TRAIN,) if train and train.size <= MOST_TRAIN else ()


def compared(asked: Asked, production: Rival, train: Path) -> Sides:
    """What both say of the candidate's test rows that production was not trained on.

    Parameters
    ----------
    train
        Production's training rows; where there is no such file, they are not looked through.

    Raises
    ------
    Incomparable
        Where the rows are not what production takes, or too few of them are left.
    """
    candidate, rows = asked.rival, asked.rows
    given = comparison.inputs(rows, candidate.contract, production.contract)
    looked = train.is_file()
    new = (
        comparison.unseen(given, train, production.contract)
        if looked
        else np.ones(len(given), bool)
    )
    part, classes = rows.part(new), len(candidate.contract.target.classes)
    _enough(rows, part, classes)
    own = comparison.inputs(part, candidate.contract, candidate.contract)
    return Sides(
        ScoredRows(own, part.classes, comparison.asked(candidate, own)),
        ScoredRows(given[new], part.classes, comparison.asked(production, given[new])),
        classes,
        _note(candidate.number, production.number, len(given), int(new.sum()), looked=looked),
    )


def _enough(rows: Rows, part: Rows, classes: int) -> None:
    """Raise an Incomparable where no row of some class is left."""
    if len(np.unique(part.classes)) < classes:
        raise Incomparable(
            f"it was trained on {len(rows.classes) - len(part.classes):,} of the "
            f"{len(rows.classes):,} test rows, and some class has no row among the others"
        )


def _note(candidate: str, production: str, every: int, new: int, *, looked: bool) -> str:
    """Which rows the two were compared on."""
    text = f"compared on {new:,} test rows of {candidate}"
    if not looked:
        return f"{text}; {production} may have been trained on some, which flatters it"
    if new < every:
        return f"{text}: {production} was trained on {every - new:,} others, which were left out"
    return f"{text}, none of which {production} was trained on"


def _difference(rule: Against, sides: Sides) -> comparison.Difference:
    with patience(f"promote: resampling rows for {rule.metric}"):
        return comparison.difference(
            rule.metric, sides.candidate, sides.production, sides.classes, rule.confidence
        )
