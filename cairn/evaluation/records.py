"""Hold what is known of a model: frozen records, which evaluation.json is written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cairn.evaluation.metric_table import TABLE, Metric
from cairn.modeling.records import Copies, Leak, RowCounts, Search, Threshold

Scores = Mapping[str, "Interval"]  # by the metric's name


@dataclass(frozen=True)
class Interval:
    """A score, and the interval that it is in with a confidence of 95%.

    Attributes
    ----------
    value
        None where the rows leave it undefined.
    low, high
        None where nothing varied, or nothing was resampled.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends; None where there is no interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class TableReport:
    """What `processed` reports: rows of the table, how many were set aside, and why."""

    rows: int
    set_aside: int
    problems: Mapping[str, int]
    notes: Mapping[str, int]


@dataclass(frozen=True)
class ClassScores:
    """The scores of a class against the rest; `rows` is None where they are means over folds."""

    key: str
    rows: int | None
    scores: Scores


@dataclass(frozen=True)
class SliceScores:
    """The scores of the rows where a feature has a value; those that mean little are None."""

    column: str
    value: str
    rows: int
    scores: Mapping[str, Interval | None]


@dataclass(frozen=True)
class CrossValidation:
    """Scores over folds of the training rows; `nested`: each fold searched anew."""

    folds: int
    repeats: int
    nested: bool
    scores: Scores
    classes: tuple[ClassScores, ...]


@dataclass(frozen=True)
class Importance:
    """By how much the log loss grows where a column is shuffled."""

    column: str
    importance: float


@dataclass(frozen=True)
class Evaluation:
    """What is known of how good a model is."""

    rows: RowCounts
    table: TableReport | None
    duplicates: Copies
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...]
    test: Scores
    cross_validation: CrossValidation | None
    classes: tuple[ClassScores, ...]
    slices: tuple[SliceScores, ...] = ()
    threshold: Threshold | None = None
    search: Search | None = None
    importance: tuple[Importance, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the content of evaluation.json."""
        validation = self.cross_validation
        return {
            "rows": asdict(self.rows),
            "table": asdict(self.table) if self.table else {},
            "duplicates": asdict(self.duplicates),
            "leaks": [asdict(leak) for leak in self.leaks],
            "notes": list(self.notes),
            "test": _scores(self.test),
            "cross_validation": _validation(validation) if validation else None,
            "classes": [_class(scores) for scores in self.classes],
            "slices": [_slice(scores) for scores in self.slices],
            "threshold": asdict(self.threshold) if self.threshold else None,
            "search": asdict(self.search) if self.search else None,
            "importance": [asdict(column) for column in self.importance],
            "metrics": [_metric(metric) for metric in TABLE],
        }


def values(scores: Scores) -> dict[str, float]:
    """Return the scores without intervals, less those that are undefined."""
    return {name: score.value for name, score in scores.items() if score.value is not None}


def _metric(metric: Metric) -> dict[str, Any]:
    """Return what the page has to know of a metric."""
    return {
        "name": metric.name,
        "title": metric.label,
        "direction": metric.direction,
        "overall": metric.overall,
        "per_class": metric.per_class,
    }


def _scores(scores: Mapping[str, Interval | None]) -> dict[str, Any]:
    return {name: asdict(score) if score else None for name, score in scores.items()}


def _class(of: ClassScores) -> dict[str, Any]:
    rows = {} if of.rows is None else {"rows": of.rows}
    return {"class": of.key, **rows, **_scores(of.scores)}


def _slice(of: SliceScores) -> dict[str, Any]:
    head = {"column": of.column, "value": of.value, "rows": of.rows}
    return {**head, **_scores(of.scores)}


def _validation(validation: CrossValidation) -> dict[str, Any]:
    return {
        "folds": validation.folds,
        "repeats": validation.repeats,
        "nested": validation.nested,
        "scores": _scores(validation.scores),
        "classes": [_class(scores) for scores in validation.classes],
    }
