"""Bad requests, over a socket and in this process: none is a bug, all get the same kind of body."""

from __future__ import annotations

import gzip
import itertools
import pickle
import re
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import httpx
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from service.http import routes
from service.process.worker import Worker
from service.telemetry.metrics import STATUSES
from tests import small, workers
from tests.conftest import Project
from tests.service import complete as full
from tests.serving import MALIGNANT, served
from tests.workers import Answer, Header, call

LIMIT = 2**18
SECONDS = 10  # longer than a machine pauses, which is the end of any request under way
SECRET = "right-0123456789abcdef"  # noqa: S105, of this test
PRESENTED = (SECRET.encode(), f"Bearer {SECRET}".encode())
# The service under attack asks for a key and is short of patience, so that 401 and 408 are there.
SETTINGS = {
    "API_KEYS": SECRET, "MAX_BODY_BYTES": str(LIMIT), "TIMEOUT_SECONDS": str(SECONDS),
}  # fmt: skip
LINE = b"POST /predict HTTP/1.1"
KEY = b"x-api-key: " + SECRET.encode()
JSON = b"content-type: application/json"
CHUNKED = b"transfer-encoding: chunked"
CLIENTS = 16

# What stands where a number should: JSON, but not this contract's.
WRONG = (
    b'"1x"', b'""', b'"NaN"', b'"\\u0000"', b"true", b"null", b"[]", b"[1]", b"{}", b'{"a": 1}',
    b"1e999", b"-1e999", b"1e39", b"1" + b"0" * 400, b"[" * 100 + b"]" * 100,
    b'"%s"' % (b"x" * 999),
)  # fmt: skip
# No JSON at all.
BROKEN = (
    b"", b"NaN", b"Infinity", b"-Infinity", b"nan", b"nul", b"True", b"01", b"1.", b".5", b"+1",
    b"--1", b"1e", b"0x10", b"1_000", b"'a'", b'"a', b'"\\x"', b'"\\ud800"', b'"\x01"', b'"\xff"',
    b"\xff", b"1 2", b"1,,1", b"/* 1 */ 1", b"[1", b"{1: 1}", b'{"a": 1, "a": 1}', b"1" * 5000,
    b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
)  # fmt: skip
# Nor a date, nor a code.
NO_DATES = (
    b"20240229", b"20240229.0", b"1e300", b"-1e300", b"true", b"[]", b"{}", b"[2024, 2, 29]",
    b'["2024-02-29"]', b'{"date": "2024-02-29"}', b'"%s"' % (b"2024-02-29" * 1000),
    b'"\\ud83d\\ude00"',
)  # fmt: skip
NO_CODES = (
    b"1.5", b"1e-1", b"true", b"false", b'"1x"', b'"1.5"', b"[]", b"{}", b"[1]",
    b"9223372036854775808", b"-9223372036854775809",
)  # fmt: skip
# Bodies that break the contract as a whole.
MISSHAPEN = (
    b"null", b"true", b"1", b"-1.5e3", b'"features"', b"[]", b"[[]]", b"[{}]", b"{}",
    b'{"features": []}', b'{"features": [[]]}', b'{"features": {}}', b'{"features": null}',
    b'{"features": 1}', b'{"features": "1"}', b'{"features": [1]}', b'{"features": [[1], [1]]}',
    b'{"features": [null]}', b'{"features": [[], 1]}', b'{"features": [1, []]}',
    b'{"features": [{}]}', b'{"features": [[[]]]}', b'{"records": []}', b'{"records": {}}',
    b'{"records": null}', b'{"records": [null]}', b'{"records": [[]]}', b'{"records": [1]}',
    b'{"records": [{}]}', b'{"records": [{}, {}]}', b'{"features": [], "records": []}',
    b"\xef\xbb\xbf{}",
    b'{"instances": []}', b'{"": 1}', b'{"\\u0000": 1}', b'{"__proto__": 1}', b'{"features ": []}',
    b'{"Features": [1]}', b'{"records": [{"records": []}]}', b'{"features": [%s1]}' % (b"1," * 999),
)  # fmt: skip
# Bodies that are no JSON, or more than one.
GARBAGE = (
    b" ", b"\n", b"\x00", b"{", b"}", b"[", b"]", b",", b":", b'"', b"{]", b"[}", b"{}{}", b"{} x",
    b"{,}", b"[,]", b"{}\x00", b"\xef\xbb\xbf{", b"{'a': 1}", b"{a: 1}", b'{"a"}', b'{"a":}',
    b'{"a": 1,}', b'{"a": 1 "b": 2}', b"<xml/>", b"a=1&b=2", b"1,2,3", b"---\na: 1",
    b"\xff\xfe{\x00",
    b"\x80\x04}.", b"\xc3\x28", b"// {}\n", b"[" * 100_000, b'{"a":' * 30_000,
    b'{"a": "' + b"x" * 9999,
    b'{"features": [1], "features": [1]}', '{"a": 1}'.encode("utf-16"), '{"a": 1}'.encode("utf-32"),
)  # fmt: skip
KINDS = (
    b"text/plain", b"text/csv", b"text/json", b"multipart/form-data; boundary=x", b"*/*",
    b"application/vnd.bentoml+pickle", b"application/x-www-form-urlencoded", b"application/xml",
    b"application/octet-stream", b"application/jsonp", b"application/json2", b"application",
    b"application/json, text/csv", b"application/ld+json", b"application/x-ndjson", b"json", b"",
    b";",
    b'"application/json"', b"\xff", b"application/json\xa0", b"a" * 9999,
)  # fmt: skip
METHODS = (
    b"GET", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"PROPFIND", b"PURGE", b"SUBSCRIBE",
    b"LOCK",
)  # fmt: skip
PATHS = (
    b"/predict/", b"//predict", b"/predict//", b"/./predict", b"/predict/.", b"/Predict",
    b"/predict;a=b", b"/predict%2f", b"/predict%00", b"/predict%0d%0aset-cookie:a", b"/%2fpredict",
    b"/predict%3fecho=true", b"/predict%20", b"/v1/predict", b"/invocations", b"/readyz/",
    b"/healthz",
    b"/health/", b"/health/nothing", b"/metrics/", b"/docs/", b"/docs/..", b"/docs/index.html",
    b"/docs/../../etc/passwd", b"/docs/..%2f..%2fetc%2fpasswd", b"/docs/%2e%2e/%2e%2e/etc/passwd",
    b"/docs/swagger-ui-bundle.js/", b"/docs/%2fetc%2fpasswd", b"/docs//etc/passwd",
    b"/docs/__init__.py",
    b"/static_content/index.html", b"/static_content/../../../etc/passwd", b"/schema.json/", b"/%",
    b"/%zz", b"/%ff%fe", b"/%00", b"/%F0%9F%92%A9", b"/.env", b"/.git/config", b"/favicon.ico",
    b"/docs/favicon.ico", b"/openapi.json", b"/" + b"a" * 60_000, b"/" + b"a/" * 9999,
    b"/" + b"%41" * 9999,
    b"/x?" + b"a" * 9999, b"/x??", b"/x#", b"/*", b"http://x/nothing",
)  # fmt: skip
# No HTTP/1.0 or HTTP/1.1, which is the answer's word for all of these.
NO_HTTP = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"nonsense\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"EHLO x\r\n", b"*1\r\n$4\r\nPING\r\n",
    b"\x00" * 99,
    b"\xff" * 99, b'{"features": []}', b"GET /predict HTTP/3.0\r\n\r\n",
    b"GET /predict HTTP/1.2\r\n\r\n",
    b"GET /predict HTTP/-1\r\n\r\n", b"GET /predict HTTPS/1.1\r\n\r\n",
    b"GET /predict FTP/1.1\r\n\r\n",
    b"GET predict HTTP/1.1\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n", b"get /health HTTP/1.1\r\n\r\n",
    b"NOTHING /predict HTTP/1.1\r\n\r\n", b" GET /health HTTP/1.1\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\nhost: x\n\n", b"GET /health HTTP/1.1\rhost: x\r\r",
)  # fmt: skip
# Headers that no request may have.
NO_HEADERS = (
    b"nothing", b"a b: c", b": a", b"a : b", b"a: \x00", b"a: \x7f\x01", b"a: b\r\n c",
    b"a: b\rc: d",
    b"a: b\nc: d", b"\xff: a", b"a(b): c", b"x-request-id: a\rset-cookie: b=c",
    b"content-length: -1",
    b"x-request-id: a\nset-cookie: b=c", b"content-length: x", b"content-length: 1, 1",
    b"content-length: 1\r\ncontent-length: 2", b"content-length: 0x1", b"content-length: +1",
    b"content-length: 99999999999999999999999", b"content-length: 2\r\ntransfer-encoding: chunked",
    b"transfer-encoding: gzip", b"transfer-encoding: identity", b"transfer-encoding: chunked, gzip",
    b"transfer-encoding: xchunked", b"content-length: 1 1",
)  # fmt: skip
# Chunks that are none.
NO_CHUNKS = (
    b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n0\r\n\r\n", b"2\r\n{}x\r\n0\r\n\r\n", b"\r\n\r\n",
    b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n", b"2 2\r\n{}\r\n0\r\n\r\n",
    b"1\r\n{}\r\n0\r\n\r\n", b"+2\r\n{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n", b"{}",
)  # fmt: skip
# Headers that change nothing: the answer is that of an empty object.
ODD_HEADERS = (
    b"x-request-id: a b", b"x-request-id: \xff", b"x-request-id: " + b"x" * 9999, b"x-request-id:",
    b"x-request-id: a\r\nset-cookie: b=c", b"x-request-id: a%0d%0aset-cookie: b=c",
    b"expect: nothing",
    b"expect: 100-continue", b"upgrade: h2c", b"upgrade: websocket", b"a: " + b"b" * 60_000,
    b"\r\n".join(b"a%d: b" % index for index in range(999)), b"accept: nothing",
    b"te: trailers", b"range: bytes=0-", b"accept-encoding: gzip", b"x-http-method-override: GET",
    b"x-forwarded-for: \xff", b"x-original-url: /metrics", b"traceparent: nothing", b"bentoml-a: b",
)  # fmt: skip


