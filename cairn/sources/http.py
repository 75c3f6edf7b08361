"""https://… and http://…: a file on the web, resumed by ranges."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.sources.address import scheme_of
from cairn.sources.base import Stream, TransferError, UrlPart, Version, VersionError

# ruff: noqa: PLC0415 - httpx takes longer to import than a file as source need pay

if TYPE_CHECKING:
    import httpx

CONNECT, SILENCE = 10.0, 60.0  # seconds: to connect, and from one byte to the next
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
OK, PARTIAL, TOO_MANY, SERVER_ERROR = 200, 206, 429, 500
CHANGED = (412, 416)  # precondition failed, range not satisfiable
REASONS = {
    401: "it needs credentials, or different ones",
    403: "these credentials do not allow it, or it does not exist",
    404: "there is nothing at this address",
    410: "it is no longer there",
}

FORM = "https://…"
SECRETS: frozenset[UrlPart] = frozenset({"user", "password", "parameters"})  # a token has no colon
TAKES_QUERY = False


def matches(address: str) -> bool:
    """Tell whether an address is one of the web."""
    return scheme_of(address) in {"http", "https"}


@contextmanager
def open_stream(
    address: str, params: Raw, version: Version | None, offset: int
) -> Iterator[Stream]:
    """Open a file on the web; plain http from other machines only where `sha256` is known."""
    import httpx

    mark = version.mark if version else None
    ranged = {"Range": f"bytes={offset}-", "If-Range": mark} if mark else {}
    headers = {"Accept-Encoding": "identity", "User-Agent": "cairn", **ranged}
    with ExitStack() as stack:
        try:
            client = stack.enter_context(open_client(allows_http=params.sha256 is not None))
            yield read_response(stack.enter_context(client.stream("GET", address, headers=headers)))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise CairnError("raw.source: not a web address; allowed: https://HOST/PATH") from None
        except httpx.TooManyRedirects:
            raise CairnError("raw.source: the server redirects endlessly") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            text = f"no connection to {urlsplit(address).hostname}: {one_line(error)}"
            text += advise_certificate(error)
            raise TransferError(text) if offset else CairnError(f"raw.source: {text}") from None
        except httpx.TransportError as error:
            raise TransferError(f"the connection broke: {one_line(error)}") from None


def open_client(*, allows_http: bool) -> httpx.Client:
    """Open a client that follows redirects, to plain http of other machines only if allowed."""
    import httpx

    def check(request: httpx.Request) -> None:
        is_plain = request.url.scheme == "http" and not is_loopback(request.url.host)
        if is_plain and not allows_http:
            raise CairnError(
                "raw.source: anyone on the network path can change what comes over plain http; "
                "use https, or set raw.sha256 to the hash that the file must have"
            )

    try:
        return httpx.Client(
            follow_redirects=True,
            timeout=httpx.Timeout(SILENCE, connect=CONNECT),
            event_hooks={"request": [check]},
        )
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        # Not the error's text: a proxy's address may have a password in it.
        raise CairnError(
            f"SSL_CERT_FILE, SSL_CERT_DIR or a proxy variable cannot be used "
            f"({type(error).__name__}); correct or unset it"
        ) from None


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_response(response: httpx.Response) -> Stream:
    """Return a response's stream; raise a TransferError or a CairnError where it has none."""
    status, headers = response.status_code, response.headers
    length, start = headers.get("Content-Length"), 0
    if status == PARTIAL:
        match = RANGE.fullmatch(headers.get("Content-Range", ""))
        if not match:
            raise VersionError("the server sent a part without saying which")
        start, length = int(match[1]), match[2]
    elif status != OK:
        raise status_error(status, response.reason_phrase)
    total = int(length) if length and length.isdecimal() else None
    version = Version(total, headers.get("ETag"), headers.get("Last-Modified"))
    return Stream(version, start, response.iter_raw())  # chunks of a size would lose the last


def status_error(status: int, phrase: str) -> Exception:
    """Return the error for a status of HTTP's, and so of S3's, that brings no file."""
    text = f"{status} {phrase}".strip()
    if status in CHANGED:
        return VersionError(f"it changed during the transfer ({text})")
    if status == TOO_MANY or status >= SERVER_ERROR:
        return TransferError(f"the server answers {text}")
    return CairnError(f"raw.source: {REASONS.get(status, 'the server sends no file')} ({text})")


def advise_certificate(error: Exception) -> str:
    """Say what helps where a company signs its own certificates."""
    if "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return ""
    return "; for a company's own authority, set SSL_CERT_FILE to its certificates"


def one_line(error: Exception) -> str:
    """Return an error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
