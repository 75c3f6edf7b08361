"""Downloads from a web server of the test's own, with and without TLS."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import trustme
import yaml

from cairn.errors import CairnError
from cairn.paths import RAW
from cairn.sources import download, http
from cairn.sources.base import Version
from stages import raw
from tests.cairn.sources.transfers import fails, fetch
from tests.conftest import ROOT
from tests.ports import free_ports, wait_until
from tests.small import PARAMS

BYTES = bytes(range(256)) * 40
PART = 1000


@dataclass
class Site:
    """What a server sends, how it misbehaves, and what it was asked for."""

    content: bytes = BYTES
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True
    heeds: bool = True  # If-Range
    status: int = 200
    claims: int | None = None  # as Content-Length
    most: int | None = None  # bytes to a range
    drops: list[int] = field(default_factory=list)  # after so many bytes, answer by answer
    turns: dict[int, Callable[[], None]] = field(default_factory=dict)  # at the n-th question
    pause: Callable[[], None] = lambda: None  # after each kilobyte
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers["Range"]
        self.asked.append(wanted)
        self.turns.get(len(self.asked) - 1, lambda: None)()
        same = handler.headers["If-Range"] in (None, *self.headers.values()) or not self.heeds
        start = int(wanted[6:-1]) if wanted and self.ranges and same else 0
        body = self.content[start : start + self.most if start and self.most else None]
        handler.send_response(self.status if not start else 206)
        if start:
            last, total = start + len(body) - 1, len(self.content)
            handler.send_header("Content-Range", f"bytes {start}-{last}/{total}")
        handler.send_header("Content-Length", str(self.claims or len(body)))
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        self.send(handler, body[: self.drops.pop(0)] if self.drops else body)

    def send(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        for start in range(0, len(body), 1000):
            handler.wfile.write(body[start : start + 1000])
            self.pause()


@contextmanager
def serve(site: Site, context: ssl.SSLContext | None = None) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                site.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        site.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}/t.csv"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site()) as served:
        yield served


def begin(site: Site, into: Path) -> None:
    """Break off after PART bytes, for good."""
    site.drops = [PART, 0, 0]
    fails(site.url, into)
    site.asked.clear()


@pytest.mark.parametrize("content", [BYTES, b"1", b""])
def test_an_object_comes_byte_for_byte(site: Site, into: Path, content: bytes) -> None:
    site.content = content
    assert fetch(site.url, into) == content
    assert site.asked == [None]


def test_what_is_compressed_stays_so(site: Site, into: Path) -> None:
    site.content, site.headers = b"\x1f\x8b no gzip, in truth", {"Content-Encoding": "gzip"}
    assert fetch(site.url, into) == site.content


MARKS = [
    {"ETag": '"one"'},
    {"Last-Modified": "Sat, 29 Oct 1994 19:43:31 GMT"},
    {"ETag": 'W/"one"', "Last-Modified": "Sat, 29 Oct 1994 19:43:31 GMT"},
]


@pytest.mark.parametrize("headers", MARKS)
def test_it_goes_on_where_the_connection_dropped(
    site: Site, into: Path, headers: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    site.headers, site.drops = headers, [PART, PART, 1]
    assert fetch(site.url, into) == BYTES
    assert site.asked == [None, "bytes=999-", "bytes=1998-", "bytes=1998-"]
    assert "raw: broke off at 1,000 bytes; trying again" in capsys.readouterr().out


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"one"'}])
def test_what_has_no_mark_of_its_version_comes_anew(
    site: Site, into: Path, headers: dict[str, str]
) -> None:
    site.headers, site.drops = headers, [PART]
    assert fetch(site.url, into) == BYTES
    assert site.asked == [None, None]


def test_a_server_that_sends_less_than_the_rest_is_asked_for_more(site: Site, into: Path) -> None:
    site.drops, site.most = [PART], 4 * PART
    assert fetch(site.url, into) == BYTES
    assert site.asked == [None, "bytes=999-", "bytes=4998-", "bytes=8997-"]


def test_a_server_without_ranges_sends_it_anew(site: Site, into: Path) -> None:
    site.ranges, site.drops = False, [PART, 2 * PART]
    assert fetch(site.url, into) == BYTES
    assert site.asked == [None, "bytes=999-", "bytes=1999-"]


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("content", [BYTES[::-1], b"shorter", BYTES * 2])
def test_an_object_that_changes_meanwhile_comes_whole(
    site: Site, into: Path, content: bytes, *, heeds: bool
) -> None:
    def change() -> None:
        site.content, site.headers = content, {"ETag": '"two"'}

    site.drops, site.turns, site.heeds = [PART], {1: change}, heeds
    assert fetch(site.url, into) == content


def test_a_later_run_goes_on(site: Site, into: Path) -> None:
    begin(site, into)
    assert into.stat().st_size == PART
    assert fetch(site.url, into) == BYTES
    assert site.asked == ["bytes=999-"]


def test_a_later_run_begins_anew_where_the_object_changed(site: Site, into: Path) -> None:
    begin(site, into)
    site.content, site.headers = BYTES[::-1], {"ETag": '"two"'}
    assert fetch(site.url, into) == BYTES[::-1]


def test_a_part_of_another_source_is_not_gone_on_with(site: Site, into: Path) -> None:
    begin(site, into)
    site.content = BYTES[::-1]  # under the same mark
    assert fetch(f"{site.url}?other", into) == BYTES[::-1]
    assert site.asked == [None]


def test_all_of_it_without_its_end_is_asked_for_the_last_byte_only(site: Site, into: Path) -> None:
    begin(site, into)
    into.write_bytes(BYTES)
    assert fetch(site.url, into) == BYTES
    assert site.asked == [f"bytes={len(BYTES) - 1}-"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"origin": 1, "version": {"a": 1}}'])
def test_a_note_that_cannot_be_read_counts_for_nothing(site: Site, into: Path, text: str) -> None:
    begin(site, into)
    download.checkpoint_path(into).write_text(text)
    assert fetch(site.url, into) == BYTES
    assert site.asked == [None]


def test_no_note_speaks_of_the_password(site: Site, into: Path) -> None:
    begin(site, into)
    without = download.checkpoint_path(into).read_text()
    site.url = site.url.replace("//", "//user:hunter2@")
    assert fetch(site.url, into) == BYTES
    assert site.asked == ["bytes=999-"]  # it is the same source
    assert "hunter2" not in without


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "raw.source: it needs credentials, or different ones (401 Unauthorized)"),
        (
            403,
            "raw.source: these credentials do not allow it, or it does not exist (403 Forbidden)",
        ),
        (404, "raw.source: there is nothing at this address (404 Not Found)"),
        (410, "raw.source: it is no longer there (410 Gone)"),
        (418, "raw.source: the server sends no file (418 I'm a Teapot)"),
    ],
)
def test_what_the_server_refuses_is_an_error_at_once(
    site: Site, into: Path, status: int, message: str
) -> None:
    site.status = status
    assert fails(site.url, into) == message
    assert len(site.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(site: Site, into: Path, status: int) -> None:
    site.status = status
    assert f"raw.source: the server answers {status} " in fails(site.url, into)
    assert len(site.asked) == 3
    site.turns = {4: lambda: setattr(site, "status", 200)}
    assert fetch(site.url, into) == BYTES


def test_what_never_gets_as_long_as_announced_is_an_error_and_kept(site: Site, into: Path) -> None:
    site.claims, site.ranges = len(BYTES) + 5, False
    message = fails(site.url, into)
    assert "the connection broke: " in message
    assert message.endswith("; run it again to resume at 10,240 bytes")


def test_a_server_that_falls_silent_is_asked_again(
    site: Site, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall_silent() -> None:
        """Until it is asked again, with patience."""
        monkeypatch.setattr(http, "SILENCE", 60)
        wait_until(lambda: len(site.asked) > 1)

    monkeypatch.setattr(http, "SILENCE", 0.5)
    site.turns = {0: fall_silent}
    assert fetch(site.url, into) == BYTES


def test_a_server_that_stays_silent_is_given_up(
    site: Site, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SILENCE", 0.05)
    given_up = Event()
    site.turns = dict.fromkeys(range(3), lambda: wait_until(given_up.is_set))
    try:
        assert "raw.source: the connection broke: " in fails(site.url, into)
    finally:
        given_up.set()


def test_a_server_that_leads_nowhere_is_an_error(site: Site, into: Path) -> None:
    site.status, site.headers = 302, {"Location": "/t.csv"}
    assert "redirects endlessly" in fails(site.url, into)


@pytest.mark.parametrize("url", ["https://", "http://host:port/"])
def test_what_is_no_address_is_an_error(into: Path, url: str) -> None:
    assert (
        fails(url, into, plain=True) == "raw.source: not a web address; allowed: https://HOST/PATH"
    )


def test_a_host_that_is_not_there_is_an_error_at_once(into: Path) -> None:
    message = fails("https://user:hunter2@nowhere.invalid/t.csv?sig=hunter2", into)
    assert message.startswith("raw.source: no connection to nowhere.invalid: ")
    assert "hunter2" not in message


def test_a_port_that_nobody_listens_at_is_an_error_at_once(into: Path) -> None:
    message = fails(f"http://127.0.0.1:{free_ports(1)}/t.csv", into)
    assert message.startswith("raw.source: no connection to 127.0.0.1: ")


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "HTTPS_PROXY"])
def test_a_setting_that_cannot_be_used_is_named(
    into: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "ftp://user:hunter2@host")
    message = fails("https://nowhere.invalid/", into)
    assert message.startswith("SSL_CERT_FILE, SSL_CERT_DIR or a proxy variable cannot be used")
    assert "hunter2" not in message


def test_plain_http_to_elsewhere_is_refused_unless_the_hash_is_known(into: Path) -> None:
    url = "http://nowhere.invalid/t.csv"
    assert "use https, or set raw.sha256 to the hash that the file must have" in fails(url, into)
    assert "no connection to nowhere.invalid" in fails(url, into, plain=True)


@pytest.mark.parametrize(
    ("host", "is_it"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.0.0.1.example.org", False)],
)
def test_only_this_machine_is_this_machine(host: str, *, is_it: bool) -> None:
    assert http.is_loopback(host) == is_it


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Site]:
    """A site behind TLS, its authority's certificate in the file ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serve(Site(), context) as served:
        yield served


