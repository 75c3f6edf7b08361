from __future__ import annotations

from typing import Any

import pytest

from tests import small
from tests.workers import JSON, Answer, call, predict, worker

APP, OTHER = "https://app.example.com", "https://other.example.com"
ROW = small.rows()[1]
ALLOWED = b"access-control-allow-origin"


def ask(method: str, path: str, origin: str | None, *more: Any, **settings: Any) -> Answer:
    headers = [JSON, *([(b"origin", origin.encode())] if origin else []), *more]
    body = [b"{}"] if method == "POST" else [b""]
    return call(method, path, body, headers=headers, server=worker(**settings))


def test_without_the_setting_no_answer_has_its_headers() -> None:
    preflight = (b"access-control-request-method", b"POST")
    for answer in (ask("GET", "/livez", APP), ask("OPTIONS", "/predict", APP, preflight)):
        assert not [name for name in answer.headers if name.startswith(b"access-control")]
        assert b"vary" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200), ("GET", "/model", 401), ("GET", "/none", 404),
        ("GET", "/predict", 405), ("GET", "/docs/", 308), ("OPTIONS", "/predict", 204),
    ],
)  # fmt: skip
def test_every_answer_to_an_allowed_origin_has_them_and_no_other_s(
    method: str, path: str, status: int
) -> None:
    settings = {"cors_origins": (APP,), "api_keys": ("0123456789abcdef",)}
    allowed, other, none = (ask(method, path, origin, **settings) for origin in (APP, OTHER, None))
    assert {answer.status for answer in (allowed, other, none)} == {status}
    assert allowed.headers[ALLOWED] == APP.encode()
    assert b"x-request-id" in allowed.headers[b"access-control-expose-headers"]
    assert b"access-control-allow-credentials" not in allowed.headers
    for answer in (other, none):
        assert not [name for name in answer.headers if name.startswith(b"access-control")]
    for answer in (allowed, other, none):
        assert answer.headers[b"vary"] == b"Origin"


def test_a_refused_row_has_them_too() -> None:
    server = worker(cors_origins=(APP,))
    answer = predict({}, headers=[JSON, (b"origin", APP.encode())], server=server)
    assert (answer.status, answer.headers[ALLOWED]) == (422, APP.encode())


def test_a_browser_that_asks_first_is_told_of_methods_and_headers() -> None:
    preflight = [
        (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", b"authorization,content-type"),
    ]
    settings = {"cors_origins": (APP, OTHER), "api_keys": ("0123456789abcdef",)}
    answer = ask("OPTIONS", "/predict", OTHER, *preflight, **settings)
    assert answer.status == 204
    assert answer.headers[ALLOWED] == OTHER.encode()
    assert b"POST" in answer.headers[b"access-control-allow-methods"].split(b", ")
    headers = answer.headers[b"access-control-allow-headers"].split(b", ")
    assert {b"authorization", b"content-type", b"x-api-key", b"x-request-id"} <= set(headers)
    assert int(answer.headers[b"access-control-max-age"]) > 0


def test_a_star_lets_every_page_ask() -> None:
    answer = ask("GET", "/livez", OTHER, cors_origins=("*",))
    assert answer.headers[ALLOWED] == b"*"
    assert b"vary" not in answer.headers
