"""The page at `/docs`: the OpenAPI document for people, with nothing from another host.

Swagger UI is in BentoML's package, so it is in the image already; the page is our own, for
BentoML's embeds a third-party tracker.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from service.http.asgi import Reply

PATH = "/docs"
FOLDER = f"{PATH}/"
PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cairn</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<noscript>This page needs JavaScript; <a href="docs.json">the document</a> does not.</noscript>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js" charset="utf-8"></script>
<script src="docs/start.js" charset="utf-8"></script>
</html>
"""
# A file of its own, so that the policy can forbid every script within the page. The validator is
# on another host, and is sent the document's address.
START = b"""SwaggerUIBundle({
  url: "docs.json",
  dom_id: "#page",
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
});
"""
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; "
    b"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)
# Our name → Swagger UI's file, and its content type.
FILES = {
    "swagger-ui-bundle.js": ("swagger-ui-bundle.js", b"text/javascript; charset=utf-8"),
    "swagger-ui.css": ("swagger-ui.css", b"text/css; charset=utf-8"),
    "favicon.png": ("favicon-light-32x32.png", b"image/png"),
}


def answer(path: str) -> Reply | None:
    """What GET of a path answers; None where the path is not the page's.

    Parameters
    ----------
    path
        `/docs`, or `/docs/` and the name of one of its parts.
    """
    if path == PATH:
        return _reply(page(), b"text/html; charset=utf-8")
    found = asset(path.removeprefix(FOLDER)) if path.startswith(FOLDER) else None
    return _reply(*found) if found else None


def page() -> bytes:
    """The page's HTML; its addresses are relative, so it works behind a prefix too."""
    return PAGE


def asset(name: str) -> tuple[bytes, bytes] | None:
    """Content and content type of one of the page's parts; None for any other name."""
    if name == "start.js":
        return START, b"text/javascript; charset=utf-8"
    return _file(name) if name in FILES else None


@cache
def _file(name: str) -> tuple[bytes, bytes]:
    """One of Swagger UI's files, read once."""
    file, kind = FILES[name]
    folder = files("bentoml") / "_internal" / "server" / "static_content"
    return (folder / file).read_bytes(), kind


def _reply(body: bytes, kind: bytes) -> Reply:
    return Reply(200, body, ((b"content-type", kind), *HEADERS))
