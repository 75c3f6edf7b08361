"""The bytes of an answer, written as its parts are: floats by orjson, and what never changes once.

They are those of `orjson.dumps` of the answer as an object, in a quarter of the time: that makes an
object of each row, and reads each probability from a scalar of NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from cairn.contract import Category, Contract
from cairn.inference import Predictions
from service.http.errors import Problem, Refused
from service.inference.one_row import ClearRow
from service.inference.problems import Problems, make_refusal
from service.inference.request_rows import RequestRows

# Rows that are written by one call: it holds up all other threads for half a millisecond.
PIECE = 2_000


class RowTexts(NamedTuple):
    """What is predicted of some rows, as JSON, with commas between the rows."""

    labels: bytes
    confidences: bytes
    probabilities: bytes


class Answers:
    """Writes the answers of a model.

    Parameters
    ----------
    contract
        The contract of the model that is served.
    version
        The model's tag, `model_version` in each answer.
    """

    def __init__(self, contract: Contract, version: str) -> None:
        target = contract.target
        self._labels = np.array([orjson.dumps(label) for label in target.classes], object)
        keys = [orjson.dumps(key) + b":" for key in target.keys]
        self._keys = [(b"," if index else b"},{") + key for index, key in enumerate(keys)]
        self._tail = b',"model_version":%b,"request_id":' % orjson.dumps(version)
        probabilities = b",".join(key.replace(b"%", b"%%") + b"%b" for key in keys)
        self._one = b'{"prediction":%%b,"confidence":%%b,"probabilities":{%b}' % probabilities
        self._list_of_one = (
            b'{"predictions":[%%b],"confidences":[%%b],"probabilities":[{%b}]' % probabilities
        )

    def encode(
        self,
        predictions: Predictions,
        rows: RequestRows,
        request_id: str,
        sent: bytes | None = None,
    ) -> bytes:
        """Write the answer to a request.

        Parameters
        ----------
        sent
            The request's JSON, where the answer is to repeat it as `input`.

        Returns
        -------
        bytes
            An object: for one row `prediction`, `confidence` and `probabilities` by class, for many
            the same in the plural, a list each; floats are the shortest that are that float32.
            `identifier`, or `identifiers`, where the request names its rows.

        Raises
        ------
        Refused
            422 where the model's numbers went beyond float32: there is no answer that JSON holds.
        """
        if len(predictions.labels) == 1:
            parts = self._encode_one(predictions, self._one if rows.single else self._list_of_one)
        else:
            parts = self._encode_many(predictions)
        parts += (self._tail, orjson.dumps(request_id))
        if rows.identifiers:
            parts += _encode_identifiers(rows.identifiers, single=rows.single)
        if sent is not None:
            parts += (b',"input":', sent)
        return b"".join((*parts, b"}"))

    def encode_clear(self, row: ClearRow, request_id: bytes, *, single: bool) -> bytes:
        """Write the answer to a request of one row that has no identifier, as `encode` does.

        Parameters
        ----------
        request_id
            As it stands within quotes in JSON.
        """
        values = _dump_values(row.probabilities)
        template = self._one if single else self._list_of_one
        answer = template % (self._labels[row.label], values[row.label], *values)
        return b'%b%b"%b"}' % (answer, self._tail, request_id)

    def _encode_one(self, predictions: Predictions, template: bytes) -> tuple[bytes, ...]:
        code = predictions.labels[0]
        if isnan(predictions.probabilities[0, code]):
            raise _refuse_unanswerable([0])
        values = _dump_values(predictions.probabilities)
        return (template % (self._labels[code], values[code], *values),)

    def _encode_many(self, predictions: Predictions) -> tuple[bytes, ...]:
        labels, probabilities = predictions
        if np.isnan(probabilities).any():
            unanswerable = np.flatnonzero(np.isnan(predictions.confidences)).tolist()
            if unanswerable:
                raise _refuse_unanswerable(unanswerable)
        return _join_rows(
            [
                self.write_rows(
                    Predictions(labels[at : at + PIECE], probabilities[at : at + PIECE])
                )
                for at in range(0, len(labels), PIECE)
            ]
        )

    def write_rows(self, predictions: Predictions) -> RowTexts:
        """Write what is predicted of some rows, without NaN."""
        values, classes = _dump_values(predictions.probabilities), len(self._keys)
        confidences = orjson.dumps(predictions.confidences, option=orjson.OPT_SERIALIZE_NUMPY)
        parts = [b""] * (2 * len(values))
        parts[1::2] = values
        for index, key in enumerate(self._keys):
            parts[2 * index :: 2 * classes] = [key] * len(predictions.labels)
        return RowTexts(
            b",".join(self._labels[predictions.labels].tolist()),
            confidences[1:-1],
            b"".join(parts)[2:] + b"}",
        )

    def join(self, texts: Sequence[RowTexts], request_id: bytes) -> bytes:
        """Join an answer to a request of many rows without identifiers, as `encode` does.

        Parameters
        ----------
        request_id
            As it stands within quotes in JSON.
        """
        return b'%b%b"%b"}' % (b"".join(_join_rows(texts)), self._tail, request_id)


def _join_rows(texts: Sequence[RowTexts]) -> tuple[bytes, ...]:
    labels, confidences, probabilities = map(b",".join, zip(*texts, strict=True))
    return (
        b'{"predictions":[', labels,
        b'],"confidences":[', confidences,
        b'],"probabilities":[', probabilities,
        b"]",
    )  # fmt: skip


def _dump_values(numbers: NDArray[np.floating[Any]]) -> list[bytes]:
    """Write each number of an array."""
    text = orjson.dumps(numbers.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].split(b",")


def _encode_identifiers(identifiers: list[Category | None], *, single: bool) -> tuple[bytes, bytes]:
    if single:
        return b',"identifier":', orjson.dumps(identifiers[0])
    return b',"identifiers":', orjson.dumps(identifiers)


def _refuse_unanswerable(rows: list[int]) -> Refused:
    allowed = "values with which every number in the model stays finite"
    return make_refusal(
        Problems(1, [Problem(row=row, column=None, problem="no answer", got=None, allowed=allowed)])
        for row in rows
    )
