"""Canaries: each fails where uvicorn moves something that `service.http.compat` holds on to."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import warnings

import pytest
from uvicorn import Config, Server

from service import versions
from service.http import compat
from service.http.asgi import Reply
from service.http.protocol import Pool
from service.process.lifecycle import Site
from tests.ports import until
from tests.service.process.test_lifecycle import Answerer, ask, serve


def test_the_installed_uvicorn_is_in_the_range() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.check_version("uvicorn", compat.LOWEST, compat.BELOW, "the service")


def test_the_server_handles_sigterm_by_a_method_of_its_own() -> None:
    assert compat.find_server() is None
    server = Server(Config(lambda: None))
    with server.capture_signals():
        assert compat.find_server() is server
    assert compat.find_server() is None


def test_the_protocol_is_read_at_each_connection() -> None:
    async def use(site: Site, port: int) -> None:
        assert (await ask(port)).endswith(b"first")
        other = Pool(Answerer(lambda _: Reply(200, b"other")), site.pool.limits, site.pool.state)
        compat.configure(site.server, graceful_seconds=1, connect=other.connect)
        assert (await ask(port)).endswith(b"other")

    serve("uvloop", use, Answerer(lambda _: Reply(200, b"first")))


def test_uvicorn_renews_its_headers_and_counts_what_is_in_work() -> None:
    async def use(site: Site, port: int) -> None:
        state = site.server.server_state
        await until(lambda: bool(state.default_headers))
        assert b"\r\ndate: " in await ask(port)
        assert state.total_requests == 1
        before = state.default_headers
        await until(lambda: state.default_headers is not before)
        task = asyncio.create_task(ask(port))
        await until(lambda: len(state.tasks) == len(state.connections) == 1)
        await task
        assert not state.tasks

    serve("uvloop", use)


def test_a_server_has_its_sockets_once_it_has_started() -> None:
    assert compat.list_sockets(Server(Config(lambda: None))) == []

    async def use(site: Site, port: int) -> None:
        [number] = compat.list_sockets(site.server)
        with socket.socket(fileno=os.dup(number)) as listener:
            assert listener.getsockname()[1] == port

    serve("uvloop", use)


def test_another_version_is_warned_of_with_the_range() -> None:
    expected = (
        r"the service relies on internals of uvicorn >=0\.1,<0\.2; uvicorn [0-9.]+ is installed"
    )
    with pytest.warns(UserWarning, match=expected):
        versions.check_version("uvicorn", (0, 1), (0, 2), "the service")


@pytest.mark.parametrize(
    ("text", "release"),
    [("1.4.39", (1, 4, 39)), ("0.41.0rc1", (0, 41, 0)), ("2", (2,)), ("1.x", (1,)), ("dev", ())],
)
def test_a_release_is_the_numbers_that_a_version_begins_with(
    text: str, release: tuple[int, ...]
) -> None:
    assert versions.parse_release(text) == release


def test_nothing_happens_at_import() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
