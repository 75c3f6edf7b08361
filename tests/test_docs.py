"""The documentation says what is so."""

from __future__ import annotations

import doctest
import json
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bench import science
from cairn.modeling import candidates, estimators
from cairn.params.file import Params
from cairn.tables import contract_file
from docs import generate
from service.http.routes import ROUTES
from service.process.settings import Settings
from service.telemetry.metrics import STATUSES
from tests import small, workers
from tests.conftest import ROOT, Project
from tests.pages import PAGES, blocks, commands, table
from tests.serving import MALIGNANT, shared
from tests.test_make import MAKEFILE

EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("cairn", "stages", "service")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_in_docstrings_are_right(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("name", generate.render_pages())
def test_each_page_of_the_reference_is_what_the_code_says(name: str) -> None:
    """Run `python -m docs.generate` after a change of what it reads."""
    assert (generate.FOLDER / name).read_text(encoding="utf-8") == generate.render_pages()[name]


def test_the_reference_has_every_param() -> None:
    page = PAGES["docs/reference/params.md"]
    params_of_the_file = yaml.safe_load((ROOT / "params.yaml").read_text())
    keys = [f"{block}.{key}" for block, keys in params_of_the_file.items() for key in keys]
    assert [key for key in keys if f"### `{key}`\n" not in page] == []


def test_the_reference_has_every_setting() -> None:
    names = [row[0] for row in table("docs/reference/settings.md", "setting")]
    assert names == [f"`{name.upper()}`" for name in Settings.model_fields]


def test_the_reference_has_every_route() -> None:
    page = PAGES["docs/reference/routes.md"]
    assert all(f"`{route.method} {route.path}`" in page for route in ROUTES)


def test_every_status_is_there() -> None:
    rows = table("docs/api.md", "status")
    statuses = re.findall(r"\d{3}", " ".join(row[0] for row in rows))
    assert set(map(int, statuses)) == set(STATUSES) - {200, 499}  # no client sees the last


def test_the_reference_has_every_metric_of_the_service() -> None:
    text = workers.call("GET", "/metrics", headers=[]).content.decode()
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(text)
    }
    rows = table("docs/reference/metrics.md", "name | type")
    assert {row[0].strip("`") for row in rows} == set(families)
    for name, _, labels, *_ in rows:
        samples = families[name.strip("`")].samples
        used = {label for sample in samples for label in sample.labels} - {"le"}
        assert used == set(labels.split(", ")) - {""}


def test_every_alert_is_there() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    alerts = {
        rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule
    }
    rows = table("docs/monitoring.md", "alert")
    assert set(re.findall(r"`(\w+)`", " ".join(row[0] for row in rows))) == alerts


@pytest.mark.slow
def test_each_request_that_is_shown_gets_the_answer_that_is_shown(project: Project) -> None:
    with shared(project) as client:
        for request, status, shown in table("docs/api.md", "request"):
            method, path, *body = request.strip("`").split(" ", 2)
            content = "".join(body).replace("ROW", json.dumps(MALIGNANT))
            answer = client.request(
                method, path, content=content, headers={"Content-Type": "application/json"}
            )
            text = re.sub(r"cairn:[0-9a-f]{12}", "cairn:MODEL", answer.text)
            text = text.replace(answer.headers["X-Request-ID"], "REQUEST")
            assert (answer.status_code, text) == (int(status), shown.strip("`"))


@pytest.mark.slow
def test_the_model_answers_the_table_in_python_as_shown(project: Project) -> None:
    [code] = blocks("docs/models.md", "python")
    done = project.run(sys.executable, "-c", code.text + "print(model.classes_)")
    *lines, classes = done.stdout.splitlines()
    labels = re.findall(r"\d", " ".join(lines))
    assert classes == "[0 1]"
    table = (project.root / "data/raw/table").read_text().splitlines()
    truth = [line.rpartition(",")[2] for line in table[1:]]
    assert len(labels) == len(truth) == 569
    assert sum(map(str.__eq__, labels, truth)) > 540


def test_every_make_target_exists() -> None:
    pages = "\n".join(PAGES.values())
    named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", pages, re.MULTILINE))
    assert {"run", "test", "verify", "image"} <= named
    targets = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
    assert named - targets <= PLANNED


# Pages name them as what is to come.
PLANNED = {"score"}
# Not in git, and named as what the reader writes.
OWN = {"deploy/ec2/parameters.json"}


def test_every_file_that_is_named_exists() -> None:
    ours = r"`((?:bench|cairn|deploy|docs|service|stages|tests)/[\w./-]*[\w/])`"
    named = {path for page in PAGES.values() for path in re.findall(ours, page)}
    assert len(named) > 20
    assert [path for path in sorted(named - OWN) if not (ROOT / path).exists()] == []


def allowed(example: str) -> Params:
    """params.yaml with the blocks of an example."""
    default = yaml.safe_load((ROOT / "params.yaml").read_text())
    changed = {name: {**default[name], **block} for name, block in yaml.safe_load(example).items()}
    return Params.model_validate({**default, **changed})


