from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from service.http.encodings import parse_encoding
from service.http.encodings import unpack as unpack_named
from service.http.errors import Refused

LIMIT = 2**16
BODY = b'{"features": [[1.0, 2.0]]}' * 50


def zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(body)


def unsized(body: bytes) -> bytes:
    """A frame that does not name its size, as a stream has it."""
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(body) + packer.flush()


def unpack(body: bytes, encoding: bytes | None, limit: int) -> bytes:
    """Unpack a body with this Content-Encoding."""
    return unpack_named(body, parse_encoding(encoding), limit)


def refuse(body: bytes, encoding: bytes, limit: int = LIMIT) -> Refused:
    with pytest.raises(Refused) as refused:
        unpack(body, encoding, limit)
    return refused.value


@pytest.mark.parametrize("encoding", [None, b"", b"identity", b" Identity "])
def test_a_plain_body_stays_as_it_is(encoding: bytes | None) -> None:
    assert unpack(BODY, encoding, 1) is BODY


@given(body=st.binary(max_size=200))
def test_a_packed_body_is_unpacked(body: bytes) -> None:
    assert unpack(gzip.compress(body), b"gzip", LIMIT) == body
    assert unpack(gzip.compress(body), b" X-GZIP", LIMIT) == body
    assert unpack(zstd(body), b"zstd", LIMIT) == body
    assert unpack(unsized(body), b"ZSTD", LIMIT) == body


@pytest.mark.parametrize("pack", [gzip.compress, zstd, unsized])
@pytest.mark.parametrize("encoding", [b"gzip", b"zstd"])
def test_one_that_is_cut_off_or_not_in_that_encoding_is_refused(
    pack: object, encoding: bytes
) -> None:
    packed: bytes = pack(BODY)  # type: ignore[operator]
    is_right = (pack is gzip.compress) == (encoding == b"gzip")
    for length in range(len(packed) + (not is_right)):
        assert refuse(packed[:length], encoding).status == 400
    assert refuse(packed + b"junk", encoding).status == 400
    assert refuse(packed * 2, encoding).status == 400  # each member would copy all that follow
    assert refuse(BODY, encoding).status == 400


def test_the_limit_is_that_of_the_unpacked_body() -> None:
    for encoding, packs in ((b"gzip", [gzip.compress]), (b"zstd", [zstd, unsized])):
        for pack in packs:
            assert len(unpack(pack(bytes(LIMIT)), encoding, LIMIT)) == LIMIT
            assert refuse(pack(bytes(LIMIT + 1)), encoding).status == 413


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        (b"gzip", gzip.compress(bytes(2**26))),
        (b"zstd", zstd(bytes(2**26))),
        (b"zstd", unsized(bytes(2**26))),
    ],
    ids=["gzip", "zstd", "zstd-unsized"],
)
def test_a_bomb_takes_no_more_memory_than_the_limit(encoding: bytes, bomb: bytes) -> None:
    tracemalloc.start()
    try:
        assert refuse(bomb, encoding).status == 413
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LIMIT + 2 * len(bomb)


def test_a_frame_that_looks_far_back_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert refuse(packer.compress(BODY) + packer.flush(), b"zstd").status == 400


@pytest.mark.parametrize("encoding", [b"deflate", b"br", b"gzip, gzip", b"gzip,identity", b"\xff"])
def test_another_encoding_is_refused_with_those_that_are_allowed(encoding: bytes) -> None:
    refused = refuse(zlib.compress(BODY), encoding)
    assert refused.status == 415
    assert "allowed: gzip, zstd" in refused.error
    assert (b"accept-encoding", b"gzip, zstd") in refused.headers
