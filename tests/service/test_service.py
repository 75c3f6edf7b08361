from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Project, copy
from tests.ports import free_ports, wait_until
from tests.serving import MALIGNANT, log_of, served

BODY = {"features": MALIGNANT}
KEY = "right-0123456789abcdef"


def configure(project: Project, **settings: str) -> Project:
    """The project with these settings of the service."""
    return replace(project, env={**project.env, **settings})


@pytest.mark.slow
def test_every_line_that_it_prints_is_json(project: Project) -> None:
    with served(project) as client:
        client.post("/predict", json=BODY, headers={"X-Request-ID": "mine"})
        client.get("/nothing")
    text = log_of(project, client.base_url.port or 0).read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"timestamp", "level", "event"} <= set(line) for line in lines)
    assert [line["event"] for line in lines] == ["ready", "request", "request", "stopped"]
    assert [line.get("request_id") == "mine" for line in lines] == [False, True, False, False]
    assert {line["level"] for line in lines} == {"info", "warning"}


@pytest.mark.slow
def test_one_scrape_says_it_of_all_workers(project: Project) -> None:
    with served(configure(project, WORKERS="2")) as client:
        wait_until(lambda: samples(client)["cairn_workers"] == 2)
        single = {"Connection": "close"}
        for _ in range(60):  # each on a connection of its own, which either worker takes
            assert client.post("/predict", json=BODY, headers=single).is_success
        wait_until(lambda: samples(client)["cairn_rows_total"] == 60)
        actual = samples(client)
        assert actual["cairn_predictions_total0"] == 60
        assert actual["cairn_worker_starts_total"] == 2


def samples(client: httpx.Client) -> dict[str, float]:
    """Every sample of a scrape: its name and its labels, one after the other."""
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


@pytest.mark.slow
def test_a_wrong_setting_ends_the_start_with_one_line(project: Project) -> None:
    done = configure(project, MAX_ROWS="many").run("bentoml", "serve", check=False)
    assert done.returncode != 0
    assert (
        "error: MAX_ROWS: got 'many'; allowed: a whole number, at least 1, at most 1,000,000"
        in done.stderr
    )
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.slow
def test_keys_and_limits_hold_in_the_real_service(project: Project) -> None:
    with served(configure(project, API_KEYS=f"alice:{KEY}", MAX_ROWS="2")) as client:
        assert client.post("/predict", json=BODY).status_code == 401
        key = {"Authorization": f"Bearer {KEY}"}
        assert client.post("/predict", json=BODY, headers=key).status_code == 200
        many = client.post("/predict", json={"features": [MALIGNANT] * 3}, headers=key)
        assert many.status_code == 413
        assert KEY not in client.get("/metrics").text
    log = log_of(project, client.base_url.port or 0).read_text()
    assert KEY not in log
    requests = [line for line in map(json.loads, log.splitlines()) if line["event"] == "request"]
    assert [line.get("key") for line in requests] == [None, "alice", "alice"]
    assert {line["client"] for line in requests} == {"127.0.0.1"}


@pytest.mark.slow
def test_another_engineering_than_the_model_s_ends_the_start(
    complete: Project, tmp_path: Path
) -> None:
    other = copy(complete, tmp_path)
    with (other.root / "stages" / "engineering.py").open("a") as file:
        file.write("# changed\n")
    port = str(free_ports(1))
    done = other.run("bentoml", "serve", "--host", "127.0.0.1", "--port", port, check=False)
    assert done.returncode != 0
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    (failure,) = [event for event in events if event.startswith("the model cannot be loaded: ")]
    assert failure.endswith(
        "contract.json: the model was trained with another stages/engineering.py; "
        "use the code of its commit"
    )
    assert len(failure.splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr
