"""The model as the service uses it: rows in, an answer out."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from cairn import inference
from cairn import onnx_runtime as ort
from cairn.contract import Category, Contract, read_contract
from cairn.errors import CairnError
from cairn.inference import Predictions
from cairn.paths import MODEL_CONTRACT, ONNX
from cairn.transform import Engineering, to_matrix
from service.http.errors import Problem, Refused
from service.inference import artifacts
from service.inference.example import make_example
from service.inference.problems import Problems, make_refusal
from service.inference.rows import Reader, RequestRows
from service.inference.runner import Cost, Features, measure_cost
from service.process.settings import MAX_ROWS
from stages import engineering

ENGINEERING = Engineering(engineering)


class Predictor:
    """An ONNX model with its contract, loaded once.

    Parameters
    ----------
    folder
        Where the model's files are.
    version
        The model's tag, `model_version` in each answer.
    chain
        Where the model comes from, as `cairn.provenance` wrote it.
    max_rows
        Most rows of one request.
    threads
        Threads of one run of the model.

    Raises
    ------
    CairnError
        Where the model was made by other code than this.
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
        self.contract = load_contract(folder / MODEL_CONTRACT.name)
        self.artifacts = artifacts.read_artifacts(folder)
        self.reader = Reader(self.contract, max_rows)
        self._session = inference.open_session((folder / ONNX.name).read_bytes(), threads)
        row = self.compute_features(self.reader.check(make_example(self.contract)))
        # A model that cannot answer must not be ready.
        self.cost: Cost = measure_cost(self.run, row)

    def read(self, body: bytes) -> tuple[RequestRows, Features]:
        """Return the rows of a request and their features; raises Refused as `Reader.read` does."""
        rows = self.reader.read(body)
        return rows, self.compute_features(rows)

    def compute_features(self, rows: RequestRows) -> Features:
        """Compute the n × k matrix that the model takes."""
        return to_matrix(rows.values, self.contract, ENGINEERING)

    def run(self, features: Features, options: ort.RunOptions | None = None) -> Predictions:
        """Predict from such a matrix; `options` can end the run early."""
        predictions = inference.predict(self._session, features, options)
        return inference.apply_decision(predictions, self.contract.target.decision)

    def make_answer(
        self, predictions: Predictions, rows: RequestRows, request_id: str
    ) -> dict[str, Any]:
        """Make the answer to a request.

        Returns
        -------
        dict
            For one row `prediction`, `confidence` and `probabilities` by class, for many the
            same in the plural, a list each; floats are NumPy's float32. `identifier`, or
            `identifiers`, where the request names its rows.

        Raises
        ------
        Refused
            422 where the model's numbers went beyond float32: there is no answer that JSON holds.
        """
        answer = (self._answer_one if rows.single else self._answer_many)(predictions, request_id)
        if rows.identifiers:
            answer |= _name_rows(rows.identifiers, single=rows.single)
        return answer

    def _answer_one(self, predictions: Predictions, request_id: str) -> dict[str, Any]:
        target = self.contract.target
        code, row = predictions.labels[0], predictions.probabilities[0]
        confidence = row[code]
        if isnan(confidence):
            raise _refuse_unanswerable([0])
        return {
            "prediction": target.classes[code],
            "confidence": confidence,
            "probabilities": dict(zip(target.keys, row, strict=True)),
            "model_version": self.version,
            "request_id": request_id,
        }

    def _answer_many(self, predictions: Predictions, request_id: str) -> dict[str, Any]:
        target, confidences = self.contract.target, predictions.confidences
        if np.isnan(confidences).any():
            raise _refuse_unanswerable(np.flatnonzero(np.isnan(confidences)).tolist())
        return {
            "predictions": [target.classes[code] for code in predictions.labels.tolist()],
            "confidences": confidences,
            "probabilities": [
                dict(zip(target.keys, row, strict=True)) for row in predictions.probabilities
            ],
            "model_version": self.version,
            "request_id": request_id,
        }

    def predict(self, content: Any, request_id: str) -> dict[str, Any]:
        """Answer a parsed body at once; raises Refused as `Reader.check` does."""
        rows = self.reader.check(content)
        return self.make_answer(self.run(self.compute_features(rows)), rows, request_id)


def _name_rows(identifiers: list[Category | None], *, single: bool) -> dict[str, Any]:
    return {"identifier": identifiers[0]} if single else {"identifiers": identifiers}


def _refuse_unanswerable(rows: list[int]) -> Refused:
    allowed = "values with which every number in the model stays finite"
    return make_refusal(
        Problems(1, [Problem(row=row, column=None, problem="no answer", got=None, allowed=allowed)])
        for row in rows
    )


def load_contract(path: Path) -> Contract:
    """Read the contract of a model; raise a CairnError where other code trained it."""
    contract = read_contract(path)
    if contract.engineering and contract.engineering != ENGINEERING.sha256:
        raise CairnError(
            f"{path}: the model was trained with another stages/engineering.py; "
            "use the code of its commit"
        )
    return contract
