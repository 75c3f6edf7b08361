from __future__ import annotations

import asyncio
import gzip
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urljoin

import orjson
import pytest
import zstandard

from cairn.contract import read_contract
from service.http.asgi import Message, Reply
from service.http.errors import KINDS
from service.http.front import Front
from service.http.routes import BY_PATH, ROUTES
from service.inference.predictor import Predictor
from service.inference.runner import Cost, Runner
from service.page import files
from service.process.settings import Settings
from service.process.worker import Worker
from service.telemetry import logs
from tests import small
from tests.ports import PATIENCE, until
from tests.service import complete as full
from tests.workers import (
    CLIENT,
    JSON,
    VERSION,
    Answer,
    ask,
    call,
    predict,
    refused,
    scope,
    usual,
    worker,
)

MAX_BODY = Settings().max_body_bytes
ROW = small.rows()[1]
KEY, ALICE = "right-0123456789abcdef", "alice-0123456789abcdef"
LOCKED: dict[str, Any] = {"api_keys": (KEY, f"alice:{ALICE}")}
VALUES = list(ROW.values())


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, the end of a log waits for its last line."""
    monkeypatch.setattr(logs, "LAST", 60.0)


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


def test_requests_that_are_run_as_one_get_their_own_answers() -> None:
    server = worker()
    slow = replace(server, runner=Runner(server.predictor.run, Cost(0.01, 0.0), latency=1.0))
    bodies = [orjson.dumps({"records": [row]}) for row in small.rows()[:8]]

    async def together() -> list[Answer]:
        request = scope("POST", "/predict")
        return await asyncio.gather(*(ask(slow, request, [body]) for body in bodies))

    single = [call("POST", "/predict", [body]).content for body in bodies]
    assert len({one["confidences"][0] for one in single}) == len(bodies)
    for mine, grouped in zip(single, asyncio.run(together()), strict=True):
        assert grouped.content["predictions"] == mine["predictions"]
        # A run of several rows adds in another order.
        assert grouped.content["confidences"] == pytest.approx(mine["confidences"], rel=1e-6)


def test_an_echo_returns_the_input_as_it_came() -> None:
    body = {"features": [VALUES]}
    assert predict(body, query=b"echo=true").content["input"] == body


@pytest.mark.parametrize("query", [b"", b"echo=false", b"echo", b"other=true"])
def test_without_an_echo_the_input_stays_out(query: bytes) -> None:
    assert "input" not in predict(ROW, query=query).content


@pytest.mark.parametrize("query", [b"echo=1", b"echo=True", b"echo=%ff", b"echo=\xff"])
def test_an_echo_of_another_kind_is_422(query: bytes) -> None:
    assert "allowed: true, false" in refused(predict(ROW, query=query), 422)


def test_a_query_of_thousands_of_parameters_is_not_read() -> None:
    """To read it took longer than the model, in the event loop."""
    query = b"a=%41&" * 10_000
    assert "over 100 parameters" in refused(predict(ROW, query=query), 422)


@pytest.mark.parametrize("kind", [b"application/json; charset=utf-8", b"Application/JSON"])
def test_json_may_say_more_of_itself(kind: bytes) -> None:
    assert predict(ROW, headers=[(b"content-type", kind)]).status == 200


@pytest.mark.parametrize("kind", [b"text/csv", b"application/jsonp", b"\xff"])
def test_another_content_type_is_415_by_name(kind: bytes) -> None:
    error = refused(predict(ROW, headers=[(b"content-type", kind)]), 415)
    assert error == f"content type {kind.decode('latin-1')!r}; allowed: application/json"


def test_no_content_type_is_415() -> None:
    assert "allowed: application/json" in refused(predict(ROW, headers=[]), 415)


def test_a_content_that_is_encoded_is_415() -> None:
    answer = predict(ROW, headers=[JSON, (b"content-encoding", b"br")])
    assert refused(answer, 415) == "content encoding 'br'; allowed: gzip, zstd, or none"


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("rows", [ROW, {"records": small.rows() * 50}], ids=["row", "rows"])
def test_a_packed_body_gets_the_answer_of_a_plain_one(encoding: str, rows: Any) -> None:
    body = orjson.dumps(rows)
    headers = [JSON, (b"x-request-id", b"mine")]
    packed = [PACKERS[encoding](body)]
    plain, answer = (
        call("POST", "/predict", chunks, headers=[*headers, (b"content-encoding", name)],
             query=b"echo=true")
        for chunks, name in (([body], b"identity"), (packed, encoding.encode()))
    )  # fmt: skip
    assert answer.status == 200
    assert answer == plain
    assert answer.content["input"] == rows


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_packed_body_is_held_to_the_limit_of_a_plain_one(encoding: str) -> None:
    server = worker(max_body_bytes=2048)
    headers = [JSON, (b"content-encoding", encoding.encode())]
    for body, status in ((bytes(2049), 413), (bytes(2**25), 413), (b" " * 2048, 400)):
        packed = PACKERS[encoding](body)
        answer = call("POST", "/predict", [packed], headers=headers, server=server)
        # What is over the limit packed is refused as it comes.
        expected = "2,048 bytes" if status == 413 else "not JSON"
        assert expected in refused(answer, status)
    answer = call("POST", "/predict", [b'{"a": 1}'], headers=headers, server=server)
    assert f"not one complete {encoding} stream" in refused(answer, 400)
    assert server.slots.in_use == 0


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
        ("/predict", "POST", "PATCH"),
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


@pytest.mark.parametrize("path", [route.path for route in ROUTES if not route.paths])
def test_options_says_which_methods_a_path_has_and_needs_no_key(path: str) -> None:
    answer = call("OPTIONS", path, headers=[], server=worker(**LOCKED))
    assert (answer.status, answer.content) == (204, b"")
    methods = set(answer.headers[b"allow"].decode().split(", "))
    assert methods == {"OPTIONS"} | ({"POST"} if path == "/predict" else {"GET", "HEAD"})


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("prefix", ["http://host", "http://host/some/prefix"])
@pytest.mark.parametrize("path", sorted(set(BY_PATH) - {"/"}))
def test_a_slash_too_many_leads_to_the_path_without(path: str, prefix: str, method: str) -> None:
    answer = call(method, f"{path}/", [b"{}"], query=b"echo=true", server=worker(**LOCKED))
    assert (answer.status, answer.content) == (308, b"")
    location = answer.headers[b"location"].decode()
    assert urljoin(f"{prefix}{path}/", location) == f"{prefix}{path}?echo=true"
    assert "?" not in call(method, f"{path}/").headers[b"location"].decode()


@pytest.mark.parametrize("path", ["//", "/predict//", "//predict/", "/none/", "/docs/none/"])
def test_only_one_slash_and_a_known_path_is_led_on(path: str) -> None:
    assert call("GET", path, headers=[]).status == 404


def test_only_405_says_which_methods_are_allowed() -> None:
    assert b"allow" not in predict(ROW).headers
    assert b"allow" not in predict({}).headers


@pytest.mark.parametrize("path", ["/health", "/model", "/", "/model/card", "/model/roc.png"])
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
    response = call("POST", "/predict", [body]).content
    parts = call("POST", "/predict", [b"", *(bytes([byte]) for byte in body), b""]).content
    assert parts["probabilities"] == response["probabilities"]


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
    read, sent = 0, []

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": next(endless), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Front(nothing, usual)(scope("POST", "/predict"), receive, send))
    assert sent[0]["status"] == 413
    assert read == MAX_BODY // 2**20 + 1


def test_a_body_of_the_limit_is_read() -> None:
    body = orjson.dumps(ROW)
    assert call("POST", "/predict", [body + b" " * (MAX_BODY - len(body))]).status == 200


def test_a_client_that_goes_away_is_no_bug() -> None:
    assert call("POST", "/predict", []).status == 499


@pytest.mark.parametrize("headers_", [b"abc-1.2:3_4", b"x" * 128])
def test_a_plain_request_id_is_kept(headers_: bytes) -> None:
    answer = predict(ROW, headers=[JSON, (b"x-request-id", headers_)])
    assert answer.content["request_id"] == headers_.decode()
    assert answer.headers[b"x-request-id"] == headers_


@pytest.mark.parametrize("headers_", [b"", b"x" * 129, b"a b", b"a\r\nset-cookie: x", b"\xff"])
def test_any_other_request_id_is_one_of_our_own(headers_: bytes) -> None:
    ids = {
        predict(ROW, headers=[JSON, (b"x-request-id", headers_)]).content["request_id"]
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
    assert read_contract(path) == small.fitted().contract


@pytest.mark.parametrize("path", ["/predict//", "/Predict", "/rnd1", "/model/x", "/index.html"])
def test_any_other_path_is_404_with_those_there_are(path: str) -> None:
    answer = call("GET", path)
    assert answer.status == 404
    assert "/predict" in answer.content["error"]
    assert answer.content["detail"] == []


def test_the_connection_ends_where_the_body_is_not_read() -> None:
    answer = call("POST", "/predict", headers=[(b"content-type", b"text/csv")])
    assert (answer.status, answer.headers[b"connection"]) == (415, b"close")


async def nothing(*_: Any) -> Any:
    return None


def test_what_is_not_http_is_the_app_s() -> None:
    seen = []

    async def app(headers_: Message, _receive: Any, _send: Any) -> None:
        seen.append(headers_["type"])

    asyncio.run(Front(app, usual)({"type": "lifespan"}, nothing, nothing))
    assert seen == ["lifespan"]


@pytest.mark.parametrize("query", [b"name=%C3%A9", b"\xe5\x90=\x00", b"&&;=;"])
def test_any_bytes_may_stand_in_the_query(query: bytes) -> None:
    answer = predict(ROW, query=query)
    assert answer.status == 200
    assert "input" not in answer.content
    assert predict(ROW, query=query + b"&echo=true").content["input"] == ROW


@pytest.mark.parametrize("path", ["/livez", "/health/live", "/readyz", "/health/ready", "/health"])
def test_a_worker_that_is_ready_says_so(path: str) -> None:
    assert call("GET", path, headers=[]).status == 200


@pytest.mark.parametrize(
    ("ready", "draining", "message"),
    [
        (False, False, "not ready yet"),
        (True, True, "shutting down"),
        (False, True, "shutting down"),
    ],
)
@pytest.mark.parametrize("path", ["/readyz", "/health/ready"])
def test_one_that_is_not_says_why_and_answers_all_the_same(
    path: str,
    ready: bool,  # noqa: FBT001
    draining: bool,  # noqa: FBT001
    message: str,
) -> None:
    server = worker()
    server.lifecycle.ready, server.lifecycle.draining = ready, draining
    answer = call("GET", path, headers=[], server=server)
    assert refused(answer, 503) == message
    assert int(answer.headers[b"retry-after"]) > 0
    assert call("GET", "/livez", headers=[], server=server).status == 200
    assert predict(ROW, server=server).status == 200


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui-bundle.js"])
def test_the_page_comes_from_here(path: str) -> None:
    answer = call("GET", path, headers=[])
    assert answer.status == 200
    assert b"default-src 'none'" in answer.headers[b"content-security-policy"]


def test_the_page_says_whether_a_key_is_asked_for() -> None:
    for settings, locked in (
        ({}, b""),
        (LOCKED, b"model"),
        ({**LOCKED, "metrics_open": False}, b"model metrics"),
        ({"metrics_open": False}, b""),
    ):
        answer = call("GET", "/", headers=[], server=worker(**settings))
        assert answer.headers[b"content-type"] == b"text/html; charset=utf-8"
        assert b"script-src 'sha256-" in answer.headers[b"content-security-policy"]
        assert b'data-keyed="%s"' % locked in answer.content


def test_model_gives_an_example_that_works_and_what_is_for_people() -> None:
    description = call("GET", "/model", headers=[]).content
    assert predict(description["example"]).status == 200
    assert description["evaluation"]["rows"] == {"train": 60, "test": 20}
    assert description["card"] is True
    for stem in description["pictures"]:
        answer = call("GET", f"/model/{stem}.png", headers=[])
        assert (answer.status, answer.headers[b"content-type"]) == (200, b"image/png")
        assert answer.content.startswith(b"\x89PNG")
        assert call("GET", f"/model/plots/{stem}.png", headers=[]).content == answer.content
    card = call("GET", "/model/card", headers=[])
    assert card.content == b"# small\n"
    assert card.headers[b"content-type"] == b"text/markdown; charset=utf-8"


def test_a_model_of_older_code_has_neither_card_nor_pictures(tmp_path: Path) -> None:
    folder = small.save(tmp_path / "model")
    for file in (*(folder / "plots").iterdir(), folder / "card.md", folder / "evaluation.json"):
        file.unlink()
    server = worker(model=Predictor(folder, VERSION, {}))
    description = call("GET", "/model", headers=[], server=server).content
    assert (description["evaluation"], description["card"], description["pictures"]) == (
        None,
        False,
        [],
    )
    for path in ("/model/card", "/model/roc.png"):
        answer = call("GET", path, headers=[], server=server)
        assert "train it again" in refused(answer, 404)
    assert call("GET", "/", headers=[], server=server).status == 200


@pytest.mark.parametrize("path", ["/model/other.png", "/model/roc.svg", "/model/../roc.png"])
def test_there_is_no_other_picture(path: str) -> None:
    assert call("GET", path, headers=[]).status == 404


def test_pictures_and_the_parts_of_docs_are_one_route_each_in_the_metrics() -> None:
    server = worker()
    for path in ("/model/roc.png", "/model/plots/search.png", "/docs/start.js", "/docs/none.js"):
        call("GET", path, headers=[], server=server)
    text = call("GET", "/metrics", headers=[], server=server).content.decode()
    for line in (
        'cairn_requests_total{route="/model/{picture}.png",status="200"} 2.0',
        'cairn_requests_total{route="/docs/{file}",status="200"} 1.0',
        'cairn_requests_total{route="other",status="404"} 1.0',
    ):
        assert line in text.splitlines()
    assert not re.search("roc|start.js|none", text)


def test_the_document_names_every_route() -> None:
    paths = call("GET", "/docs.json", headers=[]).content["paths"]
    # Those that no person asks for are not there.
    left_out = {"/schema.json", "/docs/{file}"}
    assert {path: list(methods) for path, methods in paths.items()} == {
        route.path: [route.method.lower()] for route in ROUTES if route.path not in left_out
    }


def test_each_path_is_one_route_s() -> None:
    assert len(BY_PATH) == sum(len(route.paths) or 1 for route in ROUTES)
    assert "/model/{picture}.png" not in BY_PATH
    assert {"/model/roc.png", "/model/plots/roc.png"} <= set(BY_PATH)


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", f"Bearer {KEY}".encode()),
        (b"authorization", f"bearer  {KEY}".encode()),
        (b"x-api-key", KEY.encode()),
        (b"x-api-key", ALICE.encode()),
    ],
)
def test_a_key_opens(header: tuple[bytes, bytes]) -> None:
    server = worker(**LOCKED)
    assert predict(ROW, headers=[JSON, header], server=server).status == 200
    assert call("GET", "/model", headers=[header], server=server).status == 200


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer wrong"),
        (b"authorization", f"Basic {KEY}".encode()),
        (b"authorization", KEY.encode()),
        (b"x-api-key", f"alice:{ALICE}".encode()),
        (b"authorization", b"Bearer "),
        (b"x-api-key", b""),
        (b"x-api-key", b"\xff"),
        (b"x-other", KEY.encode()),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/predict"), ("GET", "/model"), ("GET", "/model/card"), ("HEAD", "/model/card"),
        ("GET", "/model/roc.png"), ("GET", "/model/plots/roc.png"),
        ("GET", "/docs.json"), ("GET", "/schema.json"),
    ],
)  # fmt: skip
def test_without_one_it_is_401(method: str, path: str, header: tuple[bytes, bytes]) -> None:
    answer = call(method, path, headers=[JSON, header], server=worker(**LOCKED))
    assert "Authorization: Bearer" in refused(answer, 401)
    assert answer.headers[b"www-authenticate"] == b"Bearer"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/", "/docs", "/docs/start.js"])
def test_probes_and_the_pages_stay_open_and_show_no_column(path: str) -> None:
    answer = call("GET", path, headers=[], server=worker(**LOCKED))
    assert answer.status == 200
    own = files.render_page().decode()  # some columns have names that are the page's own words
    names = [name for name in ROW if not re.search(rf"\b{name}\b", own)]
    assert names
    text = answer.content.decode() if isinstance(answer.content, bytes) else str(answer.content)
    assert not [name for name in names if re.search(rf"\b{name}\b", text)]


@pytest.mark.parametrize(("metrics_open", "status"), [(True, 200), (False, 401)])
def test_metrics_follow_their_setting(metrics_open: bool, status: int) -> None:  # noqa: FBT001
    server = worker(**LOCKED, metrics_open=metrics_open)
    assert call("GET", "/metrics", headers=[], server=server).status == status


def test_one_request_too_many_is_429_and_the_next_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = worker(max_concurrency=1)
    release = Event()
    run = server.runner.run

    def wait(*arguments: Any) -> Any:
        release.wait(PATIENCE)
        return run(*arguments)

    monkeypatch.setattr(server.runner, "run", wait)
    monkeypatch.setattr(server.runner, "is_immediate", lambda _: False)
    body = orjson.dumps(ROW)

    async def both() -> tuple[Answer, Answer]:
        first = asyncio.create_task(ask(server, scope("POST", "/predict"), [body]))
        await until(lambda: server.slots.in_use == 1)
        second = await ask(server, scope("POST", "/predict"), [body])
        release.set()
        return await first, second

    first, second = asyncio.run(both())
    assert first.status == 200
    assert "in progress already" in refused(second, 429)
    assert int(second.headers[b"retry-after"]) > 0
    assert predict(ROW, server=server).status == 200


def test_bodies_that_do_not_come_take_no_slot() -> None:
    server = worker(max_concurrency=1)

    async def slow() -> int:
        never = asyncio.Event()

        async def receive() -> Message:
            await never.wait()
            return {}

        waits = [
            asyncio.create_task(
                Front(nothing, lambda: server)(scope("POST", "/predict"), receive, nothing)
            )
            for _ in range(8)
        ]
        await asyncio.sleep(0)
        answer = await ask(server, scope("POST", "/predict"), [orjson.dumps(ROW)])
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return answer.status

    assert asyncio.run(slow()) == 200


def test_a_body_that_does_not_come_is_408_and_its_slot_is_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = worker(max_concurrency=1, timeout_seconds=0.01)

    async def late() -> int:
        sent: list[Message] = []

        async def receive() -> Message:
            await asyncio.sleep(60)
            return {}

        async def send(message: Message) -> None:
            sent.append(message)

        task = asyncio.create_task(
            Front(nothing, lambda: server)(scope("POST", "/predict"), receive, send)
        )
        await task
        status: int = sent[0]["status"]
        assert (b"connection", b"close") in sent[0]["headers"]
        return status

    assert asyncio.run(late()) == 408
    monkeypatch.setattr(server.runner, "is_immediate", lambda _: True)  # and so in time
    assert predict(ROW, server=server).status == 200


def test_a_task_that_is_cancelled_by_others_stays_so() -> None:
    async def cancelled() -> None:
        async def receive() -> Message:
            await asyncio.sleep(60)
            return {}

        task = asyncio.create_task(
            Front(nothing, usual)(scope("POST", "/predict"), receive, nothing)
        )
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_a_bug_is_500_names_the_request_and_says_nothing_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_: Any) -> Reply:
        raise ValueError("secret")

    monkeypatch.setitem(BY_PATH, "/health", BY_PATH["/health"]._replace(handle=broken))
    answer = call("GET", "/health", headers=[(b"x-request-id", b"mine")])
    error = refused(answer, 500)
    assert "mine" in error
    assert "secret" not in error


def test_many_rows_and_long_bodies_get_what_each_alone_gets() -> None:
    rows = small.rows() * 100
    answer = predict({"records": rows})
    assert answer.status == 200
    assert len(answer.content["predictions"]) == len(rows)
    single = predict({"records": rows[:80]}).content
    assert answer.content["predictions"][:80] == single["predictions"]


def test_an_answer_that_takes_too_long_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    server = worker(timeout_seconds=0.01)

    def slow(*_: Any) -> Any:
        time.sleep(0.3)

    monkeypatch.setattr(server.runner, "run", slow)
    monkeypatch.setattr(server.runner, "is_immediate", lambda _: False)
    assert "within 0.01 s" in refused(predict(ROW, server=server), 504)
    assert server.slots.in_use == 0


def logged(tmp_path: Path, level: str = "info", **settings: Any) -> tuple[Worker, Path]:
    """A worker, and where its log goes."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return worker(descriptor, log_level=level, **settings), path


