from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from itertools import pairwise

import pytest

from service.page import files

PAGE = files.render_page().decode()
INLINE = re.compile(r"<(script|style)(?: [^>]*)?>(.*?)</\1>", re.DOTALL)


def policy() -> dict[str, str]:
    header = dict(files.make_headers())[b"content-security-policy"].decode()
    return {part.split()[0]: part.split(None, 1)[1] for part in header.split("; ")}


def test_the_page_is_one_document() -> None:
    assert [kind for kind, _ in INLINE.findall(PAGE)] == ["style", "script"]
    assert not re.search(r"<(script|img|iframe|link)[^>]* (src|href)=(?!\"data:)", PAGE)
    assert not re.search(r"@import|url\(|\bimport\(|importScripts", PAGE)


def test_it_names_no_other_host_and_nothing_from_the_root() -> None:
    namespaces = {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"https?://[^\"'`\s)<]*", PAGE)) <= namespaces
    assert not re.search(r"(?:src|href|action)=[\"']/|[(\s]fetch\([\"'`]/|ask\([\"'`]/", PAGE)


def test_its_own_script_and_style_alone_may_run() -> None:
    for kind, text in INLINE.findall(PAGE):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert policy()[f"{kind}-src"] == f"'sha256-{digest}'"
    assert policy()["default-src"] == policy()["base-uri"] == "'none'"
    assert policy()["connect-src"] == "'self'"
    assert policy()["frame-ancestors"] == policy()["form-action"] == "'none'"
    assert not re.search(r"<[^>]+ (on\w+|style)=", INLINE.sub("", PAGE))


def test_what_comes_from_the_model_is_never_markup() -> None:
    words = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
    assert not re.search(words, PAGE)


@pytest.mark.parametrize("locked", [(), ("model",), ("model", "metrics")])
def test_it_says_what_asks_for_a_key(locked: tuple[str, ...]) -> None:
    assert f'<html lang="en" data-keyed="{" ".join(locked)}">' in files.render_page(locked).decode()


def test_its_headers_say_what_it_is_and_that_nobody_keeps_it() -> None:
    reply = files.reply_page(files.render_page())
    headers = dict(reply.headers)
    assert (reply.status, reply.body) == (200, files.render_page())
    assert headers[b"content-type"] == b"text/html; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"referrer-policy"] == b"no-referrer"


def test_every_part_that_the_script_asks_for_is_in_the_document() -> None:
    requested = set(re.findall(r"\$\(\"([\w-]+)\"\)", PAGE))
    assert len(requested) > 20
    assert requested <= set(re.findall(r" id=\"([\w-]+)\"", PAGE))


def test_without_javascript_it_says_where_the_same_is() -> None:
    (header,) = re.findall(r"<noscript>(.*?)</noscript>", PAGE)
    assert re.findall(r'href="([^"]*)"', header) == ["model", "model/card", "metrics", "docs.json"]


def test_headings_are_in_order() -> None:
    levels = [int(level) for level in re.findall(r"<h(\d)", PAGE)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
