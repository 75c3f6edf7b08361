"""How much all connections, and all requests in work, may hold together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.http.asgi import RETRY
from service.http.errors import Refused

# A client, which may be a proxy in front of many, has at most this part of the whole.
PART = 0.75
TOO_MUCH = "too many long requests at once; try again"


class Budget:
    """An amount that connections share out, none of their clients too much: bytes, or bodies.

    Parameters
    ----------
    total
        What there is.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.in_use = 0
        self._by_client: Counter[str | None] = Counter()

    def take(self, client: str | None, amount: int) -> bool:
        """Take more of it; return whether there is as much."""
        if self.in_use + amount > self.total:
            return False
        if self._by_client[client] + amount > self.total * PART:
            return False
        self.in_use += amount
        self._by_client[client] += amount
        return True

    def give_back(self, client: str | None, amount: int) -> None:
        """Give some of it back."""
        self.in_use -= amount
        self._by_client[client] -= amount
        if not self._by_client[client]:
            del self._by_client[client]


class Quota:
    """An amount that requests in work share: bytes, or the requests themselves.

    Parameters
    ----------
    limit
        The most; what a single request holds may be more.
    error
        The one sentence of the refusal.
    """

    def __init__(self, limit: int, error: str) -> None:
        self.limit = limit
        self.in_use = 0
        self._error = error

    @contextmanager
    def hold(self, amount: int = 1) -> Iterator[None]:
        """Hold some of it; raises Refused, 429, where all of them hold too much."""
        if self.in_use and self.in_use + amount > self.limit:
            raise Refused(429, self._error, headers=(RETRY,))
        self.in_use += amount
        try:
            yield
        finally:
            self.in_use -= amount
