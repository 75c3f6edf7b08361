"""The model as the service uses it: rows in, an answer out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from cairn import inference
from cairn import onnx_runtime as ort
from cairn.contract import Contract, read_contract
from cairn.errors import CairnError
from cairn.inference import Predictions
from cairn.paths import MODEL_CONTRACT, ONNX
from cairn.transform import Engineering, pack_row, to_matrix
from service.inference import artifacts
from service.inference.answers import Answers
from service.inference.example import make_example
from service.inference.lists import Declined, find_list
from service.inference.many_rows import ManyRows, Steps
from service.inference.matrix import MatrixReader, is_matrix
from service.inference.one_row import ClearRow, OneRow, has_known_types
from service.inference.request_rows import RequestRows
from service.inference.rows import Reader
from service.inference.runner import Cost, Features, measure_cost
from service.process.settings import MAX_ROWS
from stages import engineering

ENGINEERING = Engineering(engineering)
PIECE = 2_000  # rows


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
        self._matrix = make_matrix_reader(self.reader, max_rows)
        self._answers = Answers(self.contract, version)
        self._session = inference.open_session((folder / ONNX.name).read_bytes(), threads)
        sizes = len(self.contract.inputs), len(self.contract.target.classes)
        self._one_row = OneRow(self._session, *sizes) if has_known_types(self._session) else None
        is_packed = self.contract.plain and not self.contract.engineering
        is_clear = is_packed and self.contract.target.decision is None
        self._clear_reader = self.reader.typed if is_clear else None
        row = self.compute_features(self.reader.check(make_example(self.contract)))
        # A model that cannot answer must not be ready.
        self.cost: Cost = measure_cost(self.run, row)
        # On several threads, more rows are quicker at once.
        has_numbers_only = self.reader.typed is not None and self.reader.typed.has_numbers_only
        self._many_rows = (
            ManyRows(self, self.run, self._answers, self.cost)
            if is_packed and has_numbers_only and self.cost.is_immediate and threads == 1
            else None
        )

    def read(self, body: bytes, *, keep_values: bool = True) -> tuple[RequestRows, Features]:
        """Return the rows of a request and their features; raises Refused as `Reader.read` does.

        Parameters
        ----------
        keep_values
            Whether the rows must have their values: to read the features alone takes less time.
        """
        read = self.read_typed(body, keep_values=keep_values)
        if read is not None:
            return read
        rows = self.reader.explain(body)
        return rows, self.compute_features(rows)

    def read_typed(
        self, body: bytes, *, keep_values: bool = True
    ) -> tuple[RequestRows, Features] | None:
        """Do so where the body keeps the contract as it came; None where that is to be found."""
        if self._matrix and not keep_values:
            features = self._matrix.read(body)
            if features is not None:
                return RequestRows([], single=False), features
        rows = self.reader.read_typed(body)
        return None if rows is None else (rows, self.compute_features(rows))

    def read_pieces(self, body: bytes) -> Iterator[Features]:
        """Read the features of a body of many rows of numbers, some rows at a time.

        Raises
        ------
        Declined
            The body must be read by `read`.
        """
        head = find_list(body)
        if head is None or self.reader.typed is None:
            raise Declined
        if head.has_lists and self._matrix:
            yield from self._matrix.read_pieces(body, head)
            return
        for rows in self.reader.typed.read_pieces(body, head):
            yield self.compute_features(rows)

    def compute_features(self, rows: RequestRows) -> Features:
        """Compute the n × k matrix that the model takes."""
        values = rows.values
        if len(values) <= PIECE:
            return to_matrix(values, self.contract, ENGINEERING)
        # Some rows at a time: no other thread runs meanwhile.
        starts = range(0, len(values), PIECE)
        return np.concatenate(
            [to_matrix(values[at : at + PIECE], self.contract, ENGINEERING) for at in starts]
        )

    def answer_clear(self, body: bytes, request_id: bytes) -> tuple[ClearRow, bytes] | None:
        """Answer a body of one row of numbers, in half of the time that the steps below take.

        None where they have to: it is another, may break the contract, or the model has doubts.

        Parameters
        ----------
        request_id
            As it stands within quotes in JSON.
        """
        if self._clear_reader is None or self._one_row is None:
            return None
        rows = self._clear_reader.read_numbers(body)
        features = pack_row(rows.values[0]) if rows else None
        row = self._one_row.run_packed(features) if features else None
        if rows is None or row is None:
            return None
        return row, self._answers.encode_clear(row, request_id, single=rows.single)

    def answer_many(self, body: bytes, request_id: bytes) -> Steps | None:
        """Answer a body of lists of numbers in steps; None, or at the end, where others have to.

        Parameters
        ----------
        request_id
            As it stands within quotes in JSON.
        """
        return self._many_rows.answer(body, request_id) if self._many_rows else None

    def run(self, features: Features, options: ort.RunOptions | None = None) -> Predictions:
        """Predict from such a matrix; `options` can end the run early."""
        one_row = self._one_row
        if one_row and features.shape == one_row.shape and options is None:
            predictions = inference.resolve_ties(*one_row.run(features))
        else:
            predictions = inference.predict(self._session, features, options)
        return inference.apply_decision(predictions, self.contract.target.decision)

    def encode_answer(
        self,
        predictions: Predictions,
        rows: RequestRows,
        request_id: str,
        sent: bytes | None = None,
    ) -> bytes:
        """Write the answer to a request; raises Refused as `Answers.encode` does."""
        return self._answers.encode(predictions, rows, request_id, sent)

    def make_answer(
        self, predictions: Predictions, rows: RequestRows, request_id: str
    ) -> dict[str, Any]:
        """Make the answer to a request as an object."""
        return dict(orjson.loads(self.encode_answer(predictions, rows, request_id)))

    def predict(self, content: Any, request_id: str) -> dict[str, Any]:
        """Answer a parsed body at once; raises Refused as `Reader.check` does."""
        rows = self.reader.check(content)
        return self.make_answer(self.run(self.compute_features(rows)), rows, request_id)


def make_matrix_reader(reader: Reader, max_rows: int) -> MatrixReader | None:
    """Make the reader of rows that are lists of numbers; None where the contract wants more."""
    typed = reader.typed
    if typed is None or not typed.has_numbers_only or not is_matrix(reader.contract):
        return None
    return MatrixReader(reader.contract, max_rows)


def load_contract(path: Path) -> Contract:
    """Read the contract of a model; raise a CairnError where other code trained it."""
    contract = read_contract(path)
    if contract.engineering and contract.engineering != ENGINEERING.sha256:
        raise CairnError(
            f"{path}: the model was trained with another stages/engineering.py; "
            "use the code of its commit"
        )
    return contract