def lines(server: Worker, path: Path) -> list[dict[str, Any]]:
    server.log.close()
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_a_request_is_one_line_of_the_log(tmp_path: Path) -> None:
    server, path = logged(tmp_path)
    predict({"records": [ROW, ROW]}, headers=[JSON, (b"x-request-id", b"mine")], server=server)
    (line,) = lines(server, path)
    assert line.pop("latency_ms") > 0
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {
        "level": "info", "event": "request", "request_id": "mine", "method": "POST",
        "path": "/predict", "status": 200, "model_version": VERSION, "rows": 2,
        "client": CLIENT,
    }  # fmt: skip


def test_the_log_has_the_name_of_the_key_and_never_the_key(tmp_path: Path) -> None:
    server, path = logged(tmp_path, **LOCKED)
    for key in (ALICE, KEY, "wrong-0123456789abcdef"):
        predict(ROW, headers=[JSON, (b"x-api-key", key.encode())], server=server)
    actual = lines(server, path)
    assert [(line["status"], line.get("key")) for line in actual] == [
        (200, "alice"), (200, None), (401, None),
    ]  # fmt: skip
    assert "0123456789abcdef" not in path.read_text()


def test_the_log_has_the_client_that_a_trusted_proxy_names(tmp_path: Path) -> None:
    forwarded = (b"x-forwarded-for", b"203.0.113.9, 198.51.100.1")
    for proxies, client in ((), CLIENT), ((f"{CLIENT}/24",), "198.51.100.1"):
        (tmp_path / client).mkdir()
        server, path = logged(tmp_path / client, trusted_proxies=proxies)
        predict(ROW, headers=[JSON, forwarded], server=server)
        assert [line["client"] for line in lines(server, path)] == [client]


