from __future__ import annotations

import io
import operator
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

import cairn.compute
from cairn.compute import dask as cluster
from cairn.compute.engine import open_engine
from cairn.errors import CairnError
from cairn.params.compute import Compute
from cairn.params.processed import Processed
from cairn.paths import CONTRACT, PROCESSED, RAW, REPORT, TEST, TRAIN
from cairn.tables import reader
from stages import features, processed
from tests.cairn.tables.tables import ROWS, as_csv, as_lines
from tests.conftest import ROOT
from tests.dask_processes import Processes, end, lives, processes, spawned
from tests.ports import free_ports, wait_until
from tests.small import PARAMS

pytestmark = pytest.mark.real

LOCAL = Compute(engine="local", scheduler=None, workers=None, memory=None)
HERE = Compute(engine="dask", scheduler=None, workers=2, memory="2GiB")
MADE = (CONTRACT, PROCESSED, REPORT, TRAIN, TEST)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes(tmp_path_factory.mktemp("dask")) as nodes:
        yield nodes


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RAW.parent.mkdir(parents=True)


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker take its time to start; tests of an end set their own bound."""
    monkeypatch.setattr(cluster, "IDLE_SECONDS", 600)


def settings(params: Compute, **own: Any) -> None:
    content = {
        **PARAMS,
        "processed": {**PARAMS["processed"], "identifier": "id", "drop": [], **own},
        "compute": params.model_dump(),
    }
    Path("params.yaml").write_text(yaml.safe_dump(content))


def build(params: Compute, **own: Any) -> list[bytes]:
    for path in MADE:
        path.unlink(missing_ok=True)
    settings(params, **own)
    processed.main()
    features.main()
    return [path.read_bytes() for path in MADE]


def many(times: int) -> list[dict[str, Any]]:
    """Rows of every kind of column, a few of them bad, each with a name of its own."""
    rows = [{**row, "id": f"{row['id']}-{time}"} for time in range(times) for row in ROWS]
    return [{**row, "y": None} if index % 97 == 5 else row for index, row in enumerate(rows)]


@pytest.mark.slow
@pytest.mark.parametrize("write", [as_csv, as_lines])
def test_a_cluster_makes_what_one_machine_makes_bit_by_bit(
    write: Any, running: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", 2**13)
    RAW.write_bytes(write(many(200)))
    assert len(list(reader.read_parts(RAW, Processed.model_validate(PARAMS["processed"])))) > 5
    own = {"bad_rows": "set_aside", "duplicates": "set_aside"}
    assert build(running.params, **own) == build(LOCAL, **own)


def test_the_cluster_is_named(running: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    with open_engine(running.params):
        out = capsys.readouterr().out
    assert re.fullmatch(rf"compute: Dask at {running.params.scheduler}, workers so far: \d\n", out)


def test_results_come_in_the_order_of_the_items_and_few_items_are_taken_ahead(
    running: Processes,
) -> None:
    ahead = 0

    def items() -> Iterator[int]:
        nonlocal ahead
        for item in range(30):
            ahead = item + 1
            yield item

    with open_engine(running.params) as engine:
        for index, result in enumerate(engine.map(operator.neg, items())):
            assert result == -index
            assert ahead <= index + 2 * cluster.AHEAD


def test_a_part_that_is_no_table_is_reported_as_on_one_machine(
    running: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", 2**12)
    RAW.write_bytes(as_csv(many(50)) + b"one,two\n")
    errors = []
    for params in (LOCAL, running.params):
        with pytest.raises(CairnError) as error:
            build(params)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert "line " in errors[0]


@pytest.mark.slow
def test_a_table_larger_than_each_workers_memory_goes_through(tmp_path: Path) -> None:
    limit = 640
    random = np.random.default_rng(0)
    rows, columns = 2**16, 44
    table = pa.table(
        {
            **{f"x{index}": random.integers(0, 99, rows) / 8 for index in range(columns)},
            "y": random.choice(["no", "yes"], rows),
        }
    )
    with pq.ParquetWriter(RAW, table.schema) as writer:
        for _ in range(30):
            writer.write_table(table, row_group_size=rows)
    read = (
        part.content
        for part in reader.read_parts(RAW, Processed.model_validate(PARAMS["processed"]))
    )
    assert sum(part.nbytes for part in read if isinstance(part, pa.Table)) > limit * 2**20
    settings(LOCAL, identifier=None)
    processed.main()
    expected = [path.read_bytes() for path in (PROCESSED, REPORT)]
    PROCESSED.unlink()
    with processes(tmp_path / "dask", limit=f"{limit}MiB") as nodes:
        settings(nodes.params, identifier=None)
        processed.main()
    assert [path.read_bytes() for path in (PROCESSED, REPORT)] == expected


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", 2**14)
    RAW.write_bytes(as_csv(many(3000)))
    own = {"bad_rows": "set_aside"}
    expected = build(LOCAL, **own)
    parts, counts = reader.read_parts, []
    with processes(tmp_path / "dask") as nodes:

        def kill_in_the_middle(*arguments: Any) -> Iterator[Any]:
            count = 0
            for count, part in enumerate(parts(*arguments), start=1):
                if count == 20:
                    nodes.kill(0)
                yield part
            counts.append(count)

        monkeypatch.setattr(reader, "read_parts", kill_in_the_middle)
        PROCESSED.unlink()
        assert build(nodes.params, **own) == expected
    assert max(counts) > 40


def refusal(address: str) -> str:
    """Return the error for a scheduler's address."""
    params = Compute(engine="dask", scheduler=address, workers=None, memory=None)
    with pytest.raises(CairnError) as error, open_engine(params):
        pass
    return str(error.value)


