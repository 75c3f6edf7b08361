"""Whatever comes over a socket, each request gets one answer, and others get theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from http import HTTPStatus

import pytest

from tests.conftest import Project
from tests.hostile import cases
from tests.hostile.cases import Case
from tests.hostile.service import Service, attacked
from tests.hostile.wire import (
    LAST,
    LAST_ID,
    PIECE,
    WireError,
    Witness,
    find_fault,
    parse_answers,
    talk,
)


@pytest.fixture(scope="module")
def service(project: Project) -> Iterator[Service]:
    """The service that all cases of this module go to, one after the other."""
    with attacked(project, TIMEOUT_SECONDS="10") as service:
        yield service


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("group", cases.GROUPS)
def test_each_request_gets_one_answer_and_others_theirs(
    service: Service, group: Callable[[], Iterator[Case]]
) -> None:
    complaints = {}
    for case in group():
        # A new one: the last case may have cost the one before its connection.
        with closing(Witness(service.port)) as witness:
            if complaint := run_case(service.port, case, witness):
                complaints[case.name] = complaint
            witness.ask()
    assert not complaints


def test_there_are_enough_cases_and_none_twice() -> None:
    packets = [case.packets for case in cases.list_cases() if not case.half_closes]
    assert len(set(packets)) == len(packets) >= 500


# The request asks for what the service does not do: these are answers to it, and no failures.
UNSUPPORTED = {501, 505}


def run_case(port: int, case: Case, witness: Witness) -> str:
    """Run a case; what is wrong with its answers, nothing where they are right."""
    packets = case.packets if case.half_closes else (*case.packets, LAST)
    between = witness.wait if case.is_waiting else lambda: None
    try:
        exchange = talk(port, packets, half_closes=case.half_closes, between=between)
    except TimeoutError as error:
        return f"neither answered nor closed: {error}"
    complaint = find_complaint(case, exchange.content)
    if exchange.is_reset and (complaint or sum(map(len, packets)) > PIECE):
        return f"a reset: {complaint or 'while it was sending'}"
    return complaint


def find_complaint(case: Case, content: bytes) -> str:
    """Say what is wrong with the answers to a case."""
    try:
        answers = parse_answers(content, case.heads)
    except WireError as error:
        return str(error)
    for index, answer in enumerate(answers):
        fault = find_fault(answer, is_head=index in case.heads)
        allowed = index < len(case.expected) and answer.status in case.expected[index]
        if fault and not (allowed and answer.status in UNSUPPORTED):
            return fault
    statuses = [answer.status for answer in answers]
    goes_on = bool(answers) and answers[-1].headers.get(b"x-request-id") == LAST_ID
    own = answers[:-1] if goes_on else answers
    says_close = bool(own) and own[-1].headers.get(b"connection") == b"close"
    has_failed = says_close and own[-1].status >= HTTPStatus.BAD_REQUEST
    expected = [sorted(one) for one in case.expected]
    if (case.may_be_silent or has_failed) and not goes_on:
        expected = expected[: len(own)]
    if len(own) != len(expected) or any(
        answer.status not in one for answer, one in zip(own, expected, strict=True)
    ):
        return f"{statuses}, not {[sorted(one) for one in case.expected]}"
    if own and not (goes_on or says_close or case.may_be_silent or case.half_closes):
        return f"{statuses}, and it closes without saying so"
    return ""
