"""The metrics that params.yaml may name, from the table of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from cairn.evaluation.metric_table import DECIDING, GAINS, OVERALL_LOSSES

# Metrics to decide by, those that are better the higher, and those that are better the lower.
if TYPE_CHECKING:
    Metric: TypeAlias = str
    Gain: TypeAlias = str
    Loss: TypeAlias = str
else:
    Metric, Gain, Loss = (Literal[names] for names in (DECIDING, GAINS, OVERALL_LOSSES))
