"""What each route answers: one function a route, from the worker and the request to a reply."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import orjson

from cairn.inference import Predictions
from service.http import docs
from service.http.asgi import CLOSE, RETRY, Receive, Reply, Scope, choose_request_id, read_headers
from service.http.errors import Refused
from service.inference.example import make_example
from service.inference.request_rows import RequestRows
from service.inference.runner import Features
from service.page import files
from service.process.worker import Worker
from service.telemetry.metrics import PredictedRows

# A body that is longer, or may have more rows, takes so long to read that others must be answered
# meanwhile; bytes, brackets.
LONG = 2**16
MANY = 256
# What the log has of an answer where it has the inputs.
LOGGED = ("identifier", "identifiers", "prediction", "confidence", "predictions", "confidences")


class Request:
    """A request on its way through the service.

    Attributes
    ----------
    id
        The client's X-Request-ID, or one of our own.
    facts
        What the log has of it beside what it has of all.
    """

    __slots__ = ("facts", "headers", "id", "receive", "scope")

    @property
    def method(self) -> str:
        """Its method."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """Its path, decoded."""
        return str(self.scope["path"])

    @property
    def query(self) -> bytes:
        """Its query, as it came."""
        return bytes(self.scope["query_string"])

    @property
    def client(self) -> str | None:
        """The other end's address."""
        peer = self.scope.get("client")
        return peer[0] if peer else None

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.headers = read_headers(scope)
        self.id = choose_request_id(self.headers)
        self.facts: dict[str, Any] = {}


Handler = Callable[[Worker, Request], Awaitable[Reply]]


async def predict(worker: Worker, request: Request) -> Reply:
    """Answer POST /predict: one row or many."""
    scope = request.scope
    kind = request.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        error = f"content type {kind.decode('latin-1')!r}; allowed: application/json"
        raise Refused(415, error, headers=(CLOSE,))
    if encoding := request.headers.get(b"content-encoding"):
        error = f"content encoding {encoding.decode('latin-1')!r}; send the JSON as it is"
        raise Refused(415, error, headers=(CLOSE,))
    with worker.slots:
        body = await worker.bodies.read(scope, request.headers, request.receive)
        rows, features, predictions = await _predict(worker, body)
    is_echo = bool(scope["query_string"]) and _wants_echo(scope["query_string"])
    sent = body.removeprefix(BOM_UTF8) if is_echo else None
    answer = worker.predictor.encode_answer(predictions, rows, request.id.decode(), sent)
    worker.metrics.add_rows(PredictedRows(features, predictions))
    request.facts["rows"] = len(features)
    if worker.settings.log_inputs:
        request.facts |= _describe_inputs(worker, rows, features, orjson.loads(answer))
    return Reply(200, answer)


async def _predict(worker: Worker, body: bytes) -> tuple[RequestRows, Features, Predictions]:
    """Return rows, their features and their predictions: at once where that is quick."""
    predictor, runner = worker.predictor, worker.runner
    is_short = len(body) <= LONG and body.count(b"[") + body.count(b"{") <= MANY
    if is_short:
        rows, features = predictor.read(body)
        if runner.is_immediate(len(features)):
            return rows, features, predictor.run(features)
    seconds = worker.settings.timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            if not is_short:
                rows, features = await runner.run_aside(predictor.read, body)
            return rows, features, await runner.predict(features)
    except TimeoutError:
        raise Refused(504, f"no answer within {seconds:g} s; send fewer rows at once") from None


def _describe_inputs(
    worker: Worker, rows: RequestRows, features: Features, answer: dict[str, Any]
) -> dict[str, Any]:
    """Return what LOG_INPUTS adds to the log: rows, answers, and each feature's mean and spread."""
    contract = worker.predictor.contract
    with np.errstate(all="ignore"):
        means, deviations = (f(features.astype(np.float64), axis=0) for f in (np.mean, np.std))
    return {
        "inputs": [dict(zip(contract.names, row, strict=True)) for row in rows.values],
        **{key: answer[key] for key in LOGGED if key in answer},
        "columns": {
            feature.name: {"mean": mean, "standard_deviation": deviation}
            for feature, mean, deviation in zip(contract.inputs, means, deviations, strict=True)
        },
    }


def _wants_echo(query: bytes) -> bool:
    """Tell whether the input is to be returned as well."""
    (value,) = parse_qs(query.decode("latin-1")).get("echo", ["false"])[-1:]
    if value not in {"true", "false"}:
        raise Refused(422, f"echo={value[:20]!r}; allowed: true, false")
    return value == "true"


async def check_live(_: Worker, __: Request) -> Reply:
    """Answer GET /livez: that the process answers."""
    return _reply_json({"status": "alive"})


async def check_ready(worker: Worker, _: Request) -> Reply:
    """Answer GET /readyz: whether requests should be sent here."""
    if not worker.lifecycle.ready or worker.lifecycle.draining:
        reason = "shutting down" if worker.lifecycle.draining else "not ready yet"
        raise Refused(503, reason, headers=(RETRY,))
    return _reply_json({"status": "ready"})


async def show_health(worker: Worker, _: Request) -> Reply:
    """Answer GET /health: that the service is up, and with which model."""
    return _reply_json({"status": "healthy", "model_version": worker.predictor.version})


async def show_model(worker: Worker, _: Request) -> Reply:
    """Answer GET /model: where the model comes from, its contract, and how it is run."""
    return _reply_json(
        {
            "model_version": worker.predictor.version,
            **worker.predictor.chain,
            **worker.predictor.artifacts.describe(),
            "contract": worker.predictor.contract.model_dump(),
            "example": make_example(worker.predictor.contract),
            "serving": worker.runner.describe(),
        }
    )


async def show_metrics(worker: Worker, request: Request) -> Reply:
    """Answer GET /metrics: for Prometheus."""
    accept = request.headers.get(b"accept", b"").decode("latin-1")
    text, content_type = worker.metrics.render(accept)
    return Reply(200, text, ((b"content-type", content_type.encode()),))


async def show_card(worker: Worker, _: Request) -> Reply:
    """Answer GET /model/card: the model card."""
    return worker.predictor.artifacts.reply_card()


async def show_picture(worker: Worker, request: Request) -> Reply:
    """Answer GET of a picture of the model."""
    return worker.predictor.artifacts.reply_picture(request.scope["path"])


async def show_page(worker: Worker, request: Request) -> Reply:
    """Answer GET /: the page for people."""
    return files.reply_page(worker.documents[request.scope["path"]])


async def show_docs(_: Worker, __: Request) -> Reply:
    """Answer GET /docs: the OpenAPI document as a page."""
    return docs.reply_page()


async def show_docs_part(_: Worker, request: Request) -> Reply:
    """Answer GET of a file that the page at /docs is made of."""
    return docs.reply_part(request.scope["path"])


async def show_document(worker: Worker, request: Request) -> Reply:
    """Answer GET of a JSON document that never changes."""
    return Reply(200, worker.documents[request.scope["path"]])


def _reply_json(content: Any) -> Reply:
    return Reply(200, orjson.dumps(content))
