"""The project as a user has it: a clean clone, run once with the real tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tests import docker, tools
from tests.ports import free_ports
from tests.schedule import Groups, group

ROOT = Path(__file__).resolve().parents[1]
# A machine under load is no failure.
settings.register_profile("cairn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cairn")
FIRST_HOME = "first-home"  # beside the run's project
LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare to count the tests that `make test` leaves out, and to waste no time."""
    config.stash[LEFT_OUT] = {}
    # OpenMP's threads sleep while they wait: where processes are more than cores, they would take
    # the core from those that they wait for, and a fit of a second takes ten.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # jsonschema would build grammars of the formats iri and iri-reference, which nothing here has,
    # for more than a second in each process.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count them where they are collected, which with xdist is in each worker."""
    left_out = [
        item for item in items if {"real", "long"} & {mark.name for mark in item.iter_markers()}
    ]
    if left_out:
        left_out[0].config.stash[LEFT_OUT]["here"] = len(left_out)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the count of a worker to the process that prints the summary."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = max(session.config.stash[LEFT_OUT].values(), default=0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep the count of a worker that has ended: each of them collects all tests."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[LEFT_OUT][node.gateway.id] = output.get("left_out", 0)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what is left to `make test-all`."""
    if count := max(config.stash[LEFT_OUT].values(), default=0):
        terminalreporter.write_line(
            f"left to `make test-all`: {count} tests that need Docker, buildah, a browser,"
            " kubectl, PostgreSQL, Prometheus, MLflow, a cluster, root or a package index, or that"
            " go through the whole chain once more"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the groups and the slow tests begin first: none of them is then the last to end.

    The largest group goes before all others: one process alone has the whole of it to do. Besides,
    most groups do without the project, so that the processes do not all begin by waiting for it.
    """
    sizes = Counter(group(item.nodeid) for item in items)

    def sort_key(item: pytest.Item) -> tuple[bool, int]:
        size = sizes[group(item.nodeid)]
        return size == 1 and item.get_closest_marker("slow") is None, -size

    items.sort(key=sort_key)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Keep tests that share something in one process."""
    return Groups(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let only a test that is marked as `real` be skipped for want of a tool."""
    tools.may_be_missing = item.get_closest_marker("real") is not None


@dataclass(frozen=True)
class Project:
    """A clone of the repository with a home of its own.

    Attributes
    ----------
    root, env
        The folder that commands run in, and their environment: this Python's tools first on the
        PATH, a BentoML store of its own, nothing of the user's.
    """

    root: Path
    env: dict[str, str]

    def run(
        self, *arguments: str, check: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its output is kept, and shown where it fails."""
        done = subprocess.run(
            arguments,
            cwd=self.root,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(arguments)} → {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def s3(self) -> dict[str, str]:
        """The variables with which AWS's tools reach the project's own store."""
        config = ConfigParser()
        config.read(self.root / ".dvc" / "config.local")
        embedded = config["'remote \"embedded\"'"]
        return {
            "AWS_ENDPOINT_URL": embedded["endpointurl"],
            "AWS_ACCESS_KEY_ID": embedded["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": embedded["secret_access_key"],
            "AWS_REGION": "us-east-1",
        }

    def git(self, *arguments: str) -> str:
        """Run git and return what it prints."""
        return self.run("git", *arguments).stdout.strip()


# Of variables that are the user's own.
PREFIXES = ("AWS_", "BENTOML_", "COV_", "DVC_", "GIT_", "MAKE", "MLFLOW_", "PYTEST_")


def environment(home: Path) -> dict[str, str]:
    """The environment of a user who has just this Python and an empty home."""
    home.mkdir(parents=True, exist_ok=True)
    tools = str(Path(sys.executable).parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "BENTOML_DO_NOT_TRACK": "True",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "test@example.org" for who in ("AUTHOR", "COMMITTER")},
    }


def clone(into: Path) -> Project:
    """The working tree, its uncommitted changes included, as one commit of a new repository."""
    project = Project(into / "clone", environment(into / "home"))
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, project.root / name)
    adopt_environment(project.root / ".venv")
    project.git("init", "--quiet", "--initial-branch", "main")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "all")
    return project


def adopt_environment(folder: Path) -> None:
    """Have the project's own targets find this Python's environment as the one they set up."""
    folder.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / name).symlink_to(Path(sys.prefix, name))
    for stamp in (".installed", ".installed-dev"):
        (folder / stamp).touch()


def copy(project: Project, into: Path) -> Project:
    """A copy of a project, its data and home with it, to change at will; the store is shared.

    Of the run's own project the home is as it was first: a test of another process may be using it.
    """
    shutil.copytree(project.root, into / "clone", symlinks=True, ignore=_passing)
    first = project.root.parent / FIRST_HOME
    home = first if first.exists() else project.env["HOME"]
    shutil.copytree(home, into / "home", symlinks=True)
    return Project(into / "clone", {**project.env, "HOME": str(into / "home")})


def _passing(folder: str, names: list[str]) -> set[str]:
    """What is the project's own, or may be gone before it is copied: others read it meanwhile."""
    own = {"tmp"} if Path(folder).name == ".dvc" else {".store", "index.lock"}
    return {name for name in names if name in own or ".pyc." in name}


def use_port(project: Project, port: int) -> None:
    """Move the embedded store of a project to a port of its own."""
    endpoint = f"http://127.0.0.1:{port}"
    project.run("dvc", "remote", "modify", "--local", "embedded", "endpointurl", endpoint)


def shared_by_the_run(factory: pytest.TempPathFactory) -> Path:
    """The folder that the processes of one run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A clean clone after `make store`'s, `dvc repro`'s and `dvc push`'s work; read it only.

    The processes of one run share it. The first that asks makes it, the last one ends its store.
    """
    from tests.serving import end_shared  # noqa: PLC0415, which needs this module

    shared = shared_by_the_run(tmp_path_factory) / "project"
    lock, users = FileLock(f"{shared}.lock"), shared / "users"
    checkout = Project(shared / "clone", environment(shared / "home"))
    with lock:
        if not users.exists():
            clone(shared)
            use_port(checkout, free_ports())
            checkout.run("python", "deploy/local/store.py", "start")
            checkout.run("dvc", "repro")
            checkout.run("dvc", "push")
            shutil.copytree(checkout.env["HOME"], shared / FIRST_HOME, symlinks=True)
            users.touch()
        elif not users.read_text():
            checkout.run("python", "deploy/local/store.py", "start")
        users.write_text(users.read_text() + "u")
    try:
        yield checkout
    finally:
        with lock:
            users.write_text(users.read_text()[1:])
            if not users.read_text():
                end_shared(shared)
                checkout.run("python", "deploy/local/store.py", "stop")


@pytest.fixture(scope="session")
def image(project: Project) -> str:
    """Name of the project's image, as `make image` builds it."""
    docker.require()
    return docker.build(project)
