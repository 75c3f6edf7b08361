"""Who a request comes from, where proxies stand between."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
FORWARDED = b"x-forwarded-for"
# Proxies that a request may have passed; what is further left is not read.
MAX_PROXIES = 16
MAX_LENGTH = 64  # characters of an address with its port


def find_client(
    peer: str | None, headers: Mapping[bytes, bytes], trusted: tuple[Network, ...]
) -> str | None:
    """Return the address of the client that sent a request.

    Each proxy adds the address that it was asked from at the right of X-Forwarded-For, and a
    client can send any. So the client is the rightmost address that is no trusted proxy's.

    Parameters
    ----------
    peer
        The other end of the connection; None where it has no address.
    headers
        The request's. Where X-Forwarded-For comes twice, the last of them was added last.
    trusted
        The networks of the proxies, whose X-Forwarded-For is believed.
    """
    if not trusted or peer is None:
        return peer
    return _find_forwarded(peer, headers.get(FORWARDED, b""), trusted)


def _find_forwarded(peer: str, forwarded: bytes, trusted: tuple[Network, ...]) -> str:
    """Return the client's address from that of the peer and from X-Forwarded-For."""
    client = peer
    addresses = forwarded.decode("latin-1").rsplit(",", MAX_PROXIES)[-MAX_PROXIES:]
    while _is_trusted(client, trusted) and addresses:
        address = _parse_address(addresses.pop())
        if address is None:  # not what a proxy writes: the last proxy that is known stays
            break
        client = str(address)
    return client


def _is_trusted(client: str, trusted: tuple[Network, ...]) -> bool:
    address = _parse_address(client)
    return address is not None and any(address in network for network in trusted)


def _parse_address(text: str) -> Address | None:
    """Return an address, which may have a port; None where it is none."""
    return _parse_short(text) if len(text) <= MAX_LENGTH else None


@lru_cache(maxsize=4096)
def _parse_short(text: str) -> Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A socket that listens for both versions has IPv4 clients in this form.
    return getattr(address, "ipv4_mapped", None) or address
