from __future__ import annotations

from pathlib import Path

import pytest

from service.process import heartbeats
from service.process.heartbeats import Watch, open_heartbeats
from tests.workers import worker


class Clock:
    """A clock that is set by hand; it stands for `time` in the module."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(heartbeats, "time", one)
    return one


def test_workers_and_supervisor_share_them(tmp_path: Path, clock: Clock) -> None:
    mine, theirs = (open_heartbeats(3, tmp_path) for _ in range(2))
    mine.beat(1, 30.0)
    assert [theirs.read(index) for index in range(3)] == [(0, 0), (30, clock.now), (0, 0)]
    assert theirs.count() == 1
    theirs.stop(1)
    assert mine.count() == 0


def test_a_worker_that_hangs_is_not_up(clock: Clock) -> None:
    table = open_heartbeats(2, None)
    table.beat(0, 30.0)
    table.beat(1, 0.0)
    assert table.count() == 2
    clock.now += 31
    assert table.count() == 1  # the other has no limit
    table.beat(0, 30.0)
    assert table.count() == 2


def test_a_worker_hangs_once_its_heartbeat_has_been_the_same_for_its_limit(clock: Clock) -> None:
    table = open_heartbeats(2, None)
    watch = Watch(table, 1.0)
    for index, limit in (0, 5.0), (1, 0.0):
        table.beat(index, limit)
    turns = 0
    while not watch.find_hung({0, 1}):
        clock.now += 0.5
        turns += 1
    assert watch.find_hung({0, 1}) == [0]
    assert turns == 11
    table.beat(0, 5.0)
    assert watch.find_hung({0, 1}) == []


def test_time_in_which_the_supervisor_did_not_run_does_not_count(clock: Clock) -> None:
    table = open_heartbeats(1, None)
    watch = Watch(table, 1.0)
    table.beat(0, 5.0)
    for _ in range(5):
        clock.now += 3600
        assert watch.find_hung({0}) == []


def test_a_worker_that_is_not_up_or_has_just_taken_its_place_does_not_hang(clock: Clock) -> None:
    table = open_heartbeats(1, None)
    watch = Watch(table, 1.0)
    for _ in range(20):
        clock.now += 1
        assert watch.find_hung({0}) == []  # it has given no sign of life yet
    table.beat(0, 5.0)
    for index in range(20):
        clock.now += 1
        is_watched = index % 5 != 0  # it ends, and another begins
        assert watch.find_hung({0} if is_watched else set()) == []


def test_a_worker_is_up_until_it_closes() -> None:
    server = worker(workers=2)
    server.heartbeats.beat(server.index, 30.0)
    assert "cairn_workers 1.0" in server.metrics.render("")[0].decode().splitlines()
    server.close()
    assert "cairn_workers 0.0" in server.metrics.render("")[0].decode().splitlines()
