"""What answers: every request is answered here, none by BentoML's own application.

That one decodes bodies of any size and kind, answers 400 where the design says 422, makes a
series of metrics for each path that a client thinks of, and takes longer than the model.

A request goes through in two steps: `begin`, once its head is there, may refuse it; `answer`, once
its body is, answers it at once, or returns what will. Each that has begun is counted once, and
logged, when it is answered, refused or given up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache

from service.http.asgi import (
    App,
    Receive,
    Reply,
    Scope,
    Send,
    make_request,
    read_body,
    refuse_length,
    reply_refused,
    respond,
)
from service.http.errors import KINDS, Refused
from service.http.request import Request
from service.http.routes import BY_PATH, OTHER, reply_to_method, reply_to_other
from service.process.worker import Worker
from service.telemetry.logs import dump_json, format_stack


class Front:
    """What answers requests; as an ASGI application it leaves the lifespan to `app`."""

    def __init__(self, app: App | None, worker: Callable[[], Worker]) -> None:
        self.app = app
        self.worker = worker
        self._ended: list[tuple[Request, int, float]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request as ASGI has it."""
        if scope["type"] != "http":
            if self.app:
                await self.app(scope, receive, send)
            return
        request = make_request(scope)
        reply = self.begin(request)
        if reply is None:
            settings = self.worker().settings
            try:
                request.body = await read_body(
                    receive, settings.max_body_bytes, settings.timeout_seconds
                )
            except Refused as refused:
                reply = self.refuse(request, refused)
            except BaseException:
                self.refuse(request, SHUTTING_DOWN)
                raise
            else:
                answer = self.answer(request)
                reply = answer if isinstance(answer, Reply) else await answer
        await respond(send, reply, request)

    def begin(self, request: Request) -> Reply | None:
        """Take up a request whose head is there; return the answer if that is enough for it."""
        worker = self.worker()
        worker.metrics.start_request()
        try:
            reply = _check_head(worker, request)
        except Refused as refused:
            return self.refuse(request, refused)
        except Exception as bug:  # noqa: BLE001, the last resort
            return self._end(request, _reply_bug(worker, request, bug))
        return self._end(request, reply) if reply else None

    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer a request that has begun, all of whose body is there; nothing is raised."""
        worker = self.worker()
        if request.path == METRICS:
            self.settle()
        try:
            answer = BY_PATH[request.path].handle(worker, request)
        except Refused as refused:
            return self.refuse(request, refused)
        except Exception as bug:  # noqa: BLE001
            return self._end(request, _reply_bug(worker, request, bug))
        return (
            self._end(request, answer) if isinstance(answer, Reply) else self._wait(request, answer)
        )

    async def _wait(self, request: Request, answer: Awaitable[Reply]) -> Reply:
        """Wait for an answer that takes longer."""
        try:
            return self._end(request, await answer)
        except Refused as refused:
            return self.refuse(request, refused)
        except Exception as bug:  # noqa: BLE001
            return self._end(request, _reply_bug(self.worker(), request, bug))
        except BaseException:
            self.refuse(request, CLIENT_GONE if request.is_abandoned else SHUTTING_DOWN)
            raise

    def refuse(self, request: Request, refused: Refused) -> Reply:
        """Refuse a request that has begun, or give it up."""
        return self._end(request, reply_refused(refused))

    def count_malformed(self, reason: str) -> None:
        """Count what came and is no request."""
        self.worker().metrics.count_malformed(reason)

    def report_crowd(self, event: str) -> None:
        """Say what was done because connections are too many, or hold too much."""
        self.worker().log_crowd(event)

    def report_connections(self, count: int) -> None:
        """Say how many connections are open."""
        self.worker().metrics.set_connections(count)

    def _end(self, request: Request, reply: Reply) -> Reply:
        """Return the answer to a request that has ended; it is counted and logged after the turn.

        While that is done, the next requests arrive. Otherwise the client that is answered last in
        a turn of the event loop always misses the next turn, and gets half of what others get.
        """
        worker = self.worker()
        if worker.cors:
            reply = worker.cors.add_headers(reply, request.headers)
        seconds = time.perf_counter() - request.start
        if not self._ended:
            asyncio.get_running_loop().call_soon(self.settle)
        self._ended.append((request, reply.status, seconds))
        request.body = b""
        return reply

    def settle(self) -> None:
        """Count and log the requests that have ended."""
        ended, self._ended = self._ended, []
        for request, status, seconds in ended:
            self._account(request, status, seconds)

    def _account(self, request: Request, status: int, seconds: float) -> None:
        """Count a request, and log it."""
        worker = self.worker()
        route = BY_PATH.get(request.path)
        label = route.path if route else OTHER
        worker.metrics.finish_request(label, status, seconds)
        is_quiet = route is not None and route.is_polled and status in {200, 503}
        level = _choose_level(status, is_quiet=is_quiet)
        if level < worker.log.level:
            return
        client = worker.proxies.find_client(request.client, request.headers)
        known = _format_known(request.method, label, status, client, worker.predictor.version)
        facts = b",%b" % dump_json(request.facts)[1:-1] if request.facts else b""
        fields = b'{"event":"request","request_id":"%b",%b,"latency_ms":%.3f%b}'
        line = fields % (request.id, known, seconds * 1e3, facts)
        worker.log.add_event(level, line)


@lru_cache(maxsize=4096)
def _format_known(method: str, path: str, status: int, client: str | None, version: str) -> bytes:
    """Format what many lines of the log have in common."""
    fields: dict[str, object] = {
        "method": method, "path": path, "status": status, "client": client,
        "model_version": version,
    }  # fmt: skip
    if status in KINDS:
        fields["error"] = KINDS[status]
    return dump_json(fields)[1:-1]


METRICS = "/metrics"
SHUTTING_DOWN = Refused(503, "shutting down")
CLIENT_GONE = Refused(499, "the client went away")


def _check_head(worker: Worker, request: Request) -> Reply | None:
    """Refuse what need not be read any further, or answer what its head alone asks for."""
    route = BY_PATH.get(request.path)
    if route is None:
        return reply_to_other(request)
    method = request.method
    if method != route.method and (method, route.method) != ("HEAD", "GET"):
        return reply_to_method(route, request)
    if worker.keys.is_required and route.path in worker.keyed:
        name = worker.keys.identify(request.headers)
        if name:
            request.facts["key"] = name
    length = request.headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > worker.settings.max_body_bytes:
        raise refuse_length(worker.settings.max_body_bytes)
    return None


def _reply_bug(worker: Worker, request: Request, bug: Exception) -> Reply:
    request.facts["stack"] = format_stack(bug, with_messages=worker.settings.log_inputs)
    error = f"internal error; the service's log has more under request_id {request.id.decode()}"
    return reply_refused(Refused(500, error))


def _choose_level(status: int, *, is_quiet: bool) -> int:
    """Return how much a request matters to those who read the log."""
    if is_quiet:
        return logging.DEBUG
    if status >= 500:  # noqa: PLR2004, as HTTP has it
        return logging.ERROR
    if status >= 400:  # noqa: PLR2004
        return logging.WARNING
    return logging.INFO
