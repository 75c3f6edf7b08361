from __future__ import annotations

import json
import shlex
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from service import example
from service.rows import Reader
from stages import contract
from stages.contract import Column, Contract, Histogram
from stages.paths import CONTRACT
from tests import small


def column(name: str, kind: str, edges: tuple[float, ...], *counts: int) -> Column:
    return Column.model_validate(
        {
            "name": name,
            "kind": kind,
            "categories": ("x", "y", "z") if kind == "category" else (),
            "histogram": Histogram(edges=edges, counts=counts, missing=0),
        }
    )


def test_an_example_is_the_middle_of_what_was_seen() -> None:
    columns = (
        column("n", "number", (0.5, 1.5, 2.5), 1, 1, 1, 1),
        column("i", "integer", (1, 2, 3), 1, 1, 1, 1),
        column("b", "boolean", (), 1, 2),
        column("c", "category", (), 1, 0, 2),
    )
    found = example.example(Contract(columns=columns, target=small.TERMS.target))
    assert found == {"n": 1.5, "i": 2, "b": True, "c": "z"}
    assert [type(value) for value in found.values()] == [float, int, bool, str]


def test_a_contract_that_has_seen_nothing_has_an_example_too() -> None:
    assert Reader(small.TERMS).check(example.example(small.TERMS)).single


def test_the_command_line_sends_a_row_that_the_contract_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    CONTRACT.parent.mkdir(parents=True)
    quotes = Column(
        name="c",
        kind="category",
        categories=("it's", "$(id)", "`"),
        histogram=Histogram(edges=(), counts=(1, 0, 0), missing=0),
    )
    seen = small.fitted().terms
    terms = Contract(columns=(*seen.columns, quotes), target=seen.target)
    contract.write(terms, CONTRACT)
    command, url, *options = shlex.split(example.curl("http://localhost:3000"))
    assert (command, url) == ("curl", "http://localhost:3000/predict")
    assert options[:3] == ["-H", "Content-Type: application/json", "-d"]
    values = tuple(example.example(terms).values())
    assert Reader(terms).read(options[3].encode()).values == [values]
    assert json.loads(options[3])["features"][5] == "it's"


def test_a_service_that_becomes_ready_is_waited_for() -> None:
    statuses = [503, 503, 200]
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[len(asked)])
            self.end_headers()
            asked.append(self.path)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("localhost", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assert example.ready(server.server_port, 30)
        server.shutdown()
        thread.join()
    assert asked == ["/readyz"] * 3


def test_a_service_that_is_not_there_is_not_ready() -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        assert not example.ready(taken.getsockname()[1], 0.3)
