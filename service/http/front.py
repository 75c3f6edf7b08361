"""The ASGI application: every request is answered here, none by BentoML's own application.

That one decodes bodies of any size and kind, answers 400 where the design says 422, makes a
series of metrics for each path that a client thinks of, and takes longer than the model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import orjson

from service.http.asgi import JSON, App, Receive, Reply, Scope, Send, respond
from service.http.clients import find_client
from service.http.errors import KINDS, Refused
from service.http.handlers import Request
from service.http.routes import BY_PATH, OTHER, Route, reply_to_method, reply_to_other
from service.process.worker import Worker
from service.telemetry.logs import format_stack


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
        worker.metrics.start_request()
        request = Request(scope, receive)
        route = BY_PATH.get(scope["path"])
        reply = CANCELED
        try:
            try:
                reply = await _answer(worker, request, route)
            except Refused as refused:
                reply = _reply_refused(refused)
            except Exception as bug:  # noqa: BLE001, the last resort
                reply = _reply_bug(worker, request, bug)
            if worker.cors:
                reply = worker.cors.add_headers(reply, request.headers)
            await respond(scope, send, reply, (b"x-request-id", request.id))
        finally:
            _account(worker, request, route, reply.status, time.perf_counter() - start)


async def _answer(worker: Worker, request: Request, route: Route | None) -> Reply:
    if route is None:
        return reply_to_other(request)
    method = request.scope["method"]
    if method != route.method and (method, route.method) != ("HEAD", "GET"):
        return reply_to_method(route, request)
    if worker.keys.is_required and route.path in worker.keyed:
        name = worker.keys.identify(request.headers)
        if name:
            request.facts["key"] = name
    return await route.handle(worker, request)


def _reply_refused(refused: Refused) -> Reply:
    detail = [problem.model_dump() for problem in refused.detail]
    body = orjson.dumps({"error": refused.error, "detail": detail})
    return Reply(refused.status, body, (JSON, *refused.headers))


def _reply_bug(worker: Worker, request: Request, bug: Exception) -> Reply:
    request.facts["stack"] = format_stack(bug, with_messages=worker.settings.log_inputs)
    error = f"internal error; the service's log has more under request_id {request.id.decode()}"
    return _reply_refused(Refused(500, error))


CANCELED = _reply_refused(Refused(503, "shutting down"))


def _account(
    worker: Worker, request: Request, route: Route | None, status: int, seconds: float
) -> None:
    """Count a request that has ended, and log it."""
    label = route.path if route else OTHER
    worker.metrics.finish_request(label, status, seconds)
    is_quiet = route is not None and route.is_polled and status in {200, 503}
    level = _choose_level(status, is_quiet=is_quiet)
    if level < worker.log.level:
        return
    line = {
        "event": "request",
        "request_id": request.id.decode(),
        "method": request.scope["method"],
        "path": label,
        "status": status,
        "client": find_client(request.client, request.headers, worker.trusted),
        "latency_ms": round(seconds * 1e3, 3),
        "model_version": worker.predictor.version,
        **request.facts,
    }
    if status in KINDS:
        line["error"] = KINDS[status]
    worker.log.log_event(level, line)


def _choose_level(status: int, *, is_quiet: bool) -> int:
    """Return how much a request matters to those who read the log."""
    if is_quiet:
        return logging.DEBUG
    if status >= 500:  # noqa: PLR2004, as HTTP has it
        return logging.ERROR
    if status >= 400:  # noqa: PLR2004
        return logging.WARNING
    return logging.INFO
