"""Where an HTTP/1 request begins and ends; no socket, no clock.

httptools (llhttp, Node's parser) reads the heads, each with a parser of its own, which costs a
fifth of a microsecond: nothing is left over from the request before, and an offer to upgrade, at
which a parser ends, ends nothing else. Bodies are not fed to it: it does not tell where in the
bytes a request has ended, keeps trailers, and counts nothing. What llhttp lets pass and a proxy
may read otherwise is refused here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol
from urllib.parse import unquote_to_bytes

from cairn.errors import CairnError

try:
    import httptools
except ImportError:  # BentoML does without it, and so would serve by uvicorn's other protocol
    raise CairnError(
        "httptools is not installed; `make install` installs what the service needs"
    ) from None

HEAD_END = b"\r\n\r\n"
# Bytes of a request's first line and headers.
MAX_HEAD = 2**16
# Heads up to so many bytes are kept as they were read, the latest so many of them.
SHORT = 1024
KEPT = 256
# How much of a head is parsed again with each part that comes of it.
OPENING = 64
# Bytes of the line before a chunk, and of the trailers after the last one. Nothing here uses what
# they may hold.
MAX_LINE = 2**10
MAX_TRAILERS = 2**13
# Bytes from which on a part of a body is left as it is; who sends byte by byte makes no more parts.
PART = 2**16
# Chunks of one step: others have their turn after some milliseconds.
CHUNKS_A_STEP = 2**10
SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
SIZE_PART = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?)?")
TRAILER = re.compile(rb"(?:[!#-'*+.^-z|~\-0-9A-Z]+:[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
BARE_LF = re.compile(rb"(?<!\r)\n")
# Headers that may come more than once, as one list.
LISTS = {b"connection", b"transfer-encoding", b"x-forwarded-for"}
# How a first line ends; httptools takes RTSP and other versions of HTTP, too.
VERSIONS = (b" HTTP/1.1", b" HTTP/1.0")
NO_HTTP = (
    "the request is not HTTP/1.1, or its headers are too long; check the request line and the "
    "headers"
)


class Malformed(Exception):
    """What came is no request that may be answered.

    Attributes
    ----------
    status, error
        The status of the answer, and its one sentence.
    reason
        What the metrics count it as.
    """

    def __init__(self, error: str = NO_HTTP, status: int = 400, reason: str = "syntax") -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.reason = reason


class Head:
    """The first line and the headers of a request, as httptools reads them.

    Attributes
    ----------
    method, target, path, query
        What the first line asks for; the path is decoded, the query is not.
    headers
        Lower-case name → value; of one that comes twice, the last, but for
        LISTS.
    is_http_1_0
        Whether it is HTTP/1.0: such a client has to ask for its connection to be kept.
    keep_alive
        Whether the connection may be used again.
    length
        Bytes of its body; None where it comes in chunks.
    """

    __slots__ = (
        "headers", "hosts", "is_http_1_0", "keep_alive", "length", "method", "path", "query",
        "target",
    )  # fmt: skip

    method: str
    path: str
    query: bytes
    is_http_1_0: bool
    keep_alive: bool
    length: int | None

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.hosts = 0

    def on_url(self, part: bytes) -> None:
        """Take in the target; httptools calls this."""
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header; httptools calls this."""
        name = name.lower()
        value = value.strip(b" \t")
        if name == b"host":
            self.hosts += 1
        elif name in LISTS and name in self.headers:
            value = b"%b,%b" % (self.headers[name], value)
        self.headers[name] = value

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits to be told to send the body."""
        return not self.is_http_1_0 and self.headers.get(b"expect", b"").lower() == b"100-continue"


def parse_head(data: bytes) -> Head:
    """Read the head of a request: all of it, up to the empty line that ends it, and no more.

    Most clients send the same head each time, and what is the same is read once.

    Raises
    ------
    Malformed
        It is no HTTP/1, or it may be read in more than one way.
    """
    return _parse_short(data) if len(data) <= SHORT else _parse(data)


def _parse(data: bytes) -> Head:
    line = data[: data.find(b"\r\n")]
    if not line.endswith(VERSIONS):
        raise Malformed
    head = Head()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # the offer is ignored, and the body read as the head says
    except httptools.HttpParserError:
        raise Malformed from None
    head.method = parser.get_method().decode()
    head.is_http_1_0 = line.endswith(VERSIONS[1])
    head.length = _read_length(head)
    if head.method == "CONNECT":
        raise Malformed("CONNECT is for proxies, and this is none")
    if head.hosts != 1 and not (head.is_http_1_0 and not head.hosts):
        raise Malformed(f"{head.hosts} Host headers; an HTTP/1.1 request has exactly one")
    head.path, head.query = split_target(head.target)
    head.keep_alive = _is_kept(head)
    return head


_parse_short = lru_cache(maxsize=KEPT)(_parse)


def _is_kept(head: Head) -> bool:
    """Tell whether the connection may be used again.

    httptools answers this only while it is inside a request.
    """
    options = head.headers.get(b"connection")
    if options is None:
        return not head.is_http_1_0
    tokens = {option.strip(b" \t") for option in options.lower().split(b",")}
    return b"close" not in tokens and (not head.is_http_1_0 or b"keep-alive" in tokens)


def _read_length(head: Head) -> int | None:
    """Return the bytes of the body; None where it comes in chunks.

    httptools has refused both headers together, two lengths, and a length that is no number.
    """
    coding = head.headers.get(b"transfer-encoding")
    if coding is None:
        return int(head.headers.get(b"content-length", 0))
    if head.is_http_1_0:
        raise Malformed("Transfer-Encoding is not part of HTTP/1.0; send a Content-Length")
    if coding.lower() != b"chunked":
        text = coding.decode("latin-1")[:40]
        raise Malformed(f"Transfer-Encoding {text!r}; allowed: chunked", status=501)
    return None


def check_part(part: bytes | bytearray, start: int) -> None:
    """Refuse the beginning of a head that can come to no good.

    Parameters
    ----------
    part, start
        What has come of the head, and where in it the bytes are that are new.

    Raises
    ------
    Malformed
        It is too long, begins as no HTTP does, or has a line that ends in a bare LF: its end would
        never be seen.
    """
    if len(part) > MAX_HEAD:
        raise make_too_long()
    if BARE_LF.search(part, start):
        raise Malformed
    if start < OPENING:  # later it would be read again and again, for who sends byte by byte
        try:
            httptools.HttpRequestParser(Head()).feed_data(bytes(part))
        except httptools.HttpParserError:
            raise Malformed from None


def make_too_long() -> Malformed:
    """Return what is raised for a head over the limit."""
    return Malformed(
        f"the headers are over {MAX_HEAD:,} bytes; send fewer", 431, "headers_too_long"
    )


def split_target(target: bytes) -> tuple[str, bytes]:
    """Split what a request asks for into its path, which is decoded, and its query.

    Raises
    ------
    Malformed
        It is neither a path nor an address.
    """
    if not target.startswith(b"/") and target != b"*":
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError:
            raise Malformed from None
        path, query = url.path or b"/", url.query or b""
    else:
        path, _, query = target.partition(b"#")[0].partition(b"?")
    if b"%" in path:
        return unquote_to_bytes(path).decode("utf-8", "replace"), query
    return path.decode("latin-1"), query


class Content:
    """The bytes of a body as they come, in parts: what is there is not moved when more comes.

    Attributes
    ----------
    size
        How many there are.
    parts
        Where they are.
    """

    def __init__(self) -> None:
        self.size = 0
        self.parts: list[bytearray] = []

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Add what has come."""
        self.size += len(data)
        if self.parts and len(self.parts[-1]) < PART:
            self.parts[-1] += data
        else:
            self.parts.append(bytearray(data))

    def join(self) -> bytes:
        """Return all bytes in one."""
        return b"".join(self.parts)


