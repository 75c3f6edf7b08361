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
        labels, confidences, probabilities = self._predict([features])
        return Prediction(
            prediction=labels[0], confidence=confidences[0], probabilities=probabilities[0]
        )

    @bentoml.api
    def predict_batch(self, features: list[list[float]]) -> Predictions:
        """Predict the classes of many rows."""
        labels, confidences, probabilities = self._predict(features)
        return Predictions(predictions=labels, confidences=confidences, probabilities=probabilities)

    # Not by `predict_batch`: BentoML would make a request of that call.
    def _predict(self, rows: list[list[float]]) -> tuple[list[Any], list[Any], list[Any]]:
        labels, probabilities = self.session.run(
            None, {"features": np.array(rows, dtype=np.float32)}
        )
        return labels.tolist(), probabilities.max(axis=1).tolist(), probabilities.tolist()
