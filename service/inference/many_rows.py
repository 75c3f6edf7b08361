"""Answer many rows of numbers in steps, none of which holds up other requests for long.

A thread would leave the event loop free as well. But on one core the two take turns at Python's
lock every half a millisecond, which costs a tenth of the time, and everyone waits for longer.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from cairn.inference import Predictions
from service.inference.answers import Answers, RowTexts
from service.inference.lists import Declined
from service.inference.matrix import join_rows
from service.inference.runner import Cost, Features, Run

# Seconds after which others have their turn, and the fewest and the most rows of a run.
STEP = 0.001
FEWEST, MOST = 16, 2_000


class PredictedRows(NamedTuple):
    """Rows that were answered: their features, and the model's predictions."""

    features: Features
    predictions: Predictions


class AnsweredRows(NamedTuple):
    """The rows of a request, and the answer to it."""

    rows: list[PredictedRows]
    body: bytes


# Ends with None where the request must be answered in another way.
Steps = Generator[None, None, AnsweredRows | None]


class PieceReader(Protocol):
    """Reads bodies of many rows."""

    def read_pieces(self, body: bytes) -> Iterator[Features]:
        """Read the features of a body, some rows at a time; raises Declined where another has to.

        No piece may take longer to read than a fraction of STEP.
        """


class ManyRows:
    """Answers the bodies that such a reader reads, by a model that takes microseconds a row.

    Parameters
    ----------
    reader, run, answers
        What reads the bodies, runs the model and writes the answers.
    cost
        What a run costs.
    """

    def __init__(self, reader: PieceReader, run: Run, answers: Answers, cost: Cost) -> None:
        self._reader = reader
        self._run = run
        self._answers = answers
        self._most = cost.count_rows(STEP, FEWEST, MOST)

    def answer(self, body: bytes, request_id: bytes) -> Steps:
        """Answer a body; it goes on where the next step is asked for.

        Parameters
        ----------
        request_id
            As it stands within quotes in JSON.
        """
        since = time.perf_counter()
        pieces: list[Features] = []
        try:
            for piece in self._reader.read_pieces(body):
                pieces.append(piece)
                if time.perf_counter() - since > STEP:
                    yield
                    since = time.perf_counter()
        except Declined:
            return None
        features = join_rows(pieces)
        rows: list[PredictedRows] = []
        texts: list[RowTexts] = []
        for start in range(0, len(features), self._most):
            if start and time.perf_counter() - since > STEP:
                yield
                since = time.perf_counter()
            some = features[start : start + self._most]
            predictions = self._run(some, None)
            if np.isnan(predictions.probabilities).any():
                return None  # which rows have no answer is said elsewhere
            rows.append(PredictedRows(some, predictions))
            texts.append(self._answers.write_rows(predictions))
        return AnsweredRows(rows, self._answers.join(texts, request_id))
