"""The model as the service uses it: rows in, an answer out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort

from service.example import example
from service.rows import Reader, Rows
from service.runner import Cost, Features, measure
from service.settings import MAX_ROWS
from stages import contract, inference
from stages.contract import Contract
from stages.features import matrix
from stages.inference import Predictions
from stages.paths import CONTRACT, ONNX


class Predictor:
    """An ONNX model with its contract, loaded once.

    Parameters
    ----------
    folder
        Where the model's files are.
    version
        The model's tag, `model_version` in each answer.
    chain
        Where the model comes from, as `stages.identity` wrote it.
    max_rows
        Most rows of one request.
    threads
        Threads of one run of the model.
    """

    def __init__(
        self,
        folder: Path,
        version: str,
        chain: dict[str, Any],
        max_rows: int = MAX_ROWS,
        threads: int = 1,
    ) -> None:
        self.version = version
        self.chain = chain
        self.terms: Contract = contract.read(folder / CONTRACT.name)
        self.reader = Reader(self.terms, max_rows)
        self._session = inference.session((folder / ONNX.name).read_bytes(), threads)
        row = self.features(self.reader.check(example(self.terms)))
        # A model that cannot answer must not be ready.
        self.cost: Cost = measure(self.run, row)

    def read(self, body: bytes) -> tuple[Rows, Features]:
        """The rows of a request and their features; raises Refused as `Reader.read` does."""
        rows = self.reader.read(body)
        return rows, self.features(rows)

    def features(self, rows: Rows) -> Features:
        """The n × k matrix that the model takes."""
        return matrix(rows.values, self.terms)

    def run(self, features: Features, options: ort.RunOptions | None = None) -> Predictions:
        """What the model says of such a matrix; `options` can end it early."""
        return inference.predict(self._session, features, options)

    def answer(self, said: Predictions, request_id: str, *, single: bool) -> dict[str, Any]:
        """What a request is answered.

        Returns
        -------
        dict
            For one row `prediction`, `confidence` and `probabilities` by class, for many the
            same in the plural, a list each; floats are NumPy's float32.
        """
        target = self.terms.target
        if single:
            code, row = said.labels[0], said.probabilities[0]
            return {
                "prediction": target.classes[code],
                "confidence": row[code],
                "probabilities": dict(zip(target.keys, row, strict=True)),
                "model_version": self.version,
                "request_id": request_id,
            }
        return {
            "predictions": [target.classes[code] for code in said.labels.tolist()],
            "confidences": said.confidences,
            "probabilities": [
                dict(zip(target.keys, row, strict=True)) for row in said.probabilities
            ],
            "model_version": self.version,
            "request_id": request_id,
        }

    def predict(self, content: Any, request_id: str) -> dict[str, Any]:
        """Answer a parsed body at once; raises Refused as `Reader.check` does."""
        rows = self.reader.check(content)
        return self.answer(self.run(self.features(rows)), request_id, single=rows.single)