def test_no_value_of_an_input_is_logged_unless_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, path = logged(tmp_path, "debug")
    hidden = "hidden-4711"
    predict({**ROW, "colour": hidden}, server=server)
    predict({**ROW, hidden: 1}, server=server)
    call("POST", "/predict", [b'{"%s": 1, "%s": 1}' % (hidden.encode(), hidden.encode())],
         server=server)  # fmt: skip
    predict(ROW, query=b"echo=" + hidden.encode(), server=server)
    call("GET", f"/{hidden}", server=server)

    def broken(_: Any) -> Any:
        raise ValueError(hidden)

    monkeypatch.setattr(server.predictor.reader, "read_typed", broken)
    assert predict(ROW, server=server).status == 500
    monkeypatch.undo()
    actual = lines(server, path)
    assert [line["status"] for line in actual] == [422, 422, 400, 422, 404, 500]
    assert [line["error"] for line in actual] == [KINDS[line["status"]] for line in actual]
    assert hidden not in path.read_text()
    assert "broken" in actual[-1]["stack"]


def test_inputs_and_answers_are_logged_where_that_is_asked_for(tmp_path: Path) -> None:
    server, path = logged(tmp_path, log_inputs=True)
    answer = predict({"records": [ROW, {**ROW, "area": ROW["area"] + 2}]}, server=server).content
    predict(ROW, server=server)
    many, one = lines(server, path)
    assert many["inputs"][0] == ROW
    assert many["predictions"] == answer["predictions"]
    assert many["confidences"] == answer["confidences"]
    assert many["columns"]["area"]["mean"] == pytest.approx(ROW["area"] + 1, rel=1e-6)
    assert many["columns"]["area"]["standard_deviation"] == pytest.approx(1, rel=1e-6)
    assert one["prediction"] == answer["predictions"][0]


