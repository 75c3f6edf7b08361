"""A request on its way through the service."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from random import getrandbits
from typing import Any

PLAIN_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Request:
    """A request: its head, its body once that is there, and what the log has of it.

    Attributes
    ----------
    method, path, query
        What its first line says; the path is decoded, the query is not.
    headers
        Lower-case name → value; of one that comes twice, the last.
    client
        Address of the other end of the connection; None where it is not known.
    id
        The client's X-Request-ID, or one of our own.
    body
        All of the body, once a handler is called.
    start
        When its head was there, by `time.perf_counter`.
    is_abandoned
        The client is gone.
    facts
        What the log has of it beside what it has of all.
    """

    __slots__ = (
        "body", "client", "facts", "headers", "id", "is_abandoned", "method", "path", "query",
        "start",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: Mapping[bytes, bytes],
        client: str | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.client = client
        self.id = choose_request_id(headers)
        self.body = b""
        self.start = time.perf_counter()
        self.is_abandoned = False
        self.facts: dict[str, Any] = {}


def choose_request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the client's X-Request-ID if it is short and plain, else one of our own."""
    chosen_id = headers.get(b"x-request-id")
    if chosen_id and PLAIN_ID.fullmatch(chosen_id):
        return chosen_id
    return b"%032x" % getrandbits(128)
