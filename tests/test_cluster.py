"""A cluster as the docs have it: their own commands and install, far from the repository."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from tests import small
from tests.conftest import Project, clone
from tests.dask_processes import (
    Process,
    end,
    environment,
    spawned,
    started,
    wait_for_line,
    workers_of,
)
from tests.hosts import listening, network
from tests.pages import PAGES
from tests.ports import free_ports, listens, wait_until

pytestmark = [pytest.mark.real, pytest.mark.slow]

DOCS = PAGES["docs/scale.md"]
OWN_FEATURES = """
class Ratio:
    def __init__(self, columns):
        self.columns = columns

    def of(self, one, other):
        return self.columns[one] / self.columns[other]


def engineer(columns):
    def ratio():
        return Ratio(columns).of("area", "depth")

    return {"ratio": ratio()}
"""
BROKEN = """
class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def engineer(columns):
    raise Odd("odd", "even")
"""
SEARCH = {
    "method": "grid",
    "candidates": 2,
    "metric": "log_loss",
    "folds": 3,
    "over": [{"values": {"C": [0.001, 1.0]}}],
}


TLS = "DASK_DISTRIBUTED__COMM__TLS__"


def commands(port: int, host: str = "127.0.0.1") -> list[list[str]]:
    """Return the docs' commands for a scheduler and a worker, with an address of ours."""
    lines = re.findall(r"^```console\n(dask .*)\n```$", DOCS, re.MULTILINE)
    [scheduler, worker] = [
        shlex.split(line.replace("PRIVATE_IP", host).replace("8786", str(port))) for line in lines
    ]
    worker[worker.index("--nworkers") + 1] = "2"
    assert scheduler[0] == worker[0] == "dask"
    return [scheduler[1:], worker[1:]]


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("cluster") / "environment")


@pytest.fixture(scope="module")
def address(dask: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("hosts"), free_ports(1)
    scheduler, worker = commands(port)
    with (
        started(folder / "scheduler", *scheduler, dask=[str(dask)]),
        started(folder / "worker", *worker, dask=[str(dask)]),
    ):
        wait_until(lambda: listens(port))
        yield f"tcp://127.0.0.1:{port}"


def small_project(folder: Path) -> Project:
    """Clone the project, with a small table and features of its own."""
    estimator = clone(folder)
    (estimator.root / "table.csv").write_text(small.text(small.table(200)))
    for name in ("contract.yaml", "report.json"):
        (estimator.root / "data" / "processed" / name).unlink()
    (estimator.root / "stages" / "engineering.py").write_text(OWN_FEATURES)
    return estimator


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small_project(tmp_path_factory.mktemp("cluster"))


def write_params(project: Project, train_params: dict[str, Any], **train: Any) -> None:
    """Write params.yaml with compute and train as they are given."""
    content = {
        **small.PARAMS,
        "processed": {**small.PARAMS["processed"], "target": "kind", "drop": []},
        "train": {
            **small.PARAMS["train"],
            "estimator": "sklearn.linear_model.LogisticRegression",
            "arguments": {},
            **train,
        },
        "evaluate": {
            **small.PARAMS["evaluate"],
            "cross_validation": {"folds": 3, "repeats": 0, "most_rows": 1000},
        },
        "compute": {**small.PARAMS["compute"], **train_params},
    }
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))


def repro(
    project: Project, train_params: dict[str, Any], *targets: str, check: bool = True, **train: Any
) -> str:
    """Return the output of `dvc repro` with these params of compute and train."""
    write_params(project, train_params, **train)
    done = project.run("dvc", "repro", "--force", *targets, check=check)
    return done.stdout + done.stderr


def outs(project: Project) -> dict[str, str]:
    """Path → MD5 of each output that dvc.lock names."""
    stages = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


@pytest.fixture(scope="module")
def expected(cloned: Project) -> dict[str, str]:
    """Return the hashes of the outputs that this machine writes by itself."""
    repro(cloned, {"engine": "local"}, search=SEARCH)
    return outs(cloned)


