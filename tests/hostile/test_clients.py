"""Slow and greedy clients take nothing from the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.hostile import clients
from tests.hostile.cases import CHUNKED, JSON, POST, head, list_parts, post
from tests.hostile.service import Service, attacked
from tests.hostile.wire import connect, find_fault
from tests.load import BODY, REQUEST, Load

# Bytes that one worker may hold at its worst: the limit of deploy/'s manifests.
MOST_MEMORY = 512 * 2**20
# Bytes that one client may have a worker hold: a body, its values, and what the allocator keeps.
GROWTH = 48 * 2**20
# Bytes of a client that are not read, and wait in the two systems' buffers.
BUFFERED = 32 * 2**20
SLOW = 128  # more than the requests that may be in work at once

pytestmark = [pytest.mark.long, pytest.mark.slow]


@pytest.fixture(scope="module")
def service(project: Project) -> Iterator[Service]:
    """The service that all attacks of this module go to, one after the other."""
    with attacked(project, TIMEOUT_SECONDS="10") as service:
        yield service


@pytest.fixture(scope="module")
def patient(project: Project) -> Iterator[Service]:
    """One with the usual settings: the largest bodies take long on a machine that is busy."""
    with attacked(project) as service:
        yield service


@contextmanager
def others(service: Service) -> Iterator[Load]:
    """Have other clients ask all the time; at the end, each of their requests was answered."""
    Path(f"/proc/{service.worker.pid}/clear_refs").write_text("5")  # the peak begins anew
    with Load(service.port, connections=8) as load:
        yield load
        load.wait_for(100)
    assert load.lost == []
    assert load.statuses == {200}
    assert read_peak(service) <= MOST_MEMORY


def read_peak(service: Service) -> int:
    """Return the most memory that the worker held since `others` began, bytes."""
    status = Path(f"/proc/{service.worker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize(
    "sent",
    [b"", clients.SLOW_HEAD, clients.SLOW_BODY, head(POST, JSON, CHUNKED) + b"9\r\n{"],
    ids=["nothing", "head", "body", "chunk"],
)
def test_slow_requests_refuse_nobody_else(service: Service, sent: bytes) -> None:
    with others(service) as load, clients.holding(service.port, SLOW, sent) as slow:
        load.wait_for(100)
        if sent in {b"", clients.SLOW_HEAD}:
            return
        with ThreadPoolExecutor(SLOW) as pool:
            answers = [one for some in pool.map(clients.read_rest, slow) for one in some]
    assert len(answers) == SLOW
    assert {answer.status for answer in answers} <= {408, 429}
    assert not list(filter(None, map(find_fault, answers)))


def test_a_slow_request_is_answered_while_others_are_slower(service: Service) -> None:
    with clients.holding(service.port, SLOW, clients.SLOW_BODY), connect(service.port) as client:
        client.sendall(clients.SLOW_BODY)
        with others(service) as load:
            load.wait_for(100)
        client.sendall(BODY[9:] + post(b"connection: close"))
        assert [answer.status for answer in clients.read_rest(client)] == [200, 200]


@pytest.mark.parametrize("name", clients.ENDLESS)
def test_what_has_no_end_is_ended(service: Service, name: str) -> None:
    before = service.measure_memory()
    with others(service):
        assert clients.send_endlessly(service.port, name) < clients.ENOUGH
    assert service.measure_memory() - before < GROWTH


@pytest.mark.parametrize("request_", [clients.DOCUMENT, REQUEST], ids=["document", "row"])
def test_who_does_not_read_is_not_read(service: Service, request_: bytes) -> None:
    """What was sent by then is answered once the client reads."""
    before = service.measure_memory()
    with others(service), connect(service.port) as client:
        number = clients.fill_pipeline(client, request_)
        assert number * len(request_) < BUFFERED
        assert service.measure_memory() - before < GROWTH
        with clients.holding(service.port, 32) as greedy, ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda one: clients.fill_pipeline(one, request_), greedy))
    assert service.measure_memory() - before < 2 * GROWTH


@pytest.mark.parametrize("count", [256, 512])
def test_all_of_many_new_connections_are_answered(service: Service, count: int) -> None:
    with others(service):
        assert asyncio.run(clients.ask_at_once(service.port, count)) == [200] * count


@pytest.mark.parametrize("kind", clients.LARGE)
def test_eight_clients_with_the_largest_bodies(patient: Service, kind: str) -> None:
    with others(patient), ThreadPoolExecutor(8) as pool:
        rounds = pool.map(lambda _: clients.send_large(patient.port, kind, 2), range(8))
        answers = [answer for some in rounds for answer in some]
    assert len(answers) == 16
    assert {answer.status for answer in answers} <= clients.LARGE_STATUSES
    assert not list(filter(None, map(find_fault, answers)))


def test_a_body_that_is_too_long_gets_its_answer_each_time(service: Service) -> None:
    with others(service):
        answers = [clients.send_too_long(service.port) for _ in range(30)]
        answers += [
            clients.send_too_long(service.port, b"content-type: text/plain") for _ in range(10)
        ]
    assert [answer.status for answer in answers] == [413] * 30 + [answers[30].status] * 10
    assert answers[30].status in {413, 415}
    assert not list(filter(None, map(find_fault, answers)))


def test_clients_that_go_away_leave_nothing(service: Service) -> None:
    with others(service):
        clients.leave(service.port, list_parts())
