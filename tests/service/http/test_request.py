from __future__ import annotations

from service.http.request import Request, choose_request_id


def test_an_id_of_our_own_is_new_each_time() -> None:
    assert len({choose_request_id({}) for _ in range(100)}) == 100


def test_a_request_begins_without_a_body_and_with_nothing_for_the_log() -> None:
    request = Request("GET", "/", b"", {b"x-request-id": b"mine"}, "127.0.0.1")
    assert (request.body, request.facts, request.id) == (b"", {}, b"mine")
    assert not request.is_abandoned
