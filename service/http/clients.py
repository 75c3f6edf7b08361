"""Who a request comes from, where proxies stand between."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
FORWARDED = b"x-forwarded-for"
# Proxies that a request may have passed; what is further left is not read.
MAX_PROXIES = 16
MAX_LENGTH = 64  # characters of an address with its port
MAX_CACHED = 4096


class Address(NamedTuple):
    """An address as the log has it, and whether it is a proxy's that is believed."""

    text: str
    is_trusted: bool


class Proxies:
    """The proxies in front of the service, whose X-Forwarded-For is believed.

    Each adds the address that it was asked from at the right of X-Forwarded-For, and a client can
    send any. So the client is the rightmost address that is no trusted proxy's.

    Parameters
    ----------
    trusted
        Their networks.
    """

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        self._trusted = trusted
        self._look_up = lru_cache(MAX_CACHED)(self._parse)

    def find_client(self, peer: str | None, headers: Mapping[bytes, bytes]) -> str | None:
        """Return the address of the client that sent a request.

        Parameters
        ----------
        peer
            The other end of the connection; None where it has no address.
        headers
            The request's.
        """
        forwarded = headers.get(FORWARDED) if self._trusted else None
        if not forwarded or peer is None:
            return peer
        address = self._look_up(peer)
        addresses = forwarded.decode("latin-1").rsplit(",", MAX_PROXIES)[-MAX_PROXIES:]
        client = peer
        while address and address.is_trusted and addresses:
            text = addresses.pop()
            address = self._look_up(text) if len(text) <= MAX_LENGTH else None
            if address:  # else not what a proxy writes: the last proxy that is known stays
                client = address.text
        return client

    def _parse(self, text: str) -> Address | None:
        """Parse an address, which may have a port; None where it is none."""
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
        address = getattr(address, "ipv4_mapped", None) or address
        return Address(str(address), any(address in network for network in self._trusted))
