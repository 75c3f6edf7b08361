"""Errors of the store that the user can fix."""

from __future__ import annotations


class StoreError(Exception):
    """Something the user can fix; its text is one line: what is wrong and what to do next."""


def one_line(what: object) -> str:
    """Return the text of an object without line breaks."""
    return " ".join(str(what).split())
