"""All kinds of sources, and what is done alike with each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import get_args

from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.sources import address, file, http, s3, scikit_learn, sql
from cairn.sources.address import scheme_of
from cairn.sources.base import Source, SourceNotFoundError, UrlPart
from cairn.sources.download import download

# The first kind that matches an address opens it: file takes every text that is no URL and none of
# those before it, sql every URL that is none of those before it.
SOURCES: tuple[Source, ...] = (scikit_learn, file, s3, http, sql)
ALLOWED = f"{', '.join(kind.FORM for kind in SOURCES[:-1])} or {SOURCES[-1].FORM}"
ANY_SECRET = frozenset(get_args(UrlPart))


def fetch(params: Raw, part: Path, environment: Mapping[str, str]) -> None:
    """Write the bytes that `params` name to a file.

    Parameters
    ----------
    part
        May have some of the bytes already. It has all of them once this returns; where this
        raises, it keeps what can be resumed.
    environment
        Variables that the source may name.

    Raises
    ------
    CairnError
        Where the bytes cannot be had, or there are none. No password and no signature is in its
        text.
    """
    expanded = address.expand(params.source, secrets_of(params.source), environment)
    secrets = address.find_secrets(params.source, expanded, secrets_of(expanded), environment)
    try:
        transfer(expanded, params, part)
    except SourceNotFoundError as error:
        raise CairnError(address.hide(f"{error}; allowed: {ALLOWED}", secrets)) from None
    except CairnError as error:
        raise CairnError(address.hide(str(error), secrets)) from None
    if not part.stat().st_size:
        raise CairnError(f"raw.source: {mask(params.source)} is empty; it needs a header and rows")


def transfer(expanded: str, params: Raw, part: Path) -> None:
    """Write what is at an expanded address to a file, by the kind that matches it."""
    kind = find_source(expanded)
    if params.query is None and kind.TAKES_QUERY:
        raise CairnError(
            f"raw.query: got null, but raw.source is a database, {scheme_of(expanded)}://; "
            "give one SELECT"
        )
    if params.query is not None and not kind.TAKES_QUERY:
        raise CairnError(
            f"raw.query: raw.source is {mask(params.source)}, which takes no query; set it to null"
        )
    download(partial(kind.open_stream, expanded, params), digest_origin(expanded, kind), part)


def digest_origin(expanded: str, kind: Source) -> str:
    """Return a digest of an address without its password, which a checkpoint may hold."""
    origin = address.without_user(expanded, kind.SECRETS)
    return hashlib.sha256(origin.encode("utf-8", "surrogateescape")).hexdigest()


def find_source(expanded: str) -> Source:
    """Find the kind of an address; raise a SourceNotFoundError where nothing reads it."""
    for kind in SOURCES:
        if kind.matches(expanded):
            return kind
    raise SourceNotFoundError(f"raw.source: nothing here reads {scheme_of(expanded)}://")


def secrets_of(source: str) -> frozenset[UrlPart]:
    """Return what is secret in an address; all that may be where no kind matches it."""
    kinds = (kind.SECRETS for kind in SOURCES if kind.matches(source))
    return next(kinds, ANY_SECRET)


def mask(source: str) -> str:
    """Format `raw.source` for messages, without what is secret in it."""
    return address.mask(source, secrets_of(source))
