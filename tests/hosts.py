"""Hosts of their own on this machine: network namespaces that reach nothing but each other."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests import tools

NAMES = Path("/etc/netns")  # where `ip netns exec` looks for a host's own files of /etc


class Host(NamedTuple):
    """A host.

    Attributes
    ----------
    address
        Its IPv4 address.
    enter
        What stands before a command that runs there.
    """

    address: str
    enter: tuple[str, ...]


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """Hosts on one switch, gone with the block; skips the test where we may not make them."""
    tools.tool("ip", "iproute2")
    run = f"cairn-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        switch = _namespace(f"{run}-switch", stack)
        _ip(f"-n {switch} link add switch up type bridge")
        addresses = {}
        for index, name in enumerate(names, start=1):
            host, address = _namespace(f"{run}-{name}", stack), f"10.0.0.{index}"
            _ip(f"-n {switch} link add port{index} type veth peer name eth0 netns {host}")
            _ip(f"-n {switch} link set port{index} master switch up")
            _ip(f"-n {host} address add {address}/24 dev eth0")
            for link in ("lo", "eth0"):
                _ip(f"-n {host} link set {link} up")
            _name(host, address, stack)
            addresses[name] = Host(address, ("ip", "netns", "exec", host))
        yield addresses


def _namespace(name: str, stack: ExitStack) -> str:
    """Add a network namespace that goes with the stack."""
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        tools.missing(f"no right to make network namespaces ({done.stderr.strip()}); be root")
    stack.callback(_ip, f"netns delete {name}")
    return name


def _name(host: str, address: str, stack: ExitStack) -> None:
    """Have a host know its own name, and ask nobody for others.

    This machine's name server is out of its reach: each look-up of the host's own name would last
    as long as the resolver has patience, which has kept a Dask worker from its scheduler.
    """
    folder = NAMES / host
    folder.mkdir(parents=True)
    stack.callback(shutil.rmtree, folder)
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n")
    (folder / "resolv.conf").write_text("# no name server\n")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def listening(pid: int) -> set[int]:
    """The TCP ports that are listened to on the host of a process."""
    ports = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:  # noqa: PTH123
            _, *lines = file
        fields = [line.split() for line in lines]
        ports |= {int(each[1].rsplit(":", 1)[1], 16) for each in fields if each[3] == "0A"}
    return ports