class Bad(NamedTuple):
    """A request that is refused: what is sent, and the status of the last answer to it."""

    sent: bytes
    status: int


def http(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line, b"host: x", b"connection: close", *headers, b"", body))


def post(body: bytes, *headers: bytes) -> bytes:
    return http(LINE, KEY, JSON, b"content-length: %d" % len(body), *headers, body=body)


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return http(LINE, KEY, JSON, CHUNKED, body=body)


def shapes(row: dict[str, Any], column: str, value: bytes) -> Iterator[bytes]:
    """A good row with another value in one column, in every shape that a body may have."""
    good = {name: orjson.dumps(one) for name, one in row.items()}
    changed = {**good, column: value}
    right, listed = (b"[%s]" % b", ".join(values.values()) for values in (good, changed))
    pairs = (b"%s: %s" % (orjson.dumps(name), one) for name, one in changed.items())
    named = b"{%s}" % b", ".join(pairs)
    yield named
    yield b'{"records": [%s]}' % named
    yield b'{"features": %s}' % listed
    yield b'{"features": [%s, %s]}' % (right, listed)


def values(names: list[str]) -> Iterator[Bad]:
    row = dict(zip(names, MALIGNANT, strict=True))
    for index, (status, these) in itertools.product(
        (0, len(names) // 2, len(names) - 1), ((422, WRONG), (400, BROKEN))
    ):
        for value in these:
            for body in shapes(row, names[index], value):
                yield Bad(post(body), status)


def kinds() -> Iterator[Bad]:
    """Dates that are none, codes and texts of another type, identifiers that name nothing."""
    no_dates = [orjson.dumps(date) for date in (*small.NO_DATES, *small.NO_DAYS)]
    cases = (
        ("opened", (*no_dates, *NO_DATES, b"null")),
        ("born", (*no_dates, *NO_DATES)),
        ("size", (*NO_CODES, b"null", b"0", b"3", b"-1", b"1" + b"0" * 400)),
        ("branch", NO_CODES),
        ("colour", (b"null", b"true", b"[]", b"{}", b'["blue"]')),
    )
    for column, these in cases:
        for value in these:
            for body in shapes(full.ROW, column, value):
                yield Bad(post(body), 422)
        for value in BROKEN:
            yield Bad(post(next(shapes(full.ROW, column, value))), 400)
    for value in (b"1.5", b"true", b"[]", b"{}", b'["C-1"]', b"9223372036854775808",
                  b"-9223372036854775809", b"1e-3", b"1" + b"0" * 400):  # fmt: skip
        named = {**full.ROW, "customer": "C-1"}
        for body in itertools.islice(shapes(named, "customer", value), 2):
            yield Bad(post(body), 422)
    listed = [*full.ROW.values()]
    for row in (["C-1", *listed], [*listed, "C-1"]):
        for features in (row, [row], [listed, row]):
            yield Bad(post(orjson.dumps({"features": features})), 422)
    for name in ("Customer", "identifier", "opened_year", "doubled"):
        yield Bad(post(orjson.dumps({**full.ROW, name: 1})), 422)


def columns(names: list[str]) -> Iterator[Bad]:
    good = dict(zip(names, MALIGNANT, strict=True))
    for name in names:
        rest = {key: value for key, value in good.items() if key != name}
        yield Bad(post(orjson.dumps(rest)), 422)
        for row, other in ((rest, f"{name}x"), (good, f"{name} "), (good, f"{name}\0")):
            yield Bad(post(orjson.dumps({**row, other: 1})), 422)
        yield Bad(post(orjson.dumps(good)[:-1] + b', "%s": 1}' % name.encode()), 400)


def wholes(names: list[str]) -> Iterator[Bad]:
    good = dict(zip(names, MALIGNANT, strict=True))
    for length in (*range(len(names)), len(names) + 1, 2 * len(names)):
        for many in (False, True):
            row = (MALIGNANT * 2)[:length]
            yield Bad(post(orjson.dumps({"features": [row] if many else row})), 422)
    for body in MISSHAPEN:
        yield Bad(post(body), 422)
    for body in GARBAGE:
        yield Bad(post(body), 400)
    yield Bad(post(gzip.compress(b"{}", mtime=0), b"content-encoding: br"), 415)
    yield Bad(post(gzip.compress(b"{}", mtime=0), b"content-encoding: gzip"), 422)
    yield Bad(post(gzip.compress(b"{}", mtime=0)[:-1], b"content-encoding: gzip"), 400)
    yield Bad(post(gzip.compress(bytes(LIMIT + 1)), b"content-encoding: gzip"), 413)
    yield Bad(post(b'{"features": [%s]}' % b",".join([b"[]"] * 10_001)), 413)
    yield Bad(post(b'{"records": [%s]}' % b",".join([b"{}"] * 10_001)), 413)
    for query in (b"echo=1", b"echo=True", b"echo=%ff", b"echo=true&echo=no", b"echo=%0d%0a"):
        line, body = b"POST /predict?%s HTTP/1.1" % query, orjson.dumps(good)
        headers = KEY, JSON, b"content-length: %d" % len(body)
        yield Bad(http(line, *headers, body=body), 422)


def lengths() -> Iterator[Bad]:
    """Bodies that are too long, too short, or come in pieces that are none."""
    yield Bad(post(b" " * (LIMIT + 1)), 413)
    yield Bad(http(LINE, KEY, JSON, b"content-length: %d" % (LIMIT + 1)), 413)
    yield Bad(http(LINE, KEY, JSON, b"content-length: 99999999999"), 413)
    yield Bad(http(LINE, KEY, JSON, b"expect: 100-continue", b"content-length: 99999999"), 413)
    yield Bad(chunked(b" " * (LIMIT + 1)), 413)
    yield Bad(chunked(*[b" " * 4096] * (LIMIT // 4096 + 1)), 413)
    yield Bad(http(LINE, KEY, JSON, b"content-length: 1", body=b"{}"), 400)
    for body in (b"", b"{", b'{"features": '):
        yield Bad(http(LINE, KEY, JSON, b"content-length: 99", body=body), 408)
        yield Bad(chunked(*filter(None, [body])), 408)
    yield Bad(chunked(*[b" "] * 99), 408)
    for body in NO_CHUNKS:
        yield Bad(http(LINE, KEY, JSON, CHUNKED, body=body), 400)
    yield Bad(chunked(b"{}", b""), 422)
    yield Bad(chunked(b"{", b"}", b"")[:-2] + b"a: b\r\n\r\n", 422)


def is_redirected(path: bytes) -> bool:
    """Whether it is a route's but for a slash too many."""
    return unquote_to_bytes(path).removesuffix(b"/").decode("latin-1") in routes.BY_PATH


def bad_routes() -> Iterator[Bad]:
    for kind in KINDS:
        yield Bad(http(LINE, KEY, b"content-type: " + kind, b"content-length: 2", body=b"{}"), 415)
    pickled = pickle.dumps(MALIGNANT)
    kind = b"content-type: application/vnd.bentoml+pickle"
    yield Bad(http(LINE, KEY, kind, b"content-length: %d" % len(pickled), body=pickled), 415)
    yield Bad(http(LINE, KEY, b"content-length: 2", body=b"{}"), 415)
    yield Bad(http(LINE, KEY), 415)
    for own, route in routes.BY_PATH.items():
        for method in {*METHODS, b"POST"} - {route.method.encode()}:
            yield Bad(http(b"%s %s HTTP/1.1" % (method, own.encode()), KEY), 405)
    unknown = [path for path in PATHS if not is_redirected(path)]
    for path, method in itertools.product(unknown, (b"GET", b"POST")):
        yield Bad(http(b"%s %s HTTP/1.1" % (method, path)), 404)
    yield Bad(b"GET /nothing\r\n\r\n", 400)
    yield Bad(b"GET /nothing HTTP/1.0\r\n\r\n", 404)
    yield Bad(b"GET /predict HTTP/1.0\r\n\r\n", 405)
    yield Bad(post(b"{}").replace(b"HTTP/1.1", b"HTTP/1.0"), 422)


def wires() -> Iterator[Bad]:
    yield Bad(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 431)
    yield Bad(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400)
    for nonsense in NO_HTTP:
        yield Bad(nonsense, 400)
    for header in NO_HEADERS:
        yield Bad(http(LINE, KEY, JSON, header, body=b"{}"), 400)
    for header in ODD_HEADERS:
        yield Bad(post(b"{}", header), 422)
    yield Bad(post(b"{}").replace(b"connection: close\r\n", b"") * 9 + post(b"{}"), 422)
    yield Bad(post(b"{}").replace(b"connection: close\r\n", b"") + http(b"GET /a HTTP/1.1"), 404)
    yield Bad(post(b"{").replace(b"connection: close\r\n", b"") + http(b"GET /model HTTP/1.1"), 401)


def keys() -> Iterator[Bad]:
    for header in (
        b"a: b", b"x-api-key:", b"x-api-key: wrong", KEY + b", wrong", b"x-api-key: \xff",
        b"authorization:", b"authorization: " + SECRET.encode(), b"authorization: Bearer",
        b"authorization: Bearer wrong",
        b"authorization: Basic " + SECRET.encode(), KEY.upper(), KEY.replace(b"-", b"_", 2),
        b"authorization: Bearer %s %s" % ((SECRET.encode(),) * 2), b"x-api-key: " + b"a" * 60_000,
        b"cookie: x-api-key=" + SECRET.encode(),
    ):  # fmt: skip
        yield Bad(http(LINE, JSON, header, b"content-length: 2", body=b"{}"), 401)
        yield Bad(http(b"GET /model HTTP/1.1", header), 401)


def corpus(names: list[str]) -> list[Bad]:
    return [
        *values(names),
        *columns(names),
        *wholes(names),
        *lengths(),
        *bad_routes(),
        *wires(),
        *keys(),
    ]


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes, as far as they are taken, and return all that comes back."""
    data = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=20 * SECONDS) as connection:
        # What is refused before its end resets the connection; the answer came first.
        with suppress(ConnectionError):
            connection.sendall(sent)
        with suppress(ConnectionError):
            while some := connection.recv(2**16):
                data += some
    return bytes(data)


def answers(data: bytes) -> Iterator[Answer]:
    """The answers in what came, but for those that say to go on."""
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        status = int(first.split()[1])
        if status == 100:
            continue
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)
        }
        length = int(headers.get(b"content-length", b"0"))  # 204 has none
        yield Answer(status, headers, data[:length])
        data = data[length:]


def complaint(bad: Bad, data: bytes) -> str:
    """What is wrong with the answers to a bad request; nothing if nothing is."""
    actual = list(answers(data))
    if not actual or actual[-1].status != bad.status:
        return f"{[answer.status for answer in actual]}, not {bad.status}"
    for answer in actual:
        content = orjson.loads(answer.content)
        right = (
            400 <= answer.status < 500
            and answer.headers[b"content-type"] == b"application/json"
            and set(content) == {"error", "detail"}
            and isinstance(content["error"], str)
            and content["error"]
            and isinstance(content["detail"], list)
            and b"set-cookie" not in answer.headers
        )
        if not right:
            return f"{answer.status} {answer.headers} {answer.content[:200]!r}"
    return ""


@pytest.mark.slow
@pytest.mark.long
def test_no_bad_request_is_a_bug_and_each_says_what_is_wrong(project: Project) -> None:
    hostile = replace(project, env={**project.env, **SETTINGS})
    with served(hostile) as client:
        client.headers["x-api-key"] = SECRET
        columns = client.get("/model").json()["contract"]["columns"]
        sent = corpus([column["name"] for column in columns])
        sent.sort(key=lambda bad: bad.status != 408)  # those that take SECONDS beside all others
        assert len({bad.sent for bad in sent}) == len(sent) >= 300
        assert {bad.status for bad in sent} == {400, 401, 404, 405, 408, 413, 415, 422, 431}
        port = client.base_url.port
        assert port
        with ThreadPoolExecutor(CLIENTS) as pool:
            data = list(pool.map(lambda bad: exchange(port, bad.sent), sent))
        pairs = zip(sent, data, strict=True)
        wrong = {bad.sent[:300]: actual for bad, got in pairs if (actual := complaint(bad, got))}
        assert not wrong
        assert client.post("/predict", json={"features": MALIGNANT}).json()["prediction"] == 0
        counts = requests(client)
    assert {route for route, _ in counts} == set(routes.LABELS)
    assert {status for _, status in counts} <= set(STATUSES)
    assert not any(count for (_, status), count in counts.items() if status >= 500)
    assert counts["/predict", 422] > 300


@pytest.mark.slow
def test_no_bad_date_code_or_name_is_a_bug_and_good_ones_are_answered(complete: Project) -> None:
    with served(complete) as client:
        sent = list(kinds())
        assert len({bad.sent for bad in sent}) == len(sent) >= 300
        port = client.base_url.port
        assert port
        with ThreadPoolExecutor(CLIENTS) as pool:
            data = list(pool.map(lambda bad: exchange(port, bad.sent), sent))
        pairs = zip(sent, data, strict=True)
        wrong = {bad.sent[-300:]: actual for bad, got in pairs if (actual := complaint(bad, got))}
        assert not wrong
        answer = client.post("/predict", json={"records": small.full_rows()}).json()
        assert len(answer["predictions"]) == small.ROWS
        assert answer["identifiers"] == [row.get("customer") for row in small.full_rows()]
        counts = requests(client)
    assert counts["/predict", 422] + counts["/predict", 400] == len(sent)
    assert not any(count for (_, status), count in counts.items() if status >= 500)


def requests(client: httpx.Client) -> Counter[tuple[str, int]]:
    """How many requests /metrics counts, by route and status."""
    counts: Counter[tuple[str, int]] = Counter()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == "cairn_requests_total":
                counts[sample.labels["route"], int(sample.labels["status"])] += int(sample.value)
    return counts


@cache
def server() -> Worker:
    """A worker that is answered by nothing but this module's property tests."""
    return workers.worker(api_keys=(SECRET,), log_inputs=True)


@cache
def asked_of_all_kinds() -> Worker:
    return workers.worker(model=full.predictor(), log_inputs=True)


def contract_kept(answer: Answer, method: str) -> None:
    """Hold an answer to what the design says of each."""
    assert answer.status in {200, 204, 308, 400, 401, 404, 405, 413, 415, 422}
    assert answer.headers[b"x-request-id"]
    assert not any(b"\r" in value or b"\n" in value for value in answer.headers.values())
    if answer.status in {204, 308}:
        assert (b"allow" if answer.status == 204 else b"location") in answer.headers
    elif answer.status != 200:
        error = workers.refused(answer, answer.status)
        assert error
        # Of what is no JSON, only a NaN has a place in the contract.
        has_detail = answer.status == 422 or (answer.status == 400 and "send null" in error)
        assert has_detail == bool(answer.content["detail"]) or re.search("echo=|it has NaN", error)
        assert method != "HEAD" or answer.status != 405 or b"POST" in answer.headers[b"allow"]


ROW = small.rows()[1]
NAMES = st.sampled_from([*ROW, "features", "records", ""]) | st.text(max_size=5)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(list(ROW.values()))
)  # fmt: skip
CONTENT: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda parts: st.lists(parts, max_size=6) | st.dictionaries(NAMES, parts, max_size=6),
    max_leaves=12,
)
NEARLY = st.dictionaries(st.sampled_from([*ROW]), SCALARS, max_size=2).map(
    lambda changed: {**ROW, **changed}
)
SHAPED = (
    CONTENT | NEARLY
    | (NEARLY | CONTENT).map(lambda row: {"records": [ROW, row]})
    | NEARLY.map(lambda row: {"features": list(row.values())})
    | NEARLY.map(lambda row: {"features": [list(ROW.values()), list(row.values())]})
)  # fmt: skip
BYTES = st.binary(max_size=30)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"content-type", b"content-length", b"x-request-id", b"x-api-key", b"authorization",
             b"accept", b"transfer-encoding", b"host"]
        ) | BYTES,
        st.sampled_from([b"application/json", *PRESENTED, b"9" * 30]) | BYTES,
    ),
    max_size=4,
)  # fmt: skip
OPENING = [(b"content-type", b"application/json"), (b"x-api-key", SECRET.encode())]


