"""`gates`: what a version must pass before it gets a stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cairn.params.base import Section, StrictModel
from cairn.params.metrics import Gain, Loss, Metric


class Against(StrictModel):
    """What a version must not lose against the one that holds the stage.

    Attributes
    ----------
    may_lose
        So much of the metric, in its own unit.
    confidence
        Probability with which a loss, or that there is none, must be certain.
    """

    metric: Metric
    rule: Literal["not_worse", "better"]
    may_lose: Annotated[float, Field(ge=0)] = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


class Gates(Section):
    """What a version must pass before it gets a stage.

    Attributes
    ----------
    latency_us
        Longest median time of one row, in microseconds; None: any.
    size_mb
        Largest ONNX graph, in millions of bytes; None: any.
    """

    minimum: dict[Gain, float] = {"roc_auc": 0.9}
    maximum: dict[Loss, float] = {}
    latency_us: Annotated[float, Field(gt=0)] | None = 2000.0
    size_mb: Annotated[float, Field(gt=0)] | None = 50.0
    against: list[Against] = [Against(metric="roc_auc", rule="not_worse")]