def test_nobody_at_the_address_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    address = f"tcp://127.0.0.1:{free_ports(1)}"
    assert f"no Dask scheduler answers at {address} within 1 s" in refusal(address)


def test_a_server_that_says_nothing_is_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", free_ports(1))) as silent:
        text = refusal(f"tcp://127.0.0.1:{silent.getsockname()[1]}")
    assert "the server at that address is no scheduler" in text


def test_a_tls_address_without_certificates_is_reported_with_their_variables() -> None:
    text = refusal("tls://127.0.0.1:8786")
    assert "a tls:// address needs certificates" in text
    assert "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE and DASK_DISTRIBUTED__COMM__TLS__CL" in text


def test_certificates_that_are_not_there_are_reported(tmp_path: Path) -> None:
    names = ("ca-file", "client.cert", "client.key")
    missing = {f"distributed.comm.tls.{name}": str(tmp_path / "no.pem") for name in names}
    with dask.config.set(missing):
        assert "No such file" in refusal("tls://127.0.0.1:8786")


def test_a_scheduler_without_encryption_where_it_is_required_is_reported(
    running: Processes,
) -> None:
    with dask.config.set({"distributed.comm.require-encryption": True}):
        text = refusal(running.address)
    assert "encryption required" in text
    assert "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in text


class TextOnly(pickle.Unpickler):
    """Knows nothing but the builtin `eval`."""

    def find_class(self, module: str, name: str) -> Any:
        assert (module, name) == ("builtins", "eval")
        return eval


def test_what_a_worker_reads_before_its_versions_are_checked_is_text() -> None:
    """Bytecode is of one Python: another may well crash on it."""
    sent = pickle.dumps(cluster._Code({"a.py": b"1"}, "sha256", {"python": "2.7", "no-such": "1"}))
    code = TextOnly(io.BytesIO(sent)).load()
    with pytest.raises(ImportError, match=r"worker here has python 3\..*2\.7; no-such none, here"):
        code.setup(SimpleNamespace(address="here"))
    with pytest.raises(ImportError, match="worker here has python"):
        code.run("sha256", b"", [])


def test_functions_that_nobody_can_import_are_sent_too(running: Processes) -> None:
    step = 3

    def add(item: int) -> int:
        return item + step

    with open_engine(running.params) as engine:
        assert list(engine.map(add, range(3))) == [3, 4, 5]
        assert list(engine.map(lambda item: -item, range(3))) == [0, -1, -2]


