"""Content encodings of a request's body: gzip and zstd, within the limit of a plain body."""

from __future__ import annotations

import zlib

import zstandard

from service.http.asgi import CLOSE
from service.http.errors import Refused

NAMES = ("gzip", "zstd")
# What a client may send instead (RFC 7694).
ACCEPT = (b"accept-encoding", ", ".join(NAMES).encode())
GZIP = 31  # zlib's window bits for gzip, and nothing else
# Bytes that a zstd frame may look back on: those that RFC 9659 has every server take.
WINDOW = 2**23


def unpack(body: bytes, encoding: str | None, limit: int) -> bytes:
    """Unpack a body, which takes too long for the event loop.

    Parameters
    ----------
    body
        The body as it came.
    encoding
        One of NAMES; None for a plain body.
    limit
        The longest body, bytes; no more than that is ever unpacked.

    Raises
    ------
    Refused
        400 where the body is not one complete stream of that encoding, 413 where it is longer than
        the limit.
    """
    if encoding is None:
        return body
    try:
        plain = _unpack_gzip(body, limit) if encoding == "gzip" else _unpack_zstd(body, limit)
    except (zlib.error, EOFError, zstandard.ZstdError) as error:
        problem = f"the body is not one complete {encoding} stream ({error}); check its header"
        raise Refused(400, problem) from None
    if plain is None:
        raise Refused(413, f"the unpacked body is over {limit:,} bytes; send fewer rows at once")
    return plain


def parse_encoding(header: bytes | None) -> str | None:
    """Return which of NAMES a Content-Encoding is; None for a plain body.

    Raises
    ------
    Refused
        415 where it is another, or several.
    """
    if not header:
        return None
    name = header.strip().lower().decode("latin-1").removeprefix("x-")
    if name in {"", "identity"}:
        return None
    if name not in NAMES:
        error = f"content encoding {name[:40]!r}; allowed: {', '.join(NAMES)}, or none"
        raise Refused(415, error, headers=(CLOSE, ACCEPT))
    return name


def _unpack_gzip(body: bytes, limit: int) -> bytes | None:
    """Unpack gzip; None where it is longer than the limit."""
    member = zlib.decompressobj(GZIP)
    plain = member.decompress(body, limit + 1)
    if len(plain) > limit:
        return None
    # One member: each further one would copy the rest of the body, however short it is.
    _check_end(is_complete=member.eof, rest=member.unused_data)
    return plain


def _unpack_zstd(body: bytes, limit: int) -> bytes | None:
    """Unpack a frame of zstd; None where it is longer than the limit."""
    size = zstandard.frame_content_size(body)
    packed = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    if size > limit:
        return None
    if size >= 0:
        return packed.decompress(body, allow_extra_data=False)
    # A stream does not name its size. Only a reader stops in the midst of a frame, and only the
    # other way tells whether the frame ends.
    if len(packed.stream_reader(body).read(limit + 1)) > limit:
        return None
    frame = packed.decompressobj()
    plain = frame.decompress(body)
    _check_end(is_complete=frame.eof, rest=frame.unused_data)
    return plain


def _check_end(*, is_complete: bool, rest: bytes) -> None:
    """Hold that a body ends where what is packed in it does."""
    if not is_complete:
        raise EOFError("it has no end")
    if rest:
        raise EOFError("something comes after its end")