def text(content: Any) -> bytes:
    """JSON of anything, with what JSON has no word for as Python writes it."""
    if isinstance(content, dict):
        pairs = (b"%s: %s" % (text(key), text(value)) for key, value in content.items())
        return b"{%s}" % b", ".join(pairs)
    if isinstance(content, list):
        return b"[%s]" % b", ".join(map(text, content))
    if isinstance(content, float):
        return str(content).encode()
    return str(content).encode() if type(content) is int else orjson.dumps(content)


@settings(deadline=None)
@given(content=SHAPED, log=st.booleans())
@example(content={**ROW, "area": 10**400}, log=False)
def test_any_json_is_answered_or_refused(content: Any, log: bool) -> None:  # noqa: FBT001
    query = b"echo=true" if log else b""
    answer = call("POST", "/predict", [text(content)], OPENING, query, server())
    contract_kept(answer, "POST")
    assert answer.status in {200, 400, 422}


FULL_NAMES = st.sampled_from([*full.ROW, "customer"])
FULL_SCALARS = SCALARS | st.sampled_from([*small.NO_DATES, *small.NO_DAYS, *full.ROW.values()])
FULL_ROWS = st.dictionaries(FULL_NAMES, FULL_SCALARS | small.CODES, max_size=3).map(
    lambda changed: {**full.ROW, **changed}
)


