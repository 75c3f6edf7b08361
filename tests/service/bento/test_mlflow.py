"""Versions that a real MLflow server names, and the service that serves them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest
from mlflow import MlflowClient

from cairn import provenance
from cairn.errors import CairnError
from cairn.paths import MODEL
from service.bento import mlflow
from service.bento.mlflow import Version
from service.bento.store import ServedModel
from service.bento.store import choose_model as choose
from service.process import run_folder
from service.process.settings import Settings
from tests import entries, mlflow_server
from tests.conftest import Project
from tests.ports import free_ports, wait_until
from tests.service import complete as whole
from tests.serving import served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec"),
]
FIRST, SECOND = ({"bentoml_tag": f"small:{name}", "sha256": name * 16} for name in ("feed", "cafe"))
NOBODY = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server.started(tmp_path_factory.mktemp("mlflow")) as uri:
        versions(uri, "small", FIRST, SECOND, {}, {"bentoml_tag": "../x:y", "sha256": "a"})
        MlflowClient(uri).set_registered_model_alias("small", "champion", "1")
        yield uri


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (run_folder.RUN, *NOBODY):
        monkeypatch.delenv(name, raising=False)


def versions(uri: str, name: str, *tags: dict[str, str]) -> None:
    """Register versions with such tags, in that order."""
    client = MlflowClient(uri)
    client.create_registered_model(name)
    logged = client.create_run("0").info
    for each in tags:
        client.create_model_version(name, f"{logged.artifact_uri}/model", logged.run_id, each)


@pytest.mark.real
def test_a_version_is_named_by_its_number_or_by_an_alias(server: str) -> None:
    second = Version("2", "small:cafe", "cafe" * 16)
    assert mlflow.resolve_version("models:/small/2", server) == second
    assert mlflow.resolve_version("models:/small/2", f"{server}/") == second
    first = Version("1", "small:feed", "feed" * 16)
    assert mlflow.resolve_version("models:/small@champion", server) == first


@pytest.mark.real
def test_all_workers_of_a_run_serve_the_version_that_the_first_was_told(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(server)
    client.set_registered_model_alias("small", "moving", "1")
    monkeypatch.setenv(run_folder.RUN, str(tmp_path))
    first = mlflow.resolve_version("models:/small@moving", server)
    client.set_registered_model_alias("small", "moving", "2")
    assert mlflow.resolve_version("models:/small@moving", server) == first
    monkeypatch.delenv(run_folder.RUN)
    assert mlflow.resolve_version("models:/small@moving", server).number == "2"


@pytest.mark.real
@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/small/9", r"version=9\) not found; newest versions: 4, 3, 2, 1; aliases: .*cha"),
        ("models:/small@none", "alias none not found; newest versions: 4, 3, 2, 1; aliases: .*cha"),
        ("models:/none@champion", "name=none not found; it has no versions of none$"),
    ],
)
def test_what_mlflow_does_not_have_is_reported_with_what_it_has(
    server: str, uri: str, message: str
) -> None:
    expected = f"^MODEL_URI: {uri}: MLFLOW_TRACKING_URI: {server}: .*{message}"
    with pytest.raises(CairnError, match=expected):
        mlflow.resolve_version(uri, server)


@pytest.mark.real
@pytest.mark.parametrize("number", ["3", "4"])
def test_a_version_that_names_no_model_of_ours_is_reported(server: str, number: str) -> None:
    with pytest.raises(CairnError, match=f"version {number} lacks the tags bentoml_tag and sha256"):
        mlflow.resolve_version(f"models:/small/{number}", server)


def test_a_server_that_is_not_there_is_reported_without_its_password() -> None:
    address = f"127.0.0.1:{free_ports(1)}"
    with pytest.raises(
        CairnError, match=f"MLFLOW_TRACKING_URI: http://{address}: .*refused"
    ) as error:
        mlflow.resolve_version("models:/small/1", f"http://user:secret@{address}")
    assert "secret" not in str(error.value)


class Guard(BaseHTTPRequestHandler):
    """Plays the proxy that asks who comes, which `mlflow server` alone does not."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] in {"Basic dXNlcjpzZWNyZXQ=", "Bearer secret"}
        tags = b'[{"key": "bentoml_tag", "value": "a:b"}, {"key": "sha256", "value": "c"}]'
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(b'{"model_version": {"version": "1", "tags": ' + tags + b"}}")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Page(Guard):
    """No MLflow server."""

    def do_GET(self) -> None:
        self.send_response(200 if "version" in self.path else 404)
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")


