"""The metrics that params.yaml may name."""

from __future__ import annotations

from typing import Literal

Metric = Literal[
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "f1_macro",
    "log_loss",
    "roc_auc",
]
# Metrics that are better the higher, and the lower.
Gain = Literal["accuracy", "average_precision", "balanced_accuracy", "f1_macro", "roc_auc"]
Loss = Literal["brier", "calibration_error", "log_loss"]