@pytest.mark.parametrize("address", ["nonsense://10.0.0.5:8786", "tcp://127.0.0.1:port"])
def test_an_address_that_is_none_is_reported(address: str) -> None:
    params = Compute(engine="dask", scheduler=address, workers=None, memory=None)
    before = set(threading.enumerate())
    with pytest.raises(CairnError, match=r"compute\.scheduler") as error, open_engine(params):
        pass
    assert address in str(error.value)
    assert not {each for each in threading.enumerate() if each.name == "IO loop"} - before


@pytest.mark.slow
def test_without_a_worker_there_is_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "IDLE_SECONDS", 2)
    with processes(tmp_path / "dask", workers=0) as nodes:
        with pytest.raises(CairnError, match="no worker has worked"), open_engine(nodes.params):
            pass
        monkeypatch.setattr(cluster, "IDLE_SECONDS", 600)
        worker = nodes.add()
        with open_engine(nodes.params) as engine:
            monkeypatch.setattr(cluster, "IDLE_SECONDS", 2)
            end(worker)
            with pytest.raises(CairnError, match="no worker has worked"):
                list(engine.map(operator.neg, range(3)))


def test_a_bug_is_not_reported_as_a_scheduler_that_is_gone(
    running: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_engine(running.params) as engine:
        assert isinstance(engine, cluster.Cluster)
        monkeypatch.delattr("distributed.Client.nthreads")
        with pytest.raises(AttributeError, match="nthreads"):
            engine.threads()


@pytest.mark.slow
def test_a_scheduler_that_goes_is_reported(tmp_path: Path) -> None:
    with processes(tmp_path / "dask", workers=1) as nodes, open_engine(nodes.params) as engine:
        assert isinstance(engine, cluster.Cluster)
        results = engine.map(time.sleep, [0, 600])
        next(results)
        ending = threading.Thread(target=end, args=[nodes.scheduler])
        ending.start()
        with pytest.raises(CairnError, match="the scheduler is gone"):
            list(results)
        ending.join()
        with pytest.raises(CairnError, match="the scheduler is gone"):
            engine.threads()


@pytest.mark.slow
def test_a_part_of_which_every_worker_dies_is_reported_with_the_limit(tmp_path: Path) -> None:
    with (
        processes(tmp_path / "dask", workers=1, limit="512MiB") as nodes,
        open_engine(nodes.params) as engine,
        pytest.raises(CairnError, match="limit of 512 MiB; give each more"),
    ):
        list(engine.map(os._exit, [1]))


def other_version(folder: Path, package: str, version: str) -> str:
    """Make a folder that, first on Python's path, makes a package seem of another version."""
    info = folder / "other" / f"{package}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return str(info.parent)


@pytest.mark.slow
def test_a_worker_with_another_version_is_named_whenever_it_comes(tmp_path: Path) -> None:
    path = other_version(tmp_path, "pyarrow", "1.2.3")
    problem = f"127.0.0.1:.* has pyarrow 1.2.3, here it is {pa.__version__}"
    with processes(tmp_path / "dask", workers=1) as nodes:
        with open_engine(nodes.params) as engine:
            end(nodes.workers[0])
            nodes.add(PYTHONPATH=path)
            with pytest.raises(CairnError, match=problem):
                list(engine.map(operator.neg, range(3)))
        with pytest.raises(CairnError, match=problem), open_engine(nodes.params):
            pass


def test_a_worker_without_a_package_is_named(
    running: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cluster.read_versions(["numpy"])
    monkeypatch.setattr(cluster, "read_versions", lambda _: {**here, "no-such-package": "2.0"})
    with (
        pytest.raises(CairnError, match=r"has no-such-package none, here it is 2\.0"),
        open_engine(running.params),
    ):
        pass


PROBE = """
import sys
from stages import probe
from cairn.compute.engine import open_engine
from cairn.params.compute import Compute
block = Compute(engine="dask", scheduler=sys.argv[1], workers=None, memory=None)
if __name__ == "__main__":
    with open_engine(block) as engine:
        print(*engine.map(probe.probe, range(4)))
"""


@pytest.mark.slow
def test_the_code_of_this_run_is_what_runs(tmp_path: Path, running: Processes) -> None:
    for name, sign in (("first", ""), ("second", "-")):
        for package in ("cairn", "stages"):
            shutil.copytree(ROOT / package, tmp_path / name / package)
        text = f"def probe(item: int) -> int:\n    return {sign}item\n"
        (tmp_path / name / "stages" / "probe.py").write_text(text)
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROBE, running.address],
            cwd=tmp_path / name,
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout.splitlines()[1:]  # after the line that names the cluster
        for name in ("first", "second", "first")
    ]
    assert outputs == [["0 1 2 3"], ["0 -1 -2 -3"], ["0 1 2 3"]]


