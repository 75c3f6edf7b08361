"""Canaries: each private name of a library that `cairn.compute.compat` uses still behaves."""

from __future__ import annotations

import socket
import threading
from importlib import metadata
from typing import Any

import pytest
from distributed import Client, LocalCluster
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import ThreadingBackend
from packaging.specifiers import SpecifierSet

from cairn.compute import compat
from tests.ports import wait_until


@pytest.mark.parametrize(
    ("package", "versions"),
    [("distributed", compat.DISTRIBUTED), ("joblib", compat.JOBLIB)],
)
def test_the_module_was_read_for_the_installed_version(package: str, versions: str) -> None:
    assert metadata.version(package) in SpecifierSet(versions)


def test_a_client_gives_up_on_a_silent_server_and_closes_itself() -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        compat.BoundedClient(f"tcp://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)
    wait_until(lambda: not (set(threading.enumerate()) - before))


def test_the_scheduler_lists_all_of_its_workers() -> None:
    with (
        LocalCluster(n_workers=7, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(7)
        workers = compat.read_workers(client)
    assert len(workers) == 7
    for worker in workers.values():
        assert worker["status"] == "running"
        assert worker["local_directory"]


def test_a_batch_of_joblib_has_the_arguments_of_its_calls() -> None:
    batches: list[list[Any]] = []

    class Recorder(ThreadingBackend):  # type: ignore[misc]  # untyped
        def submit(self, func: Any, callback: Any = None) -> Any:
            batches.append(list(compat.iterate_arguments(func)))
            return super().submit(func, callback)

    with parallel_config(backend=Recorder(), n_jobs=2):
        assert Parallel(batch_size=1)(delayed(pow)(2, exp=each) for each in (3, 4)) == [8, 16]
    assert batches == [[2, 3], [2, 4]]