def test_workers_have_no_code_of_ours(dask: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(dask.with_name("python")), "-c", "import stages"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'stages'" in done.stderr


def test_dvc_repro_makes_there_what_it_makes_here(
    cloned: Project, address: str, expected: dict[str, str]
) -> None:
    repro(cloned, {"engine": "dask", "scheduler": address}, search=SEARCH)
    assert outs(cloned) == expected


def test_dvc_repro_makes_in_processes_of_this_machine_what_it_makes_here(
    cloned: Project, expected: dict[str, str]
) -> None:
    repro(cloned, {"engine": "dask", "workers": 2, "memory": "2GiB"}, "features")
    result = outs(cloned)
    paths = [path for path in expected if not path.startswith("data/model/")]
    assert len(paths) > 4
    assert {path: result[path] for path in paths} == {path: expected[path] for path in paths}


def test_lightgbm_learns_there(cloned: Project, address: str, expected: dict[str, str]) -> None:
    train_params = {"engine": "dask", "scheduler": address}
    text = repro(
        cloned, train_params, "--single-item", "train",
        estimator="lightgbm.LGBMClassifier",
        arguments={"n_estimators": 10, "min_child_samples": 3},
    )  # fmt: skip
    assert "train: ONNX agrees on 40 test rows" in text
    assert outs(cloned).keys() == expected.keys()


@pytest.mark.usefixtures("expected")
def test_an_error_of_a_users_own_features_is_one_line(
    cloned: Project, address: str, tmp_path: Path
) -> None:
    own = Project(tmp_path / "clone", cloned.env)
    shutil.copytree(cloned.root, own.root, symlinks=True)
    (own.root / "stages" / "engineering.py").write_text(BROKEN)
    train_params = {"engine": "dask", "scheduler": address}
    text = repro(own, train_params, "--single-item", "features", check=False)
    assert "error: stages/engineering.py: Odd: odd and even\n" in text
    assert "Traceback" not in text


def certificates(folder: Path) -> dict[str, str]:
    """Return the docs' variables for TLS, with certificates of a CA of our own."""
    names = set(re.findall(r"`(?:…__TLS|DASK)_[A-Z_{},]+`", DOCS))
    assert names == {
        "`DASK_DISTRIBUTED__COMM__TLS__CA_FILE`",
        "`…__TLS__{SCHEDULER,WORKER,CLIENT}__{CERT,KEY}`",
        "`DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION`",
    }
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    result = {
        f"{TLS}CA_FILE": str(folder / "ca.pem"),
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
    }
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        own = ca.issue_cert(f"{role.lower()}.example.org")
        cert, key = folder / f"{role}.pem", folder / f"{role}.key"
        own.private_key_pem.write_to_path(key)
        for index, blob in enumerate(own.cert_chain_pems):
            blob.write_to_path(cert, append=index > 0)
        result |= {f"{TLS}{role}__CERT": str(cert), f"{TLS}{role}__KEY": str(key)}
    return result


def start_until_registered(start: Callable[[], Process], log: Path, tries: int = 3) -> Process:
    """Start a worker as systemd does: again if it ends, or does not come up."""
    for _ in range(tries):
        process = start()
        with suppress(AssertionError):
            wait_until(partial(is_registered_or_over, log, process))
        if is_registered(log):
            return process
        end(process)
    raise AssertionError(log.read_text())


def is_registered_or_over(log: Path, process: Process) -> bool:
    """Whether there is no more to wait for."""
    return is_registered(log) or process.poll() is not None


def is_registered(log: Path) -> bool:
    """Whether a worker has logged that its scheduler knows it."""
    return "Registered to:" in log.read_text()


@pytest.mark.real
def test_hosts_of_their_own_search_and_train_lightgbm_by_tls_though_one_loses_its_worker(
    cloned: Project, dask: Path, tmp_path: Path
) -> None:
    env, port = certificates(tmp_path), 8786
    names = ("scheduler", "one", "two", "client")
    with network(names) as hosts, ExitStack() as stack:
        scheduler, worker = commands(port, hosts["scheduler"].address)
        worker = [word.replace("tcp://", "tls://") for word in worker]
        worker[worker.index("--nworkers") + 1] = "1"

        def start(name: str, *command: str) -> Process:
            enter = [*hosts[name].enter, str(dask)]
            return stack.enter_context(started(tmp_path / name, *command, dask=enter, **env))

        process = start("scheduler", *scheduler)
        wait_until(lambda: port in listening(process.pid))
        # Both are there first: the scheduler would give all the work to the only one.
        logs = [tmp_path / name / "log" for name in ("one", "two")]
        nannies = [
            start_until_registered(partial(start, log.parent.name, *worker), log) for log in logs
        ]
        address = f"tls://{hosts['scheduler'].address}:{port}"
        write_params(
            cloned,
            {"engine": "dask", "scheduler": address},
            estimator="lightgbm.LGBMClassifier",
            arguments={"n_estimators": 20, "min_child_samples": 3},
            search={**SEARCH, "over": [{"values": {"learning_rate": [0.01, 0.1]}}]},
        )
        text = ""
        killed: list[Any] = []
        with subprocess.Popen(
            [*hosts["client"].enter, "dvc", "repro", "--force"],
            cwd=cloned.root,
            env={**cloned.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as stage:
            assert stage.stdout
            for line in stage.stdout:
                text += line
                if line.startswith("train: fitting lightgbm") and not killed:
                    killed = list(filter(spawned, workers_of(nannies[0])))
                    for each in killed:
                        each.kill()
        assert stage.returncode == 0, text
        assert len(killed) == 1, text
        wait_for_line(nannies[0], logs[0], "Restarting worker")
    assert "train: ONNX agrees on 40 test rows" in text
