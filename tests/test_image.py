from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests import docker, serving
from tests.docker import Container

if TYPE_CHECKING:
    from tests.conftest import Project

pytestmark = pytest.mark.slow

HARDENED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--user=12345:0",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)


@pytest.fixture(scope="module")
def image(project: Project) -> str:
    docker.require()
    return docker.build(project)


@pytest.fixture(scope="module")
def served(image: str) -> Iterator[Container]:
    with docker.container(image) as running:
        yield running


def test_it_predicts_bit_for_bit_what_the_service_outside_does(
    project: Project, served: Container
) -> None:
    rows = features(project)
    with serving.served(project) as outside, httpx.Client(base_url=served.url) as inside:
        assert answers(inside, rows) == answers(outside, rows)


def test_it_serves_the_model_that_the_bento_was_built_with(
    project: Project, image: str, served: Container
) -> None:
    packed = json.loads(project.run("bentoml", "get", image, "--output", "json").stdout)
    [model] = packed["services"][0]["models"]
    assert httpx.get(f"{served.url}/health").json()["model_version"] == model["tag"]


def test_it_runs_as_a_numbered_user_who_is_not_root(image: str, served: Container) -> None:
    user = docker.docker("inspect", "--format", "{{.Config.User}}", image)
    assert user.split(":")[0].isdecimal()
    assert served.execute("id", "-u") == user.split(":")[0] != "0"


@pytest.mark.parametrize("module", ["pandas", "sklearn", "skl2onnx", "dvc", "pip", "pytest"])
def test_it_has_no_package_that_serving_does_not_need(served: Container, module: str) -> None:
    search = f"import importlib.util as u; print(u.find_spec({module!r}))"
    assert served.execute("python", "-c", search) == "None"


@pytest.mark.parametrize("tool", ["gcc", "cc", "make", "git", "pip", "pip3", "uv", "dvc"])
def test_it_has_no_tool_to_build_or_fetch_with(served: Container, tool: str) -> None:
    search = f"import shutil; print(shutil.which({tool!r}))"
    assert served.execute("python", "-c", search) == "None"


def test_it_has_nothing_of_the_project_but_what_it_imports(served: Container) -> None:
    found = served.execute("find", "/home/bentoml/bento/src", "-name", "*.py").split()
    modules = {path.removeprefix("/home/bentoml/bento/src/").split("/")[0] for path in found}
    assert modules == {"service", "stages"}
    assert not [path for path in found if path.endswith("train.py")]


def test_sigterm_to_the_first_process_ends_it_cleanly_and_soon(image: str) -> None:
    with docker.container(image) as running:
        start = time.monotonic()
        docker.docker("kill", "--signal=TERM", running.name)
        assert docker.docker("wait", running.name, timeout=30) == "0"
        assert time.monotonic() - start < 10


def test_it_runs_hardened_as_any_user(project: Project, image: str) -> None:
    [row] = features(project)[:1]
    with docker.container(image, *HARDENED) as running:
        assert running.execute("id", "-u") == "12345"
        assert httpx.post(f"{running.url}/predict", json={"features": row}).is_success


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
