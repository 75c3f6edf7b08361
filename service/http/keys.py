"""API keys: who may ask."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from service.http.errors import Refused

MIN_LENGTH = 16
HOW_TO_MAKE = "make one with `openssl rand -hex 32`"
OUT_OF_FILES = {errno.EMFILE, errno.ENFILE}
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# SHA-256 of each key → its name; empty where it has none.
Names = Mapping[bytes, str]

logger = logging.getLogger("cairn")


class Key(NamedTuple):
    """An API key; its name, empty where it has none, is what the log has of it."""

    name: str
    secret: str


class Keys:
    """The keys of the settings, and those of a file, which is read again when it changes.

    Parameters
    ----------
    keys
        Keys that always hold, each as `parse_key` takes it.
    file
        Where more of them are, one a line; None: nowhere. While it cannot be read it has none.
    """

    def __init__(self, keys: Iterable[str], file: Path | None) -> None:
        self._fixed = _hash_keys(map(parse_key, keys))
        self._file = file
        self._content: bytes | str | None = None
        self._names = self._fixed
        self.is_required = bool(self._fixed) or file is not None
        self.refresh()

    def refresh(self) -> None:
        """Read the file again; one of the same content changes nothing.

        It is read each second rather than looked at for each request: neither its time nor its
        size says for sure that it is the same.
        """
        if self._file is None:
            return
        content: bytes | str
        try:
            content = self._file.read_bytes()
        except OSError as error:
            if error.errno in OUT_OF_FILES:  # which says nothing of this one
                return
            content = str(error)
        if content != self._content:
            self._content = content
            self._names = {**_hash_keys(_parse_content(content)), **self._fixed}
            if not self._names:
                logger.warning("API_KEYS_FILE has no key in it; nobody may ask until it has one")

    def identify(self, headers: Mapping[bytes, bytes]) -> str:
        """Return the name of the key that a request has; empty where it has none.

        Raises
        ------
        Refused
            401 where it has none of the keys, and one is required.
        """
        if not self.is_required:
            return ""
        for key in read_presented(headers):
            # Looked up by its hash: the time that it takes says nothing of any key.
            if (name := self._names.get(sha256(key).digest())) is not None:
                return name
        error = "a key is required: Authorization: Bearer KEY, or X-API-Key: KEY"
        raise Refused(401, error, headers=((b"www-authenticate", b"Bearer"),))


def parse_key(text: str) -> Key:
    """Return the key that `KEY` or `NAME:KEY` stands for.

    Raises
    ------
    ValueError
        It is too short, or is the name only; the message never repeats it.
    """
    name, colon, secret = text.partition(":")
    key = Key(name, secret) if colon and NAME.fullmatch(name) else Key("", text)
    if len(key.secret) < MIN_LENGTH:
        name = f" named {key.name!r}" if key.name else ""
        raise ValueError(
            f"got a key{name} of {len(key.secret)} characters; allowed: {MIN_LENGTH} or more; "
            f"{HOW_TO_MAKE}"
        )
    return key


def split_lines(text: str) -> list[tuple[int, str]]:
    """List the keys in a file, each with the number of its line; `#` begins a comment."""
    return [
        (number, word)
        for number, line in enumerate(text.splitlines(), start=1)
        if not line.lstrip().startswith("#")
        for word in line.split()
    ]


def read_presented(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the keys that a request brings: as a bearer token, as X-API-Key."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    bearer = [token.strip()] if scheme.lower() == b"bearer" else []
    return [key for key in (*bearer, headers.get(b"x-api-key", b"").strip()) if key]


def _parse_content(content: bytes | str) -> list[Key]:
    """Parse what a file has, or why it cannot be read; the log names each line that is no key."""
    try:
        if isinstance(content, str):
            raise ValueError(content)  # noqa: TRY004
        lines = split_lines(content.decode())
    except ValueError as error:
        logger.error("API_KEYS_FILE cannot be read; none of its keys is valid: %s", error)  # noqa: TRY400
        return []
    keys = []
    for number, word in lines:
        try:
            keys.append(parse_key(word))
        except ValueError as error:
            logger.error("API_KEYS_FILE, line %d is left out: %s", number, error)  # noqa: TRY400
    return keys


def _hash_keys(keys: Iterable[Key]) -> dict[bytes, str]:
    return {sha256(key.secret.encode()).digest(): key.name for key in keys}
