"""Why a request is refused."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class Problem(BaseModel):
    """One thing that is wrong with a request.

    Attributes
    ----------
    row
        Place of the row in the request, from 0; None where it is the request as a whole.
    column
        The column's name; None where it is the row as a whole.
    problem
        What is wrong, in a few words.
    got, allowed
        What came, cut short if it is long, and what would have been right.
    """

    row: int | None
    column: str | None
    problem: str
    got: Any
    allowed: Any


class Refused(Exception):
    """A request that gets an error: its status, one sentence, and each problem."""

    def __init__(self, status: int, error: str, detail: list[Problem] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.detail = detail or []
