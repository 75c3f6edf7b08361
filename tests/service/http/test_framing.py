from __future__ import annotations

import pytest

from service.http.framing import (
    CHUNKS_A_STEP,
    MAX_LINE,
    MAX_TRAILERS,
    PART,
    Body,
    ChunkedBody,
    Content,
    Malformed,
    SizedBody,
    parse_head,
    split_target,
)

LINE = b"POST /a HTTP/1.1\r\n"
HOST = b"host: x\r\n"


def refuse(data: bytes) -> Malformed:
    with pytest.raises(Malformed) as problem:
        parse_head(data)
    return problem.value


def test_a_head_is_read() -> None:
    head = parse_head(LINE + b"Host: x\r\nX-A:\t b \r\nContent-Length: 3\r\n\r\n")
    assert (head.method, head.target, head.length) == ("POST", b"/a", 3)
    assert head.headers == {b"host": b"x", b"x-a": b"b", b"content-length": b"3"}
    assert (head.keep_alive, head.is_http_1_0, head.expects_continue) == (True, False, False)


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Upgrade, Close", False),
        (b"1.1", b"close\r\nconnection: upgrade", False),
        (b"1.0", b"", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"upgrade", False),
    ],
)
def test_a_connection_is_kept_as_the_version_and_the_client_say(
    version: bytes, connection: bytes, *, keep_alive: bool
) -> None:
    head = b"GET / HTTP/%s\r\nhost: x\r\nconnection: %s\r\nupgrade: h2c\r\n\r\n"
    assert parse_head(head % (version, connection or b"x")).keep_alive == keep_alive


@pytest.mark.parametrize(
    "head",
    [
        b"rubbish\r\n\r\n",
        b"GET /\r\n\r\n",
        LINE + b"\r\n",  # no Host
        LINE + HOST + HOST + b"\r\n",
        LINE + HOST + b"host: \r\n\r\n",
        b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n",
        LINE + HOST + b"content-length: 3\r\ncontent-length: 4\r\n\r\n",
        LINE + HOST + b"content-length: 3\r\ncontent-length: 3\r\n\r\n",
        LINE + HOST + b"content-length: 3, 4\r\n\r\n",
        LINE + HOST + b"content-length: +3\r\n\r\n",
        LINE + HOST + b"content-length: -3\r\n\r\n",
        LINE + HOST + b"content-length: 0x3\r\n\r\n",
        LINE + HOST + b"content-length: \r\n\r\n",
        LINE + HOST + b"content-length: 99999999999999999999\r\n\r\n",
        LINE + HOST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        LINE + HOST + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
        LINE + HOST + b"transfer-encoding: gzip\r\n\r\n",
        LINE + HOST + b"transfer-encoding: chunked, gzip\r\n\r\n",
        LINE + HOST + b"transfer-encoding: \r\n\r\n",
        LINE + HOST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        LINE + HOST + b"a: b\n\r\n",
        LINE + HOST + b"a: b\r\n c\r\n\r\n",
        LINE + HOST + b"a: b\0c\r\n\r\n",
        LINE + HOST + b"a\0: b\r\n\r\n",
        LINE + HOST + b"a : b\r\n\r\n",
        LINE + b" a: b\r\n" + HOST + b"\r\n",
        LINE + HOST + b"a: b\rc\r\n\r\n",
        LINE + HOST + b"a\r\n\r\n",
        LINE + HOST + b": b\r\n\r\n",
        b"POST /a HTTP/1.1\n" + HOST + b"\r\n",
        b"POST /a b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"post /a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET / HTTP/0.9\r\n" + HOST + b"\r\n",
        b"GET / RTSP/1.0\r\n" + HOST + b"\r\n",
        b"SOURCE / ICE/1.0\r\n" + HOST + b"\r\n",
    ],
)
def test_what_may_be_read_in_two_ways_is_400(head: bytes) -> None:
    problem = refuse(head)
    assert (problem.status, problem.reason) in {(400, "syntax"), (501, "syntax")}


