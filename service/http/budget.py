"""How much all connections together may hold, and how much of it those of one client."""

from __future__ import annotations

from collections import Counter

# A client, which may be a proxy in front of many, has at most this part of the whole.
PART = 0.75


class Budget:
    """An amount that is shared out: bytes, or bodies.

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
