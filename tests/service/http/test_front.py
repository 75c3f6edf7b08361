from __future__ import annotations

import asyncio

import orjson
import pytest

from service.http.asgi import Reply
from service.http.front import Front
from service.http.request import Request
from service.inference.runner import Runner
from tests import small
from tests.ports import until
from tests.workers import worker

ROW = small.rows()[1]
COUNTED = b'cairn_requests_total{route="/predict",status="200"} %d'


def ask(front: Front, method: str, path: str, body: bytes = b"") -> Reply:
    """Ask as the protocol does: within one turn of the event loop."""
    request = Request(method, path, b"", {b"content-type": b"application/json"})
    assert front.begin(request) is None
    request.body = body
    reply = front.answer(request)
    assert isinstance(reply, Reply)
    return reply


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer within the turn, however slow the model seems on this machine just now."""
    monkeypatch.setattr(Runner, "is_immediate", lambda *_: True)


def test_all_of_a_turn_are_answered_before_any_is_counted_or_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the last to be answered has no time to ask again before the next turn begins."""
    server = worker()
    logged: list[bytes] = []
    monkeypatch.setattr(server.log, "add_event", lambda _, line: logged.append(line))

    async def use() -> None:
        front = Front(None, lambda: server)
        for _ in range(3):
            assert ask(front, "POST", "/predict", orjson.dumps(ROW)).status == 200
            assert COUNTED % 0 in server.metrics.render("")[0]
        assert not logged
        await until(lambda: len(logged) == 3)
        assert COUNTED % 3 in server.metrics.render("")[0]

    asyncio.run(use())
    assert all(orjson.loads(line)["path"] == "/predict" for line in logged)


def test_metrics_count_what_was_answered_in_the_same_turn() -> None:
    server = worker()

    async def use() -> None:
        front = Front(None, lambda: server)
        for number in range(1, 4):
            ask(front, "POST", "/predict", orjson.dumps(ROW))
            assert COUNTED % number in ask(front, "GET", "/metrics").body

    asyncio.run(use())


def test_a_body_is_given_up_with_its_answer() -> None:
    server = worker()

    async def use() -> None:
        front = Front(None, lambda: server)
        request = Request("POST", "/predict", b"", {b"content-type": b"application/json"})
        front.begin(request)
        request.body = orjson.dumps(ROW)
        assert isinstance(front.answer(request), Reply)
        assert not request.body

    asyncio.run(use())
