"""The model as the service uses it: rows in, an answer out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.example import example
from service.rows import Reader, Row, Rows
from stages import contract, inference
from stages.contract import Contract
from stages.features import matrix
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
    """

    def __init__(self, folder: Path, version: str, chain: dict[str, Any]) -> None:
        self.version = version
        self.chain = chain
        self.terms: Contract = contract.read(folder / CONTRACT.name)
        self.reader = Reader(self.terms)
        self._session = inference.session((folder / ONNX.name).read_bytes())
        self._answer([example(self.terms)])  # a model that cannot answer must not be ready

    def predict(self, rows: Rows, request_id: str) -> dict[str, Any]:
        """Answer checked rows.

        Returns
        -------
        dict
            For one row `prediction`, `confidence` and `probabilities` by class, for many the
            same in the plural, a list each; floats are NumPy's float32.
        """
        labels, confidences, probabilities = self._answer(rows.rows)
        version = {"model_version": self.version, "request_id": request_id}
        if rows.single:
            return {
                "prediction": labels[0],
                "confidence": confidences[0],
                "probabilities": probabilities[0],
                **version,
            }
        return {
            "predictions": labels,
            "confidences": confidences,
            "probabilities": probabilities,
            **version,
        }

    def _answer(
        self, rows: list[Row]
    ) -> tuple[list[Any], NDArray[np.float32], list[dict[str, np.float32]]]:
        """Label, confidence and probabilities of each row."""
        columns = {name: [row.get(name) for row in rows] for name in self.terms.names}
        codes, shares = inference.predict(self._session, matrix(columns, self.terms))
        target = self.terms.target
        labels = [target.classes[code] for code in codes]
        confidences = shares[np.arange(len(codes)), codes]
        return labels, confidences, [dict(zip(target.keys, row, strict=True)) for row in shares]
