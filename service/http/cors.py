"""CORS: which pages of other origins may read what the service answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from service.http.asgi import Header, Reply

ANY = "*"
REQUEST_HEADERS = b"authorization, content-encoding, content-type, x-api-key, x-request-id"
RESPONSE_HEADERS = b"retry-after, x-request-id"
METHODS = b"GET, HEAD, POST"
# Seconds for which a browser need not ask again; Chromium's longest.
MAX_AGE = b"7200"


class Cors:
    """Adds the headers that a browser looks for.

    Keys come in headers of their own, never in cookies, so no answer allows credentials.

    Parameters
    ----------
    origins
        As a browser sends them, `https://app.example.com`; `*` for every one.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._is_any = ANY.encode() in self._origins

    def add_headers(self, reply: Reply, headers: Mapping[bytes, bytes]) -> Reply:
        """Return the reply to a request with these headers, with those of CORS."""
        return reply._replace(headers=(*reply.headers, *self._list_headers(headers)))

    def _list_headers(self, headers: Mapping[bytes, bytes]) -> list[Header]:
        origin = headers.get(b"origin")
        # A cache must not give one origin the answer to another.
        more: list[Header] = [] if self._is_any else [(b"vary", b"Origin")]
        if origin is None or not (self._is_any or origin in self._origins):
            return more
        allowed = ANY.encode() if self._is_any else origin
        more.append((b"access-control-allow-origin", allowed))
        if b"access-control-request-method" in headers:
            more += [
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", REQUEST_HEADERS),
                (b"access-control-max-age", MAX_AGE),
            ]
        else:
            more.append((b"access-control-expose-headers", RESPONSE_HEADERS))
        return more
