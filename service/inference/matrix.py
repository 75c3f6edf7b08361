"""Lists of rows that hold numbers only, read into a matrix without an object for each number.

simdjson writes a piece's numbers one behind the other, which takes a third of the time of msgspec
and NumPy together. It has no wheels for Python 3.14 and on; there `typed` reads such bodies too.
Like that one, this reader returns rows only where it is certain of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sized
from typing import cast

import numpy as np
from numpy.typing import NDArray

try:
    import simdjson
except ImportError:
    simdjson = None  # type: ignore[assignment]

from cairn.contract import LARGEST, Contract
from service.inference.lists import Declined, ListHead, cut_rows, find_list
from service.inference.parsing import LIST, count_byte

KINDS = {"number", "integer"}
# The sum of squares below which no number is beyond the largest, whatever was lost in adding them.
SUM_OF_SQUARES = LARGEST**2 / 2
Numbers = NDArray[np.float64]


class Thread(threading.local):
    """The parser of one thread, whose memory is kept: it is some times a piece's size."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


class MatrixReader:
    """Reads the bodies whose rows are lists of numbers, as a contract wants them.

    Parameters
    ----------
    contract
        One for which `is_matrix` is true.
    max_rows
        Most rows that one request may have.
    """

    def __init__(self, contract: Contract, max_rows: int) -> None:
        columns = contract.columns
        self._thread = Thread()
        self._max_rows = max_rows
        self._width = len(columns)
        self._integers = [index for index, one in enumerate(columns) if one.kind == "integer"]
        ranges = [
            (index, -LARGEST if one.minimum is None else one.minimum,
             LARGEST if one.maximum is None else one.maximum)
            for index, one in enumerate(columns)
            if (one.minimum, one.maximum) != (None, None)
        ]  # fmt: skip
        self._ranged = [index for index, *_ in ranges]
        self._lowest, self._highest = (np.array([ends[at] for ends in ranges]) for at in (1, 2))

    def read(self, body: bytes) -> NDArray[np.float32] | None:
        """Return the n × k features of a body; None where it must be read by another reader."""
        try:
            return join_rows(list(self.read_pieces(body, find_list(body))))
        except Declined:
            return None

    def read_pieces(self, body: bytes, head: ListHead | None) -> Iterator[NDArray[np.float32]]:
        """Read the features of a body with this head, some rows at a time.

        Raises Declined where `read` has None.

        No piece takes longer to read than a quarter of a millisecond.
        """
        if head is None or not head.has_lists:
            raise Declined
        rows = 0
        for piece in cut_rows(body, head):
            features = self._read_piece(piece)
            rows += len(features)
            if rows > self._max_rows:
                raise Declined
            yield features

    def _read_piece(self, piece: bytes) -> NDArray[np.float32]:
        """Read a list of rows; raises Declined where they are not all as they have to be.

        The buffer has the numbers of lists within a row too: the brackets tell that there are none.
        """
        try:
            rows = self._thread.parser.parse(piece)
            if not isinstance(rows, simdjson.Array):
                raise Declined
            numbers = np.frombuffer(rows.as_buffer(of_type="d"), np.float64)
            lengths = set(map(len, cast("Iterable[Sized]", rows)))  # TypeError for a number
        except (TypeError, ValueError, RuntimeError):  # simdjson's
            raise Declined from None
        if lengths != {self._width} or count_byte(piece, LIST) != len(rows) + 1:
            raise Declined
        matrix = numbers.reshape(-1, self._width)
        if not self._has_allowed(matrix):
            raise Declined
        return matrix.astype(np.float32)

    def _has_allowed(self, numbers: Numbers) -> bool:
        """Tell whether all numbers are within the contract's ranges, and integers where it says."""
        if not np.vdot(numbers, numbers) < SUM_OF_SQUARES:
            return False
        if self._ranged:
            ranged = numbers[:, self._ranged]
            if (ranged < self._lowest).any() or (ranged > self._highest).any():
                return False
        if not self._integers:
            return True
        integers = numbers[:, self._integers]
        return bool((np.floor(integers) == integers).all())


def join_rows(pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Join some rows each to one matrix."""
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def is_matrix(contract: Contract) -> bool:
    """Tell whether there is a MatrixReader of a contract: of numbers, none of which is special."""
    return (
        simdjson is not None
        and not contract.engineering
        and all(column.kind in KINDS for column in contract.columns)
    )