@pytest.mark.parametrize(
    ("head", "status", "text"),
    [
        (
            LINE + HOST + b"transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n",
            501,
            "'identity,chunked'",
        ),
        (LINE + HOST + b"transfer-encoding: gzip, chunked\r\n\r\n", 501, "'gzip, chunked'"),
        (LINE + HOST + HOST + b"\r\n", 400, "2 Host headers"),
    ],
)
def test_what_is_not_supported_is_named(head: bytes, status: int, text: str) -> None:
    problem = refuse(head)
    assert problem.status == status
    assert text in problem.error


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a?b=c", "/a", b"b=c"),
        (b"/a%20b?%20", "/a b", b"%20"),
        (b"/a%ff", "/a\ufffd", b""),
        (b"/a?b?c#d", "/a", b"b?c"),
        (b"http://x:1/a?b", "/a", b"b"),
        (b"http://x", "/", b""),
        (b"*", "*", b""),
        (b"//x/a", "//x/a", b""),
    ],
)
def test_a_target_is_a_path_and_a_query(target: bytes, path: str, query: bytes) -> None:
    assert split_target(target) == (path, query)


CONTENT = b"0123456789" * 5
CHUNKED = b"A;x=y\r\n0123456789\r\n028\r\n" + CONTENT[10:] + b"\r\n0\r\nA: b\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_a_body_is_read_in_whatever_parts_it_comes(size: int) -> None:
    body, rest = ChunkedBody(), b""
    for start in range(0, len(CHUNKED), size):
        assert not body.is_complete
        rest += CHUNKED[start : start + size]
        while used := body.feed(rest):
            rest = rest[used:]
            if body.is_complete:
                break
    assert (body.content.join(), rest, body.is_complete) == (CONTENT, b"", True)


def test_what_comes_after_a_body_is_left() -> None:
    body = ChunkedBody()
    assert body.feed(CHUNKED + b"GET") == len(CHUNKED)
    assert body.content.join() == CONTENT
    sized = SizedBody(3)
    assert (sized.feed(b"ab"), sized.is_complete) == (2, False)
    assert (sized.feed(b"cde"), sized.is_complete, sized.content.join()) == (1, True, b"abc")


def test_many_chunks_take_more_than_one_step() -> None:
    data, body = b"1\r\na\r\n" * CHUNKS_A_STEP, ChunkedBody()
    assert 0 < body.feed(data) < len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"3\nabc\r\n",
        b"+3\r\nabc\r\n",
        b"-1\r\n",
        b"0x3\r\nabc\r\n",
        b"3 \r\nabc\r\n",
        b"\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"f" * 16 + b"\r\n",
        b"3;\0\r\nabc",
        b"3;a\rb\r\nabc",
        b"3;" + b"x" * MAX_LINE,
        b"0\r\n\n",
        b"0\r\n a: b\r\n\r\n",
        b"0\r\na\r\n\r\n",
        b"0\r\n" + b"a: b\r\n" * (MAX_TRAILERS // 6 + 1),
        b"0\r\na: " + b"x" * MAX_TRAILERS,
    ],
)
def test_what_is_not_chunked_as_the_standard_says_is_refused(data: bytes) -> None:
    def read(body: ChunkedBody, rest: bytes) -> None:
        while used := body.feed(rest):
            rest = rest[used:]

    with pytest.raises(Malformed):
        read(ChunkedBody(), data)


@pytest.mark.parametrize(("body", "sent"), [(ChunkedBody(), CHUNKED), (SizedBody(50), CONTENT)])
def test_a_body_is_read_from_where_its_head_ends(body: Body, sent: bytes) -> None:
    assert body.feed(b"HEAD" + sent + b"GET", 4) == len(sent)
    assert (body.content.join(), body.is_complete) == (CONTENT, True)


def test_a_body_that_comes_byte_by_byte_has_few_parts() -> None:
    content = Content()
    for _ in range(3 * PART):
        content.add(b"x")
    assert content.size == 3 * PART
    assert content.join() == b"x" * content.size
    assert len(content.parts) == 3
