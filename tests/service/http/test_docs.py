from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from service.http import docs
from service.http.asgi import Reply
from service.http.routes import BY_PATH, describe_api
from service.inference.rows import Reader
from tests import small
from tests.browser import HOST, executable

PARTS = re.compile(r'(?:src|href)="([^"]*)"')
ABSOLUTE = re.compile(rb"""["'(]\s*(?:[a-z]+:)?//""", re.IGNORECASE)
CONTRACT = small.fitted().contract
DOCUMENT = describe_api(
    CONTRACT, "small:0123456789ab", max_rows=10, max_body_bytes=2**20, keys=True
)


def get(path: str) -> Reply | None:
    """What GET of a path of the page answers; None for any other path."""
    if path == "/docs":
        return docs.reply_page()
    return docs.reply_part(path) if path in docs.PARTS else None


def test_the_page_names_nothing_by_its_host_or_from_the_root() -> None:
    for content in (docs.PAGE, docs.START):
        assert not ABSOLUTE.search(content)
    parts = PARTS.findall(docs.PAGE.decode())
    assert len(parts) == 5
    assert not [part for part in parts if part.startswith("/")]


def test_every_part_that_the_page_names_is_there() -> None:
    parts = {f"/{part}" for part in PARTS.findall(docs.PAGE.decode())} - {"/docs.json"}
    kinds = {path: dict(actual.headers)[b"content-type"] for path in parts
             if (actual := get(path))}  # fmt: skip
    assert kinds == {
        "/docs/start.js": b"text/javascript; charset=utf-8",
        "/docs/swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
        "/docs/swagger-ui.css": b"text/css; charset=utf-8",
        "/docs/favicon.png": b"image/png",
    }


def test_the_page_forbids_what_is_not_its_own() -> None:
    page = get("/docs")
    assert page
    assert (page.status, page.body) == (200, docs.PAGE)
    headers = dict(page.headers)
    assert headers[b"content-type"] == b"text/html; charset=utf-8"
    policy = dict(part.split(None, 1) for part in headers[b"content-security-policy"].split(b"; "))
    assert policy[b"default-src"] == b"'none'"
    assert policy[b"script-src"] == policy[b"connect-src"] == b"'self'"
    assert {host for hosts in policy.values() for host in hosts.split()} <= {
        b"'none'", b"'self'", b"data:",
    }  # fmt: skip
    assert not re.search(rb"<script(?![^>]* src=)|\son\w+=|<style", docs.PAGE)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/docs/", "/docs.json", "/docs/x", "/docs/index.css", "/docs/marked.min.js",
        "/docs/../docs/start.js", "/docs//start.js", "/docs/%2e%2e/http_app.py", "/doc",
        "/docs/docs/start.js", "start.js",
    ],
)  # fmt: skip
def test_any_other_path_is_not_the_page_s(path: str) -> None:
    assert get(path) is None
    assert path not in BY_PATH or BY_PATH[path].path == path in {"/", "/docs.json"}


def test_no_validator_elsewhere_is_told_of_the_document() -> None:
    assert b"validatorUrl: null," in docs.START


def test_a_part_is_read_once() -> None:
    first, second = (docs.reply_part("/docs/swagger-ui.css") for _ in range(2))
    assert first.body is second.body


# What a person does: opens /predict and sends its example, again while that does nothing yet.
# Then it says what the policy forbade.
PERSON = b"""
const forbidden = [];
document.addEventListener("securitypolicyviolation", (event) =>
  forbidden.push(`${event.effectiveDirective} ${event.blockedURI}`));
const find = (part) => document.querySelector(`#operations-predictions-predict ${part}`);
const timer = setInterval(() => {
  if (!find(".live-responses-table")) {
    const next = find(".execute") ?? find(".opblock-summary-control");
    return next?.click();
  }
  clearInterval(timer);
  const end = document.createElement("output");
  end.textContent = `forbidden: ${JSON.stringify(forbidden)}`;
  document.body.append(end);
}, 500);
"""


class Seen:
    """What a browser asked a server for.

    Attributes
    ----------
    paths, hosts
        Of every request, without the query.
    bodies
        Of those to /predict.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.hosts: set[str] = set()
        self.bodies: list[bytes] = []


@contextmanager
def behind(prefix: str) -> Iterator[tuple[str, Seen]]:
    """The page and its document behind a prefix, and a person to use it; yields its address."""
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.note()
            path = self.path.removeprefix(prefix)
            if path == "/docs.json":
                return self.answer(200, orjson.dumps(DOCUMENT), [])
            actual = get(path) if self.path.startswith(prefix) else None
            if actual is None:
                return self.answer(404, b"", [])
            body = actual.body + PERSON * (path == "/docs/start.js")
            return self.answer(actual.status, body, list(actual.headers))

        def do_POST(self) -> None:
            self.note()
            seen.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.answer(200, b'{"prediction": "a prediction"}', [])

        def note(self) -> None:
            seen.paths.append(self.path.partition("?")[0])
            seen.hosts.add(self.headers["host"])

        def answer(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
            self.send_response(status)
            for name, value in headers or [(b"content-type", b"application/json")]:
                self.send_header(name.decode(), value.decode())
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}{prefix}", seen
        finally:
            server.shutdown()
            thread.join()


def rendered(url: str, home: Path) -> str:
    """A page after its scripts ran, in a browser that reaches no other host."""
    command = [
        executable(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-proxy-server", f"--user-data-dir={home}",
        f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--virtual-time-budget=30000", "--dump-dom", url,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "/some/prefix"])
def test_a_person_can_try_predict_on_a_page_that_asks_no_other_host(
    tmp_path: Path, prefix: str
) -> None:
    with behind(prefix) as (url, seen):
        page = rendered(f"{url}/docs", tmp_path)
    for path in DOCUMENT["paths"]:
        assert f'data-path="{path}"' in page
    assert "Authorize" in page
    assert "forbidden: []" in page
    assert f"{url}/predict" in page
    assert "a prediction" in page
    assert seen.hosts == {url.removeprefix("http://").removesuffix(prefix)}
    assert all(path.startswith(f"{prefix}/") for path in seen.paths)
    assert seen.paths.count(f"{prefix}/predict") == len(seen.bodies) > 0
    assert all(Reader(CONTRACT, 10).read(body).single for body in seen.bodies)
