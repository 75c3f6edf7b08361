from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import orjson
import pytest

from service.front import MAX_BODY, Front, Message
from service.predictor import Predictor
from stages import contract
from tests import small

VERSION = "small:0123456789ab"
JSON = (b"content-type", b"application/json")


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    content: Any


@cache
def predictor() -> Predictor:
    with TemporaryDirectory() as folder:
        model = small.save(Path(folder, "model"))
        return Predictor(model, VERSION, {"git": {"commit": "c"}, "params": {}})


async def _app(_scope: Message, _receive: Any, send: Any) -> None:
    """What stands behind the Front: answers everything with 299."""
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def call(
    method: str,
    path: str,
    chunks: Iterable[bytes] = (b"",),
    headers: Iterable[tuple[bytes, bytes]] = (JSON,),
    query: bytes = b"",
) -> Answer:
    """Send one request, its body in these chunks."""
    scope = {
        "type": "http", "method": method, "path": path, "query_string": query,
        "headers": list(headers),
    }  # fmt: skip
    body = list(chunks)
    messages = [
        {"type": "http.request", "body": chunk, "more_body": place + 1 < len(body)}
        for place, chunk in enumerate(body)
    ]
    messages.append({"type": "http.disconnect"})
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Front(_app, predictor)(scope, receive, send))
    start, *rest = sent
    whole = b"".join(message["body"] for message in rest)
    found = dict(start["headers"])
    assert int(found.get(b"content-length", len(whole))) == len(whole)
    return Answer(start["status"], found, orjson.loads(whole))


def predict(content: Any, **how: Any) -> Answer:
    return call("POST", "/predict", [orjson.dumps(content)], **how)


def refused(answer: Answer, status: int) -> str:
    """The one sentence of an error, whose body always looks the same."""
    assert answer.status == status
    assert answer.headers[b"content-type"] == b"application/json"
    assert set(answer.content) == {"error", "detail"}
    assert isinstance(answer.content["detail"], list)
    return str(answer.content["error"])


ROW = small.rows()[1]
VALUES = list(ROW.values())


def test_every_shape_gets_the_same_answer() -> None:
    one, listed = predict(ROW).content, predict({"features": VALUES}).content
    many, lists = predict({"records": [ROW]}).content, predict({"features": [VALUES]}).content
    assert set(one) == {
        "prediction", "confidence", "probabilities", "model_version", "request_id",
    }  # fmt: skip
    assert one["prediction"] == max(one["probabilities"], key=one["probabilities"].get)
    assert one["confidence"] == max(one["probabilities"].values())
    assert one["model_version"] == VERSION
    for key in ("prediction", "confidence", "probabilities"):
        assert one[key] == listed[key]
        plural = key if key == "probabilities" else f"{key}s"
        assert [one[key]] == many[plural] == lists[plural]


def test_an_echo_returns_the_input_as_it_came() -> None:
    body = {"features": [VALUES]}
    assert predict(body, query=b"echo=true").content["input"] == body


@pytest.mark.parametrize("query", [b"", b"echo=false", b"echo", b"echo=1", b"other=true"])
def test_without_an_echo_the_input_stays_out(query: bytes) -> None:
    assert "input" not in predict(ROW, query=query).content


@pytest.mark.parametrize("kind", [b"application/json; charset=utf-8", b"Application/JSON"])
def test_json_may_say_more_of_itself(kind: bytes) -> None:
    assert predict(ROW, headers=[(b"content-type", kind)]).status == 200


@pytest.mark.parametrize("kind", [b"text/csv", b"application/jsonp", b"\xff"])
def test_another_content_type_is_415_by_name(kind: bytes) -> None:
    error = refused(predict(ROW, headers=[(b"content-type", kind)]), 415)
    assert error == f"content type {kind.decode('latin-1')!r}; allowed: application/json"


def test_no_content_type_is_415() -> None:
    assert "allowed: application/json" in refused(predict(ROW, headers=[]), 415)


def test_what_is_no_json_is_400() -> None:
    assert "not JSON" in refused(call("POST", "/predict", [b"{"]), 400)


def test_what_breaks_the_contract_is_422_with_each_problem() -> None:
    answer = predict({"features": VALUES[:-1]})
    assert "breaks the contract in 1 place" in refused(answer, 422)
    (problem,) = answer.content["detail"]
    assert problem == {
        "row": 0,
        "column": None,
        "problem": "wrong number of values",
        "got": 4,
        "allowed": "a list of 5 values: area, depth, count, flag, colour",
    }


@pytest.mark.parametrize(
    ("path", "allowed", "method"),
    [
        ("/predict", "POST", "GET"),
        ("/predict", "POST", "HEAD"),
        ("/predict", "POST", "PUT"),
        ("/predict", "POST", "OPTIONS"),
        ("/health", "GET", "POST"),
        ("/model", "GET", "DELETE"),
    ],
)
def test_another_method_is_405_by_name(path: str, allowed: str, method: str) -> None:
    answer = call(method, path, headers=[(b"x-request-id", b"mine")])
    assert refused(answer, 405) == f"{path} answers {allowed}, not {method}"
    assert allowed.encode() in answer.headers[b"allow"].split(b", ")
    assert method.encode() not in answer.headers[b"allow"].split(b", ")
    assert answer.headers[b"x-request-id"] == b"mine"


def test_only_405_says_which_methods_are_allowed() -> None:
    assert b"allow" not in predict(ROW).headers
    assert b"allow" not in predict({}).headers


