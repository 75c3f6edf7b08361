"""API keys: who may ask."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

Digests = tuple[bytes, ...]
State = tuple[int, int, int] | None

logger = logging.getLogger("cairn")


class Keys:
    """The keys of the settings, and those of a file, which is read again when it changes.

    Parameters
    ----------
    keys
        Keys that always hold.
    file
        Where more of them are, one a line; None: nowhere. While it cannot be read it has none.
    """

    def __init__(self, keys: tuple[str, ...], file: Path | None) -> None:
        self._fixed = tuple(map(_hash, keys))
        self._file = file
        self._seen: State = None
        self._read: Digests = ()
        self.is_required = bool(keys) or file is not None

    def allow(self, headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether a request has one of the keys, or none is required."""
        if not self.is_required:
            return True
        digests = [sha256(key).digest() for key in read_presented(headers)]
        # Every key is compared, by its hash: the time that it takes tells nothing of any key.
        matches = [hmac.compare_digest(one, key) for one in digests for key in self._current()]
        return any(matches)

    def _current(self) -> Digests:
        """Return the keys that are valid now."""
        if self._file is not None:
            seen = _stat_file(self._file)
            if seen != self._seen:
                self._seen, self._read = seen, _read_file(self._file)
        return self._fixed + self._read


def _stat_file(file: Path) -> State:
    """Return what changes when a file does; None where there is no file."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _read_file(file: Path) -> Digests:
    """Read the keys in a file; none, with a line in the log, where it cannot be read."""
    try:
        return tuple(map(_hash, file.read_text(encoding="utf-8").split()))
    except (OSError, UnicodeDecodeError) as error:
        logger.error("API_KEYS_FILE cannot be read; none of its keys is valid: %s", error)  # noqa: TRY400
        return ()


def read_presented(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the keys that a request brings: as a bearer token, as X-API-Key."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    bearer = [token.strip()] if scheme.lower() == b"bearer" else []
    return [key for key in (*bearer, headers.get(b"x-api-key", b"").strip()) if key]


def _hash(key: str) -> bytes:
    return sha256(key.encode()).digest()
