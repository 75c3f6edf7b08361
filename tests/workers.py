"""A worker of the small table's model, in this process, and requests to it without a socket."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import orjson

from service.http import routes
from service.http.asgi import Message, Scope
from service.http.front import Front
from service.inference.predictor import Predictor
from service.process.lifecycle import Lifecycle
from service.process.settings import Settings
from service.process.worker import Worker
from service.telemetry.logs import Log
from tests import small

VERSION = "small:0123456789ab"
JSON = (b"content-type", b"application/json")
CLIENT = "192.0.2.7"
Header = tuple[bytes, bytes]


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    content: Any


@cache
def predictor() -> Predictor:
    with TemporaryDirectory() as folder:
        model = small.save(Path(folder, "model"))
        return Predictor(model, VERSION, {"git": {"commit": "c"}, "params": {}})


def worker(log: int | None = None, model: Predictor | None = None, **settings: Any) -> Worker:
    """A worker with these settings, which is ready; its log goes to a file descriptor."""
    served = model or predictor()
    checked = Settings.model_validate(settings)
    lifecycle = Lifecycle()
    lifecycle.ready = True
    descriptor = os.open(os.devnull, os.O_WRONLY) if log is None else log
    log_ = Log(logging.getLevelNamesMapping()[checked.log_level.upper()], descriptor)
    return routes.build_worker(served, checked, lifecycle, log_, schema={"name": "cairn"})


def scope(
    method: str, path: str, headers: Iterable[Header] = (JSON,), query: bytes = b""
) -> dict[str, Any]:
    return {
        "type": "http", "method": method, "path": path, "query_string": query,
        "headers": list(headers), "client": (CLIENT, 50_000),
    }  # fmt: skip


async def ask(server: Worker, request: Scope, chunks: Iterable[bytes] = (b"",)) -> Answer:
    """Send one request, its body in these chunks."""
    body = list(chunks)
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": index + 1 < len(body)}
        for index, chunk in enumerate(body)
    ]
    messages.append({"type": "http.disconnect"})
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(*_: Any) -> None:
        raise AssertionError("no request is left to BentoML's own application")

    await Front(app, lambda: server)(request, receive, send)
    start, *rest = sent
    body_ = b"".join(message["body"] for message in rest)
    actual = dict(start["headers"])
    assert len(actual) == len(start["headers"])
    assert int(actual.get(b"content-length", 0)) == len(body_)
    assert (b"content-length" in actual) == (start["status"] != HTTPStatus.NO_CONTENT)
    is_json = actual.get(b"content-type") == b"application/json"
    return Answer(start["status"], actual, orjson.loads(body_) if is_json else body_)


@cache
def usual() -> Worker:
    """A worker with the default settings."""
    return worker()


def call(  # noqa: PLR0913, PLR0917
    method: str,
    path: str,
    chunks: Iterable[bytes] = (b"",),
    headers: Iterable[Header] = (JSON,),
    query: bytes = b"",
    server: Worker | None = None,
) -> Answer:
    """One request to a worker, by itself."""
    return asyncio.run(ask(server or usual(), scope(method, path, headers, query), chunks))


def predict(content: Any, **how: Any) -> Answer:
    return call("POST", "/predict", [orjson.dumps(content)], **how)


def refused(answer: Answer, status: int) -> str:
    """The one sentence of an error, whose body always looks the same."""
    assert answer.status == status
    assert answer.headers[b"content-type"] == b"application/json"
    assert set(answer.content) == {"error", "detail"}
    assert isinstance(answer.content["detail"], list)
    return str(answer.content["error"])
