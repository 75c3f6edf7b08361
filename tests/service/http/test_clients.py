from __future__ import annotations

from ipaddress import ip_network

import pytest

from service.http.clients import Proxies

PROXIES = Proxies((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))


def find(peer: str | None, forwarded: bytes | None) -> str | None:
    headers = {} if forwarded is None else {b"x-forwarded-for": forwarded}
    return PROXIES.find_client(peer, {b"host": b"a", **headers})


def test_without_trusted_proxies_it_is_the_other_end() -> None:
    headers = {b"x-forwarded-for": b"203.0.113.9"}
    assert Proxies(()).find_client("10.0.0.1", headers) == "10.0.0.1"
    assert PROXIES.find_client(None, headers) is None


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", b"203.0.113.9", "192.0.2.1"),  # no proxy of ours: it may say anything
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", b"198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", b"198.51.100.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("10.0.0.1", b"10.1.1.1,10.2.2.2", "10.1.1.1"),
        ("::ffff:10.0.0.1", b"203.0.113.9:4711", "203.0.113.9"),
        ("fd00::1", b"[2001:db8::1]:443", "2001:db8::1"),
        ("fd00::1", b"2001:DB8::1", "2001:db8::1"),
        ("10.0.0.1", b"203.0.113.9, unknown", "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.9, 10.9.9.9, \xff", "10.0.0.1"),
        ("10.0.0.1", b"9" * 60_000, "10.0.0.1"),
    ],
)
def test_behind_trusted_proxies_it_is_the_rightmost_address_that_is_none_of_theirs(
    peer: str, forwarded: bytes | None, client: str
) -> None:
    assert find(peer, forwarded) == client


def test_a_long_list_is_read_from_its_end_only() -> None:
    assert find("10.0.0.1", b"203.0.113.9," + b"10.1.1.1," * 6_000 + b"10.2.2.2") == "10.1.1.1"