def test_a_certificate_of_ones_own_authority_is_taken(
    secure: Site, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(into.with_name("ca.pem")))
    secure.drops = [PART]
    assert fetch(secure.url, into) == BYTES
    assert secure.asked == [None, "bytes=999-"]


def test_a_certificate_of_nobody_s_is_refused(secure: Site, into: Path) -> None:
    message = fails(secure.url, into)
    assert "CERTIFICATE_VERIFY_FAILED" in message
    assert "set SSL_CERT_FILE" in message
    assert secure.asked == []


def test_https_does_not_lead_to_plain_http(
    secure: Site, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(into.with_name("ca.pem")))
    secure.status, secure.headers = 302, {"Location": "http://nowhere.invalid/t.csv"}
    assert "over plain http" in fails(secure.url, into)


def test_progress_is_reported_while_it_lasts(
    site: Site, into: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = ""

    def spoken() -> bool:
        nonlocal message
        message += capsys.readouterr().out
        return bool(re.search(r"^raw: [\d,]+ of 10,240 bytes, [\d.]+ MB/s$", message, re.MULTILINE))

    monkeypatch.setattr(download, "EVERY", 0.01)
    site.pause = lambda: wait_until(spoken)
    fetch(site.url, into)


def test_a_run_that_fails_leaves_what_the_next_goes_on_with(
    site: Site, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(into.parent)
    content = {**PARAMS, "raw": {**PARAMS["raw"], "source": site.url}}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    site.drops = [PART, 0, 0]
    with pytest.raises(CairnError, match=r"run it again to resume at 1,000 bytes$"):
        raw.main()
    assert not RAW.exists()
    site.asked.clear()
    raw.main()
    assert site.asked == ["bytes=999-"]
    assert RAW.read_bytes() == BYTES
    assert list(RAW.parent.iterdir()) == [RAW]


@pytest.mark.slow
def test_a_killed_run_is_gone_on_with(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {**PARAMS, "raw": {**PARAMS["raw"], "source": site.url}}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    RAW.parent.mkdir(parents=True)
    RAW.write_bytes(b"the table before")
    part = RAW.with_name(f"{RAW.name}.part")
    killed = Event()

    def pause() -> None:
        """It cannot come to its end before."""
        if download.size_of(part) > 1 << 21:
            killed.wait()

    site.content, site.pause = os.urandom(1 << 24), pause
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.raw"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as run:
        try:
            wait_until(lambda: download.size_of(part) > 1 << 21)
        finally:
            run.kill()
            killed.set()
    assert RAW.read_bytes() == b"the table before"
    site.pause = lambda: None
    size = part.stat().st_size
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=600
    )
    assert site.asked == [None, f"bytes={size - 1}-"]
    assert f"raw: resuming at {size - 1:,} bytes\n" in done.stdout
    assert RAW.read_bytes() == site.content
    assert list(RAW.parent.iterdir()) == [RAW]


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (Version(3, '"a"'), Version(3, '"a"', "today"), True),
        (Version(3, '"a"'), Version(4, '"a"'), False),
        (Version(3, '"a"', "today"), Version(3, '"b"', "today"), False),
        (Version(3, None, "today"), Version(3, None, "tomorrow"), False),
    ],
)
def test_versions_agree_unless_something_differs(
    one: Version, other: Version, *, agree: bool
) -> None:
    assert one.agrees(other) == other.agrees(one) == agree


def test_the_note_holds_no_address(site: Site, into: Path) -> None:
    begin(site, into)
    content = json.loads(download.checkpoint_path(into).read_text())
    assert content["version"] == {"size": len(BYTES), "etag": '"one"', "modified": None}
    assert "127.0.0.1" not in download.checkpoint_path(into).read_text()
