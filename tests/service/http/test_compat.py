"""Canaries: each fails where uvicorn moves something that `service.http.compat` holds on to."""

from __future__ import annotations

import asyncio
import signal
import warnings
from typing import Any

import h11
import pytest
from uvicorn import Config, Server
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service import versions
from service.http import compat
from service.http.protocol import Http, Plain
from tests.service.process.test_lifecycle import ask, serve


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


def test_the_application_is_read_at_each_connection_and_headers_at_each_answer() -> None:
    async def other(scope: Any, _: Any, send: Any) -> None:
        length = (b"content-length", b"5")
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": scope["method"].encode() + b"ok"})

    async def use(server: Server, port: int) -> None:
        compat.wrap_application(server, lambda _: other)
        answer = await ask(port)
        assert answer.endswith(b"GETok")
        assert b"connection: close" not in answer
        compat.announce_close(server)
        assert b"\r\nconnection: close\r\n" in await ask(port)

    serve("uvloop", "httptools", use)


@pytest.mark.parametrize(
    "hook",
    [
        "connection_made", "data_received", "send_400_response", "_should_upgrade",
        "timeout_keep_alive_handler",
        "_start_asgi_task", "_unset_keepalive_if_required", "_unsupported_upgrade_warning",
    ],
)  # fmt: skip
def test_uvicorn_s_protocol_has_the_hooks_that_ours_overrides_or_calls(hook: str) -> None:
    assert callable(getattr(HttpToolsProtocol, hook))


def test_h11_keeps_what_has_come_of_a_head() -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"GET / HT")
    assert connection.trailing_data == (b"GET / HT", False)


def test_each_override_is_one_of_those_hooks() -> None:
    """A hook that uvicorn renames would be a method of ours that nobody calls."""
    own = {"_parse", "_ignore_offer", "has_part"}
    overridden = {
        name for kind in (Http, Plain) for name, value in vars(kind).items() if callable(value)
    }
    assert {name for name in overridden - own if not hasattr(HttpToolsProtocol, name)} == set()


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))


def make_cycle() -> RequestResponseCycle:
    """A cycle as uvicorn makes it for a request whose body is to come."""
    transport = Transport()
    return RequestResponseCycle(
        scope={"type": "http", "method": "POST", "headers": [], "extensions": {}},  # type: ignore[typeddict-item]
        transport=transport,
        flow=FlowControl(transport),
        logger=None,  # type: ignore[arg-type]
        access_logger=None,  # type: ignore[arg-type]
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )


def test_a_cycle_has_what_the_fast_path_reads_and_sets() -> None:
    cycle = make_cycle()
    state = {
        "more_body": True, "disconnected": False, "response_started": False,
        "response_complete": False, "waiting_for_100_continue": False, "keep_alive": True,
    }  # fmt: skip
    assert {name: getattr(cycle, name) for name in state} == state
    assert isinstance(cycle.body, bytearray)
    assert cycle.flow.write_paused is False
    assert httptools_impl.STATUS_LINE[404] == b"HTTP/1.1 404 Not Found\r\n"


def test_the_fast_path_sends_what_uvicorn_would() -> None:
    cycle = make_cycle()
    transport = cycle.transport
    assert isinstance(transport, Transport)
    path = compat.FastPath(cycle)
    assert path.read_body() is None  # more is to come
    cycle.body += b"body"
    cycle.more_body = False
    assert path.read_body() == b"body"
    assert path.send(200, [(b"content-length", b"2")], b"ok")
    assert transport.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]
    assert not path.send(200, [], b"twice")


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
