"""What the store says where somebody can mend it."""

from __future__ import annotations


class StoreError(Exception):
    """Something the user can mend; its text is one line: what is wrong and what to do next."""


def one_line(what: object) -> str:
    """Return its text without line breaks."""
    return " ".join(str(what).split())
