"""Workers that end under load, on a machine that has other things to do, take no request along."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests.conftest import Project
from tests.load import Load, Loss
from tests.ports import free_ports, wait_until
from tests.supervised import Served, elsewhere, find_program, run

SERVICES = 4  # at a time: each waits most of the time, for its clients or its end
# HOSTILE_SCALE=3 has the service ended more than a hundred times and killed more than fifty.
SCALE = int(os.environ.get("HOSTILE_SCALE", "1"))
RESTARTS = 40 * SCALE
KILLS = 20 * SCALE
CONNECTIONS = 16
SPINNERS = 2  # processes that take what they can get of the machine

pytestmark = [pytest.mark.long, pytest.mark.slow]


@pytest.fixture
def program(project: Project) -> dict[str, Any]:
    return find_program(project)


def spin() -> None:
    """Take a core until the process is ended."""
    while True:
        pass


@contextmanager
def busy() -> Iterator[None]:
    """Keep the machine busy with something else."""
    context = multiprocessing.get_context("spawn")
    spinners = [context.Process(target=spin, daemon=True) for _ in range(SPINNERS)]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.join()


def restart(program: dict[str, Any], folder: Path, times: int) -> Load:
    """End a service by SIGTERM and start it again, while clients ask; return those."""
    port = free_ports(1)
    again = elsewhere(program, port, folder, DRAIN_SECONDS="1")
    with Load(port, CONNECTIONS) as load:
        for _ in range(times):
            with run(port, folder / "log", **again) as served:
                served.wait_ready()
                load.wait_for(3 * CONNECTIONS)
                assert served.end() == 0
    return load


def kill(program: dict[str, Any], folder: Path, times: int) -> tuple[Load, list[Loss]]:
    """Kill one worker of two after the other, while clients ask.

    Returns
    -------
    tuple
        The clients, and what they lost though no worker that was killed had it.
    """
    port, excused = free_ports(1), set[int]()
    again = elsewhere(program, port, folder, WORKERS="2")
    with run(port, folder / "log", **again) as served:
        served.wait_ready(2)
        with Load(port, CONNECTIONS) as load:
            for _ in range(times):
                load.wait_for(3 * CONNECTIONS)
                excused |= kill_oldest(served)
            load.wait_for(3 * CONNECTIONS)
        lost = [loss for loss in load.lost if loss.port not in excused]
        assert served.end() == 0
    return load, lost


def kill_oldest(served: Served) -> set[int]:
    """Kill a worker and wait for the next; return the ports of the clients that it had."""
    before = served.workers()
    worker = min(before, key=lambda one: (one.create_time(), one.pid))
    worker.suspend()
    wait_until(lambda: worker.status() == psutil.STATUS_STOPPED)
    connections = worker.net_connections(kind="tcp")
    served.kill(worker)
    wait_until(lambda: len(set(served.workers()) - {worker}) == len(before))
    served.wait_ready(len(before))
    return {one.raddr.port for one in connections if one.raddr}


def make_folders(parent: Path) -> list[Path]:
    """Make a folder for each of the services."""
    folders = [parent / str(number) for number in range(SERVICES)]
    for folder in folders:
        folder.mkdir()
    return folders


def test_restarts_under_load_on_a_busy_machine_lose_nothing(
    program: dict[str, Any], tmp_path: Path
) -> None:
    with busy(), ThreadPoolExecutor(SERVICES) as pool:
        times = RESTARTS // SERVICES
        loads = list(
            pool.map(lambda folder: restart(program, folder, times), make_folders(tmp_path))
        )
    assert [load.lost for load in loads] == [[]] * SERVICES
    assert [load.statuses for load in loads] == [{HTTPStatus.OK}] * SERVICES


def test_kill_9_on_a_busy_machine_loses_only_what_was_in_flight(
    program: dict[str, Any], tmp_path: Path
) -> None:
    with busy(), ThreadPoolExecutor(2) as pool:
        folders = make_folders(tmp_path)[:2]
        results = list(pool.map(lambda folder: kill(program, folder, KILLS // 2), folders))
    assert [lost for _, lost in results] == [[], []]
    assert [load.statuses for load, _ in results] == [{HTTPStatus.OK}] * 2
