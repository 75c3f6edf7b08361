"""API keys: who may ask."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

Digests = tuple[bytes, ...]


class Keys:
    """The keys of the settings, and those of a file, which is read again when it changes.

    Parameters
    ----------
    keys
        Keys that always hold.
    file
        Where more of them are, one a line; None: nowhere. While it cannot be read, those that
        it had hold on.
    """

    def __init__(self, keys: tuple[str, ...], file: Path | None) -> None:
        self._fixed = tuple(map(_digest, keys))
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._read: Digests = ()
        self.asked = bool(keys) or file is not None

    def allow(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request has one of the keys, or none is asked for."""
        if not self.asked:
            return True
        given = [sha256(key).digest() for key in presented(headers)]
        # Every key is compared, and by its hash: the time taken tells nothing of any of them.
        found = [hmac.compare_digest(one, key) for one in given for key in self._current()]
        return any(found)

    def _current(self) -> Digests:
        """The keys that hold now."""
        if self._file is not None:
            try:
                state = self._file.stat()
                seen = (state.st_mtime_ns, state.st_size, state.st_ino)
                if seen != self._seen:
                    lines = self._file.read_text(encoding="utf-8").split()
                    self._read, self._seen = tuple(map(_digest, lines)), seen
            except (OSError, UnicodeDecodeError):
                pass
        return self._fixed + self._read


def presented(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys that a request brings: as a bearer's token, as X-API-Key."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    bearer = [token.strip()] if scheme.lower() == b"bearer" else []
    return [key for key in (*bearer, headers.get(b"x-api-key", b"").strip()) if key]


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()
