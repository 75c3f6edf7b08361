"""sklearn:NAME: a table that scikit-learn ships, as CSV: its columns, then `target`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.sources.base import Stream, UrlPart, Version

PREFIX = "sklearn:"
TABLES = ("breast_cancer", "digits", "iris", "wine")

FORM = "sklearn:NAME"
SECRETS: frozenset[UrlPart] = frozenset()
TAKES_QUERY = False


def matches(address: str) -> bool:
    """Tell whether an address names a table of scikit-learn."""
    return address.startswith(PREFIX)


@contextmanager
def open_stream(
    address: str,
    params: Raw,  # noqa: ARG001 - the protocol's
    version: Version | None,  # noqa: ARG001
    offset: int,  # noqa: ARG001
) -> Iterator[Stream]:
    """Open a table; raise a CairnError where scikit-learn ships no such one."""
    content = format_table(address.removeprefix(PREFIX)).encode()
    yield Stream(Version(size=len(content)), 0, iter((content,)))


def format_table(name: str) -> str:
    """Format a table that scikit-learn ships as CSV."""
    if name not in TABLES:
        raise CairnError(f"raw.source: got sklearn:{name}; allowed: sklearn:{{{','.join(TABLES)}}}")
    from sklearn import datasets  # noqa: PLC0415 - a second that a file as source need not pay

    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    return str(frame.to_csv(index=False, lineterminator="\n"))
