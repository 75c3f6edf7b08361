"""List the metrics: the one table that params, scores, card, plots, gates, page and docs read.

A new metric is a row here and its function in `cairn.evaluation.metrics`. This module imports
nothing heavy, because params.yaml is checked by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower"]
Task = Literal["classification"]
BINARY = 2  # classes


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes
    ----------
    name
        Its key in params.yaml, metrics.json and evaluation.json.
    title
        What people call it.
    direction
        Which values are better.
    per_class
        Whether it is measured of each class against the rest.
    task
        For which kind of target it is.
    overall
        Whether it is measured of all classes together.
    can_decide
        Whether a search or a comparison of two models may decide by it.
    needs_all_classes
        Whether its overall value means little where the rows lack a class.
    unit
        Empty: none.
    minimum, maximum, binary_maximum
        The least and the largest value that it can have, and the largest for two classes.
    """

    name: str
    title: str
    direction: Direction
    per_class: bool
    task: Task = "classification"
    overall: bool = True
    can_decide: bool = True
    needs_all_classes: bool = False
    unit: str = ""
    minimum: float = 0.0
    maximum: float = 1.0
    binary_maximum: float = 1.0

    @property
    def is_loss(self) -> bool:
        """Whether smaller is better."""
        return self.direction == "lower"

    @property
    def label(self) -> str:
        """The title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def description(self) -> str:
        """The label, and the direction where it is not the usual one."""
        return f"{self.label}, lower is better" if self.is_loss else self.label

    def limit(self, classes: int) -> float:
        """Return the largest value for so many classes."""
        return self.binary_maximum if classes == BINARY else self.maximum


TABLE = (
    Metric("accuracy", "accuracy", "higher", per_class=False),
    Metric(
        "balanced_accuracy", "balanced accuracy", "higher", per_class=False, needs_all_classes=True
    ),
    Metric("f1_macro", "macro F1", "higher", per_class=False, needs_all_classes=True),
    Metric("precision", "precision", "higher", per_class=True, overall=False),
    Metric("recall", "recall", "higher", per_class=True, overall=False),
    Metric("f1", "F1", "higher", per_class=True, overall=False),
    Metric("roc_auc", "ROC AUC", "higher", per_class=True, needs_all_classes=True),
    Metric(
        "average_precision", "average precision", "higher", per_class=True, needs_all_classes=True
    ),
    Metric(
        "log_loss",
        "log loss",
        "lower",
        per_class=True,
        unit="nats",
        maximum=math.inf,
        binary_maximum=math.inf,
    ),
    Metric("brier", "Brier score", "lower", per_class=True, maximum=2.0),
    # A constant prediction has none, so nothing is chosen by it.
    Metric("calibration_error", "calibration error", "lower", per_class=True, can_decide=False),
)
METRICS = {metric.name: metric for metric in TABLE}
OVERALL = tuple(metric.name for metric in TABLE if metric.overall)
PER_CLASS = tuple(metric.name for metric in TABLE if metric.per_class)
LOSSES = frozenset(metric.name for metric in TABLE if metric.is_loss)
NEED_ALL_CLASSES = frozenset(metric.name for metric in TABLE if metric.needs_all_classes)
# What params.yaml takes: to decide by, to be at least, and to be at most so much.
DECIDING = tuple(sorted(name for name in OVERALL if METRICS[name].can_decide))
GAINS = tuple(sorted(set(OVERALL) - LOSSES))
OVERALL_LOSSES = tuple(sorted(LOSSES & set(OVERALL)))
