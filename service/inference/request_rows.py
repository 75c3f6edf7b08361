"""What the readers of a request return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cairn.contract import Category


class RequestRows(NamedTuple):
    """The rows of a request.

    Attributes
    ----------
    values
        One sequence a row, in the order of the contract's columns; None where a value is missing.
    single
        Whether the request asked for one row as such, not for a list of one.
    identifiers
        What names each row, None where nothing does; None where no row has a name.
    """

    values: list[Sequence[Any]]
    single: bool
    identifiers: list[Category | None] | None = None


def list_identifiers(identifiers: list[Category | None]) -> list[Category | None] | None:
    """Return each row's identifier; None where no row has one."""
    return None if identifiers.count(None) == len(identifiers) else identifiers