def test_rows_of_which_the_model_has_no_finite_answer_are_named_and_not_counted() -> None:
    server = worker()
    beyond = {**ROW, "area": 3.4e38, "depth": -3.4e38}
    one = predict(beyond, server=server)
    assert "in 1 place" in refused(one, 422)
    many = predict({"records": [ROW, beyond, ROW, beyond]}, server=server)
    assert "in 2 places" in refused(many, 422)
    assert [problem["row"] for problem in many.content["detail"]] == [1, 3]
    assert {problem["problem"] for problem in many.content["detail"]} == {"no answer"}
    text = call("GET", "/metrics", headers=[], server=server).content.decode()
    assert "cairn_rows_total 0.0" in text.splitlines()
    assert "nan" not in text.lower()


@pytest.mark.parametrize("log_inputs", [False, True])
def test_identifiers_and_features_are_logged_where_inputs_are(
    tmp_path: Path,
    log_inputs: bool,  # noqa: FBT001
) -> None:
    path = tmp_path / "log"
    server = worker(
        model=full.predictor(), log=os.open(path, os.O_WRONLY | os.O_CREAT), log_inputs=log_inputs
    )
    answer = predict({**full.ROW, "customer": "C-4711"}, server=server)
    assert answer.content["identifier"] == "C-4711"
    (line,) = lines(server, path)
    if log_inputs:
        assert (line["inputs"], line["identifier"]) == ([full.ROW], "C-4711")
        assert list(line["columns"]) == [feature.name for feature in small.FULL.own]
        assert line["columns"]["opened_year"]["mean"] == 2024
    else:
        assert "4711" not in path.read_text()


