"""The service keeps to the memory that deploy/k8s gives it, whatever comes at once."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.process.settings import Settings
from tests import tools
from tests.conftest import ROOT, Project
from tests.ports import free_ports, wait_until
from tests.service.complete import ROW
from tests.serving import started

GROUPS = Path("/sys/fs/cgroup")
CLIENTS = 80
LIMIT = Settings().max_body_bytes
JSON = {"content-type": "application/json"}


def read_limit() -> int:
    """Read the limit of memory that the deployment has, bytes."""
    text = (ROOT / "deploy/k8s/base/deployment.yaml").read_text()
    (mebibytes,) = re.findall(r"limits:\n\s+memory: (\d+)Mi", text)
    return int(mebibytes) * 2**20


@contextmanager
def limited(size: int) -> Iterator[Path]:
    """Make a control group of so many bytes of memory, without swap, until the block ends."""
    is_first = (GROUPS / "memory").is_dir()
    group = (GROUPS / "memory" if is_first else GROUPS) / f"cairn-test-{os.getpid()}"
    try:
        group.mkdir()
        name = "memory.limit_in_bytes" if is_first else "memory.max"
        (group / name).write_text(str(size))
    except OSError as error:
        tools.missing(f"no control group with a limit of memory can be made here: {error}")
    try:
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def count_kills(group: Path) -> int:
    """Count the processes that the kernel has ended in a group for want of memory."""
    names = ("memory.oom_control", "memory.events")
    text = next((group / name).read_text() for name in names if (group / name).exists())
    return int(re.findall(r"^oom_kill (\d+)", text, re.MULTILINE)[0])


def fill(pattern: bytes, start: bytes, end: bytes) -> bytes:
    """Repeat a pattern up to the limit of a body."""
    count = (LIMIT - len(start) - len(end)) // (len(pattern) + 1)
    return start + b",".join([pattern] * count) + end


def make_bodies() -> list[bytes]:
    """Make the longest bodies that are allowed, good ones and those that take most memory."""
    rows, columns = Settings().max_rows, len(ROW)
    row = json.dumps({**ROW, "colour": "x" * (LIMIT // rows - 200), "customer": "C"})
    wrong = json.dumps(dict.fromkeys(ROW, "x" * 60))
    return [
        b'{"records":[%s]}' % b",".join([row.encode()] * rows),
        b'{"records":[%s]}' % b",".join([wrong.encode()] * rows),
        b'{"features":[%s]}' % b",".join([json.dumps(list(ROW.values())).encode()] * rows),
        b"{%s}" % b",".join(b'"%d":1' % index for index in range(LIMIT // 12)),
        b'{"records":[%s]}' % b",".join(
            b"{%s}" % b",".join(b'"%d-%d":1' % (index, key) for key in range(2 * columns))
            for index in range(rows)
        ),
        fill(b'"\\u00e9\\n"', b'{"records":[{"colour":[', b"]}]}"),
        fill(b'"%s"' % (b"x" * 50_000), b'{"records":[{"colour":[', b"]}]}"),
        b'{"a":%s' % (b"[" * (LIMIT - 9)),
        b"[" * (LIMIT - 9),
    ]  # fmt: skip


def send(url: str, body: bytes) -> int:
    """Send a body on a connection of its own; 0 where the service ends that early."""
    try:
        with httpx.Client(timeout=300) as client:
            return client.post(f"{url}/predict", content=body, headers=JSON).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.real
def test_the_worst_bodies_at_once_stay_within_the_limit_of_memory(complete: Project) -> None:
    port, bodies = free_ports(1), make_bodies()
    assert all(len(body) <= LIMIT for body in bodies)
    with limited(read_limit()) as group:
        serve = f"bentoml serve --host 127.0.0.1 --port {port}"
        command = ["sh", "-c", f"echo $$ > {group}/cgroup.procs; exec {serve}"]
        with (
            started(complete, port, command, lambda server: server.terminate()) as client,
            ThreadPoolExecutor(CLIENTS) as clients,
        ):
            url = str(client.base_url)
            sent = [bodies[index % len(bodies)] for index in range(CLIENTS)]
            statuses = Counter(clients.map(lambda body: send(url, body), sent))
            assert count_kills(group) == 0, statuses
            assert statuses[200], statuses
            assert not statuses[500], statuses
            assert client.post("/predict", json=ROW).status_code == 200
            assert "cairn_worker_starts_total 1.0" in client.get("/metrics").text