class Body(Protocol):
    """A body on its way."""

    content: Content

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there."""

    @property
    def framing(self) -> int:
        """Bytes that came beside it."""

    def feed(self, data: bytes | bytearray, start: int = 0) -> int:
        """Take in what is there from `start` on, and return how many of the bytes are used up."""


class SizedBody:
    """A body of a length that the head names."""

    framing = 0

    def __init__(self, length: int) -> None:
        self.content = Content()
        self._length = length

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there."""
        return self.content.size == self._length

    def feed(self, data: bytes | bytearray, start: int = 0) -> int:
        """Take in what is there from `start` on, and return how many of the bytes are used up."""
        used = min(self._length - self.content.size, len(data) - start)
        with memoryview(data) as view:
            self.content.add(view[start : start + used])
        return used


class ChunkedBody:
    """A body in chunks, whose end only they tell. Extensions and trailers are left out."""

    def __init__(self) -> None:
        self.content = Content()
        self.is_complete = False
        self.framing = 0
        self._left = 0  # bytes of the chunk, then of the line break after it
        self._is_last = False
        self._trailers = 0

    def feed(self, data: bytes | bytearray, start: int = 0) -> int:
        """Take in what is there from `start` on, up to CHUNKS_A_STEP; return how much is used up.

        Raises
        ------
        Malformed
            Where it is not chunked as the standard says, or its lines are too long.
        """
        used, before = 0, self.content.size
        for _ in range(CHUNKS_A_STEP):
            take = self._take_chunk if self._left else self._take_line
            step = take(data, start + used)
            used += step
            if not step or self.is_complete:
                break
        self.framing += used - (self.content.size - before)
        return used

    def _take_chunk(self, data: bytes | bytearray, start: int) -> int:
        """Take what is there of a chunk, and of the line break after it."""
        size = min(self._left - 2, len(data) - start)
        if size > 0:
            with memoryview(data) as view:
                self.content.add(view[start : start + size])
            self._left -= size
        else:
            size = 0
        if self._left == 2 and len(data) >= start + size + 2:  # noqa: PLR2004, CR and LF
            if data[start + size : start + size + 2] != b"\r\n":
                raise Malformed
            self._left = 0
            size += 2
        return size

    def _take_line(self, data: bytes | bytearray, start: int) -> int:
        """Take a line of framing: the size of a chunk, or a trailer."""
        if self._is_last:
            most, line = MAX_TRAILERS - self._trailers, TRAILER
        else:
            most, line = MAX_LINE, SIZE_LINE
        end = data.find(b"\n", start, start + most) + 1
        if not end:
            if len(data) - start >= most or not (self._is_last or SIZE_PART.fullmatch(data, start)):
                raise Malformed
            return 0
        match = line.fullmatch(data, start, end)
        if match is None:
            raise Malformed
        if self._is_last:
            self._trailers += end - start
            self.is_complete = end - start == 2  # noqa: PLR2004, an empty line
        elif size := int(match[1], 16):
            self._left = size + 2
        else:
            self._is_last = True
        return end - start