@settings(deadline=None)
@given(rows=st.lists(FULL_ROWS, min_size=1, max_size=3), shape=st.sampled_from(["one", "list"]))
@example(rows=[{**full.ROW, "branch": 10**400}], shape="one")
@example(rows=[{**full.ROW, "customer": 10**400}], shape="one")
@example(rows=[{**full.ROW, "branch": 2**63 - 1, "customer": -(2**63)}], shape="list")
def test_any_rows_of_all_kinds_are_answered_or_refused(rows: Any, shape: str) -> None:
    body = {"records": rows} if shape == "list" else rows[0]
    answer = call("POST", "/predict", [text(body)], OPENING, b"echo=true", asked_of_all_kinds())
    contract_kept(answer, "POST")
    assert answer.status in {200, 422, 400}


@settings(deadline=None)
@given(chunks=st.lists(BYTES, min_size=1, max_size=4), query=BYTES)
def test_any_bytes_are_answered_or_refused(chunks: list[bytes], query: bytes) -> None:
    answer = call("POST", "/predict", chunks, OPENING, query, server())
    contract_kept(answer, "POST")
    assert answer.status in {200, 400, 422}


@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"]) | st.text(max_size=5),
    path=st.sampled_from(sorted(routes.BY_PATH)) | st.text(max_size=9).map(lambda part: f"/{part}")
    | st.text(max_size=9).map(lambda part: f"/docs/{quote(part)}"),
    headers=HEADERS | HEADERS.map(lambda some: [*OPENING, *some]),
    query=BYTES,
    body=BYTES | st.just(orjson.dumps(ROW)),
)  # fmt: skip
def test_any_request_is_answered_or_refused(
    method: str, path: str, headers: list[Header], query: bytes, body: bytes
) -> None:
    contract_kept(call(method, path, [body], headers, query, server()), method)
