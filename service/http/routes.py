"""The service's routes: every request is answered here, none by BentoML's own application.

That one decodes bodies of any size and kind, answers 400 where the design says 422, makes a
series of metrics for each path that a client thinks of, and takes longer than the model.
"""

from __future__ import annotations

import asyncio
import logging
import time
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import orjson

from cairn.inference import Predictions
from service.http import docs, openapi
from service.http.asgi import (
    CLOSE,
    JSON,
    RETRY,
    App,
    Receive,
    Reply,
    Scope,
    Send,
    headers_of,
    request_id,
    respond,
)
from service.http.errors import KINDS, Refused
from service.inference import artifacts
from service.inference.drift import taken
from service.inference.example import example
from service.inference.predictor import Predictor
from service.inference.rows import Rows
from service.inference.runner import Features
from service.page import files
from service.process.settings import Settings
from service.process.worker import Worker
from service.telemetry.logs import stack
from service.telemetry.metrics import Answered

# A body that is longer, or may have more rows, takes so long to read that others must be answered
# meanwhile; bytes, brackets.
LONG = 2**16
MANY = 256
OTHER = "other"
# What the log has of an answer where it has the inputs.
LOGGED = ("identifier", "identifiers", "prediction", "confidence", "predictions", "confidences")


class Request:
    """A request on its way through the service.

    Attributes
    ----------
    id
        The client's X-Request-ID, or one of our own.
    facts
        What the log says of it beside what it says of all.
    """

    __slots__ = ("facts", "headers", "id", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.headers = headers_of(scope)
        self.id = request_id(self.headers)
        self.facts: dict[str, Any] = {}


Route = Callable[[Worker, Request], Awaitable[Reply]]


class Front:
    """The ASGI application; what is no request, such as the lifespan, goes to `app`."""

    def __init__(self, app: App, worker: Callable[[], Worker]) -> None:
        self.app = app
        self.worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        worker = self.worker()
        worker.metrics.began()
        request = Request(scope, receive)
        reply = CANCELLED
        try:
            try:
                reply = await _answer(worker, request)
            except Refused as refused:
                reply = _refusal(refused)
            except Exception as bug:  # noqa: BLE001, the last resort
                reply = _bug(worker, request, bug)
            await respond(scope, send, reply, (b"x-request-id", request.id))
        finally:
            _account(worker, request, reply.status, time.perf_counter() - start)


async def _answer(worker: Worker, request: Request) -> Reply:
    path, method = request.scope["path"], request.scope["method"]
    allowed, route = ROUTES.get(path, (method, unknown))
    if method != allowed and (method, allowed) != ("HEAD", "GET"):
        methods = b"GET, HEAD" if allowed == "GET" else allowed.encode()
        error = f"{path} answers {allowed}, not {method}"
        raise Refused(405, error, headers=((b"allow", methods),))
    if path in worker.locked and not worker.keys.allow(request.headers):
        error = "a key is asked for: Authorization: Bearer KEY, or X-API-Key: KEY"
        raise Refused(401, error, headers=((b"www-authenticate", b"Bearer"),))
    return await route(worker, request)


def _refusal(refused: Refused) -> Reply:
    detail = [problem.model_dump() for problem in refused.detail]
    body = orjson.dumps({"error": refused.error, "detail": detail})
    return Reply(refused.status, body, (JSON, *refused.headers))


def _bug(worker: Worker, request: Request, bug: Exception) -> Reply:
    request.facts["stack"] = stack(bug, messages=worker.settings.log_inputs)
    error = f"a bug of the service; its log has it under request_id {request.id.decode()}"
    return _refusal(Refused(500, error))


CANCELLED = _refusal(Refused(503, "shutting down"))


def _account(worker: Worker, request: Request, status: int, seconds: float) -> None:
    """Count a request that has ended, and log it."""
    path = request.scope["path"]
    known = path in ROUTES
    worker.metrics.ended(path if known else OTHER, status, seconds)
    level = _level(status, quiet=path in QUIET and status in {200, 503})
    if level < worker.log.level:
        return
    line = {
        "event": "request",
        "request_id": request.id.decode(),
        "method": request.scope["method"],
        "path": path if known else OTHER,
        "status": status,
        "latency_ms": round(seconds * 1e3, 3),
        "model_version": worker.predictor.version,
        **request.facts,
    }
    if status in KINDS:
        line["error"] = KINDS[status]
    worker.log.event(level, line)


def _level(status: int, *, quiet: bool) -> int:
    """How much a request matters to those who read the log."""
    if quiet:
        return logging.DEBUG
    if status >= 500:  # noqa: PLR2004, as HTTP has it
        return logging.ERROR
    if status >= 400:  # noqa: PLR2004
        return logging.WARNING
    return logging.INFO


async def predict(worker: Worker, request: Request) -> Reply:
    """POST /predict: one row or many."""
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
        rows, features, said = await _predict(worker, body)
    answer = worker.predictor.answer(said, rows, request.id.decode())
    worker.metrics.answered(Answered(features, said))
    request.facts["rows"] = len(features)
    if worker.settings.log_inputs:
        request.facts |= _inputs(worker, rows, features, answer)
    if scope["query_string"] and _echo(scope["query_string"]):
        answer["input"] = orjson.Fragment(body.removeprefix(BOM_UTF8))
    return Reply(200, orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))


