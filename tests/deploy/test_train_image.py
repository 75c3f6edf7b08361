"""The training image: the pipeline in a container, on a clone that belongs to somebody else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests import docker
from tests.conftest import ROOT, Project, clone
from tests.ports import wait_until

pytestmark = [pytest.mark.real, pytest.mark.slow]

IMAGE = "cairn-train"
DOCKERFILE = ROOT / "deploy" / "train" / "Dockerfile"
# Root can give the clone to a user whom neither this machine nor the image knows.
OWNER = (4711, 4712) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
ON_LOOPBACK = ("--network=host",)


@dataclass(frozen=True)
class Mounted:
    """A clone that the container has at /repo, and what the runs there printed."""

    root: Path
    output: str = ""

    def run(self, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run the image on the clone, as its owner, with nothing that it may not need."""
        user = f"--user={OWNER[0]}:{OWNER[1]}"
        mount = f"--volume={self.root}:/repo"
        return ran("docker", "run", "--rm", user, mount, *HARDENED, *options, IMAGE, *words)


def ran(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, as `make train-image` builds it of a clone under a strict umask."""
    docker.require()
    project = clone(tmp_path_factory.mktemp("image"))
    (project.root / "deploy" / "train" / "entry.sh").chmod(0o700)
    docker.make(project, "train-image")
    return IMAGE


@pytest.mark.slow
def test_with_the_extras_it_has_all_that_is_optional(tmp_path: Path) -> None:
    docker.require()
    docker.make(clone(tmp_path), "train-image", "EXTRAS=yes", f"TRAIN={IMAGE}-extras")
    code = "import dask, distributed, lightgbm, onnxmltools, psycopg, sqlalchemy"
    done = ran("docker", "run", "--rm", "--entrypoint=python", f"{IMAGE}-extras", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def owned_clone(project: Project, folder: Path) -> Path:
    """A clean clone without data, its remote an empty part of the project's store."""
    source = clone(folder)
    shutil.copy2(project.root / ".dvc" / "config.local", source.root / ".dvc")
    source.run(
        "dvc", "remote", "modify", "--local", "storage", "url", f"remote://embedded/{folder}"
    )
    # Of the host's environment nothing can be of use in the container; what is called fails.
    shutil.rmtree(source.root / ".venv")
    (source.root / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "dvc"):
        (source.root / ".venv" / "bin" / name).write_text("#!/bin/sh\nexit 42\n")
        (source.root / ".venv" / "bin" / name).chmod(0o755)
    give(source.root)
    return source.root


def give(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *OWNER, follow_symlinks=False)


@pytest.fixture(scope="module")
def trained(image: str, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Mounted:
    """A clone on which the container has run once, without arguments."""
    assert image
    mounted = Mounted(owned_clone(project, tmp_path_factory.mktemp("train")))
    done = mounted.run(options=ON_LOOPBACK)
    assert done.returncode == 0, done.stdout + done.stderr
    return Mounted(mounted.root, done.stdout)


def test_it_runs_every_stage_and_pushes_what_they_made(trained: Mounted) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert [f"Running stage '{name}':" in trained.output for name in stages] == [True] * len(stages)
    assert re.search(r"^\d+ files pushed$", trained.output, re.MULTILINE)


def test_the_lock_is_bit_for_bit_the_one_made_outside(trained: Mounted, project: Project) -> None:
    assert (trained.root / "dvc.lock").read_bytes() == (project.root / "dvc.lock").read_bytes()
    assert trained.run("git", "diff", "--stat", "HEAD").stdout == ""
    assert trained.run("git", "status", "--porcelain").stdout == ""


def test_every_file_is_its_callers(trained: Mounted) -> None:
    paths = [trained.root, *trained.root.rglob("*")]
    strange = [path for path in paths if (path.lstat().st_uid, path.lstat().st_gid) != OWNER]
    assert strange == []
    folders = {path.relative_to(trained.root).parts[:2] for path in paths if path != trained.root}
    assert {(".dvc", "cache"), ("data", "model")} <= folders
    assert not any(part == "__pycache__" for path in paths for part in path.parts)


def test_afterwards_nothing_is_left_to_run_or_to_push(trained: Mounted) -> None:
    assert "up to date" in trained.run("dvc", "status").stdout
    status = trained.run("dvc", "status", "--cloud", options=ON_LOOPBACK)
    assert "in sync" in status.stdout, status.stdout + status.stderr


def test_what_it_pushed_can_be_pulled_elsewhere(
    trained: Mounted, project: Project, tmp_path: Path
) -> None:
    other = clone(tmp_path)
    shutil.copy2(trained.root / ".dvc" / "config.local", other.root / ".dvc")
    other.run("dvc", "pull")
    for path in ("data/raw/table", "data/model/model.onnx"):
        assert (other.root / path).read_bytes() == (project.root / path).read_bytes()


def test_arguments_take_the_place_of_what_it_runs(trained: Mounted) -> None:
    assert trained.run("echo", "one", "two words").stdout == "one two words\n"
    assert trained.run("sh", "-c", "exit 7").returncode == 7


def test_it_uses_its_own_tools_whatever_the_folder_holds(trained: Mounted) -> None:
    program = "import sys, sklearn; print(sys.prefix, sklearn.__file__)"
    prefix, module = trained.run("python", "-c", program).stdout.split()
    assert prefix == "/app/.venv"
    assert module.startswith("/app/.venv/")


def test_it_has_exactly_the_locked_packages(trained: Mounted) -> None:
    program = (
        "from importlib import metadata\n"
        "from packaging.requirements import Requirement as R\n"
        "from packaging.utils import canonicalize_name as name\n"
        "lines = [l.split(' \\\\')[0] for l in open('requirements.txt') if '==' in l[:80]]\n"
        "wanted = [r for r in map(R, lines) if not r.marker or r.marker.evaluate()]\n"
        "assert len(wanted) > 100\n"
        "print({(name(r.name), str(r.specifier)) for r in wanted}"
        " ^ {(name(d.name), '==' + d.version) for d in metadata.distributions()})"
    )
    done = trained.run("python", "-c", program)
    assert done.stdout == "set()\n", done.stderr


def test_it_holds_no_compiler_and_no_installer(trained: Mounted) -> None:
    for tool in ("gcc", "cc", "g++", "make", "pip", "pip3", "weed"):
        assert trained.run("sh", "-c", f"command -v {tool}").stdout == ""
    assert trained.run("python", "-c", "import pip").returncode == 1
    assert trained.run("sh", "-c", "command -v git").stdout == "/usr/bin/git\n"


def test_it_is_made_on_the_base_of_the_service_and_runs_as_its_user(image: str) -> None:
    base = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["docker"]["base_image"]
    stages = [line.split()[1] for line in DOCKERFILE.read_text().splitlines() if "FROM " in line]
    assert stages == [base, base]
    assert docker.docker("inspect", "--format", "{{.Config.User}}", image) == "1034:1034"


def test_a_stage_that_fails_ends_it_before_anything_is_pushed(
    image: str, project: Project, tmp_path: Path
) -> None:
    assert image
    mounted = Mounted(owned_clone(project, tmp_path))
    params = mounted.root / "params.yaml"
    params.write_text(params.read_text().replace("sklearn:breast_cancer", "sklearn:no_such"))
    done = mounted.run(options=ON_LOOPBACK)
    assert done.returncode != 0
    assert "no_such" in done.stdout + done.stderr
    assert "pushed" not in done.stdout


def test_it_says_how_to_mount_where_nothing_is_mounted(image: str) -> None:
    done = ran("docker", "run", "--rm", image)
    assert done.returncode == 2
    assert done.stderr.startswith("error: /repo holds no dvc.yaml: mount")
    assert '--volume "$PWD:/repo"' in done.stderr


def test_it_says_who_to_be_where_it_may_not_write(trained: Mounted) -> None:
    mount = f"--volume={trained.root}:/repo"
    done = ran("docker", "run", "--rm", "--user=9999:9999", mount, IMAGE, "dvc", "repro")
    assert done.returncode == 2
    assert done.stderr.startswith("error: /repo cannot be written by user 9999: run as")


def test_git_answers_where_the_engine_maps_users(trained: Mounted) -> None:
    """There the folder seems to be another's, and git would have nothing to do with it."""
    mount = f"--volume={trained.root}:/repo:ro"
    done = ran("docker", "run", "--rm", "--user=0:0", mount, "--entrypoint=git", IMAGE, "log")
    assert done.returncode == 0, done.stderr


def test_a_stop_ends_it_at_once(trained: Mounted) -> None:
    name = docker.docker(
        "run", "--detach", f"--user={OWNER[0]}:{OWNER[1]}", f"--volume={trained.root}:/repo",
        IMAGE, "sh", "-c", "echo started; sleep 120",
    )  # fmt: skip
    try:
        # Before, the kernel keeps signals from a first process that does not ask for them yet.
        running = docker.Container(name, "")
        wait_until(lambda: "started" in running.logs())
        docker.docker("stop", "--time", "30", name)
        assert running.state("ExitCode") == "143"  # 137 would be the engine's, after those 30 s
    finally:
        docker.docker("rm", "--force", name)
