from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from cairn import inference
from cairn import onnx_runtime as ort
from cairn.export.onnx import to_onnx
from cairn.inference import Predictions
from service.inference import runner as runner_module
from service.inference.runner import (
    AT_ONCE,
    HAND_OVER,
    SHORT,
    Cost,
    Features,
    Runner,
    measure_cost,
)
from tests import small
from tests.ports import until

QUICK = Cost(AT_ONCE / 10, AT_ONCE / 100)
SLOW = Cost(0.01, 0.001)
ALIKE = Cost(0.01, 0.01)


class Model:
    """A model of which every row is its own label, that waits until it is let go."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.held = False
        self.ended = False

    def __call__(self, features: Features, options: Any = None) -> Predictions:
        self.runs.append(features[:, 0].tolist())
        while self.held:
            time.sleep(0.001)
            if options and options.terminate:
                self.ended = True
                raise RuntimeError("ended")
        return Predictions(features[:, 0].astype(np.int64), features)


def row(*values: float) -> Features:
    return np.array([[value] for value in values], np.float32)


@pytest.mark.parametrize(
    ("cost", "latency", "manner"),
    [
        (QUICK, 0.02, "at once"),
        (SLOW, 0.02, "in groups"),
        (SLOW, 0.0, "one by one"),
        (ALIKE, 0.02, "one by one"),
        # Between the two bounds it depends on what further rows cost.
        (Cost(1.5 * HAND_OVER, 0.2 * HAND_OVER), 0.02, "in groups"),
        (Cost(1.5 * HAND_OVER, 1.5 * HAND_OVER), 0.02, "at once"),
    ],
)
def test_what_a_run_costs_says_how_requests_are_run(
    cost: Cost, latency: float, manner: str
) -> None:
    assert Runner(Model(), cost, latency).describe()["requests_are_run"] == manner


def test_many_rows_of_a_quick_model_go_aside_too() -> None:
    runner = Runner(Model(), Cost(SHORT / 50, SHORT / 100), 0.02)
    assert [runner.is_immediate(rows) for rows in (1, 80, 100)] == [True, True, False]


def test_a_single_row_of_a_model_that_is_run_in_groups_goes_aside() -> None:
    assert not Runner(Model(), Cost(1.5 * HAND_OVER, 0.0), 0.02).is_immediate(1)


def test_one_slow_run_does_not_change_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(runner_module, "time", SimpleNamespace(thread_time=lambda: now))
    waits = [0.05, *[0.001] * 5, 0.004, 0.05, *[0.004] * 4]

    def run(features: Features, _: Any) -> Predictions:
        nonlocal now
        now += waits.pop(0)
        return Predictions(features[:, 0].astype(np.int64), features)

    cost = measure_cost(run, row(1.0))
    assert not waits
    assert (cost.one, cost.of(16)) == pytest.approx((0.001, 0.004))


def test_a_linear_model_is_quick() -> None:
    fitted = small.fitted()
    session = inference.open_session(fitted.graph)
    # The best of some: what else the machine does meanwhile is not the model's.
    cost = min(
        measure_cost(lambda rows, _: inference.predict(session, rows), fitted.features[:1])
        for _ in range(50)
    )
    assert cost.is_immediate
    assert cost.row < cost.one


@pytest.mark.parametrize(("cost", "difference"), [(QUICK, runner_module.NICENESS), (SLOW, 0)])
def test_the_thread_gives_way_to_a_loop_that_answers_rows_itself(
    cost: Cost, difference: int
) -> None:
    def read_nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    runner, before = Runner(Model(), cost, 0.0), read_nice()
    nice = asyncio.run(runner.run_aside(read_nice))
    assert nice == min(before + difference, 19)  # the system's highest
    assert read_nice() == before


async def together(runner: Runner, model: Model, rest: list[Features]) -> list[Predictions]:
    """Hold the model with a first request, send the rest, let it go; what the rest get."""
    model.held = True
    first = asyncio.create_task(runner.predict(row(0)))
    await until(lambda: bool(model.runs))
    tasks = [asyncio.create_task(runner.predict(features)) for features in rest]
    await asyncio.sleep(0)
    model.held = False
    assert (await first).labels.tolist() == [0]
    return list(await asyncio.gather(*tasks))


def test_those_that_wait_are_run_as_one_and_each_gets_its_own() -> None:
    model = Model()
    runner = Runner(model, SLOW, latency=1)
    actual = asyncio.run(together(runner, model, [row(1), row(2, 3), row(4)]))
    assert [predictions.labels.tolist() for predictions in actual] == [[1], [2, 3], [4]]
    assert model.runs == [[0], [1, 2, 3, 4]]


def test_a_group_ends_within_the_latency() -> None:
    model = Model()
    runner = Runner(model, SLOW, latency=SLOW.of(3))
    actual = asyncio.run(together(runner, model, [row(1), row(2, 3), row(4), row(5, 6, 7, 8)]))
    assert [len(predictions.labels) for predictions in actual] == [1, 2, 1, 4]
    assert model.runs == [[0], [1, 2, 3], [4], [5, 6, 7, 8]]


def test_where_groups_do_not_pay_each_is_run_alone() -> None:
    model = Model()
    asyncio.run(together(Runner(model, ALIKE, latency=1), model, [row(1), row(2)]))
    assert model.runs == [[0], [1], [2]]


def test_one_that_nobody_waits_for_is_not_run() -> None:
    model = Model()
    runner = Runner(model, SLOW, latency=1)

    async def run() -> None:
        model.held = True
        first = asyncio.create_task(runner.predict(row(0)))
        await until(lambda: bool(model.runs))
        gone, stays = (asyncio.create_task(runner.predict(row(value))) for value in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.held = False
        await asyncio.gather(first, stays)

    asyncio.run(run())
    assert model.runs == [[0], [2]]


def test_a_run_that_nobody_waits_for_any_more_is_ended() -> None:
    model = Model()
    runner = Runner(model, SLOW, latency=1)

    async def run() -> None:
        model.held = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await runner.predict(row(0))
        await until(lambda: model.ended)
        model.held = False
        assert (await runner.predict(row(1))).labels.tolist() == [1]

    asyncio.run(run())


def test_onnx_runtime_ends_a_run_of_a_slow_model() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(5000, 30)).astype(np.float32)
    model = make_pipeline(KNeighborsClassifier()).fit(features, (features[:, 0] > 0).astype(int))
    session = inference.open_session(to_onnx(model, 30))
    ends: list[str] = []

    def model_of(rows: Features, how: ort.RunOptions | None) -> Predictions:
        try:
            return inference.predict(session, rows, how)
        except Exception as error:
            ends.append(str(error))
            raise

    async def run() -> None:
        runner = Runner(model_of, SLOW, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await runner.predict(np.tile(features, (4, 1)))
        predictions = await runner.predict(features[:1])
        assert len(predictions.labels) == 1

    asyncio.run(run())
    [predictions] = ends
    assert "terminate" in predictions


def test_an_error_reaches_everyone_who_waits() -> None:
    def broken(features: Features, _: Any) -> Predictions:
        raise ValueError(len(features))

    async def run() -> list[Predictions | BaseException]:
        runner = Runner(broken, SLOW, latency=1)
        tasks = [runner.predict(row(value)) for value in range(3)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(error) for error in asyncio.run(run())] == [ValueError] * 3


def test_those_that_take_steps_do_so_one_after_the_other_and_others_between() -> None:
    taken: list[str] = []

    def steps(name: str) -> Generator[None, None, str]:
        for _ in range(3):
            taken.append(name)
            yield
        return name

    async def others() -> None:
        for _ in range(5):
            taken.append("other")
            await asyncio.sleep(0)

    async def run() -> tuple[str, str]:
        runner = Runner(Model(), QUICK, 0.02)
        first, second, _ = await asyncio.gather(
            runner.run_in_steps(steps("a")), runner.run_in_steps(steps("b")), others()
        )
        return first, second

    assert asyncio.run(run()) == ("a", "b")
    assert [name for name in taken if name != "other"] == ["a"] * 3 + ["b"] * 3
    assert taken[:6] == ["a", "other"] * 3


def test_one_that_is_cancelled_between_its_steps_leaves_the_turn_to_the_next() -> None:
    def steps(number: int) -> Generator[None, None, int]:
        for _ in range(number):
            yield
        return number

    async def run() -> int:
        runner = Runner(Model(), QUICK, 0.02)
        endless = asyncio.create_task(runner.run_in_steps(steps(10**9)))
        waits = asyncio.create_task(runner.run_in_steps(steps(2)))
        await asyncio.sleep(0)
        endless.cancel()
        return await waits

    assert asyncio.run(run()) == 2


@pytest.mark.parametrize(
    ("cost", "rows"),
    [(Cost(0.1, 0.01), 91), (Cost(2.0, 0.01), 5), (Cost(0.1, 1e-9), 500), (Cost(0.1, 0.0), 500)],
)
def test_a_run_of_so_many_seconds_has_so_many_rows(cost: Cost, rows: int) -> None:
    assert cost.count_rows(1.0, 5, 500) == rows
