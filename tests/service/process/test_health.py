from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from service.process import health
from tests.conftest import ROOT
from tests.ports import free_ports


@contextmanager
def answering(status: HTTPStatus) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else HTTPStatus.NOT_FOUND)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        message = {"poll_interval": 0.01}
        Thread(target=server.serve_forever, kwargs=message, daemon=True).start()
        yield server.server_port
        server.shutdown()


def program(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.process.health"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1"])  # noqa: S104
def test_ready_is_0(host: str) -> None:
    with answering(HTTPStatus.OK) as port:
        done = program(PORT=str(port), HOST=host)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_not_ready_is_1_with_the_status() -> None:
    with answering(HTTPStatus.SERVICE_UNAVAILABLE) as port:
        done = program(PORT=str(port))
    assert (done.returncode, done.stderr) == (1, "not ready: 503\n")


def test_nobody_there_is_1_with_the_port() -> None:
    port = free_ports(1)
    done = program(PORT=str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"nothing answers on port {port}: ")


def test_what_is_no_http_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            with server.accept()[0] as client:
                client.sendall(b"rubbish\r\n\r\n")

        talker = Thread(target=answer)
        talker.start()
        assert "nothing answers" in str(health.find_problem(port, "127.0.0.1", 60.0))
        talker.join()
