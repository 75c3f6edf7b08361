"""FastAPI + scikit-learn, as its documentation shows: the model loaded once, a pydantic input."""

from __future__ import annotations

import os
from typing import Any

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel


class Row(BaseModel):
    """One row."""

    features: list[float]


class Rows(BaseModel):
    """Many rows."""

    features: list[list[float]]


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


def create_app() -> FastAPI:
    """Load the model and make the application around it."""
    model = joblib.load(os.environ["MODEL"])
    app = FastAPI()

    # The model's work is never awaited, so a thread for each request would only add its switch.
    @app.post("/predict")
    async def predict(row: Row) -> Prediction:
        labels, confidences, probabilities = compute_predictions([row.features])
        return Prediction(
            prediction=labels[0], confidence=confidences[0], probabilities=probabilities[0]
        )

    @app.post("/predict/batch")
    async def predict_batch(rows: Rows) -> Predictions:
        labels, confidences, probabilities = compute_predictions(rows.features)
        return Predictions(predictions=labels, confidences=confidences, probabilities=probabilities)

    def compute_predictions(rows: list[list[float]]) -> tuple[list[Any], list[Any], list[Any]]:
        probabilities = model.predict_proba(np.array(rows, dtype=np.float32))
        labels = model.classes_[probabilities.argmax(axis=1)]
        return labels.tolist(), probabilities.max(axis=1).tolist(), probabilities.tolist()

    return app
