"""Runs `bentoml serve` at a free port, and prints how to call it once it is ready."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from deploy.local import loopback, ports
from deploy.local.port_check import DEFAULT, parse_port
from service.process import health

TRIES = 100  # ports, from the first one upwards
POLL = 0.1  # seconds
HERE = {*health.ANYWHERE, "127.0.0.1", "::1", "localhost"}
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def main() -> None:
    """Serve until a signal comes; where the port is in use, and another may be, at the next one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default=str(DEFAULT))
    parser.add_argument("--fixed", action="store_true", help="this port or none")
    options = parser.parse_args()
    first = parse_port(options.port)
    tries = ports_to_try(first, is_fixed=options.fixed)
    for port in tries:
        if not is_free(port, options.host):
            continue
        if port != first:
            print(f"serve: port {first} is taken, so it is port {port}", flush=True)
        code, was_ready = serve(options.host, port)
        # Another program may have taken it since; then BentoML's process says so and ends.
        if code == 0 or was_ready or is_free(port, options.host):
            sys.exit(code)
    sys.exit(
        f"error: port {first} is in use; take another: PORT={first % ports.LAST + 1}"
        if options.fixed
        else f"error: the ports {first} to {tries[-1]} are in use; take another: PORT=…"
    )


def ports_to_try(first: int, *, is_fixed: bool) -> range:
    """Return the ports to try: from the first one upwards, or only that one."""
    return range(first, min(first + (1 if is_fixed else TRIES), ports.LAST + 1))


def is_free(port: int, host: str) -> bool:
    """Tell whether a port is free; the process ends where this machine has no such host."""
    try:
        return ports.is_free(port, host)
    except OSError as error:
        sys.exit(f"error: cannot listen at {host}: {error.strerror}; choose another HOST")
    except UnicodeError:
        sys.exit(
            f"error: HOST: got {host[: ports.SHOWN]!r}; allowed: a name or an address of this "
            "machine, such as 127.0.0.1 or 0.0.0.0"
        )


def serve(host: str, port: int) -> tuple[int, bool]:
    """Run `bentoml serve` to its end; return its exit code, and whether it was ready before."""
    command = ["bentoml", "serve", "--host", host, "--port", str(port)]
    print(" ".join(command), flush=True)
    # In a group of its own it gets each signal once, by way of this process.
    with passing_signals(subprocess.Popen(command, process_group=0)) as server:
        was_ready = await_ready(server, host, port)
        if was_ready:
            show_example(host, port)
        code = server.wait()
    return (128 - code if code < 0 else code), was_ready


@contextmanager
def passing_signals(server: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Forward to a process the signals that would end this one."""
    before = {
        number: signal.signal(number, lambda received, _: server.send_signal(received))
        for number in STOPS
    }
    try:
        yield server
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def await_ready(server: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """Wait until the server is ready; False if it ends before."""
    where = "localhost" if host in HERE else host
    while server.poll() is None:
        is_well = health.find_problem(port, where, seconds=1) is None
        if is_well and port in list_ports(server.pid):
            return True
        time.sleep(POLL)
    return False


def list_ports(process: int) -> set[int]:
    """List the ports at which a process and its children listen."""
    import psutil  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415, when it is needed

    sockets: list[Any] = []
    with suppress(psutil.Error):
        parent = psutil.Process(process)
        for each in (parent, *parent.children(recursive=True)):
            with suppress(psutil.Error):
                sockets.extend(each.net_connections(kind="tcp"))
    return {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}


def show_example(host: str, port: int) -> None:
    """Print how to call the service, in a process that ends, for it takes much memory."""
    name = "localhost" if host in HERE else host
    url = f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
    # Else the proxy of the environment would get the request.
    flags = ["--noproxy", name] if loopback.has_proxy(os.environ) else []
    subprocess.run([sys.executable, "-m", "service.inference.example", url, *flags], check=False)


if __name__ == "__main__":
    main()