@pytest.mark.parametrize("path", ["/health", "/model"])
def test_the_head_of_what_can_be_got_is_what_getting_it_says(path: str) -> None:
    head, got = (
        call(method, path, headers=[(b"x-request-id", b"mine")]) for method in ("HEAD", "GET")
    )
    assert (head.status, head.headers) == (got.status, got.headers) == (200, got.headers)


def test_more_rows_than_the_limit_are_413() -> None:
    error = refused(predict({"features": [VALUES] * 10_001}), 413)
    assert "10,001 rows" in error
    assert "at most 10,000" in error


def test_a_body_may_come_in_chunks() -> None:
    body = orjson.dumps(ROW)
    whole = call("POST", "/predict", [body]).content
    parts = call("POST", "/predict", [b"", *(bytes([byte]) for byte in body), b""]).content
    assert parts["probabilities"] == whole["probabilities"]


@pytest.mark.parametrize(
    ("chunks", "headers"),
    [
        ([b" " * (MAX_BODY + 1)], [JSON]),
        ([b" " * MAX_BODY, b" "], [JSON]),
        ([b"{}"], [JSON, (b"content-length", str(MAX_BODY + 1).encode())]),
        ([b" " * (MAX_BODY + 1)], [JSON, (b"content-length", b"2")]),
        ([b" " * (MAX_BODY + 1)], [JSON, (b"content-length", b"-1")]),
    ],
)
def test_a_body_over_the_limit_is_413(
    chunks: list[bytes], headers: list[tuple[bytes, bytes]]
) -> None:
    error = refused(call("POST", "/predict", chunks, headers), 413)
    assert f"{MAX_BODY:,} bytes" in error


def test_a_body_over_the_limit_is_not_read_to_its_end() -> None:
    endless = (b" " * 2**20 for _ in range(2**10))
    scope = {
        "type": "http", "method": "POST", "path": "/predict", "query_string": b"",
        "headers": [JSON],
    }  # fmt: skip
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": next(endless), "more_body": True}

    async def send(_: Message) -> None:
        pass

    asyncio.run(Front(_app, predictor)(scope, receive, send))
    assert read == MAX_BODY // 2**20 + 1


def test_a_body_of_the_limit_is_read() -> None:
    body = orjson.dumps(ROW)
    assert call("POST", "/predict", [body + b" " * (MAX_BODY - len(body))]).status == 200


def test_a_client_that_goes_away_is_no_bug() -> None:
    assert call("POST", "/predict", []).status == 400


@pytest.mark.parametrize("given", [b"abc-1.2:3_4", b"x" * 128])
def test_a_plain_request_id_is_kept(given: bytes) -> None:
    answer = predict(ROW, headers=[JSON, (b"x-request-id", given)])
    assert answer.content["request_id"] == given.decode()
    assert answer.headers[b"x-request-id"] == given


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"a\r\nset-cookie: x", b"\xff"])
def test_any_other_request_id_is_one_of_our_own(given: bytes) -> None:
    ids = {
        predict(ROW, headers=[JSON, (b"x-request-id", given)]).content["request_id"]
        for _ in range(2)
    }
    assert len(ids) == 2
    assert all(len(one) == 32 for one in ids)


def test_an_error_has_the_request_s_id() -> None:
    answer = call("POST", "/predict", [b"{"], [JSON, (b"x-request-id", b"mine")])
    assert answer.headers[b"x-request-id"] == b"mine"


def test_health_names_the_model() -> None:
    answer = call("GET", "/health", headers=[])
    assert answer.status == 200
    assert answer.content == {"status": "healthy", "model_version": VERSION}


def test_model_gives_the_chain_and_the_contract(tmp_path: Path) -> None:
    answer = call("GET", "/model", headers=[])
    assert answer.content["model_version"] == VERSION
    assert answer.content["git"] == {"commit": "c"}
    path = tmp_path / "contract.json"
    path.write_bytes(orjson.dumps(answer.content["contract"]))
    assert contract.read(path) == small.fitted().terms


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/docs.json"])
def test_bentoml_s_own_paths_are_the_app_s(path: str) -> None:
    assert call("GET", path).status == 299


@pytest.mark.parametrize("path", ["/", "/predict/", "/Predict", "/rnd1"])
def test_any_other_path_is_404_with_those_there_are(path: str) -> None:
    answer = call("GET", path)
    assert answer.status == 404
    assert "/predict" in answer.content["error"]
    assert answer.content["detail"] == []


def test_the_connection_ends_where_the_body_is_not_read() -> None:
    answer = call("POST", "/predict", headers=[(b"content-type", b"text/csv")])
    assert (answer.status, answer.headers[b"connection"]) == (415, b"close")


def test_what_is_not_http_is_the_app_s() -> None:
    seen = []

    async def app(scope: Message, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        return None

    asyncio.run(Front(app, predictor)({"type": "lifespan"}, nothing, nothing))
    assert seen == ["lifespan"]


@pytest.mark.parametrize("query", [b"name=%C3%A9", b"echo=%ff", b"echo=\xff", b"\xe5\x90=\x00"])
def test_any_bytes_may_stand_in_the_query(query: bytes) -> None:
    answer = predict(ROW, query=query)
    assert answer.status == 200
    assert "input" not in answer.content
    assert predict(ROW, query=query + b"&echo=true").content.get("input") == (
        None if query.startswith(b"echo") else ROW
    )
