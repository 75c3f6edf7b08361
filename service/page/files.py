"""The page at `/`: what the model is, how good it is, a form to try it, and how it does just now.

One document, its style and its script within it, so that it needs no other host and no second
request to be there. What it shows it asks this service for, as any client does.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

from service.http.asgi import Header, Reply

FOLDER = Path(__file__).parent
STYLE_MARK, SCRIPT_MARK = "/* page.css */", "/* page.js */"
NONE_KEYED = 'data-keyed=""'
KEYED = ("model", "metrics")  # paths that the script asks for, which may want a key


def render_page(keyed: tuple[str, ...] = ()) -> bytes:
    """Render the page; its addresses are relative, so it works behind a prefix too.

    Parameters
    ----------
    keyed
        What of `model` and `metrics` asks for a key: the page then asks for one before it asks
        the service, which would refuse it.
    """
    attribute = f'data-keyed="{" ".join(keyed)}"'
    html = _read_text("index.html").replace(NONE_KEYED, attribute, 1)
    return (
        html.replace(STYLE_MARK, _read_text("page.css"), 1)
        .replace(SCRIPT_MARK, _read_text("page.js"), 1)
        .encode()
    )


def reply_page(body: bytes) -> Reply:
    """Return the reply to a request for the page."""
    return Reply(200, body, make_headers())


@cache
def make_headers() -> tuple[Header, ...]:
    """Return the page's headers: only its own script runs, and asks no other host."""
    policy = (
        f"default-src 'none'; script-src '{_hash_file('page.js')}'; "
        f"style-src '{_hash_file('page.css')}'; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-cache"),
    )


def _hash_file(name: str) -> str:
    """Return a file's hash as a policy has it."""
    return f"sha256-{b64encode(sha256(_read_text(name).encode()).digest()).decode()}"


@cache
def _read_text(name: str) -> str:
    """Read one of the page's files, once."""
    return (FOLDER / name).read_text(encoding="utf-8")
