"""The table of the service's routes: paths, methods, keys, what answers and what describes them.

The application, the keys, the OpenAPI document, the labels of the metrics and the log, and the
reference in docs/ read it; nothing else lists a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import orjson

from cairn.contract import Contract
from service.http import docs, handlers, openapi
from service.http.asgi import Reply
from service.http.errors import Refused
from service.http.handlers import Handler
from service.http.openapi import Describe, Entry
from service.http.request import Request
from service.inference import artifacts
from service.inference.predictor import Predictor
from service.page import files
from service.process import worker
from service.process.lifecycle import Lifecycle
from service.process.settings import Settings
from service.telemetry.logs import Log


class Access(Enum):
    """Who may ask, once the settings name keys."""

    OPEN = "anyone"
    KEYED = "those with a key"
    METRICS = "anyone, or with METRICS_OPEN=false those with a key"


class Route(NamedTuple):
    """One route.

    Attributes
    ----------
    path
        As docs, metrics and log have it; braces stand for a part that differs.
    method
        The one that it answers; GET stands for HEAD as well.
    handle
        What answers.
    access
        Who may ask.
    describe
        How the OpenAPI document describes it; None: it is not for people.
    paths
        The paths that it stands for; none: just its own.
    is_polled
        Whether machines ask every few seconds: in the log these would hide the rest.
    """

    path: str
    method: Literal["GET", "POST"]
    handle: Handler
    access: Access = Access.OPEN
    describe: Describe | None = None
    paths: tuple[str, ...] = ()
    is_polled: bool = False


def _probe(path: str, handle: Handler, describe: Describe) -> Route:
    """Return a route that machines ask every few seconds."""
    return Route(path, "GET", handle, describe=describe, is_polled=True)


OPTIONS = "OPTIONS"
QUERY = "%/:?@!$&'()*+,;="  # what stays as it is in a query
# The label of a path that is none of these.
OTHER = "other"
KEYED = Access.KEYED
ROUTES = (
    Route("/predict", "POST", handlers.predict, KEYED, openapi.describe_predict),
    Route("/model", "GET", handlers.show_model, KEYED, openapi.describe_model),
    Route("/model/card", "GET", handlers.show_card, KEYED, openapi.describe_card),
    Route(
        "/model/{picture}.png", "GET", handlers.show_picture, KEYED, openapi.describe_picture,
        paths=tuple(artifacts.PICTURE_PATHS),
    ),
    _probe("/health", handlers.show_health, openapi.describe_health),
    _probe("/livez", handlers.check_live, openapi.describe_live),
    _probe("/readyz", handlers.check_ready, openapi.describe_ready),
    _probe("/health/live", handlers.check_live, openapi.describe_live),
    _probe("/health/ready", handlers.check_ready, openapi.describe_ready),
    Route(
        "/metrics", "GET", handlers.show_metrics, Access.METRICS, openapi.describe_metrics,
        is_polled=True,
    ),
    Route("/", "GET", handlers.show_page, describe=openapi.describe_page),
    Route("/docs", "GET", handlers.show_docs, describe=openapi.describe_docs),
    Route("/docs/{file}", "GET", handlers.show_docs_part, paths=docs.PARTS),
    Route("/docs.json", "GET", handlers.show_document, KEYED, describe=openapi.describe_docs_json),
    # BentoML's own client asks for it.
    Route("/schema.json", "GET", handlers.show_document, KEYED),
)  # fmt: skip
BY_PATH = {path: route for route in ROUTES for path in route.paths or (route.path,)}
LABELS = (*(route.path for route in ROUTES), OTHER)


def reply_to_other(request: Request) -> Reply:
    """Answer a request for a path that is none of these; one with a slash too many is redirected.

    Raises
    ------
    Refused
        404 where the path is not near to any.
    """
    path, query = request.path, request.query
    if path.endswith("/") and path[:-1] in BY_PATH and path != "//":
        # Relative, so that a prefix which a proxy adds stays in front.
        location = f"../{path[:-1].rpartition('/')[2]}"
        if query:
            location += f"?{quote(query, safe=QUERY)}"
        return Reply(308, b"", ((b"location", location.encode()),))
    if path == "*" and request.method == OPTIONS:
        return Reply(204, b"", ((b"allow", b"GET, HEAD, POST, OPTIONS"),))
    paths = ", ".join(sorted(route.path for route in ROUTES))
    raise Refused(404, f"no such path; allowed: {paths}")


def reply_to_method(route: Route, request: Request) -> Reply:
    """Answer a request with another method than the route's: OPTIONS.

    Raises
    ------
    Refused
        405 where it is any other.
    """
    allow = (b"allow", b"GET, HEAD, OPTIONS" if route.method == "GET" else b"POST, OPTIONS")
    if request.method == OPTIONS:
        return Reply(204, b"", (allow,))
    error = f"{request.path} answers {route.method}, not {request.method}"
    raise Refused(405, error, headers=(allow,))


def list_keyed(*, metrics_open: bool) -> frozenset[str]:
    """Return the paths, as the table has them, that ask for a key once there are any."""
    accesses = {Access.KEYED} if metrics_open else {Access.KEYED, Access.METRICS}
    return frozenset(route.path for route in ROUTES if route.access in accesses)


def describe_api(  # noqa: PLR0913
    contract: Contract,
    version: str,
    *,
    max_rows: int,
    max_body_bytes: int,
    keys: bool = False,
    metrics_open: bool = True,
) -> openapi.Json:
    """Return the OpenAPI document of a service.

    Parameters
    ----------
    contract, version
        The contract of the model that is served, with the histograms of its training data, and
        the model's tag.
    max_rows, max_body_bytes
        The most of each that one request may have.
    keys, metrics_open
        Whether requests need a key, and whether `/metrics` does without one all the same.

    Returns
    -------
    dict
        What `GET /docs.json` answers; the same arguments give the same document.
    """
    keyed = list_keyed(metrics_open=metrics_open) if keys else frozenset()
    entries = [
        Entry(route.path, route.method.lower(), route.describe, is_keyed=route.path in keyed)
        for route in ROUTES
        if route.describe
    ]
    limits = openapi.Limits(max_rows, max_body_bytes)
    return openapi.make_document(contract, version, entries, limits, has_keys=keys)


def make_documents(
    predictor: Predictor, settings: Settings, schema: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return what never changes while the service runs: path → content.

    Parameters
    ----------
    schema
        BentoML's own, which its client asks for.
    """
    has_keys = bool(settings.api_keys or settings.api_keys_file)
    document = describe_api(
        predictor.contract,
        predictor.version,
        max_rows=settings.max_rows,
        max_body_bytes=settings.max_body_bytes,
        keys=has_keys,
        metrics_open=settings.metrics_open,
    )
    keyed = list_keyed(metrics_open=settings.metrics_open) if has_keys else frozenset()
    return {
        "/": files.render_page(tuple(name for name in files.KEYED if f"/{name}" in keyed)),
        "/docs.json": orjson.dumps(document),
        "/schema.json": orjson.dumps(schema),
    }


def build_worker(  # noqa: PLR0913
    predictor: Predictor,
    settings: Settings,
    lifecycle: Lifecycle,
    log: Log,
    *,
    schema: Mapping[str, Any],
    index: int = 0,
    folder: Path | None = None,
) -> worker.Worker:
    """Build a worker that answers these routes; the parameters are those of `worker.build_worker`.

    Parameters
    ----------
    schema
        As in `make_documents`.
    """
    return worker.build_worker(
        predictor,
        settings,
        lifecycle,
        log,
        labels=LABELS,
        keyed=list_keyed(metrics_open=settings.metrics_open),
        documents=make_documents(predictor, settings, schema),
        index=index,
        folder=folder,
    )