async def _predict(worker: Worker, body: bytes) -> tuple[Rows, Features, Predictions]:
    """Rows, their features, and what the model says: at once where that is quick."""
    predictor, runner = worker.predictor, worker.runner
    short = len(body) <= LONG and body.count(b"[") + body.count(b"{") <= MANY
    if short:
        rows, features = predictor.read(body)
        if runner.at_once(len(features)):
            return rows, features, predictor.run(features)
    seconds = worker.settings.timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            if not short:
                rows, features = await runner.aside(predictor.read, body)
            return rows, features, await runner.predict(features)
    except TimeoutError:
        raise Refused(504, f"no answer within {seconds:g} s; send fewer rows at once") from None


def _inputs(
    worker: Worker, rows: Rows, features: Features, answer: dict[str, Any]
) -> dict[str, Any]:
    """What LOG_INPUTS adds to the log: rows, answers, and the batch's spread by feature."""
    contract = worker.predictor.contract
    with np.errstate(all="ignore"):
        mean, deviation = (f(features.astype(np.float64), axis=0) for f in (np.mean, np.std))
    return {
        "inputs": [dict(zip(contract.names, row, strict=True)) for row in rows.values],
        **{key: answer[key] for key in LOGGED if key in answer},
        "columns": {
            feature.name: {"mean": middle, "standard_deviation": spread}
            for feature, middle, spread in zip(taken(contract), mean, deviation, strict=True)
        },
    }


def _echo(query: bytes) -> bool:
    """Whether the input is to be returned as well."""
    (value,) = parse_qs(query.decode("latin-1")).get("echo", ["false"])[-1:]
    if value not in {"true", "false"}:
        raise Refused(422, f"echo={value[:20]!r}; allowed: true, false")
    return value == "true"


async def live(_: Worker, __: Request) -> Reply:
    """GET /livez: that the process answers."""
    return _json({"status": "alive"})


async def ready(worker: Worker, _: Request) -> Reply:
    """GET /readyz: whether it is to be sent requests."""
    if not worker.lifecycle.ready or worker.lifecycle.draining:
        why = "shutting down" if worker.lifecycle.draining else "not ready yet"
        raise Refused(503, why, headers=(RETRY,))
    return _json({"status": "ready"})


async def health(worker: Worker, _: Request) -> Reply:
    """GET /health: that the service is up, and with which model."""
    return _json({"status": "healthy", "model_version": worker.predictor.version})


async def model(worker: Worker, _: Request) -> Reply:
    """GET /model: where the model comes from, its contract, and how it is run."""
    return _json(
        {
            "model_version": worker.predictor.version,
            **worker.predictor.chain,
            **worker.predictor.shown.describe(),
            "contract": worker.predictor.contract.model_dump(),
            "example": example(worker.predictor.contract),
            "serving": worker.runner.describe(),
        }
    )


async def metrics(worker: Worker, request: Request) -> Reply:
    """GET /metrics: for Prometheus."""
    text, kind = worker.metrics.text(request.headers.get(b"accept", b"").decode("latin-1"))
    return Reply(200, text, ((b"content-type", kind.encode()),))


async def card(worker: Worker, _: Request) -> Reply:
    """GET /model/card: the model card."""
    return worker.predictor.shown.card_reply()


async def home(worker: Worker, _: Request) -> Reply:
    """GET /: the page for people."""
    return files.answer(worker.pages[files.PATH])


async def fixed(worker: Worker, request: Request) -> Reply:
    """GET of JSON that never changes."""
    return Reply(200, worker.pages[request.scope["path"]])


async def unknown(worker: Worker, request: Request) -> Reply:
    """Any other path: a picture of the model, a part of the page at /docs, or none at all."""
    path = request.scope["path"]
    if request.scope["method"] in {"GET", "HEAD"}:
        found = worker.predictor.shown.picture_reply(path) or docs.answer(path)
        if found:
            return found
    raise Refused(404, f"no such path; allowed: {', '.join(sorted(ROUTES))}")


def pages(predictor: Predictor, settings: Settings, schema: dict[str, Any]) -> dict[str, bytes]:
    """What `home` and `fixed` answer; `schema` is BentoML's own, which its client asks for."""
    keys = bool(settings.api_keys or settings.api_keys_file)
    document = openapi.document(
        predictor.contract,
        predictor.version,
        max_rows=settings.max_rows,
        max_body_bytes=settings.max_body_bytes,
        keys=keys,
        metrics_open=settings.metrics_open,
    )
    locked = ("model",) if settings.metrics_open else ("model", "metrics")
    return {
        files.PATH: files.page(locked if keys else ()),
        "/docs.json": orjson.dumps(document),
        "/schema.json": orjson.dumps(schema),
    }


def _json(content: Any) -> Reply:
    return Reply(200, orjson.dumps(content))


ROUTES: dict[str, tuple[str, Route]] = {
    files.PATH: ("GET", home),
    "/predict": ("POST", predict),
    "/health": ("GET", health),
    **dict.fromkeys(("/livez", "/health/live"), ("GET", live)),
    **dict.fromkeys(("/readyz", "/health/ready"), ("GET", ready)),
    "/metrics": ("GET", metrics),
    artifacts.MODEL: ("GET", model),
    artifacts.MODEL_CARD: ("GET", card),
    "/docs": ("GET", unknown),
    **dict.fromkeys(("/docs.json", "/schema.json"), ("GET", fixed)),
}
# Asked every few seconds by machines: in the log they would hide the rest.
QUIET = {"/livez", "/health/live", "/readyz", "/health/ready", "/health", "/metrics"}
