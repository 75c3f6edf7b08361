"""The Prometheus files: checked by promtool, unit-tested by it, and run by a real Prometheus."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import ROOT, Project
from tests.ports import PATIENCE, free_ports, wait_until
from tests.serving import MALIGNANT, served
from tests.tools import tool

pytestmark = pytest.mark.real

FOLDER = ROOT / "deploy" / "prometheus"
CONFIG = FOLDER / "prometheus.yml"
RULES = FOLDER / "rules.yml"
UNIT_TESTS = FOLDER / "rules_test.yml"
METRIC = re.compile(r"\bcairn_[a-z_]+")
KEY = "a-key-for-this-test"
UP = 'up{job="cairn"}'


def promtool(*words: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("promtool", "prometheus"), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """The rules of a kind, `alert` or `record`, by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    matches = [rule for group in groups for rule in group["rules"] if kind in rule]
    assert len({rule[kind] for rule in matches}) == len(matches)
    return {rule[kind]: rule for rule in matches}


def metrics_of_rules() -> set[str]:
    """The metrics of the service that the rules take; a name with a colon is a record's."""
    expressions = [rule["expr"] for kind in ("alert", "record") for rule in rules(kind).values()]
    records = rules("record")
    words = {word for text in expressions for word in re.findall(r"[a-zA-Z0-9_:]+", text)}
    assert {word for word in words if re.search("[a-z]:[a-z]", word)} == set(records)
    return {word for word in words - set(records) if METRIC.fullmatch(word)}


def metrics_of_texts() -> set[str]:
    """The metrics of the service that the texts of the alerts name."""
    texts = [text for rule in rules("alert").values() for text in rule["annotations"].values()]
    return set(METRIC.findall(" ".join(texts)))


def test_promtool_accepts_the_configuration() -> None:
    done = promtool("check", "config", "--lint=all", "--lint-fatal", CONFIG.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules('alert') | rules('record'))} rules found" in done.stdout


def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES.name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_tests_of_the_rules_pass() -> None:
    done = promtool("test", "rules", UNIT_TESTS.name)
    assert done.returncode == 0, done.stdout + done.stderr


