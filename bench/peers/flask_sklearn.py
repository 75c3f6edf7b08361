"""Flask + gunicorn + scikit-learn."""

from __future__ import annotations

import os
from typing import Any

import joblib
import numpy as np
from flask import Flask, jsonify, request


def create_app() -> Flask:
    """Load the model and make the application around it."""
    model = joblib.load(os.environ["MODEL"])
    app = Flask(__name__)

    @app.post("/predict")
    def predict() -> Any:
        features = np.array(request.get_json()["features"], dtype=np.float32)
        if features.shape[-1] != model.n_features_in_:
            return jsonify(error=f"{model.n_features_in_} features a row"), 422
        probabilities = model.predict_proba(np.atleast_2d(features))
        labels = model.classes_[probabilities.argmax(axis=1)].tolist()
        confidences = probabilities.max(axis=1).tolist()
        if features.ndim == 1:
            return jsonify(
                prediction=labels[0],
                confidence=confidences[0],
                probabilities=probabilities[0].tolist(),
            )
        return jsonify(
            predictions=labels, confidences=confidences, probabilities=probabilities.tolist()
        )

    return app
