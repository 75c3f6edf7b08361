from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from threadpoolctl import threadpool_info

from cairn.compute import processes
from cairn.compute.processes import Run
from cairn.errors import CairnError
from tests.conftest import ROOT
from tests.ports import wait_until

# Says who works for it, and then works for as long as it is let.
SCRIPT = """
import json, os, sys
from cairn.compute import processes
from tests.cairn.compute import test_processes as tasks

def main():
    processes.prepare("cairn.contract")
    with processes.pool() as run:
        pids = sorted(set(run(tasks.pid, range(20))))
        print(json.dumps({"own": os.getpid(), "pids": pids}), flush=True)
        if sys.argv[1] == "work":
            list(run(tasks.for_ever, range(3)))

if __name__ == "__main__":
    main()
"""


def pid(_: int) -> int:
    return os.getpid()


def square(item: int) -> int:
    return item * item


def slow_first(item: int) -> int:
    time.sleep(0.05 / (item + 1))
    return item


def warn(item: int) -> int:
    warnings.warn(f"item {item} is odd", UserWarning, stacklevel=1)
    return item


def fail(item: int) -> int:
    raise ValueError(f"not {item}")


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def for_ever(_: int) -> None:
    signal.pause()


def threads(_: int) -> list[int]:
    np.linalg.inv(np.eye(3))  # loads BLAS, were it not there
    return [library["num_threads"] for library in threadpool_info()]


def gone(pids: list[int]) -> bool:
    """Whether none of the processes runs."""
    return not any(map(runs, pids))


def runs(number: int) -> bool:
    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def pids_of(run: Run) -> list[int]:
    return sorted(set(run(pid, range(20))))


def test_results_come_in_the_order_of_the_items() -> None:
    with processes.pool() as run:
        assert list(run(square, range(50))) == [item * item for item in range(50)]
        assert list(run(slow_first, range(9))) == list(range(9))
        assert list(run(square, [])) == []


def test_tasks_run_in_other_processes_which_end_with_the_block() -> None:
    with processes.pool() as run:
        pids = pids_of(run)
        assert os.getpid() not in pids
        assert all(map(runs, pids))
    wait_until(lambda: gone(pids))


def test_nothing_starts_where_nothing_is_asked() -> None:
    before = set(psutil.Process().children(recursive=True))
    with processes.pool():
        assert set(psutil.Process().children(recursive=True)) <= before


def test_each_task_has_one_thread_for_its_numbers() -> None:
    with processes.pool() as run:
        for result in run(threads, range(4)):
            assert result
            assert set(result) == {1}


def test_what_a_task_warns_of_is_warned_of_here() -> None:
    with processes.pool() as run, pytest.warns(UserWarning, match="is odd") as caught:
        assert list(run(warn, [1, 3])) == [1, 3]
    assert [str(each.message) for each in caught] == ["item 1 is odd", "item 3 is odd"]


def test_an_error_of_a_task_is_raised_as_it_is() -> None:
    with processes.pool() as run, pytest.raises(ValueError, match="not 3"):
        list(run(fail, [3]))


def test_a_process_that_is_ended_from_outside_is_an_error_of_one_line() -> None:
    with pytest.raises(CairnError, match="memory runs out"), processes.pool() as run:
        list(run(die, [0]))


def test_a_block_that_fails_ends_what_still_runs() -> None:
    pids: list[int] = []

    def stop() -> None:
        with processes.pool() as run:
            pids.extend(pids_of(run))
            run(for_ever, range(3))
            raise KeyError

    with pytest.raises(KeyError):
        stop()
    wait_until(lambda: gone(pids))


def test_only_a_small_table_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LARGEST", 40)
    assert processes.fits(40)
    assert not processes.fits(41)


def start(folder: Path, does: str, **more: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Start the script in a process of its own, and read its output."""
    (folder / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(folder / "script.py"), does],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    return process, json.loads(process.stdout.readline())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_stage_that_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    process, predictions = start(tmp_path, "work")
    assert all(map(runs, predictions["pids"]))
    process.send_signal(how)
    assert process.wait() == -how
    wait_until(lambda: gone(predictions["pids"]))
    process.communicate()


def test_at_ctrl_c_all_end_and_none_but_the_stage_says_so(tmp_path: Path) -> None:
    process, predictions = start(tmp_path, "work")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    wait_until(lambda: gone(predictions["pids"]))
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_where_no_process_can_start_the_tasks_run_here(tmp_path: Path) -> None:
    """A socket's path has some hundred characters at most."""
    long = tmp_path / ("l" * 110)
    long.mkdir()
    process, predictions = start(tmp_path, "end", TMPDIR=str(long))
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert predictions["pids"] == [predictions["own"]]