@contextmanager
def answering(handler: type[Guard]) -> Iterator[str]:
    """The address of a server on loopback, without http://, until the block ends."""
    with HTTPServer(("127.0.0.1", 0), handler) as own:
        thread = Thread(target=own.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{own.server_port}"
        finally:
            own.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("user", "variables"),
    [
        ("", {"MLFLOW_TRACKING_USERNAME": "user", "MLFLOW_TRACKING_PASSWORD": "secret"}),
        ("", {"MLFLOW_TRACKING_TOKEN": "secret"}),
        ("user:secret@", {}),
        ("user:secret@", {"MLFLOW_TRACKING_USERNAME": "half"}),
    ],
)
def test_it_says_who_asks_as_mlflows_own_client_does(
    monkeypatch: pytest.MonkeyPatch, user: str, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with answering(Guard) as address:
        assert mlflow.resolve_version("models:/a/1", f"http://{user}{address}") == Version(
            "1", "a:b", "c"
        )


def test_who_is_not_known_is_told_what_to_set() -> None:
    with (
        answering(Guard) as address,
        pytest.raises(CairnError, match=r": it answers 401; set MLFLOW_TRACKING_USERNAME and "),
    ):
        mlflow.resolve_version("models:/a/1", f"http://{address}")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/a/1", "the server there is no MLflow server"),
        ("models:/a@b", "it answers 404 Not Found; is it an MLflow server"),
    ],
)
def test_another_server_is_reported(uri: str, message: str) -> None:
    with (
        answering(Page) as address,
        pytest.raises(CairnError, match=f"http://{address}: {message}"),
    ):
        mlflow.resolve_version(uri, f"http://{address}")


@pytest.fixture(scope="module")
def ready(server: str, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A service whose store has two models, both in MLflow, with a third that the store lacks."""
    served_project = whole.project(tmp_path_factory.mktemp("ready"))
    tag = served_project.run("python", "-m", "service.bento.store").stdout.strip()
    name, _, number = tag.partition(":")
    models = Path(served_project.env["HOME"], "bentoml", "models")
    other = entries.make_other(models / name / number).name
    ours = {tag: provenance.hash_entry(served_project.root / MODEL)}
    ours[f"{name}:{other}"] = provenance.hash_entry(models / name / other)
    ours[f"{name}:gone"] = ours[tag]
    versions(
        server, "served", *({"bentoml_tag": tag, "sha256": sha256} for tag, sha256 in ours.items())
    )
    served_project.env["MLFLOW_TRACKING_URI"] = server
    served_project.env["MODEL_URI"] = "models:/served@champion"
    return served_project


def chosen(project: Project, server: str, number: int) -> ServedModel:
    """What the service takes for that version."""
    error = Settings(model_uri=f"models:/served/{number}", mlflow_tracking_uri=server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(Path(project.env["HOME"], "bentoml")))
        unused: Any = SimpleNamespace()
        return choose(error, unused)


@pytest.mark.real
def test_a_model_that_the_store_lacks_is_reported_with_what_brings_it(
    ready: Project, server: str
) -> None:
    assert chosen(ready, server, 2).tag not in {chosen(ready, server, 1).tag, ""}
    name = r"[\w.-]+"
    expected = (
        f"^MODEL_URI: models:/served/3 is {name}:gone, version 3 in MLflow: no {name}:gone in "
    )
    with pytest.raises(CairnError, match=expected) as error:
        chosen(ready, server, 3)
    assert "run `make register` at the commit whose dvc.lock names it" in str(error.value)


@pytest.mark.real
@pytest.mark.parametrize("damage", [b"other", None])
def test_a_damaged_model_of_the_store_is_not_served(
    ready: Project, server: str, damage: bytes | None
) -> None:
    graph = chosen(ready, server, 2).folder / "model.onnx"
    original = graph.read_bytes()
    try:
        graph.write_bytes(damage) if damage else graph.unlink()
        with pytest.raises(
            CairnError, match=r"is damaged: .*delete it .`bentoml models delete .*`"
        ):
            chosen(ready, server, 2)
    finally:
        graph.write_bytes(original)


def read_version(client: httpx.Client) -> str:
    """The model that answers by now."""
    return str(client.post("/predict", json=whole.ROW).json()["model_version"])


def workers() -> set[int]:
    """The process ids of the workers of the service that this process has started."""
    [above] = [
        process
        for process in psutil.Process().children()
        if "service.process.supervisor" in process.cmdline()
    ]
    return {process.pid for process in above.children()}


@pytest.mark.real
def test_the_service_serves_what_an_alias_names_until_it_is_started_anew(
    ready: Project, server: str
) -> None:
    client = MlflowClient(server)
    client.set_registered_model_alias("served", "champion", "1")
    with served(ready) as http:
        first = read_version(http)
        client.set_registered_model_alias("served", "champion", "2")
        [worker] = workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: bool(workers() - {worker}))
        wait_until(lambda: healthy(http))
        assert read_version(http) == first
    with served(ready) as http:
        assert read_version(http) == chosen(ready, server, 2).tag != first


def healthy(http: httpx.Client) -> bool:
    """Whether the new worker answers."""
    try:
        return http.get("/readyz", timeout=5).is_success
    except httpx.TransportError:
        time.sleep(0.1)
        return False