def outcomes(alert: str) -> set[bool]:
    """Whether the unit tests see an alert fire, and whether they see it not fire."""
    tests = yaml.safe_load(UNIT_TESTS.read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    return {bool(case["exp_alerts"]) for case in cases if case["alertname"] == alert}


@pytest.mark.parametrize("alert", rules("alert"))
def test_each_alert_is_seen_to_fire_and_not_to_fire(alert: str) -> None:
    assert outcomes(alert) == {True, False}


@pytest.mark.parametrize("alert", rules("alert"))
def test_an_alert_that_always_or_never_fires_fails_its_unit_tests(
    alert: str, tmp_path: Path
) -> None:
    """Else the unit tests would pass whatever the rule says."""
    for wrong in ("vector(1)", "vector(1) > 1"):
        content = yaml.safe_load(RULES.read_text())
        [rule] = [r for g in content["groups"] for r in g["rules"] if r.get("alert") == alert]
        rule["expr"] = wrong
        (tmp_path / RULES.name).write_text(yaml.safe_dump(content))
        shutil.copy(UNIT_TESTS, tmp_path)
        done = promtool("test", "rules", UNIT_TESTS.name, folder=tmp_path)
        assert done.returncode == 1
        assert alert in done.stdout + done.stderr


@pytest.mark.parametrize("alert", rules("alert"))
def test_each_alert_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    rule = rules("alert")[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description"}


@pytest.mark.slow
def test_the_service_has_every_metric_that_the_rules_name(project: Project) -> None:
    with served(project) as client:
        predict(client, 200, 1)
        predict(client, 422, 1)
        text = client.get("/metrics").raise_for_status().text
    there = set(METRIC.findall("\n".join(line.split("{")[0] for line in text.splitlines())))
    assert metrics_of_rules() | metrics_of_texts() <= there
    # What the rules select and group by, where no other test here would miss it.
    for sample in (
        'cairn_column_drift_psi{column="',
        'cairn_model_info{model_version="',
        'cairn_request_duration_seconds_bucket{le="0.25"',
    ):
        name, label = sample.split("{")
        assert re.search(rf"^{name}{{(.*,)?{re.escape(label)}", text, re.MULTILINE), sample


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", KEY], ids=["open", "key"])
def test_a_prometheus_scrapes_the_service_and_sees_it_go(
    project: Project, tmp_path: Path, key: str
) -> None:
    locked = {"API_KEYS": key, "METRICS_OPEN": "false"} if key else {}
    with ExitStack() as service:
        client = service.enter_context(served(replace(project, env={**project.env, **locked})))
        client.headers["x-api-key"] = key
        with prometheus(tmp_path, client.base_url.port, key) as server:
            wait_until(lambda: values(server, UP, "job") == {"cairn": 1.0})
            check_counts(server, client)
            check_rules(server, client)
            service.close()
            down = 'ALERTS{alertname="CairnTargetDown",alertstate="pending"}'
            wait_until(lambda: values(server, down, "severity") == {"critical": 1.0})


@pytest.mark.slow
def test_a_prometheus_without_a_key_sees_a_locked_service_as_down(
    project: Project, tmp_path: Path
) -> None:
    env = {**project.env, "API_KEYS": KEY, "METRICS_OPEN": "false"}
    with served(replace(project, env=env)) as client:  # noqa: SIM117
        with prometheus(tmp_path, client.base_url.port) as server:
            wait_until(lambda: values(server, UP, "job") == {"cairn": 0.0})


def check_counts(server: str, client: httpx.Client) -> None:
    """The requests arrive with their numbers, under the labels that the rules select."""
    predict(client, 200, 7)
    predict(client, 422, 2)
    query = 'sum by (status) (cairn_requests_total{job="cairn",route="/predict"} > 0)'
    wait_until(lambda: values(server, query, "status") == {"200": 7.0, "422": 2.0})


def check_rules(server: str, client: httpx.Client) -> None:
    """Every rule is evaluated without an error, the records come, and nothing is wrong."""

    def latency_comes() -> bool:
        predict(client, 200, 1)  # a rate is what changes between two scrapes
        query = "job:cairn_predict_duration_seconds:p99_5m"
        return 0 < values(server, query, "job").get("cairn", 0.0) < 30

    wait_until(latency_comes)
    wait_until(lambda: "unknown" not in health(server).values())  # until its first evaluation
    assert health(server) == dict.fromkeys([*rules("record"), *rules("alert")], "ok")
    # When Prometheus starts no target is there, for a moment.
    alerts = 'ALERTS{alertstate="firing"} or ALERTS{severity="critical"}'
    wait_until(lambda: not values(server, alerts, "alertname"))


def predict(client: httpx.Client, status: int, times: int) -> None:
    """Send requests that are answered with this status, 200 or 422."""
    row = MALIGNANT if status == 200 else MALIGNANT[1:]
    for _ in range(times):
        assert client.post("/predict", json={"features": row}).status_code == status


def configured(folder: Path, port: int, key: str) -> Path:
    """Our configuration, for a service on another port, and faster, with a key if there is one."""
    text = CONFIG.read_text()
    if key:
        marked = re.compile(r"^(    )# (authorization:|  type:|  credentials_file:)", re.MULTILINE)
        text, marks = marked.subn(r"\1\2", text)
        assert marks == 3
    config = yaml.safe_load(text)
    config["global"] = dict.fromkeys(config["global"], "1s")
    [job] = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["localhost:3000"]}]
    job["static_configs"] = [{"targets": [f"localhost:{port}"]}]
    if key:
        file = folder / "cairn.key"
        file.write_text(f"{key}\n")
        job["authorization"]["credentials_file"] = str(file)
    shutil.copy(RULES, folder)
    (folder / CONFIG.name).write_text(yaml.safe_dump(config))
    return folder / CONFIG.name


@contextmanager
def prometheus(folder: Path, port: int | None, key: str = "") -> Iterator[str]:
    """Run a Prometheus on our files until the block ends; yields its address, once it is ready."""
    assert port
    own = free_ports(1)
    command = [
        tool("prometheus", "prometheus"),
        f"--config.file={configured(folder, port, key)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{own}",
    ]
    log = folder / "prometheus.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file)
    try:
        wait_until(lambda: process.poll() is not None or answers(own))
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{own}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    """Whether a Prometheus on this port is ready."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/ready").is_success
    except httpx.TransportError:
        return False


def api(server: str, path: str, **params: str) -> Any:
    answer = httpx.get(f"{server}/api/v1/{path}", params=params, timeout=PATIENCE)
    content = answer.raise_for_status().json()
    assert content["status"] == "success"
    return content["data"]


def values(server: str, query: str, label: str) -> dict[str, float]:
    """What a query gives now: one value for each value of a label."""
    result = api(server, "query", query=query)["result"]
    return {series["metric"].get(label, ""): float(series["value"][1]) for series in result}


def health(server: str) -> dict[str, str]:
    """Each rule with how its last evaluation went: ok, err, or unknown before there was one."""
    groups = api(server, "rules")["groups"]
    return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