def is_of_params(text: str) -> bool:
    """Whether an example in YAML is a part of params.yaml; else it is of something else."""
    return set(yaml.safe_load(text)) <= set(Params.model_fields)


EXAMPLES_OF_PARAMS = [
    pytest.param(block.text, id=f"{page}-{index}")
    for page in PAGES
    for index, block in enumerate(blocks(page, "yaml"))
    if is_of_params(block.text)
]


@pytest.mark.parametrize("example", EXAMPLES_OF_PARAMS)
def test_each_example_of_params_is_allowed(example: str) -> None:
    allowed(example)


def test_each_candidate_of_the_search_that_is_shown_can_be_made() -> None:
    [example] = [
        block.text for block in blocks("docs/models.md", "yaml") if "search:" in block.text
    ]
    block = allowed(example).train
    drawn = candidates.list_candidates(block)
    assert len(drawn) == block.search.candidates
    for each in drawn:
        estimators.build_estimator(each.params, small.CONTRACT)


def test_the_contract_of_the_example_is_one(tmp_path: Path) -> None:
    [example] = [
        block.text for block in blocks("docs/own-table.md", "yaml") if not is_of_params(block.text)
    ]
    (tmp_path / "contract.yaml").write_text(example)
    contract = contract_file.read(tmp_path / "contract.yaml")
    assert {column.kind for column in contract.columns} == {"integer", "category", "date"}


def test_the_scores_that_are_shown_were_measured() -> None:
    measured = json.loads((ROOT / "bench" / "results" / "science.json").read_text())["tables"]
    assert table("docs/evaluation.md", "data") == [
        science.format_row(name, way, scores)
        for name, ways in measured.items()
        for way, scores in ways.items()
    ]


def test_the_figures_that_are_shown_were_measured() -> None:
    hour, image, serving = (
        json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())
        for name in ("first_hour", "image", "serving")
    )
    seconds = {name: one["start_seconds"] for name, one in image["contenders"].items()}
    size = image["contenders"]["cairn"]["mib_on_top_of_base"] * 2**20 / 10**6
    memory = image["contenders"]["cairn"]["ready"]["pss_mib"] * 2**20 / 10**6
    cairn, peer = (
        serving["workers_1"]["contenders"][name]["median"]["1 row, 32 connections"]
        for name in ("cairn", "fastapi-onnx")
    )
    steps = hour["median_seconds"]
    figures = {
        "README.md": (
            f"took {steps['all']:.0f} s on two cores, {steps['install']:.0f} of them for",
            f"image of {size:.0f} MB on top",
            f"starts in {seconds['cairn']:.1f} s",
            f"{cairn['requests_per_s'] / peer['requests_per_s']:.1f} times the requests per second",
        ),
        "docs/serving.md": (
            f"| size | {size:.0f} MB on top of its base",
            f"| start | {seconds['cairn']:.2f} s from `docker run`",
            f"scikit-learn {seconds['fastapi']:.2f}",
            f"own image {seconds['bentoml']:.2f}",
            f"MLflow's {seconds['mlflow']:.2f}",
            f"{memory:.0f} MB resident",
        ),
    }
    assert {
        text for name, texts in figures.items() for text in texts if text not in PAGES[name]
    } == set()


@pytest.mark.slow
def test_rows_that_are_sent_in_blocks_are_answered(project: Project) -> None:
    [code] = blocks("docs/batch.md", "python")
    with shared(project) as client:
        script = code.text.replace("http://localhost:3000", str(client.base_url))
        printed = project.run(sys.executable, "-c", script).stdout
    assert len(re.findall(r"\d+", printed)) == 569


@pytest.mark.slow
def test_the_curl_line_gets_the_answer_that_is_shown(project: Project) -> None:
    [line] = [line for line in commands("README.md") if line.startswith("curl")]
    [shown] = blocks("README.md", "json")
    words = shlex.split(line)
    with shared(project) as client:
        command = [word.replace("http://localhost:3000", str(client.base_url)) for word in words]
        answer = json.loads(project.run(*command).stdout)
    assert json.loads(words[-1]) == {"features": MALIGNANT}
    assert re.fullmatch("cairn:[0-9a-f]{12}", answer["model_version"])
    masked = {**answer, "model_version": "cairn:MODEL", "request_id": "REQUEST"}
    assert masked == json.loads(shown.text)


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].encode()) <= 8_000


def test_the_changelog_has_each_release_and_each_change_once() -> None:
    """A merge that takes both sides of a conflict in it doubles them."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert first == "Unreleased"
    numbers = [release.partition(" – ")[0].split(".") for release in releases]
    assert numbers == sorted(numbers, key=lambda number: [*map(int, number)], reverse=True)
    assert len(set(map(tuple, numbers))) == len(numbers) > 0
    beginnings = [line[:60] for line in text.splitlines() if line.startswith("- ")]
    assert [each for each in beginnings if beginnings.count(each) > 1] == []
