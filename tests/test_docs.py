"""The README says what is so."""

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
from cairn import params
from cairn.modeling import candidates, estimators
from cairn.tables import contract_file
from service.http.errors import KINDS
from service.http.routes import ROUTES
from service.process.settings import Settings
from tests import small, workers
from tests.conftest import ROOT, Project
from tests.serving import MALIGNANT, shared
from tests.test_make import MAKEFILE

README = (ROOT / "README.md").read_text()
EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("cairn", "stages", "service")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in path.read_text()
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first heading is this."""
    found = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert found
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[1].splitlines()]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_in_docstrings_are_right(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_every_setting_is_there_with_its_default() -> None:
    shown = [line[:-2] for line in re.findall(r"^\| `[A-Z0-9_]+` \|.*$", README, re.MULTILINE)]
    assert shown == [
        f"| `{name.upper()}` | {default(field.default)} | {field.description}"
        for name, field in Settings.model_fields.items()
    ]


def default(value: object) -> str:
    """A default as one would write it in a shell."""
    if value is None or value == ():
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_route_is_there() -> None:
    named = [re.findall(r"(?:(GET|POST) )?(/[a-z./]*)`", line[0]) for line in table("route")]
    routes = {route.path: route.method for route in ROUTES if not route.paths}
    assert {path for line in named for _, path in line} == set(routes)
    methods = {path: line[0][0] for line in named for _, path in line}
    assert methods == routes


def test_every_status_is_there() -> None:
    named = re.findall(r"\d{3}", " ".join(line[0] for line in table("status")))
    assert set(map(int, named)) == set(KINDS) - {499}  # which no client sees


def test_every_metric_is_there() -> None:
    text = workers.call("GET", "/metrics", headers=[]).content.decode()
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(text)
    }
    assert {line[0].strip("`") for line in table("metric")} == set(families)
    for name, labels, *_ in table("metric"):
        samples = families[name.strip("`")].samples
        found = {label for sample in samples for label in sample.labels} - {"le"}
        assert found == set(labels.split(", ")) - {""}


@pytest.mark.slow
def test_each_request_that_is_shown_gets_the_answer_that_is_shown(project: Project) -> None:
    with shared(project) as client:
        for request, status, shown in table("request"):
            method, path, *body = request.strip("`").split(" ", 2)
            sent = "".join(body).replace("ROW", json.dumps(MALIGNANT))
            answer = client.request(
                method, path, content=sent, headers={"Content-Type": "application/json"}
            )
            text = re.sub(r"cairn:[0-9a-f]{12}", "cairn:MODEL", answer.text)
            text = text.replace(answer.headers["X-Request-ID"], "REQUEST")
            assert (answer.status_code, text) == (int(status), shown.strip("`"))


@pytest.mark.slow
def test_the_model_answers_the_table_in_python_as_shown(project: Project) -> None:
    (code,) = blocks("python")
    done = project.run(sys.executable, "-c", code + "print(model.classes_)")
    *said, classes = done.stdout.splitlines()
    labels = re.findall(r"\d", " ".join(said))
    assert classes == "[0 1]"
    table = (project.root / "data/raw/table").read_text().splitlines()
    truth = [line.rpartition(",")[2] for line in table[1:]]
    assert len(labels) == len(truth) == 569
    assert sum(map(str.__eq__, labels, truth)) > 540


def test_every_make_target_exists() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", README, re.MULTILINE))
    assert {"run", "test", "verify", "image"} <= named
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in named)


def allowed(example: str) -> params.Params:
    """params.yaml with the blocks of an example."""
    default = yaml.safe_load((ROOT / "params.yaml").read_text())
    changed = {name: {**default[name], **block} for name, block in yaml.safe_load(example).items()}
    return params.Params.model_validate({**default, **changed})


def test_the_params_of_the_examples_are_allowed() -> None:
    table, _, searched = blocks("yaml")
    assert allowed(table).train.arguments == {"C": 0.5, "class_weight": "balanced"}
    block = allowed(searched).train
    drawn = candidates.list_candidates(block)
    assert len(drawn) == block.search.candidates
    for each in drawn:
        estimators.build_estimator(each.params, small.CONTRACT)


def test_the_contract_of_the_example_is_one(tmp_path: Path) -> None:
    _, example, _ = blocks("yaml")
    (tmp_path / "contract.yaml").write_text(example)
    contract = contract_file.read(tmp_path / "contract.yaml")
    assert {column.kind for column in contract.columns} == {"integer", "category", "date"}


def test_the_scores_that_are_shown_were_measured() -> None:
    measured = json.loads((ROOT / "bench" / "results" / "science.json").read_text())["tables"]
    assert table("data") == [
        science.format_row(name, way, scores)
        for name, ways in measured.items()
        for way, scores in ways.items()
    ]


@pytest.mark.slow
def test_the_curl_line_gets_the_answer_that_is_shown(project: Project) -> None:
    [line] = [text for text in blocks("console") if text.startswith("curl")]
    [shown] = blocks("json")
    words = shlex.split(line)
    with shared(project) as client:
        sent = [word.replace("http://localhost:3000", str(client.base_url)) for word in words]
        answer = json.loads(project.run(*sent).stdout)
    assert json.loads(words[-1]) == {"features": MALIGNANT}
    assert re.fullmatch("cairn:[0-9a-f]{12}", answer["model_version"])
    masked = {**answer, "model_version": "cairn:MODEL", "request_id": "REQUEST"}
    assert masked == json.loads(shown)