def test_a_wrong_identifier_is_not_logged_unless_inputs_are(tmp_path: Path) -> None:
    path = tmp_path / "log"
    server = worker(os.open(path, os.O_WRONLY | os.O_CREAT), full.predictor())
    assert predict({**full.ROW, "customer": ["C-4711"]}, server=server).status == 422
    server.log.close()
    assert b"4711" not in path.read_bytes()


def test_the_metrics_count_features_by_name() -> None:
    server = worker(model=full.predictor())
    predict({"records": [full.ROW, {**full.ROW, "branch": 99, "born": None}]}, server=server)
    text = call("GET", "/metrics", headers=[], server=server).content.decode()
    for line in (
        'cairn_column_values_total{bucket="30",column="branch"} 1.0',
        'cairn_column_values_total{bucket="unknown",column="branch"} 1.0',
        'cairn_column_values_total{bucket="missing",column="born_year"} 1.0',
        'cairn_column_values_total{bucket="(2022, inf)",column="opened_year"} 2.0',
        'cairn_column_values_total{bucket="5",column="size"} 2.0',
    ):
        assert line in text.splitlines()
    assert 'column="born"' not in text
    assert "customer" not in text


def test_probes_are_not_in_the_log_unless_its_level_is_debug(tmp_path: Path) -> None:
    for level, count in ("info", 0), ("debug", 3):
        (tmp_path / level).mkdir()
        server, path = logged(tmp_path / level, level)
        for probe in ("/readyz", "/livez", "/metrics"):
            call("GET", probe, headers=[], server=server)
        assert len(lines(server, path)) == count


def test_what_is_no_request_is_counted_by_its_reason() -> None:
    server = worker()
    Front(None, lambda: server).count_malformed("syntax")
    text = call("GET", "/metrics", headers=[], server=server).content.decode()
    assert 'cairn_malformed_requests_total{reason="syntax"} 1.0' in text.splitlines()


def test_every_request_is_counted_by_route_and_status() -> None:
    server = worker()
    predict(ROW, server=server)
    predict({}, server=server)
    call("GET", "/anything", server=server)
    call("GET", "/else", server=server)
    text = call("GET", "/metrics", headers=[], server=server).content.decode()
    for line in (
        'cairn_requests_total{route="/predict",status="200"} 1.0',
        'cairn_requests_total{route="/predict",status="422"} 1.0',
        'cairn_requests_total{route="other",status="404"} 2.0',
        'cairn_errors_total{kind="breaks_contract"} 1.0',
        "cairn_rows_total 1.0",
        "cairn_requests_in_progress 1.0",  # this one
    ):
        assert line in text.splitlines()
    assert "anything" not in text
