"""The service's own routes, answered before BentoML's router sees the request.

BentoML's own decoders answer 400 where the design says 422, accept bodies of any size and kind,
and cost two thirds of the time of a request; its probes and metrics pass through.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import bentoml
import orjson

from service.errors import Refused
from service.predictor import Predictor

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Route = Callable[[Predictor, Message, Receive, str], Awaitable[dict[str, Any]]]

MAX_BODY = 10 * 2**20
CLOSE = (b"connection", b"close")  # the rest of the body is not worth reading
SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Front:
    """ASGI middleware: answers all but PASSED, which it hands to `app`."""

    def __init__(self, app: App, predictor: Callable[[], Predictor] | None = None) -> None:
        self.app = app
        self.predictor = predictor or loaded

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in PASSED:
            await self.app(scope, receive, send)
            return
        method, answer = ROUTES.get(scope["path"], (scope["method"], unknown))
        identifier = request_id(scope)
        try:
            if scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
                raise Refused(405, f"{scope['path']} answers {method}, not {scope['method']}")
            content = await answer(self.predictor(), scope, receive, identifier)
            status = 200
        except Refused as refused:
            content = {
                "error": refused.error,
                "detail": [problem.model_dump() for problem in refused.detail],
            }
            status = refused.status
        methods = b"GET, HEAD" if method == "GET" else method.encode()
        extra = {405: [(b"allow", methods)], 413: [CLOSE], 415: [CLOSE]}.get(status, [])
        await respond(send, status, content, [(b"x-request-id", identifier.encode()), *extra])


async def predict(
    predictor: Predictor, scope: Message, receive: Receive, identifier: str
) -> dict[str, Any]:
    """POST /predict: one row or many."""
    kind = header(scope, b"content-type").split(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Refused(415, f"content type {kind.decode('latin-1')!r}; allowed: application/json")
    body = await read(scope, receive)
    rows = predictor.reader.read(body)
    answer = predictor.predict(rows, identifier)
    if parse_qs(scope["query_string"].decode("latin-1")).get("echo") == ["true"]:
        return {**answer, "input": orjson.loads(body)}
    return answer


async def health(predictor: Predictor, *_: Any) -> dict[str, Any]:
    """GET /health: that the service is up, and with which model."""
    return {"status": "healthy", "model_version": predictor.version}


async def model(predictor: Predictor, *_: Any) -> dict[str, Any]:
    """GET /model: where the model comes from, and its contract."""
    return {
        "model_version": predictor.version,
        **predictor.chain,
        "contract": predictor.terms.model_dump(),
    }


async def unknown(*_: Any) -> dict[str, Any]:
    """Any other path."""
    raise Refused(404, f"no such path; allowed: {', '.join(sorted({*ROUTES, *PASSED}))}")


# BentoML's own; its client asks for the schema.
PASSED = {"/docs.json", "/healthz", "/livez", "/metrics", "/readyz", "/schema.json"}
ROUTES: dict[str, tuple[str, Route]] = {
    "/predict": ("POST", predict),
    "/health": ("GET", health),
    "/model": ("GET", model),
}


async def read(scope: Message, receive: Receive) -> bytes:
    """The body of a request; Refused (413) as soon as it is known to be too long."""
    length = header(scope, b"content-length")
    too_long = Refused(413, f"the body is over {MAX_BODY:,} bytes; send fewer rows at once")
    if length.isdigit() and int(length) > MAX_BODY:
        raise too_long
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client went away")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise too_long
        if not message.get("more_body"):
            return bytes(body)


async def respond(
    send: Send, status: int, content: dict[str, Any], extra: list[tuple[bytes, bytes]]
) -> None:
    """Send an answer as JSON."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def request_id(scope: Message) -> str:
    """The client's X-Request-ID if it is short and plain, else one of our own."""
    given = header(scope, b"x-request-id")
    return given.decode() if SANE_ID.fullmatch(given) else uuid.uuid4().hex


def header(scope: Message, name: bytes) -> bytes:
    """A request's header; empty where it has none."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def loaded() -> Predictor:
    """What the service of this process has loaded."""
    service: Any = bentoml.get_current_service()
    return service.predictor  # type: ignore[no-any-return]
