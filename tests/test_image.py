from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from tests import docker, serving
from tests.conftest import copy
from tests.docker import Container
from tests.load import Load
from tests.ports import PATIENCE, free_ports, wait_until
from tests.tools import missing, tool

if TYPE_CHECKING:
    from tests.conftest import Project

pytestmark = [pytest.mark.real, pytest.mark.slow]

HARDENED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--user=12345:0",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
MIB = 2**20
BENTO = "home/bentoml/bento"
# All that may be in the layers on top of the base: of what is ours, and of what goes.
OURS = re.compile(
    rf"(app/\.venv|{BENTO}/(src/(cairn|service|stages)|apis|models/cairn))(/.*)?"
    rf"|{BENTO}(/src|/models|/bento\.yaml|/README\.md)?|home(/bentoml)?|app"
    r"|usr(/local)?(/bin|/lib|/share)?|usr/(local/)?lib/python3[^/]*(/site-packages)?"
    r"|usr/(local/)?lib/python3[^/]*(/[a-z_]+)*(/__pycache__(/[^/]+\.pyc)?)?"
    r"|(.*/)?\.wh\.[^/]+|(etc|proc|sys|dev|run|tmp)/?"
)
NEVER = re.compile(r"(^|/)(\.env|\.git|\.dvc|\.aws|tests?|[^/]*\.(parquet|csv|joblib|key))(/|$)")


@pytest.fixture(scope="module")
def served(image: str) -> Iterator[Container]:
    """One with every restriction at once."""
    with docker.container(image, *HARDENED) as running:
        yield running


@pytest.fixture(scope="module")
def command(project: Project) -> str:
    """The command that `bentoml build` prints as the next step."""
    output = project.run("bentoml", "build").stdout
    [line] = re.findall(r"^ *\$ (bentoml containerize \S+)", output, flags=re.MULTILINE)
    return str(line)


