"""Whatever stands in a body, it is answered rightly or refused with a reason."""

from __future__ import annotations

import itertools
import math
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import orjson
import pytest

from tests.conftest import Project
from tests.hostile.bodies import frame, make_post
from tests.hostile.service import attacked
from tests.hostile.wire import Answer, WireError, connect, find_fault, read_answer

CLIENTS = 4
STATUSES = {200, 400, 413, 415, 422}
# Above 1 by what float32 gives away.
NEARLY = 1e-5


def find_complaint(answer: Answer, identifier: str) -> str:
    """Say what is wrong with the answer to a body; nothing where it is right."""
    if answer.status not in STATUSES:
        return f"{answer.status} {answer.body[:200]!r}"
    if answer.headers.get(b"x-request-id") != identifier.encode():
        return f"an answer to {answer.headers.get(b'x-request-id')!r}"
    if answer.status != HTTPStatus.OK:
        return find_fault(answer)
    return find_nonsense(orjson.loads(answer.body))


def find_nonsense(content: dict[str, Any]) -> str:
    """Say what no prediction can be; nothing where it may be right."""
    rows = content.get("predictions", [content])
    confidences = content.get("confidences", [content.get("confidence")])
    probabilities = content["probabilities"]
    lists = probabilities if isinstance(probabilities, list) else [probabilities]
    if not len(rows) == len(confidences) == len(lists) or not rows:
        return f"{len(rows)} rows, {len(lists)} probabilities"
    for confidence, one in zip(confidences, lists, strict=True):
        if not is_distribution(one, confidence):
            return f"no distribution: {one}, {confidence}"
    return ""


def is_distribution(probabilities: dict[str, Any], confidence: Any) -> bool:
    """Tell whether these are probabilities, and the confidence is the greatest of them."""
    values = list(probabilities.values())
    return (
        all(isinstance(value, float | int) and 0 <= value <= 1 + NEARLY for value in values)
        and math.isclose(sum(values), 1, abs_tol=NEARLY)
        and confidence == max(values)
    )


class Client:
    """A client that keeps its connection as long as the service does."""

    def __init__(self, port: int, names: list[str]) -> None:
        self.port = port
        self.names = names
        self.statuses: Counter[int] = Counter()
        self.complaints: dict[int, str] = {}

    def run(self, numbers: range) -> None:
        """Send the requests of these numbers."""
        client: socket.socket | None = None
        try:
            for number in numbers:
                client = client or connect(self.port)
                if not self._ask(client, number):
                    client.close()
                    client = None
        finally:
            if client:
                client.close()

    def _ask(self, client: socket.socket, number: int) -> bool:
        """Send a request; return whether the connection may be used again."""
        identifier = f"fuzz-{number}"
        try:
            client.sendall(frame(make_post(number, self.names), identifier))
            answer = read_answer(client)
        except (OSError, WireError) as error:
            self.complaints[number] = f"{type(error).__name__}: {error}"
            return False
        self.statuses[answer.status] += 1
        if complaint := find_complaint(answer, identifier):
            self.complaints[number] = complaint
        return answer.headers.get(b"connection") != b"close"


def attack(port: int, names: list[str], numbers: range) -> Counter[int]:
    """Send the requests of these numbers from several clients; return the statuses.

    Raises
    ------
    AssertionError
        What was wrong, by the number of the request: `make_post` makes it again.
    """
    clients = [Client(port, names) for _ in range(CLIENTS)]
    parts = (numbers[index::CLIENTS] for index in range(CLIENTS))
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(Client.run, clients, parts))
    complaints = {number: text for one in clients for number, text in one.complaints.items()}
    assert not complaints, dict(itertools.islice(sorted(complaints.items()), 20))
    return sum((one.statuses for one in clients), Counter())


def read_names(client: Any) -> list[str]:
    """Return the contract's columns, in order."""
    return [column["name"] for column in client.get("/model").json()["contract"]["columns"]]


@pytest.mark.long
@pytest.mark.slow
def test_no_body_breaks_the_service_or_gets_a_wrong_answer(project: Project) -> None:
    with attacked(project) as service:
        statuses = attack(service.port, read_names(service.client), range(20_000))
    assert statuses.total() == 20_000
    assert set(statuses) == STATUSES
    assert min(statuses[200], statuses[400], statuses[422]) > 2000
