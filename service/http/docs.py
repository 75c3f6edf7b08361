"""The page at `/docs`: the OpenAPI document for people, with nothing from another host.

Swagger UI is in BentoML's package, so it is in the image already; the page is our own, for
BentoML's embeds a third-party tracker.
"""

from __future__ import annotations

from functools import cache

from service.bento import compat
from service.http.asgi import Reply

FOLDER = "/docs/"
# Its addresses are relative, so it works behind a prefix too.
PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cairn</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<noscript>This page needs JavaScript; <a href="docs.json">the document</a> does not.</noscript>
<form id="lock" hidden>
<p>This service needs a key. The page keeps it in this tab only.</p>
<label>API key <input id="key" type="password" autocomplete="off" required></label>
<button>Use this key</button>
<p id="problem" role="alert"></p>
</form>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js" charset="utf-8"></script>
<script src="docs/start.js" charset="utf-8"></script>
</html>
"""
# A file of its own, so that the policy can forbid every script within the page. The validator is
# on another host, and is sent the document's address. The key is kept where the page at `/` has it.
START = b"""const stored = `cairn-key ${location.pathname.replace(/docs$/, "")}`;
const lock = document.querySelector("#lock");

function read() {
  try {
    return sessionStorage.getItem(stored);
  } catch {
    return null;
  }
}

function keep(key) {
  try {
    sessionStorage.setItem(stored, key);
  } catch {
    // Without a store it is asked for again; nothing else is lost.
  }
}

function show(key) {
  lock.hidden = true;
  const ui = SwaggerUIBundle({
    url: "docs.json",
    dom_id: "#page",
    validatorUrl: null,
    deepLinking: true,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    // The document needs the key before it can say how keys are sent.
    requestInterceptor: (request) => {
      if (key && request.loadSpec) request.headers.Authorization = `Bearer ${key}`;
      return request;
    },
    onComplete: () => key && ui.preauthorizeApiKey("bearer", key),
  });
}

async function start(key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const { status } = await fetch("docs.json", { method: "HEAD", headers });
  if (status !== 401) return show(key);
  lock.hidden = false;
  explain(key ? "The service does not accept this key." : "");
  document.querySelector("#key").focus();
}

function explain(problem) {
  document.querySelector("#problem").textContent = problem;
}

lock.addEventListener("submit", (event) => {
  event.preventDefault();
  const key = document.querySelector("#key").value.trim();
  if (!/^[\\x21-\\x7e]+$/.test(key)) return explain("A key cannot contain spaces or such letters.");
  keep(key);
  start(key);
});

start(read());
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
HTML = b"text/html; charset=utf-8"
JAVASCRIPT = b"text/javascript; charset=utf-8"
# Path of a part of the page → its content type, and Swagger UI's name of the file.
SWAGGER = {
    f"{FOLDER}swagger-ui-bundle.js": (JAVASCRIPT, "swagger-ui-bundle.js"),
    f"{FOLDER}swagger-ui.css": (b"text/css; charset=utf-8", "swagger-ui.css"),
    f"{FOLDER}favicon.png": (b"image/png", "favicon-light-32x32.png"),
}
SCRIPT = f"{FOLDER}start.js"
PARTS = (SCRIPT, *SWAGGER)


def reply_page() -> Reply:
    """Return the page."""
    return _reply(PAGE, HTML)


@cache
def reply_part(path: str) -> Reply:
    """Return one of the page's PARTS, read once."""
    if path == SCRIPT:
        return _reply(START, JAVASCRIPT)
    content_type, name = SWAGGER[path]
    return _reply(compat.read_static(name), content_type)


def _reply(body: bytes, content_type: bytes) -> Reply:
    return Reply(200, body, ((b"content-type", content_type), *HEADERS))
