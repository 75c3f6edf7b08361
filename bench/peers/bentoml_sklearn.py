"""Stock BentoML + scikit-learn: a service class as in its quickstart, default settings."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import joblib
import numpy as np
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
    """A scikit-learn model."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

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
        probabilities = self.model.predict_proba(np.array(rows, dtype=np.float32))
        labels = self.model.classes_[probabilities.argmax(axis=1)]
        return labels.tolist(), probabilities.max(axis=1).tolist(), probabilities.tolist()
