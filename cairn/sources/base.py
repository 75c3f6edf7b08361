"""What a kind of source is: the protocol that each module of a kind satisfies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from cairn.errors import CairnError
from cairn.params.raw import Raw

# Parts of a URL that may be secret: user:password@host/path?parameters.
UrlPart = Literal["user", "password", "parameters"]


class SourceNotFoundError(CairnError):
    """There is nothing at the address, which may be mistyped."""


class TransferError(Exception):
    """A transfer broke off, and may be resumed; the text says how it broke."""


class VersionError(TransferError):
    """The source is no longer the version of which a part was transferred."""


@dataclass(frozen=True)
class Version:
    """What identifies the bytes of a source, as far as its server says.

    Attributes
    ----------
    size
        Bytes.
    etag, modified
        HTTP's headers ETag and Last-Modified, as they came.
    """

    size: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def mark(self) -> str | None:
        """What tells this version byte for byte from any other; a weak ETag does not."""
        is_strong = self.etag and not self.etag.startswith("W/")
        return self.etag if is_strong else self.modified

    def agrees(self, other: Version) -> bool:
        """Tell whether nothing differs of what both have."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return all(one is None or another is None or one == another for one, another in pairs)


@dataclass(frozen=True)
class Stream:
    """The bytes of a source from an offset on.

    Attributes
    ----------
    version
        Of the source. One without a mark is transferred in one go, or again from the start.
    start
        Offset of the first byte: the one that was asked for, or 0.
    chunks
        Those bytes.
    """

    version: Version
    start: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """A kind of source; each module of this package that `table.SOURCES` lists is one.

    Attributes
    ----------
    FORM
        How `raw.source` is written for this kind, for messages.
    SECRETS
        Parts of the URL that no message may repeat; none where the address is no such URL.
    TAKES_QUERY
        Whether `raw.query` goes with it.
    """

    FORM: str
    SECRETS: frozenset[UrlPart]
    TAKES_QUERY: bool

    def matches(self, address: str) -> bool:
        """Tell whether an address is of this kind; kinds before this one did not match it."""

    def open_stream(
        self, address: str, params: Raw, version: Version | None, offset: int
    ) -> AbstractContextManager[Stream]:
        """Open what is at an address.

        Parameters
        ----------
        address
            `params.source` with the values of its variables.
        version, offset
            Where a part is here already: its version and how many of its bytes. A kind that
            cannot resume ignores both, and starts at 0.

        Raises
        ------
        CairnError
            Where the user has to do something.
        TransferError
            Where trying again may help, also while the stream is read.
        """
