"""Stock BentoML + ONNX Runtime: a service class as in its quickstart, default settings."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import numpy as np
import onnxruntime as ort
from pydantic import BaseModel


class Prediction(BaseModel):
    """The answer for one row."""

    prediction: int
    confidence: float
    probabilities: list[float]


class Predictions(BaseModel):
    """The answer for many rows."""

    predictions: list[int]
    confidences: list[float]
    probabilities: list[list[float]]


@bentoml.service
class Classifier:
    """An ONNX graph."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["MODEL"], options)

    @bentoml.api
    def predict(self, features: list[float]) -> Prediction:
        """Predict the class of one row."""
        labels, confidences, shares = self._answer([features])
        return Prediction(prediction=labels[0], confidence=confidences[0], probabilities=shares[0])

    @bentoml.api
    def predict_batch(self, features: list[list[float]]) -> Predictions:
        """Predict the classes of many rows."""
        labels, confidences, shares = self._answer(features)
        return Predictions(predictions=labels, confidences=confidences, probabilities=shares)

    # Not by `predict_batch`: BentoML would make a request of that call.
    def _answer(self, rows: list[list[float]]) -> tuple[list[Any], list[Any], list[Any]]:
        labels, shares = self.session.run(None, {"features": np.array(rows, dtype=np.float32)})
        return labels.tolist(), shares.max(axis=1).tolist(), shares.tolist()
