from __future__ import annotations

import doctest
import importlib
import json
import os
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import ModuleType
from typing import Any

import pytest

from bench import connections, first_hour, greedy, inputs, serving, targets
from bench.contenders import CAIRN, CONTENDERS
from bench.load import Cell
from bench.machine import compute_slow_share, measure_slow_share
from docs import speed

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "bench").glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)
ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_prints_help_and_does_nothing_else(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    module = importlib.import_module(f"bench.{name}")
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 0
    assert f"usage: python -m bench.{name}" in capsys.readouterr().out


@pytest.mark.parametrize("module", [connections, first_hour])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_rows_are_written_in_each_shape() -> None:
    def write(size: int, shape: inputs.Shape) -> Any:
        key = "records" if shape == "records" else "features"
        return json.loads(next(inputs.bodies(ROWS, key, size, shape, ("a", "b"))))

    assert write(1, "plain") == {"features": [1.0, 2.0]}
    assert write(1, "list") == {"features": [[1.0, 2.0]]}
    assert write(2, "plain") == write(2, "list") == {"features": ROWS[:2]}
    assert write(2, "records") == {"records": [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]}


@pytest.mark.parametrize("name", inputs.GREEDY)
def test_each_greedy_body_has_all_rows(name: str) -> None:
    [rows] = inputs.GREEDY[name](ROWS).values()
    assert isinstance(rows, list)
    assert len(rows) == len(ROWS)
    assert (rows == ROWS) is (name == "good")


def test_a_cell_is_named_by_rows_shape_and_connections() -> None:
    assert Cell(1, 32).name == "1 row, 32 connections"
    assert Cell(1, 1, "list").name == "1 row in a list, 1 connection"
    assert Cell(1000, 4, "records").name == "1000 rows as records, 4 connections"


def test_a_contender_is_measured_in_the_shapes_that_it_takes() -> None:
    fastapi = CONTENDERS["fastapi-onnx"]
    cells = serving.choose_cells("fastapi-onnx", fastapi, serving.CELLS)
    assert targets.LIST in cells
    assert targets.RECORDS not in cells
    cairn = serving.choose_cells("cairn", CAIRN, serving.CELLS)
    assert cairn == list(serving.CELLS)


def test_each_target_that_was_measured_is_checked() -> None:
    def contender(rate: float) -> dict[str, Any]:
        return {"median": {targets.ONE.name: {"requests_per_s": rate}}}

    tail = {"p50_ms": 2.0, "p99_ms": 3.0, "most_off_mean": 0.3, "slowest_first_ms": 201.0}
    result = {
        "workers_1": {
            "contenders": {"cairn": contender(230), "ceiling": contender(200)},
            "fairness": {"cairn": {"256": tail}},
            "greedy": {
                "baseline": {"p99_ms": 5.0},
                "bodies": {
                    "good": {"p99_ms": 15.0},
                    "last value is text": {"p99_ms": 16.0},
                    "all values are text": {"p99_ms": 6.0},
                },
            },
        },
        "memory": {"samples": [{"requests": 10, "rss_mib": 150.0}], "growth_mib": 5.1},
    }
    checks = targets.check_targets(result)
    assert [(check["got"], check["reached"]) for check in checks] == [
        (1.15, True), (1.5, True), (0.3, False), (201.0, False), (10.0, True), (11.0, False),
        (150.0, True), (5.1, False),
    ]  # fmt: skip
    assert "last value is text" in checks[5]["name"]
    assert targets.format_check(checks[-1]).endswith("at most 5     MISSED")
    assert targets.check_targets({}) == []


def test_the_page_on_speed_has_what_was_measured_and_no_more() -> None:
    load = {"requests_per_s": 1234.5, "p50_ms": 1.0, "p99_ms": 2.0}
    fairness = {
        **load, "slowest_first_ms": 12.3, "least_answers": 98, "most_answers": 101,
        "client_cpu_us": 14.6,
    }  # fmt: skip
    measured = {
        "machine": {"cores": 2, "processor": "X", "python": "3.11"},
        "targets": [targets.check_target(1, "p99 over p50", "at most", 2, 2.5)],
        "workers_1": {
            "contenders": {"cairn": {"title": "Cairn", "median": {targets.ONE.name: load}}},
            "fairness": {"cairn": {"256": fairness}},
            "greedy": {"baseline": load, "bodies": {"good": load}},
        },
    }
    rows = [section.table.rows for section in speed.describe_service(measured)]
    assert rows[:4] == [
        [["1", "p99 over p50", "2.50", "at most 2", "no"]],
        [["Cairn", "1,234"]],
        [["256", "1,234", "1.00", "2.00", "12", "98 to 101", "15"]],
        [["nothing", "1,234", "1.00", "2.00"], ["good", "1,234", "1.00", "2.00"]],
    ]
    assert not any(rows[4:])


@pytest.fixture
def server() -> Iterator[int]:
    """Serve on a port: each POST gets 422 with a body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(422)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield http.server_port
        http.shutdown()
        thread.join()


def test_a_greedy_client_counts_what_is_no_answer_too(server: int) -> None:
    connection = HTTPConnection("127.0.0.1", server)
    assert greedy.post(connection, "/predict", b"{}") == "422"
    connection.close()
    nobody = HTTPConnection("127.0.0.1", 1)
    assert greedy.post(nobody, "/predict", b"{}") == "ConnectionRefusedError"


def test_another_status_than_200_ends_the_watch(server: int) -> None:
    request = connections.format_request("/predict", b"{}")
    with pytest.raises(SystemExit, match=r"HTTP/1\.1 422"):
        connections.watch(server, [request], 1, 60)


def test_a_starved_connection_counts_with_all_of_its_time() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    done = Event()

    def serve(listener: socket.socket) -> None:
        """Answer the first connection only, in two packets."""
        first, _ = listener.accept()
        with first, suppress(ConnectionError):  # the watch may be over
            while not done.is_set():
                if select.select([first], [], [], 0.01)[0] and first.recv(2**16):
                    first.sendall(answer[:20])
                    first.sendall(answer[20:])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        request = connections.format_request("/predict", b"{}")
        result = connections.watch(listener.getsockname()[1], [request], 2, 0.3)
        done.set()
        thread.join()
    assert result["least_answers"] == 0
    assert result["most_answers"] == result["requests"] > 0
    assert result["most_off_mean"] == 1
    assert result["slowest_first_ms"] > 200  # of 300, less what opening it took


@pytest.mark.parametrize(
    ("durations", "share"), [([1, 1, 1], 0), ([2, 1, 1, 1], 0.4), ([1, 1, *[2] * 8], 0.889)]
)
def test_the_share_of_slow_time_is_told_by_the_quickest_turns(
    durations: list[float], share: float
) -> None:
    assert compute_slow_share(durations) == share


def test_a_core_is_watched_and_the_process_keeps_its_own() -> None:
    cores = os.sched_getaffinity(0)
    assert 0 <= measure_slow_share(min(cores), seconds=0.05) < 1
    assert os.sched_getaffinity(0) == cores
