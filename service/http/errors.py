"""Why a request is refused."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

# What /metrics and the log call each status that is an error.
KINDS = {
    400: "not_json",
    401: "no_key",
    404: "no_such_path",
    405: "wrong_method",
    408: "slow_body",
    413: "too_large",
    415: "wrong_content_type",
    422: "breaks_contract",
    429: "too_many_requests",
    499: "client_gone",
    500: "bug",
    503: "not_ready",
    504: "timeout",
}

# What /metrics calls the ways in which what comes is no HTTP request.
MALFORMED = ("syntax", "headers_too_long", "timeout", "closed", "crowd", "other")


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
    """A request that gets an error: its status, one sentence, and each problem.

    `headers` are those that its answer has beside the usual ones.
    """

    def __init__(
        self,
        status: int,
        error: str,
        detail: list[Problem] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.detail = detail or []
        self.headers = headers