def test_two_runs_of_other_code_do_not_mix(
    running: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_engine(running.params) as ours:
        assert list(ours.map(operator.neg, [1])) == [-1]
        monkeypatch.setattr(cluster, "_list_modules", lambda root: [root / "cairn" / "console.py"])
        with open_engine(running.params) as other:
            assert list(other.map(operator.neg, [1])) == [-1]
            with pytest.raises(CairnError, match="another run has sent other code"):
                list(ours.map(operator.neg, [1]))


@pytest.mark.slow
def test_processes_on_this_machine_end_with_the_stage_that_fails() -> None:
    pids: list[int] = []

    def fail() -> None:
        with open_engine(HERE) as engine:
            assert isinstance(engine, cluster.Cluster)
            pids.extend(engine.client.run(os.getpid).values())
            list(engine.map(int, ["1", "x"]))

    with pytest.raises(ValueError, match="invalid literal"):
        fail()
    assert len(pids) == 2
    wait_until(lambda: not any(map(psutil.pid_exists, pids)))


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_on_this_machine_end_with_the_stage_that_is_stopped(sign: int) -> None:
    RAW.write_bytes(as_csv(many(200_000)))
    settings(HERE, bad_rows="set_aside")
    stage = subprocess.Popen(
        [sys.executable, "-m", "stages.processed"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    family: list[psutil.Process] = []

    def working() -> bool:
        assert stage.poll() is None
        family[:] = psutil.Process(stage.pid).children(recursive=True)
        return sum(map(spawned, family)) >= 2

    wait_until(working)
    stage.send_signal(sign)
    assert stage.wait(300) != 0
    wait_until(lambda: not any(map(lives, family)))


@pytest.mark.slow
def test_an_ordinary_run_says_nothing_on_stderr() -> None:
    RAW.write_bytes(as_csv(many(500)))
    settings(HERE, bad_rows="set_aside")
    done = subprocess.run(
        [sys.executable, "-m", "stages.processed"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert done.stderr == ""
    assert all(line.startswith("processed: ") for line in done.stdout.splitlines()[-2:])


@pytest.mark.slow
def test_a_search_finds_on_a_cluster_what_it_finds_here_though_workers_die(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(60_000, 12)).astype(np.float32)
    classes = (rows[:, 0] + rows[:, 1] > 0).astype(np.int64)

    def search(params: Compute, meanwhile: Callable[[Any], None] = lambda _: None) -> Any:
        grid = GridSearchCV(
            LogisticRegression(max_iter=200), {"C": np.logspace(-6, 2, 12).tolist()},
            scoring="neg_log_loss",
        )  # fmt: skip
        with (
            threadpool_limits(1),
            open_engine(params) as engine,
            engine.joblib(rows, classes),
        ):
            killer = threading.Thread(target=meanwhile, args=[engine])
            killer.start()
            grid.fit(rows, classes)
            killer.join()
        return grid.cv_results_["mean_test_score"].tolist()

    with processes(tmp_path / "dask") as nodes:
        expected = search(LOCAL)
        assert search(nodes.params) == expected
        killed = []

        def kill(engine: cluster.Cluster) -> None:
            for index in range(2):
                wait_until(lambda: any(engine.client.processing().values()))
                nodes.kill(index)
                killed.append(index)

        assert search(nodes.params, kill) == expected
        assert killed == [0, 1]


def test_without_the_extra_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cairn.compute.dask")
    monkeypatch.delattr(cairn.compute, "dask")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(CairnError, match="make install-extras"), open_engine(HERE):
        pass
