"""POST /predict by each way that a body may take: at once, aside, aside in two steps."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from cairn.inference import Predictions
from service.inference.runner import Cost, Features, Runner
from service.process.worker import Worker
from tests import small, workers
from tests.workers import JSON, call, predict

ROWS = small.rows()
SLOW = Cost(1.0, 1.0)


def ask(server: Worker, content: Any, query: bytes = b"") -> workers.Answer:
    return predict(content, query=query, server=server)


def slow(server: Worker) -> Worker:
    """The same with a model that is said to take long."""
    return replace(server, runner=Runner(server.predictor.run, SLOW, latency=1.0))


@pytest.mark.parametrize("count", [1, 2, 100, 3000])
@pytest.mark.parametrize("change", [lambda server: server, slow], ids=["quick", "slow"])
def test_rows_get_the_same_answers_however_many_come_at_once(
    count: int, change: Callable[[Worker], Worker]
) -> None:
    server = change(workers.worker())
    rows = (ROWS * (count // len(ROWS) + 1))[:count]
    many = ask(server, {"records": rows})
    assert many.status == 200
    for index in {0, count // 2, count - 1}:
        one = ask(server, rows[index]).content
        assert many.content["predictions"][index] == one["prediction"]
        # The last bit of a linear model's sums depends on how many rows there are.
        assert many.content["confidences"][index] == pytest.approx(one["confidence"], rel=1e-6)
        probabilities = many.content["probabilities"][index]
        assert probabilities == pytest.approx(one["probabilities"], rel=1e-6)
    text, _ = server.metrics.render("")
    assert f"cairn_rows_total {count + len({0, count // 2, count - 1})}.0" in text.decode()


@pytest.mark.parametrize("count", [1, 3000])
def test_the_log_has_the_inputs_of_each_way(count: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT)
    for change in (lambda server: server, slow):
        server = change(workers.worker(log, log_inputs=True))
        assert ask(server, {"records": ROWS[:1] * count}).status == 200
        server.log.close()
    first, second = map(orjson.loads, path.read_bytes().splitlines())
    for key in ("rows", "inputs", "predictions", "confidences", "columns"):
        assert first[key] == second[key]
    assert len(first["inputs"]) == first["rows"] == count


@pytest.mark.parametrize("change", [lambda server: server, slow], ids=["quick", "slow"])
def test_a_packed_body_is_repeated_as_it_was(change: Callable[[Worker], Worker]) -> None:
    body = orjson.dumps({"records": ROWS})
    headers = (JSON, (b"content-encoding", b"gzip"))
    answer = call(
        "POST", "/predict", [gzip.compress(body)], headers, b"echo=true", change(workers.worker())
    )
    assert answer.content["input"] == orjson.loads(body)


def test_a_long_body_over_the_budget_is_refused_and_a_short_one_is_not() -> None:
    server = workers.worker()
    with server.runner.budget.hold(server.runner.budget.limit):
        refused = ask(server, {"records": ROWS * 40})
        assert (refused.status, refused.headers[b"retry-after"]) == (429, b"1")
        assert ask(server, ROWS[0]).status == 200
    assert ask(server, {"records": ROWS * 40}).status == 200
    assert server.runner.budget.in_use == 0


def test_a_packed_body_that_waits_for_the_model_counts_as_long_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else hundreds of them would each hold the unpacked text that the answer repeats."""
    server = workers.worker()
    held: list[int] = []
    monkeypatch.setattr(server.runner, "cost", Cost(1.0, 0.0))  # so that it waits
    predict = server.runner.predict

    async def watch(features: Features) -> Predictions:
        held.append(server.runner.budget.in_use)
        return await predict(features)

    monkeypatch.setattr(server.runner, "predict", watch)
    body = orjson.dumps({"records": ROWS * 40})
    headers = (JSON, (b"content-encoding", b"gzip"))
    packed = gzip.compress(body)
    answer = call("POST", "/predict", [packed], headers, b"echo=true", server)
    assert answer.status == 200
    assert held == [len(body)]
    assert server.runner.budget.in_use == 0
    monkeypatch.setattr(server.runner.budget, "limit", 2 * len(packed))
    server.runner.budget.in_use = 1
    assert call("POST", "/predict", [packed], headers, b"echo=true", server).status == 429