@pytest.fixture(scope="module")
def other(project: Project, image: str, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same code with another model, in its own store, exported, with an image of its own."""
    mine = copy(project, tmp_path_factory.mktemp("other"))
    params = mine.root / "params.yaml"
    content = yaml.safe_load(params.read_text())
    content["train"] |= {"estimator": "sklearn.linear_model.LogisticRegression", "scale": True}
    content["train"]["arguments"] = {}
    params.write_text(yaml.safe_dump(content))
    mine.run("dvc", "repro")
    mine.git("commit", "--all", "--quiet", "--message", "another model")
    mine.run("make", "export")
    assert docker.build(mine) != image
    return mine


def test_it_predicts_bit_for_bit_what_the_service_outside_does(
    project: Project, served: Container
) -> None:
    rows = features(project)
    with (
        serving.served(project) as outside,
        httpx.Client(base_url=served.url, timeout=PATIENCE) as inside,
    ):
        assert answers(inside, rows) == answers(outside, rows)


def test_it_serves_the_model_that_the_bento_was_built_with(
    project: Project, image: str, served: Container
) -> None:
    packed = json.loads(project.run("bentoml", "get", image, "--output", "json").stdout)
    [model] = packed["services"][0]["models"]
    assert served.get("/health").json()["model_version"] == model["tag"]


def test_it_runs_as_a_numbered_user_who_is_not_root_and_as_any_other(
    image: str, served: Container
) -> None:
    user = docker.docker("inspect", "--format", "{{.Config.User}}", image)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert served.execute("id", "-u") == "12345"
    with docker.container(image) as running:
        assert running.execute("id", "-u") == user.split(":")[0]


def test_every_line_that_it_prints_is_json(served: Container) -> None:
    lines = [json.loads(line) for line in served.logs().splitlines()]
    assert lines
    assert all({"timestamp", "level", "event"} <= set(line) for line in lines)


def test_its_first_process_is_the_supervisor_which_leaves_no_zombie(served: Container) -> None:
    assert "service.process.supervisor" in served.execute("cat", "/proc/1/cmdline")
    orphan = served.execute("bash", "-c", "sleep 0.2 >/dev/null 2>&1 & echo $!")
    # A zombie keeps its place there. Others may be one for a moment, as a health check that ends.
    gone = f"test -e /proc/{orphan} || echo gone"
    wait_until(lambda: served.execute("bash", "-c", gone) == "gone")
    states = "cat /proc/[0-9]*/stat 2>/dev/null | cut -d ' ' -f 3"
    wait_until(lambda: "Z" not in served.execute("bash", "-c", states).split())


def test_no_start_compiles_what_the_image_could_have_compiled(image: str) -> None:
    with docker.container(image, "--env=PYTHONVERBOSE=1") as running:
        assert running.get("/health").status_code == 200
        lines = running.logs().splitlines()
    read = [line for line in lines if line.startswith("# code object from ")]
    assert any("/asyncio/" in line for line in read)
    assert [line for line in read if line.endswith(".py")] == []


def test_it_becomes_healthy(image: str) -> None:
    with docker.container(image, *HARDENED, "--health-interval=1s") as running:
        wait_until(lambda: running.state("Health.Status") == "healthy")


@pytest.mark.parametrize("module", ["pandas", "sklearn", "skl2onnx", "dvc", "pip", "pytest", "uv"])
def test_it_has_no_package_that_serving_does_not_need(served: Container, module: str) -> None:
    search = f"import importlib.util as u; print(u.find_spec({module!r}))"
    assert served.execute("python", "-c", search) == "None"


@pytest.mark.parametrize("tool", ["gcc", "cc", "make", "git", "pip", "pip3", "uv", "dvc", "curl"])
def test_it_has_no_tool_to_build_or_fetch_with(served: Container, tool: str) -> None:
    search = f"import shutil; print(shutil.which({tool!r}))"
    assert served.execute("python", "-c", search) == "None"


def test_every_file_on_top_of_the_base_is_meant_to_be_there(project: Project, image: str) -> None:
    names = [name for layer in layers(image)[len(layers(base(project))) :] for name in layer]
    assert len(names) > 1000
    assert [name for name in names if not OURS.fullmatch(name)] == []
    ours = [name for name in names if not name.startswith("app/.venv/")]
    assert [name for name in ours if NEVER.search(name)] == []
    modules = {
        name.removeprefix(f"{BENTO}/src/")
        for name in names
        if name.endswith((".py", ".html", ".css", ".js"))
    }
    shipped = yaml.safe_load((project.root / "bentofile.yaml").read_text())["include"]
    paths = [path for glob in shipped for path in project.root.glob(glob.lstrip("/"))]
    wanted = {str(path.relative_to(project.root)) for path in paths}
    wanted = {name for name in wanted if name.startswith(("cairn/", "service/", "stages/"))}
    assert {name for name in modules if not name.startswith("app/")} == wanted


def test_all_code_is_compiled(served: Container) -> None:
    code = (
        "import pathlib, sys, sysconfig; "
        "roots = ['/home/bentoml/bento/src', '/app/.venv/lib']; "
        "files = [p for r in roots for p in pathlib.Path(r).rglob('*.py')]; "
        "cached = [p for p in files if list((p.parent / '__pycache__').glob(p.stem + '.*.pyc'))]; "
        "print(len(files) - len(cached), len(files))"
    )
    missing, files = map(int, served.execute("python", "-c", code).split())
    assert files > 1000
    assert missing <= 2  # two modules of packages that are no Python 3 on purpose


def test_it_is_at_most_170_mib_on_top_of_its_base(project: Project, image: str) -> None:
    assert size(image) - size(base(project)) <= 170 * MIB


def test_inspect_is_enough_to_find_the_commit_and_the_hashes_of_dvc_lock(
    project: Project, image: str
) -> None:
    labels = json.loads(docker.docker("inspect", "--format", "{{json .Config.Labels}}", image))
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())
    outs = [out for stage in lock["stages"].values() for out in stage["outs"]]
    assert {f"cairn.dvc.{out['path']}": out["md5"] for out in outs}.items() <= labels.items()
    model = model_sha256(project)
    assert labels["cairn.model.sha256"] == model
    assert labels["org.opencontainers.image.revision"] == project.git("rev-parse", "HEAD")
    assert labels["org.opencontainers.image.version"] == image.partition(":")[2]
    created = project.git("log", "-1", "--format=%cI")
    assert labels["org.opencontainers.image.created"] == created


def test_another_model_is_a_small_push(image: str, other: Project) -> None:
    mine, its = digests(image), digests(version(other))
    shared = [one for one, two in zip(mine, its, strict=True) if one == two]
    assert mine[: len(shared)] == shared
    changed = layers(version(other))[len(shared) :]
    names = {name for layer in changed for name in layer}
    assert not [name for name in names if name.startswith(("app/", f"{BENTO}/src/"))]
    assert any(name.endswith("model.onnx") for name in names)


def test_another_model_of_a_mounted_store_is_served(image: str, other: Project) -> None:
    home = Path(other.env["HOME"], "bentoml")
    tag = model_of(other)
    mount = (f"--volume={home}:/models:ro", "--env=BENTOML_HOME=/models", f"--env=MODEL_TAG={tag}")
    with docker.container(image, *HARDENED, "--user=0:0", *mount) as running:
        assert running.get("/health").json()["model_version"] == tag
        [row] = features(other)[:1]
        response = httpx.post(f"{running.url}/predict", json={"features": row}, timeout=PATIENCE)
        assert response.json()["model_version"] == tag
    with docker.started(image, *mount, "--env=MODEL_TAG=cairn:none") as name:
        gone = Container(name, "")
        assert gone.ended() == 1
        assert "MODEL_TAG: no cairn:none in /models/models; models there: " in gone.logs()


def test_another_model_from_s3_is_served_if_its_hash_is_right(
    project: Project, image: str, other: Project
) -> None:
    [export] = (other.root / "build").glob("*.bentomodel")
    sha256 = hashlib.sha256(export.read_bytes()).hexdigest()
    options = [*HARDENED, *bucket(project, export), f"--env=MODEL_URI=s3://cairn/{export.name}"]
    right = docker.hosted(image, free_ports(1), *options, f"--env=MODEL_SHA256={sha256}")
    with right as running:
        docker.await_ready(running)
        assert running.get("/health").json()["model_version"] == model_of(other)
    with docker.hosted(image, free_ports(1), *options, f"--env=MODEL_SHA256={'0' * 64}") as wrong:
        assert wrong.ended() == 1
        assert f"is another file, {sha256}; it was not opened" in wrong.logs()
        assert "ready" not in events(wrong)


def test_sigterm_to_the_first_process_ends_it_cleanly_and_soon(image: str) -> None:
    # Soon: with no request in work it takes nothing of the hour that one would be given.
    with docker.container(image, "--env=GRACEFUL_SECONDS=3600") as running:
        docker.docker("kill", "--signal=TERM", running.name)
        assert running.ended() == 0


def test_twenty_stops_under_load_fail_no_request(image: str) -> None:
    port = free_ports(1)
    with Load(port) as load:
        for _ in range(20):
            with docker.hosted(image, port, *HARDENED, "--env=DRAIN_SECONDS=0.3") as running:
                load.wait_for(200)
                docker.docker("stop", "--time=40", running.name)
                assert running.state("ExitCode") == "0"
    assert load.lost == []
    assert load.statuses == {200}


def test_a_killed_worker_is_replaced_and_the_container_stays(image: str) -> None:
    with docker.container(image, "--env=WORKERS=2") as running:
        await_metric(running, "cairn_worker_starts_total 2.0")
        running.execute("bash", "-c", "kill -9 $(cat /proc/1/task/1/children | cut -d ' ' -f 1)")
        await_metric(running, "cairn_worker_starts_total 3.0")
        assert running.state("Status") == "running"
        assert running.get("/readyz").is_success


def await_metric(running: Container, line: str) -> None:
    wait_until(lambda: line in running.get("/metrics").text.splitlines())


def test_the_command_that_a_build_prints_makes_it(
    project: Project, image: str, command: str
) -> None:
    before = (digests(image), read_config(image))
    output = run_in(project, command, str(project.root))
    assert f"docker run --rm -p 3000:3000 {image}" in output
    assert (digests(image), read_config(image)) == before


@pytest.mark.parametrize("folder", ["home", "elsewhere", "root"])
def test_the_command_makes_it_in_any_folder(
    project: Project, image: str, command: str, tmp_path: Path, folder: str
) -> None:
    path = {"home": project.env["HOME"], "elsewhere": str(tmp_path), "root": "/"}[folder]
    again = f"{image}-{folder}"
    run_in(project, f"{command} --image-tag {again}", path)
    try:
        assert (digests(again), read_config(again)) == (digests(image), read_config(image))
    finally:
        docker.docker("rmi", again)


def test_with_buildx_it_has_the_same_files(
    project: Project, image: str, command: str, tmp_path: Path
) -> None:
    folder = provide_buildx(tmp_path)
    again = f"{image}-buildx"
    line = f"{command} --image-tag {again}"
    output = run_in(project, line, str(tmp_path), DOCKER_CONFIG=str(folder))
    assert "exporting to image" in output  # as BuildKit says
    check_same(again, image)


def check_same(again: str, image: str) -> None:
    """Hold an image to the one that the others are held to, and remove it."""
    try:
        assert tree(again) == tree(image)
        assert read_config(again) == read_config(image)
    finally:
        docker.docker("rmi", again)


def test_built_again_it_has_the_same_files(
    project: Project, image: str, command: str, tmp_path: Path
) -> None:
    """Docker's own builder gives layers the time that it is; what is in them is the same."""
    again = f"{image}-again"  # the layers of the image itself are those that others are held to
    line = f"{command} --image-tag {again} --opt no-cache"
    run_in(project, line, str(tmp_path), DOCKER_BUILDKIT="0")
    check_same(again, image)


def test_buildah_makes_it_too_and_twice_the_same(
    project: Project, image: str, command: str, tmp_path: Path
) -> None:
    tool("buildah", "buildah")
    archive = tmp_path / "base.tar"
    docker.docker("save", "--output", str(archive), base(project))
    run("buildah", "pull", "--quiet", f"docker-archive:{archive}")
    name = f"localhost/{image}"
    ids = []
    for folder in (project.root, tmp_path):
        run_in(project, f"{command} --backend buildah", str(folder))
        ids.append(run("buildah", "images", "--quiet", "--no-trunc", name))
        shown = json.loads(run("buildah", "inspect", "--type", "image", name))["OCIv1"]["config"]
        assert shown["Labels"].items() >= read_config(image)["Labels"].items()
        assert shown["User"] == read_config(image)["User"]
        run("buildah", "rmi", name)
    assert ids[0] == ids[1] != ""


@pytest.mark.parametrize(
    ("options", "variables", "hint"),
    [
        ("", {"DOCKER_HOST": "unix:///nowhere"}, "no Docker engine answers; start one"),
        ("--backend podman", {"PATH": ""}, "no podman here; install it"),
    ],
)
def test_without_a_builder_there_is_one_line_that_says_what_to_do(
    project: Project, command: str, options: str, variables: dict[str, str], hint: str
) -> None:
    bentoml = Path(sys.executable).with_name("bentoml")
    words = [str(bentoml), *command.split()[1:], *options.split()]
    result = project.run(*words, check=False, **variables)
    assert result.returncode == 1
    assert hint in result.stderr
    assert "Traceback" not in result.stderr


def run_in(project: Project, command: str, folder: str, **variables: str) -> str:
    """Run a command in a folder, as a user who has set nothing for builders; return its output."""
    settings = {"DOCKER_CONFIG": docker.config(), **variables}
    words = (f"{name}={value}" for name, value in settings.items())
    unset = ("--unset=DOCKER_BUILDKIT", "--unset=BUILDAH_ISOLATION", "--unset=SOURCE_DATE_EPOCH")
    result = project.run("env", *unset, *words, f"--chdir={folder}", *command.split())
    return result.stdout + result.stderr


# Docker's client calls BuildKit through this plug-in; an older client has BuildKit itself.
BUILDX = """#!/bin/sh
case "$1 $2" in
docker-cli-plugin-metadata*) echo '{{"SchemaVersion": "0.1.0", "Vendor": "test"}}' ;;
"buildx version") echo 0 ;;
"buildx build") shift; exec {docker} "$@" ;;
*) exit 1 ;;
esac
"""


def provide_buildx(tmp_path: Path) -> Path:
    """The folder of the client's settings with which it has buildx: this user's, or a new one."""
    if subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode:
        plugin = tmp_path / "docker" / "cli-plugins" / "docker-buildx"
        plugin.parent.mkdir(parents=True)
        plugin.write_text(BUILDX.format(docker=find_old_client()))
        plugin.chmod(0o755)
        return tmp_path / "docker"
    return Path(docker.config())


def find_old_client() -> str:
    """A Docker client of a version before 23."""
    paths = (Path(folder, "docker") for folder in os.environ["PATH"].split(os.pathsep))
    for path in filter(Path.is_file, paths):
        version = re.search(r"version (\d+)", run(str(path), "--version"))
        if version and int(version[1]) < 23:
            return str(path)
    missing("no buildx here, nor a Docker client before 23, which has BuildKit itself")


def read_config(image: str) -> dict[str, Any]:
    """What an image says of how it runs, and its labels."""
    shown = json.loads(docker.docker("inspect", "--format", "{{json .Config}}", image))
    names = ("User", "Env", "Entrypoint", "WorkingDir", "ExposedPorts", "Healthcheck", "Labels")
    return {name: shown[name] for name in names}


def run(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=300)
    return done.stdout.strip()


def base(project: Project) -> str:
    """Name of the base image."""
    return str(
        yaml.safe_load((project.root / "bentofile.yaml").read_text())["docker"]["base_image"]
    )


def version(project: Project) -> str:
    return project.run("python", "-m", "service.bento.version").stdout.strip()


def model_of(project: Project) -> str:
    return project.run("python", "-m", "service.bento.store").stdout.strip()


def model_sha256(project: Project) -> str:
    """SHA-256 of the model that a project serves, as its store has it."""
    shown = project.run("bentoml", "models", "get", model_of(project), "--output", "json").stdout
    return str(json.loads(shown)["metadata"]["sha256"])


def size(image: str) -> int:
    return int(docker.docker("inspect", "--format", "{{.Size}}", image))


def digests(image: str) -> list[str]:
    """Digests of an image's layers, the lowest first."""
    listed = docker.docker("inspect", "--format", "{{json .RootFS.Layers}}", image)
    return [str(digest) for digest in json.loads(listed)]


def layers(image: str) -> list[list[str]]:
    """The names in each layer of an image, the lowest first."""
    saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest
        return [
            tarfile.open(fileobj=archive.extractfile(name)).getnames()
            for name in json.load(manifest)[0]["Layers"]
        ]


def tree(image: str) -> dict[str, tuple[Any, ...]]:
    """Every file of an image: kind, mode, owner, and what is in it."""
    name = docker.docker("create", image)
    try:
        exported = subprocess.run(["docker", "export", name], check=True, capture_output=True)
    finally:
        docker.docker("rm", name)
    with tarfile.open(fileobj=io.BytesIO(exported.stdout)) as archive:
        return {one.name: described(archive, one) for one in archive}


def described(archive: tarfile.TarFile, one: tarfile.TarInfo) -> tuple[Any, ...]:
    file = archive.extractfile(one) if one.isreg() else None
    content = hashlib.sha256(file.read()).hexdigest() if file else one.linkname
    return one.type, one.mode, one.uid, one.gid, content


def bucket(project: Project, export: Path) -> list[str]:
    """Put a file into the project's bucket; the options by which a container reaches it."""
    variables = project.s3()
    request = (
        "import sys, obstore; from obstore.store import S3Store; "
        "store = S3Store('cairn', client_options={'allow_http': True}); "
        "obstore.put(store, sys.argv[1].rpartition('/')[2], open(sys.argv[1], 'rb').read())"
    )
    project.run("python", "-c", request, str(export), check=True, **variables)
    return [f"--env={name}={value}" for name, value in variables.items()]


def events(running: Container) -> set[str]:
    """The events in a container's log."""
    lines = (line for line in running.logs().splitlines() if line.startswith("{"))
    return {json.loads(line)["event"] for line in lines}


def features(project: Project) -> list[list[float]]:
    """Rows of the test split, the class code behind them left out."""
    table = pq.read_table(project.root / "data/features/test.parquet")
    columns = table.drop_columns(table.schema.names[-1]).to_pydict().values()
    return [list(row) for row in zip(*columns, strict=True)]


def answers(client: httpx.Client, rows: list[list[float]]) -> list[str]:
    """What /predict says to each row by itself and to all at once, but for the request's id."""
    bodies = [*(answer(client, row) for row in rows), answer(client, rows)]
    assert all(body.pop("request_id") for body in bodies)
    return [json.dumps(body) for body in bodies]


def answer(client: httpx.Client, features: list[Any]) -> dict[str, Any]:
    response = client.post("/predict", json={"features": features})
    assert response.is_success, response.text
    return dict(response.json())
