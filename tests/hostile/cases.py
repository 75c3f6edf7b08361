"""The cases of a hostile client: what it sends, and which answers are right.

A case says the statuses of its answers in order, each as the set of those that the standards (RFC
9110, 9112) and DESIGN.md leave room for. After all of it the client sends one more request, which
is answered where the connection goes on: so an answer too many or too few shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from tests.load import BODY

Statuses = frozenset[int]

JSON = b"content-type: application/json"
HOST = b"host: x"
CHUNKED = b"transfer-encoding: chunked"
GET = b"GET /livez HTTP/1.1"
POST = b"POST /predict HTTP/1.1"


def one_of(*statuses: int) -> Statuses:
    """Return the statuses as a set."""
    return frozenset(statuses)


OK = one_of(200)
BAD = one_of(400)
EITHER = one_of(200, 400)
EMPTY = one_of(422)  # a body that is an object without any column
NO_BODY = one_of(400, 411, 415)
NOT_FOUND = one_of(400, 404)
TOO_LONG = one_of(400, 413, 414, 431)
CODINGS = one_of(400, 501)
UNSUPPORTED = one_of(400, 505)  # another version of HTTP, for which there is a status


class Case(NamedTuple):
    """One connection of a hostile client.

    Attributes
    ----------
    name
        What is odd about it.
    packets
        What it sends, each by a call of its own.
    expected
        The statuses of the answers, in order.
    may_be_silent
        Whether to close in order before the last of these answers is right as well.
    half_closes
        Whether the client ends its side, and sends no further request.
    heads
        Which of its requests, from 0, are HEAD.
    is_waiting
        Whether each packet waits until the server has read the one before.
    """

    name: str
    packets: tuple[bytes, ...]
    expected: tuple[Statuses, ...]
    may_be_silent: bool = False
    half_closes: bool = False
    heads: frozenset[int] = frozenset()
    is_waiting: bool = False


def head(line: bytes, *headers: bytes, host: bytes = HOST) -> bytes:
    """Return the head of a request, with a host."""
    return b"\r\n".join((line, host, *headers, b"", b""))


def post(*headers: bytes, body: bytes = BODY, line: bytes = POST) -> bytes:
    """Return a request with a body and its length."""
    return head(line, JSON, b"content-length: %d" % len(body), *headers) + body


def chunk(*parts: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + last


def post_chunks(content: bytes, *headers: bytes, line: bytes = POST) -> bytes:
    """Return a request whose body comes in chunks; `content` has them as they are sent."""
    return head(line, JSON, CHUNKED, *headers) + content


def single(name: str, sent: bytes, *expected: Statuses, silent: bool = False) -> Case:
    """Return a case of one packet."""
    return Case(name, (sent,), expected, may_be_silent=silent)


VERSIONS = (
    b"HTTP/1.2", b"HTTP/2.0", b"HTTP/2", b"HTTP/3", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/0.0",
    b"HTTP/9.9",
    b"HTTP/1.10", b"HTTP/11.1", b"HTTP/01.1", b"HTTP/1.01", b"HTTP/1,1", b"HTTP/1.", b"HTTP/.1",
    b"HTTP/1", b"HTTP/", b"HTTP", b"HTTP/1.1x", b"HTTP/x.y", b"HTTP/-1.1", b"HTTP/+1.1",
    b"HTTP/1.-1",
    b"http/1.1", b"Http/1.1", b"HTTPS/1.1", b"HTTP /1.1", b"HTTP/ 1.1", b"HTTP/1 .1", b"HTTP/1.1 1",
    b"ICY/1.0", b"RTSP/1.0", b"SIP/2.0", b"FTP/1.1", b"HTTP/1.1\x00", b"\x00HTTP/1.1", b"HTTP\\1.1",
    b"HTTP/\xb9.1", b"HTTP//1.1", b"HTTP/1/1", b"HTCPCP/1.0", b"SHTTP/1.3", b"HTTP/1.1;q=1",
)  # fmt: skip
# Lines that are no request line, each followed by a host.
LINES = (
    b"GET", b"GET ", b"GET /livez ", b"GET  HTTP/1.1", b" GET /livez HTTP/1.1",
    b"\tGET /livez HTTP/1.1",
    b"GET /livez", b"/livez HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1 200 OK", b"GET HTTP/1.1", b"x",
    b"\x00",
    b"GET livez HTTP/1.1", b"GET ?a HTTP/1.1", b"GET #a HTTP/1.1", b"GET \\livez HTTP/1.1",
    b"GET /li vez HTTP/1.1", b"GET /livez a HTTP/1.1", b"GET,/livez,HTTP/1.1",
    b"GET/livez HTTP/1.1",
    b"GET:/livez HTTP/1.1", b"G\x00T /livez HTTP/1.1", b"GET\x00/livez HTTP/1.1",
    b"GET /livez\x00HTTP/1.1",
    b"get /livez HTTP/1.1", b"Get /livez HTTP/1.1", b"GE T /livez HTTP/1.1",
    b"GET\xa0/livez HTTP/1.1",
    b"GET\x0b/livez HTTP/1.1", b"GET\x0c/livez HTTP/1.1", b"GET /livez\x0bHTTP/1.1",
    b"G(T /livez HTTP/1.1",
    b"\xef\xbb\xbfGET /livez HTTP/1.1", b"GET /livez HTTP/1.1 ", b"GET /livez HTTP/1.1\t",
    b"{}", b"[]", b'{"features": []}', b"<html>", b"host: x", b": x", b"GET\r/livez HTTP/1.1",
    b"GET /livez\rHTTP/1.1", b"GET\n/livez HTTP/1.1",
)  # fmt: skip
# What other protocols begin with.
PROTOCOLS = {
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "TLS 1.2": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n",
    "TLS 1.3": b"\x16\x03\x03\x00\x05\x01\x00\x00\x01\x00" + b"\x13\x01" * 99,
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n",
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SMTP": b"EHLO x\r\nMAIL FROM:<a@b>\r\n",
    "FTP": b"USER anonymous\r\nPASS a\r\n",
    "IMAP": b"a1 LOGIN a b\r\n",
    "POP3": b"USER a\r\n\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "Redis, in line": b"CONFIG SET dir /\r\n",
    "memcached": b"stats\r\nquit\r\n",
    "PostgreSQL": b"\x00\x00\x00\x08\x04\xd2\x16\x2f\r\n\r\n",
    "MySQL": b"\x20\x00\x00\x01\x85\xa6\x03\x00\x00\x00\x00\x01\r\n\r\n",
    "RDP": b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00\r\n",
    "SOCKS 5": b"\x05\x01\x00\r\n\r\n",
    "SOCKS 4": b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00\r\n\r\n",
    "PROXY 1": b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "PROXY 2": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + b"\x7f\x00\x00\x01" * 3,
    "AMQP": b"AMQP\x00\x00\x09\x01\r\n\r\n",
    "DNS": b"\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x00\x00\x01\x00\x01\r\n",
    "gRPC": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\r\n\r\n",
    "LDAP": b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00\r\n\r\n",
    "SMB": b"\x00\x00\x00\x2f\xffSMB\x72\x00\x00\x00\x00\r\n\r\n",
    "SIP": b"OPTIONS sip:a@b SIP/2.0\r\nvia: x\r\n\r\n",
    "RTSP": b"DESCRIBE rtsp://x/a RTSP/1.0\r\ncseq: 1\r\n\r\n",
    "ICE": b"SOURCE /livez ICE/1.0\r\nhost: x\r\n\r\n",
    "ICAP": b"REQMOD icap://x/a ICAP/1.0\r\nhost: x\r\n\r\n",
    "gopher": b"/\tsearch\r\n\r\n",
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07.\r\n\r\n",
    "Java": b"\xac\xed\x00\x05sr\x00\r\n\r\n",
    "JSON-RPC": b'{"jsonrpc": "2.0", "method": "eth", "id": 1}\r\n\r\n',
    "WebSocket frame": b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\r\n\r\n",
    "zeros": b"\x00" * 999 + b"\r\n\r\n",
    "ones": b"\xff" * 999 + b"\r\n\r\n",
    "line ends": b"\r\n" * 40_000,
    "line feeds": b"\n" * 80_000,
}  # fmt: skip
METHODS = (
    b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"COPY", b"LOCK", b"MKCOL", b"MOVE",
    b"PROPFIND",
    b"PROPPATCH", b"SEARCH", b"UNLOCK", b"BIND", b"ACL", b"REPORT", b"MKACTIVITY", b"CHECKOUT",
    b"MERGE",
    b"M-SEARCH", b"NOTIFY", b"SUBSCRIBE", b"UNSUBSCRIBE", b"PURGE", b"LINK", b"UNLINK", b"QUERY",
    b"BREW",
    b"GETS", b"GE", b"G", b"HEADER", b"DEBUG", b"TRACK", b"FOO", b"A" * 100, b"X" * 9000, b"!",
    b"'", b"|~",
    b"GET-GET", b"0", b"P0ST", b"PRI", b"DESCRIBE", b"PLAY", b"ANNOUNCE", b"SOURCE", b"__class__",
)  # fmt: skip
# Targets of GET that are not there.
ABSENT = (
    b"/livez;a=b", b"//livez", b"///livez", b"/./livez", b"/livez/.", b"/livez/..", b"/../livez",
    b"/a/../livez", b"/..", b"/.", b"/../../etc/passwd", b"/docs/../../etc/passwd",
    b"/docs/..%2f..%2fetc",
    b"/docs/%2e%2e/%2e%2e/etc/passwd", b"/docs/..\\..\\etc", b"/docs//etc/passwd", b"/docs/%00",
    b"/docs/index.html", b"/docs/__init__.py", b"/model/../model", b"/model/card.md",
    b"/model/x.png",
    b"/model/..%2fmodel.png", b"/model/%2e%2e/x.png", b"/Livez", b"/LIVEZ",
    b"/livez%00",
    b"/livez%0d%0aset-cookie:%20a=b", b"/%0d%0aset-cookie:a=b", b"/livez%20", b"/livez%3fa",
    b"/%2flivez",
    b"/%252flivez", b"/%", b"/%z", b"/%zz", b"/%f", b"/%ff%fe", b"/%c0%af", b"/%e0%80%af",
    b"/%u002f",
    b"/%F0%9F%92%A9", b"/a" * 9999, b"/" + b"a" * 8000, b"/" + b"a" * 30_000, b"/" + b"%41" * 9999,
    b"/" + b"/" * 9999, b"/" + b"../" * 5000, b"/.env", b"/.git/config", b"/wp-login.php",
    b"/cgi-bin/sh",
    b"/favicon.ico", b"/openapi.json", b"/static_content/", b"/actuator", b"/debug/pprof",
    b"/.well-known/x",
    b"/{x}", b"/$(id)", b"/`id`", b"/${jndi:ldap://x}", b"/<script>", b'/"', b"/'", b"/|", b"/^",
    b"/a*",
    b"/model/{picture}.png", b"/docs/{file}", b"/@", b"/:", b"/=", b"/&", b"/,", b"/~", b"/!",
    b"/+", b"/-",
)  # fmt: skip
# Trailing slashes, and what would send a browser elsewhere if it were followed.
SLASHED = (
    b"/livez/", b"/readyz/", b"/health/", b"/model/", b"/metrics/", b"/docs/", b"/predict/",
    b"/docs.json/",
    b"/health/live/", b"/model/card/", b"//evil.example/", b"///evil.example/", b"/\\evil.example/",
    b"//evil.example/docs/", b"/docs//", b"/predict//", b"/docs/?a=b", b"/predict/?echo=true",
    b"//docs/", b"/docs/%0d%0aset-cookie:a/", b"/%5cevil.example/", b"/%2fevil.example/",
    b"/livez%2f",
)  # fmt: skip
# Targets that lead to /livez, or are refused.
PRESENT = (
    b"/livez?", b"/livez?a", b"/livez?a=b", b"/livez??", b"/livez?/../..", b"/livez?" + b"a" * 9999,
    b"/livez?a=%00", b"/livez?%", b"/livez?%zz", b"/livez?a=b&a=c", b"/livez?&&&", b"/livez?=",
    b"/livez?a b".
    replace(b" ", b"+"), b"/livez?" + b"a=b&" * 2000, b"/livez?http://x", b"/livez?{}[]|^",
    b"http://x/livez", b"http://x:80/livez", b"http://127.0.0.1/livez", b"http://[::1]/livez",
    b"HTTP://x/livez", b"https://x/livez", b"http://X.EXAMPLE/livez?a=b",
)  # fmt: skip
ODD_TARGETS = (
    b"*", b"x:80", b"x", b"http:", b"http:/", b"http://", b"http:///livez", b"http://x",
    b"http://x?a",
    b"http://a:b@x/livez", b"http://x:99999/livez", b"http://x:y/livez", b"ftp://x/livez",
    b"file:///etc/passwd",
    b"://x/livez", b"http//x/livez", b"http:\\\\x\\livez", b"/livez#a", b"/livez?#", b"#", b"?",
    b"??",
    b"/%6civez", b"/%6C%69%76%65%7A", b"/liv%65z",
)  # fmt: skip
ODD_STATUSES = one_of(200, 308, 400, 404)

# Values of a host: the first is all right, the second may be, the third may not.
HOSTS = (
    b"x", b"X", b"x:80", b"127.0.0.1", b"127.0.0.1:3000", b"[::1]", b"[::1]:3000", b"x.example.",
    b"a-b.c",
    b"a_b", b"localhost", b"  x", b"x  ", b"\tx", b"1", b"a" * 253,
)  # fmt: skip
ODD_HOSTS = (
    b"", b" ", b"x:", b":80", b"x:y", b"x:99999", b"x y", b"x,y", b"x/y", b"x?y", b"x#y", b"a@x",
    b"http://x",
    b"[::1", b"::1", b"\xff", b"\xc3\xa4", b"x\\y", b"<x>", b'"x"', b"*", b"%", b"%00", b"x%zz",
    b"{x}",
    b"a" * 9000, b"x\ty", b"xn--\xff", b"..", b"-",
)  # fmt: skip

# Lengths of BODY that are none; and those that may count as one.
LENGTHS = (
    b"-1", b"+%d", b"-%d", b"0x%x", b"%d,", b",%d", b"%d %d", b"%d;", b"%d.0", b"%de0", b"%dx",
    b"x%d",
    b'"%d"', b"'%d'", b"%d\x00", b"\x00%d", b"%d\x0b", b"NaN", b"infinity", b"x", b"-", b"%d-",
    b"0-%d",
    b"1_0", b"\xd9\xa5", b"\xb2", b"9" * 19, b"9" * 20, b"18446744073709551616",
    b"18446744073709551615",
    b"9223372036854775808", b"9" * 999, b"340282366920938463463374607431768211456", b"%d\r\n 0",
    b"%d, 1",
    b"1, %d", b"0b1", b"0o7", b"%d/1", b"*", b"%d%%",
)  # fmt: skip
LENGTHS_OR_NOT = (b"%d,%d", b"%d, %d", b"00%d", b"0000000000000000000000000000%d", b"%d,%d,%d")
# What a message with a body may not say of how it is framed.
CODED = (
    b"gzip", b"deflate", b"compress", b"br", b"x", b"identity", b"gzip, chunked", b"chunked, gzip",
    b"chunked, chunked", b"identity, chunked", b"chunked, identity", b"chunked;q=1", b'"chunked"',
    b"xchunked", b"chunkedx", b"chunke", b"chunked,", b",chunked", b"chunked, ", b"chunk ed",
    b"chunked\x00", b"\x00chunked", b"chunked\x0b", b"\x0bchunked", b"chunked\x0c", b"\xa0chunked",
    b"chunked\xff", b"", b"chunked\r\n ", b"\r\n chunked", b"CHUNKED\x1f", b"'chunked'",
    b"chunked\r\ntransfer-encoding: identity", b"chunked\r\ntransfer-encoding: x",
    b"identity\r\ntransfer-encoding: chunked", b"x\r\ntransfer-encoding: chunked",
    b"chunked\r\ntransfer-encoding: chunked", b"tchunked", b"0", b"chunked chunked",
)  # fmt: skip
# The standard lets a list have empty parts, and a value be folded.
MAY_BE_CODED = {b"chunked,", b",chunked", b"chunked, ", b"\r\n chunked"}
KINDS = (
    b"text/plain", b"", b"application/json2", b"\xff", b"application/json, text/csv", b"a" * 9999,
    b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded", b"json", b";",
)  # fmt: skip
# Names that only look like those of the framing: the body has no length, and is no request.
LOOKALIKES = (
    b"content_length: %d", b"content-length-: %d", b"content-lengt: %d", b"x-content-length: %d",
    b"transfer_encoding: chunked", b"transfer-encodin: chunked", b"transferencoding: chunked",
    b"x-transfer-encoding: chunked", b"te: chunked",
)  # fmt: skip
# Headers that no request may have.
NO_HEADERS = (
    b"nothing", b": a", b":", b" a: b", b"\ta: b", b"a : b", b"a\t: b", b"a b: c", b"a\x00: b",
    b"\x00: b",
    b"content-length : 5", b"transfer-encoding : chunked", b"host : y", b"content-length\x00: 5",
    b"content-length\t: 5", b"a\r\n: b", b"\xff: a", b"\xc3\xa4: a",
    b"a: b\r c: d", b"a: \r\r\n", b"a: b\rhost: y", b"x-request-id: a\rset-cookie: b=c",
    b"a: b\r\r\n",
    b"HOST: x", b"host: x, y",
)  # fmt: skip
FOLDS = (
    b"a: b\r\n c",
    b"a: b\r\n\tc",
    b"a:\r\n b",
    b"a: b\r\n c\r\n d",
    b"content-length: 0\r\n 5",
)
# Headers that change nothing.
HEADERS = (
    b"a:", b"a: ", b"a:b", b"a:\tb", b"a: b\t", b"a: b c", b"a: b: c", b"a: \xff", b"a: \xc3\xa4",
    b"!#$%&'*+-.^_`|~: a",
    b"0: 1", b"A: b", b"a: b\r\na: c", b"x-request-id:", b"x-request-id: a b",
    b"x-request-id: \xff",
    b"x-request-id: " + b"x" * 9999, b"x-request-id: a\r\nx-request-id: b",
    b"x-request-id: %0d%0aset-cookie:a",
    b"x-request-id: a\r\nset-cookie: b=c", b"a: " + b"b" * 30_000, b"a" * 9000 + b": b",
    b"\r\n".join(b"a%d: b" % number for number in range(999)), b"\r\n".join([b"a: b"] * 999),
    b"accept: nothing", b"accept: \xff", b"accept-encoding: gzip, br, zstd", b"te: trailers",
    b"range: bytes=0-",
    b"range: bytes=9-0", b"if-none-match: *", b"if-match: a", b"if-modified-since: nothing",
    b"trailer: a",
    b"cookie: " + b"a=b; " * 999, b"authorization: Basic \xff",
    b"authorization: Bearer " + b"a" * 9999,
    b"x-http-method-override: POST", b"x-original-url: /metrics", b"x-rewrite-url: /metrics",
    b"via: 1.1 x",
    b"x-forwarded-for: \xff", b"x-forwarded-for: " + b"1.1.1.1, " * 999, b'forwarded: for="_x"',
    b"keep-alive: x",
    b"max-forwards: 0", b"origin: null", b"origin: \xff", b"referer: \xff", b"user-agent:",
    b"date: nothing",
    b"traceparent: 00-0-0-00", b"content-encoding: identity", b"content-language: x",
    b"content-md5: x",
    b"proxy-connection: close", b"connection:", b"connection: x", b"connection: keep-alive",
    b"connection: ,,,",
    b"connection: x-request-id", b"connection: content-length", b"connection: host",
    b"connection: te",
    b"connection: keep-alive, keep-alive", b"http2-settings: a", b"upgrade: h2c",
    b"upgrade: websocket",
    b"upgrade-insecure-requests: 1", b"sec-websocket-key: a", b"bentoml-name: a",
    b"content-type: text/plain",
)  # fmt: skip
CLOSES = (
    b"connection: close",
    b"connection: Close",
    b"connection: keep-alive, close",
    b"connection: close, x",
)
EXPECTATIONS = (
    b"100-continue",
    b"100-Continue",
    b"100-continue, 100-continue",
    b"200-ok",
    b"x",
    b"",
    b"\xff",
)
OFFERS = (
    b"connection: upgrade\r\nupgrade: h2c",
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB",
    b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13",
    b"connection: keep-alive, Upgrade\r\nupgrade: TLS/1.2, x/1",
    b"upgrade: h2c\r\nconnection: upgrade", b"Connection: UPGRADE\r\nUpgrade: a\r\nUpgrade: b",
    b"connection: upgrade\r\nconnection: keep-alive\r\nupgrade: h2c",
    b"connection: upgrade\r\nupgrade:",
    b"connection: upgrade",
)  # fmt: skip
INNER = b"GET /model HTTP/1.1\r\nhost: x\r\n\r\n"

# Chunked bodies of BODY that are right, if odd, or may be refused.
LONG_EXTENSION = b"%x;" % len(BODY) + b"a" * 9000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"
SIZES = (
    b"%x", b"%X", b"0%x", b"0000000%x", b"%x;a", b"%x;a=b", b'%x;a="b"', b"%x;a=b;c=d",
    b'%x;a="\\""',
    b"%x;", b"%x; a=b", b"%x ;a=b", b"%x;a = b", b'%x;a=";"', b"%x;\xff", b"%x;a=\xff",
    b"00000000000000000000%x",
)  # fmt: skip
NO_SIZES = (
    b"", b" ", b"g", b"-%x", b"+%x", b"0x%x", b"%x x", b"x%x", b"%xh", b"%x,", b"%x.", b"%x\x00",
    b"\x00%x",
    b"%x\x0b", b"%x:a", b"fffffffffffffffff", b"10000000000000000", b"\xb2", b"%x\xff", b"{}",
    b"%x\r", b"%x\n", b"%x;a\nb", b"%x;\x00", b"_%x", b"%x_0",
)  # fmt: skip
TRAILERS = (
    b"a: b", b"a:", b"a: b\r\nc: d", b"\r\n".join([b"a: b"] * 99), b"content-length: 5", b"host: y",
    b"transfer-encoding: chunked", b"content-type: text/plain", b"x-request-id: b",
    b"connection: close",
    b"authorization: x", b"content-encoding: gzip", b"set-cookie: a=b", b"upgrade: h2c",
)  # fmt: skip
NO_TRAILERS = (
    b"a",
    b"a : b",
    b": b",
    b" a: b",
    b"a\x00: b",
    b"a: b\x00",
    b"a: b\rc: d",
    b"\x00",
    b"a b: c",
)


def list_request_lines() -> Iterator[Case]:
    """List request lines that are none, and other protocols."""
    for version in VERSIONS:
        yield single(f"version {version!r}", head(b"GET /livez " + version), UNSUPPORTED)
    for line in LINES:
        # Without a version it may count as HTTP/0.9, which has no more than a line, and closes.
        yield single(f"line {line!r}", head(line), UNSUPPORTED | OK if line == LINES[6] else BAD)
    for name, sent in PROTOCOLS.items():
        yield single(name, sent, UNSUPPORTED | one_of(431), silent=True)
    for number in (*range(0x21), *range(0x7F, 0x82), 0xA0, 0xFF):
        target = b"/a%cb" % number
        statuses = NOT_FOUND if number > 0x7F else BAD  # no ASCII
        yield single(f"target {target!r}", head(b"GET %s HTTP/1.1" % target), statuses)
    for before in (b"\r\n", b"\r\n\r\n", b"\n", b"\r\n" * 99):
        yield single(f"{before[:4]!r} before", before + head(GET), EITHER)
    yield single("bare line feeds", head(GET).replace(b"\r\n", b"\n"), EITHER)
    yield single("bare returns", head(GET).replace(b"\r\n", b"\r"), BAD, silent=True)
    yield single("a line feed in the line end", head(GET).replace(b"\r\n", b"\n\r\n", 1), BAD | OK)
    yield single("a line that is too long", head(b"GET /%s HTTP/1.1" % (b"a" * 70_000)), TOO_LONG)
    yield single(
        "a query that is too long", head(b"GET /?%s HTTP/1.1" % (b"a" * 200_000)), TOO_LONG
    )
    yield single("a method that is too long", head(b"A" * 70_000 + b" / HTTP/1.1"), TOO_LONG)
    yield single("a version that is too long", head(GET + b"1" * 70_000), TOO_LONG)


def list_methods() -> Iterator[Case]:
    """List methods: those that the standards have, and others."""
    refused = one_of(400, 405)
    for method in METHODS:
        for path in (b"/livez", b"/nothing"):
            sent = head(b"%s %s HTTP/1.1" % (method, path))
            yield single(f"{method[:20]!r} {path!r}", sent, refused | NOT_FOUND)
    for target in (b"x:80", b"/livez", b"*", b"http://x/livez"):
        yield single(f"CONNECT {target!r}", head(b"CONNECT %s HTTP/1.1" % target), refused)
    for path in (b"/predict", b"/livez", b"/docs", b"/model", b"/", b"/metrics"):
        yield single(f"OPTIONS {path!r}", head(b"OPTIONS %s HTTP/1.1" % path), one_of(200, 204))
    yield single("OPTIONS *", head(b"OPTIONS * HTTP/1.1"), one_of(200, 204, 404))
    yield single("OPTIONS of nothing", head(b"OPTIONS /nothing HTTP/1.1"), one_of(404))
    yield single("OPTIONS with a body", post(line=b"OPTIONS /predict HTTP/1.1"), one_of(200, 204))
    preflight = b"origin: https://x\r\naccess-control-request-method: POST"
    sent = head(b"OPTIONS /predict HTTP/1.1", preflight)
    yield single("a preflight", sent, one_of(200, 204))
    for path in (
        b"/livez",
        b"/docs",
        b"/docs.json",
        b"/metrics",
        b"/nothing",
        b"/predict",
        b"/docs/",
    ):
        sent = head(b"HEAD %s HTTP/1.1" % path)
        yield Case(f"HEAD {path!r}", (sent,), (one_of(200, 308, 404, 405),), heads=frozenset({0}))
    yield Case(
        "HEAD with a body", (post(line=b"HEAD /livez HTTP/1.1"),), (OK,), heads=frozenset({0})
    )
    for method in (b"GET", b"DELETE", b"PUT", b"POST", b"PATCH"):
        for path in (b"/livez", b"/nothing"):
            line = b"%s %s HTTP/1.1" % (method, path)
            for sent in (post(line=line), post_chunks(chunk(INNER), line=line)):
                yield single(f"{line!r} with a body", sent, one_of(200, 404, 405))


def list_targets() -> Iterator[Case]:
    """List targets: paths, their encodings, and forms for proxies."""
    for target in ABSENT:
        yield single(f"target {target[:60]!r}", head(b"GET %s HTTP/1.1" % target), NOT_FOUND)
    for target, method in itertools.product(SLASHED, (b"GET", b"POST")):
        sent = head(b"%s %s HTTP/1.1" % (method, target))
        statuses = one_of(308) if target in {b"/docs/", b"/predict/"} else NOT_FOUND | one_of(308)
        yield single(f"{method!r} {target!r}", sent, statuses)
    yield single("POST to a slash too many", post(line=b"POST /predict/ HTTP/1.1"), one_of(308))
    for target in PRESENT:
        yield single(f"target {target[:60]!r}", head(b"GET %s HTTP/1.1" % target), OK)
    for target in ODD_TARGETS:
        yield single(f"target {target!r}", head(b"GET %s HTTP/1.1" % target), ODD_STATUSES)
    for query in (b"echo=1", b"echo=%ff", b"echo=%0d%0a", b"echo=true&echo=no", b"echo="):
        line = b"POST /predict?%s HTTP/1.1" % query
        yield single(f"query {query!r}", post(line=line), one_of(200, 422))


def list_hosts() -> Iterator[Case]:
    """List hosts: missing, double, odd."""
    for version, statuses in ((b"1.1", BAD), (b"1.0", OK)):
        yield single(f"no host in {version!r}", b"GET /livez HTTP/%s\r\n\r\n" % version, statuses)
        sent = b"GET http://x/livez HTTP/%s\r\n\r\n" % version
        yield single(f"no host but in the target, {version!r}", sent, statuses | BAD)
        sent = post().replace(HOST + b"\r\n", b"").replace(b"1.1", version, 1)
        yield single(f"no host in a request with a body, {version!r}", sent, statuses)
    for other in (b"x", b"y", b""):
        yield single(f"hosts x and {other!r}", head(GET, b"host: " + other), BAD)
        yield single(f"hosts x and {other!r}, with a body", post(b"Host: " + other), BAD)
    yield single("three hosts", head(GET, HOST, HOST), BAD)
    for host in HOSTS:
        yield single(f"host {host[:40]!r}", head(GET, host=b"host: " + host), OK)
    for host in ODD_HOSTS:
        yield single(f"host {host[:40]!r}", head(GET, host=b"host: " + host), EITHER)


def list_lengths() -> Iterator[Case]:
    """List lengths of bodies, and what is taken for the body then."""
    size = len(BODY)
    for form in LENGTHS:
        length = form.replace(b"%d", b"%d" % size).replace(b"%x", b"%x" % size).replace(b"%%", b"%")
        sent = head(POST, JSON, b"content-length: " + length) + BODY
        yield single(f"content-length: {form[:40]!r}", sent, one_of(400, 413))
    for form in LENGTHS_OR_NOT:
        sent = head(POST, JSON, b"content-length: " + form.replace(b"%d", b"%d" % size)) + BODY
        yield single(f"content-length: {form!r}", sent, EITHER)
    for first, second in itertools.product((0, 1, size), repeat=2):
        lengths = b"content-length: %d" % first, b"Content-Length: %d" % second
        sent = head(POST, JSON, *lengths) + (BODY if first != second else BODY[:first])
        statuses = BAD if first != second else EITHER
        yield single(f"lengths {first} and {second}", sent, statuses)
    yield single("an empty length", head(POST, JSON, b"content-length:"), NO_BODY)
    yield single("a body of nothing", head(POST, JSON, b"content-length: 0"), NO_BODY)
    yield single("no length, no body", head(POST, JSON), NO_BODY)
    yield single("no length, a body", head(POST, JSON) + BODY, NO_BODY, BAD)
    yield single(
        "a body longer than its length", head(POST, JSON, b"content-length: 1") + BODY, BAD, BAD
    )
    for order in ((b"content-length: %d" % size, CHUNKED), (CHUNKED, b"content-length: %d" % size)):
        for body in (BODY, chunk(BODY)):
            yield single(f"two framings {order!r}", head(POST, JSON, *order) + body, BAD)
    for inner in (INNER, INNER * 9, post(), b"0\r\n\r\n" + INNER):
        yield single(f"a body that is a request: {inner[:30]!r}", post(body=inner), BAD)
        yield single(f"a chunk that is a request: {inner[:30]!r}", post_chunks(chunk(inner)), BAD)
    for target in (b"/livez", b"/nothing", b"/docs.json"):
        line = b"GET %s HTTP/1.1" % target
        yield single(
            f"GET {target!r} with a request as its body",
            post(body=INNER, line=line),
            OK | NOT_FOUND,
        )
    for text in LOOKALIKES:
        header = text.replace(b"%d", b"%d" % size)
        yield single(f"no framing: {text!r}", head(POST, JSON, header) + BODY, NO_BODY, BAD)


def list_kinds() -> Iterator[Case]:
    """List bodies of another content type, or of none."""
    for kind in KINDS:
        name, other = f"content-type {kind[:30]!r}", b"content-type: " + kind
        length = b"content-length: %d" % len(BODY)
        yield single(name, head(POST, other, length) + BODY, one_of(415))
        yield single(f"{name}, chunked", head(POST, other, CHUNKED) + chunk(BODY), one_of(415))
    yield single("no content-type", head(POST, length) + BODY, one_of(415))


def list_codings() -> Iterator[Case]:
    """List transfer encodings, and chunks that are odd or none."""
    size = len(BODY)
    for coding in CODED:
        sent = head(POST, JSON, b"transfer-encoding: " + coding) + chunk(BODY)
        statuses = CODINGS | OK if coding in MAY_BE_CODED else CODINGS
        yield single(f"transfer-encoding: {coding!r}", sent, statuses)
    for coding in (b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"\tchunked", b"chunked "):
        sent = head(POST, JSON, b"Transfer-Encoding:" + coding) + chunk(BODY)
        yield single(f"transfer-encoding:{coding!r}", sent, OK)
    sent = post_chunks(chunk(BODY), line=b"POST /predict HTTP/1.0")
    yield single("chunks by HTTP/1.0", sent, OK | CODINGS)
    sent = head(b"GET /livez HTTP/1.1", CHUNKED) + chunk(INNER)
    yield single("GET in chunks", sent, OK)
    for form in SIZES:
        line = form.replace(b"%x", b"%x" % size).replace(b"%X", b"%X" % size)
        sent = post_chunks(line + b"\r\n" + BODY + b"\r\n0\r\n\r\n")
        yield single(f"chunk size {form!r}", sent, OK if form in SIZES[:7] else EITHER)
    yield single("a long extension", post_chunks(LONG_EXTENSION), one_of(200, 400, 413))
    for form in NO_SIZES:
        line = form.replace(b"%x", b"%x" % size)
        sent = post_chunks(line + b"\r\n" + BODY + b"\r\n0\r\n\r\n")
        yield single(f"chunk size {form!r}", sent, one_of(400, 413), silent=True)
    for end in (b"", b"\n", b"\r", b"\r\r\n", b"x", b" \r\n", b"\n\r", b"xx\r\n"):
        sent = post_chunks(b"%x\r\n%s" % (size, BODY) + end + b"0\r\n\r\n")
        yield single(f"a chunk that ends with {end!r}", sent, BAD, silent=True)
    for line in (
        b"0\n\n",
        b"0\r\n\n",
        b"0\n\r\n",
        b"00\r\n\r\n",
        b"0;a=b\r\n\r\n",
        b"000000000000000000\r\n\r\n",
    ):
        yield single(f"a last chunk {line!r}", post_chunks(chunk(BODY, last=line)), EITHER)
    for trailer in TRAILERS:
        sent = post_chunks(chunk(BODY, last=b"0\r\n" + trailer + b"\r\n\r\n"))
        yield single(f"trailer {trailer[:40]!r}", sent, OK if trailer in TRAILERS[:4] else EITHER)
    for trailer in NO_TRAILERS:
        sent = post_chunks(chunk(BODY, last=b"0\r\n" + trailer + b"\r\n\r\n"))
        yield single(f"trailer {trailer!r}", sent, EITHER if trailer == b" a: b" else BAD)
    each = [BODY[index : index + 1] for index in range(size)]
    yield single("a chunk for each byte", post_chunks(chunk(*each)), OK)
    yield single("chunks of nothing", post_chunks(chunk()), NO_BODY)
    for number, what in ((100_000, "a"), (2_000_000, "a lot")):
        long = b"a" * number
        sent = post_chunks(b"%x;%s\r\n%s\r\n0\r\n\r\n" % (size, long, BODY))
        yield single(f"{what} too long extension", sent, TOO_LONG)
        sent = post_chunks(chunk(BODY, last=b"0\r\na: " + long + b"\r\n\r\n"))
        yield single(f"{what} too long trailer", sent, TOO_LONG)
        sent = post_chunks(chunk(BODY, last=b"0\r\n" + b"a: b\r\n" * (number // 6) + b"\r\n"))
        yield single(f"{what} too many trailers", sent, TOO_LONG)
    sent = post_chunks(b"1;%s\r\n{\r\n" % (b"a" * 9000) * 100)
    yield single("a long extension for each byte", sent, TOO_LONG)


def list_headers() -> Iterator[Case]:
    """List headers: those that are none, those that change nothing, too many."""
    for header in NO_HEADERS:
        yield single(f"header {header[:40]!r}", head(GET, header), BAD)
        yield single(f"header {header[:40]!r}, with a body", post(header), BAD)
    for header in FOLDS:
        yield single(f"a folded header {header!r}", head(GET, header), BAD)
    for number in (*range(0x20), 0x7F):
        if number not in b"\t\r\n":
            yield single(f"a value with {number:#x}", head(GET, b"a: b%cc" % number), BAD)
    for character in b'"(),/;<=>?@[\\]{}':
        yield single(f"a name with {character:c}", head(GET, b"a%cb: c" % character), BAD)
    yield single("a line feed between headers", head(GET, b"a: b\nc: d"), EITHER)
    yield single(
        "a line feed before a length",
        head(POST, JSON, b"a: b\ncontent-length: 2") + b"{}",
        BAD | EMPTY,
    )
    for header in HEADERS:
        yield single(f"header {header[:40]!r}", head(GET, header), OK)
    for header in CLOSES:
        yield single(f"header {header!r}", head(GET, header), OK)
        yield single(f"header {header!r}, with a body", post(header), OK)
    for length, what in ((70_000, "a little"), (300_000, "much"), (3_000_000, "far")):
        yield single(f"{what} too long a header", head(GET, b"a: " + b"b" * length), TOO_LONG)
        yield single(f"{what} too long a name", head(GET, b"a" * length + b": b"), TOO_LONG)
        headers = [b"a%d: b" % number for number in range(length // 8)]
        yield single(f"{what} too many headers", head(GET, *headers), TOO_LONG)
        yield single(f"{what} too many headers, with a body", post(*headers), TOO_LONG)
    for expectation in EXPECTATIONS:
        statuses = one_of(200, 400, 417)
        sent = head(POST, JSON, b"content-length: %d" % len(BODY), b"expect: " + expectation)
        yield single(f"expect {expectation!r}", sent + BODY, statuses)
        yield Case(f"expect {expectation!r}, in two", (sent, BODY), (statuses,), is_waiting=True)
        yield single(
            f"GET and expect {expectation!r}", head(GET, b"expect: " + expectation), statuses
        )
    sent = head(POST, JSON, b"content-length: 99999999", b"expect: 100-continue")
    yield single("expect, and too long", sent, one_of(413))


def list_offers() -> Iterator[Case]:
    """List offers to upgrade, with bodies in one packet or in two."""
    for number, (offer, version) in enumerate(itertools.product(OFFERS, (b"1.1", b"1.0"))):
        line = b"POST /predict HTTP/" + version
        long = head(line, JSON, b"content-length: %d" % len(BODY), offer)
        for packets in ((long + BODY,), (long, BODY), (long + BODY[:9], BODY[9:])):
            yield Case(f"offer {number}, length, {len(packets)}", packets, (OK,), is_waiting=True)
        inner = head(line, JSON, b"content-length: %d" % len(INNER), offer)
        yield Case(f"offer {number}, a request as body", (inner, INNER), (BAD,), is_waiting=True)
        get = b"GET /livez HTTP/" + version
        yield Case(f"offer {number}, GET", (head(get, offer),), (OK,))
        if version == b"1.1":
            chunks = head(line, JSON, CHUNKED, offer)
            for packets in ((chunks + chunk(BODY),), (chunks, chunk(BODY))):
                yield Case(
                    f"offer {number}, chunks, {len(packets)}", packets, (OK,), is_waiting=True
                )


def list_pipelines() -> Iterator[Case]:
    """List requests one after the other without waiting for answers, in many orders."""
    requests = {
        "livez": (head(GET), OK),
        "row": (post(), OK),
        "chunks": (post_chunks(chunk(BODY)), OK),
        "absent": (head(b"GET /nothing HTTP/1.1"), one_of(404)),
        "no JSON": (post(body=b"{"), BAD),
        "HEAD": (head(b"HEAD /livez HTTP/1.1"), OK),
        "method": (head(b"DELETE /livez HTTP/1.1"), one_of(405)),
    }  # fmt: skip
    for order in itertools.permutations(requests, 3):
        sent, expected = zip(*(requests[name] for name in order), strict=True)
        heads = frozenset({order.index("HEAD")} if "HEAD" in order else ())
        name = ", ".join(order)
        yield Case(name, (b"".join(sent),), expected, heads=heads)
        if order[0] < order[1]:
            # Each packet ends in the middle of a request.
            text = b"".join(sent)
            third = len(text) // 3
            packets = (text[:third], text[third : 2 * third], text[2 * third :])
            yield Case(f"{name}, in pieces", packets, expected, heads=heads, is_waiting=True)
    for number in (2, 10, 100, 1000):
        yield Case(f"{number} rows", (post() * number,), (OK,) * number)
        yield Case(f"{number} probes", (head(GET) * number,), (OK,) * number)
    for end in (b"rubbish\r\n\r\n", b"\x00", b"GET /livez HTTP/9.9\r\n\r\n", b"POST\r\n\r\n"):
        for number in (1, 10):
            expected = (*(OK,) * number, BAD)
            name, ended = f"{number} rows, then {end!r}", post() * number + end
            yield Case(name, (ended,), expected, may_be_silent=True)
    closing = post(b"connection: close")
    yield Case("nothing after a close", (closing + post() * 3,), (OK,))
    yield Case("HTTP/1.0 in between", (head(GET) + b"GET /livez HTTP/1.0\r\n\r\n",), (OK, OK))
    old = b"GET /livez HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
    for number in (1, 3):
        name = f"{number} by HTTP/1.0 that keeps on"
        yield Case(name, (old * number,), (OK,) * number, may_be_silent=True)


def list_splits() -> Iterator[Case]:
    """List requests cut in two at each byte, and sent byte by byte."""
    sent = {
        "GET": (head(GET), OK),
        "length": (post(body=b"{}"), EMPTY),
        "chunks": (post_chunks(chunk(b"{", b"}", last=b"0;a=b\r\nc: d\r\n\r\n")), EMPTY),
        "offer": (head(POST, JSON, b"content-length: 2", OFFERS[0]) + b"{}", EMPTY),
        "no version": (head(b"GET /livez HTTP/1.7"), BAD),
        "two": (head(GET) + post(body=b"{}"), EMPTY),
    }
    for name, (text, status) in sent.items():
        expected = (OK, status) if name == "two" else (status,)
        for cut in range(1, len(text)):
            packets = (text[:cut], text[cut:])
            yield Case(f"{name}, cut at {cut}", packets, expected, is_waiting=True)
        pieces = tuple(text[index : index + 1] for index in range(len(text)))
        yield Case(f"{name}, byte by byte", pieces, expected, is_waiting=True)


def list_ends() -> Iterator[Case]:
    """List connections whose client ends its side: after a request, or in the middle of one."""
    for name, text, statuses in (
        ("GET", head(GET), OK),
        ("a row", post(), OK),
        ("chunks", post_chunks(chunk(BODY)), OK),
        ("an offer", head(POST, JSON, b"content-length: %d" % len(BODY), OFFERS[0]) + BODY, OK),
    ):
        yield Case(f"{name}, then the end", (text,), (statuses,), half_closes=True)
        yield Case(f"three of {name}, then the end", (text * 3,), (statuses,) * 3, half_closes=True)
        for cut in range(0, len(text), max(1, len(text) // 20)):
            yield Case(
                f"{name}, ended at {cut}", (text[:cut],), (one_of(400, 408),),
                may_be_silent=True, half_closes=True,
            )  # fmt: skip
    for name in ("TLS 1.2", "SSH", "Redis", "zeros"):
        yield Case(
            f"{name}, then the end",
            (PROTOCOLS[name],),
            (BAD,),
            may_be_silent=True,
            half_closes=True,
        )


GROUPS = (
    list_request_lines, list_methods, list_targets, list_hosts, list_lengths, list_kinds,
    list_codings, list_headers, list_offers, list_pipelines, list_splits, list_ends,
)  # fmt: skip


def list_cases() -> list[Case]:
    """List all cases."""
    return [case for group in GROUPS for case in group()]


def list_parts() -> list[bytes]:
    """List what a client sends that goes away without waiting: each fourth of some requests."""
    requests = (
        head(GET), post(), post_chunks(chunk(BODY)), post() * 20, PROTOCOLS["TLS 1.2"],
        head(b"GET /docs.json HTTP/1.1") * 50,
        head(POST, JSON, b"content-length: 10000000") + b"[" * 1000,
    )  # fmt: skip
    return [part[: len(part) * quarters // 4] for part in requests for quarters in range(5)]
