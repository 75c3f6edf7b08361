"""Every command of the documentation has run: here, or in the test that is named here."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import ROOT, Project, clone, copy, use_port
from tests.pages import PAGES, Block, blocks, commands
from tests.ports import free_ports
from tests.serving import started

# Where each command has run that no test of this module runs: a test, or a script that CI calls.
ELSEWHERE = {
    "make run": "tests/test_make.py::test_run_serves_and_a_second_one_finds_all_as_it_was",
    "make check": ".ci/run",
    "make test": ".ci/run",
    "make test-all": ".ci/run",
    "make verify": ".ci/run",
    "make test TESTS=tests/test_layout.py": ".ci/run",
    "make install-dev": ".ci/run",
    "make install-extras":
        "tests/deploy/test_install.py::test_each_lock_goes_into_an_empty_environment",
    "git clone URL cairn": "tests/test_first_hour.py::test_the_steps_are_those_of_make_run",
    "bentoml serve": "tests/test_docs.py::test_the_curl_line_gets_the_answer_that_is_shown",
    "bentoml build": "tests/test_image.py::test_the_command_that_a_build_prints_makes_it",
    'bentoml containerize "$(python -m service.bento.version)"':
        "tests/test_image.py::test_the_command_that_a_build_prints_makes_it",
    "kubectl --namespace cairn logs job/cairn-train | git apply":
        "tests/deploy/test_k8s.py::test_what_the_job_prints_is_what_git_applies",
    "pip install --no-deps --require-hashes -r requirements-extras.txt":
        "tests/test_cluster.py::test_workers_have_no_code_of_ours",
    "dask scheduler --port 8786":
        "tests/test_cluster.py::test_dvc_repro_makes_there_what_it_makes_here",
    "dask worker tcp://PRIVATE_IP:8786 --nworkers 4 --nthreads 1 --memory-limit 4GiB"
    " --death-timeout 60":
        "tests/test_cluster.py::test_dvc_repro_makes_there_what_it_makes_here",
    "MLFLOW_TRACKING_URI=http://HOST:5000 make repro":
        "tests/cairn/releases/test_mlflow.py::test_dvc_repro_registers_a_version_that_says_what_dvc_lock_says",
    "make report BASE=main":
        "tests/test_report.py::test_a_change_is_reported_with_scores_params_and_pictures",
    "dvc remote modify storage url s3://YOUR-BUCKET/cairn":
        "tests/test_store.py::test_switch_to_aws_is_two_lines_and_takes_nothing_of_the_store_along",
    "dvc remote modify storage region YOUR-REGION":
        "tests/test_store.py::test_switch_to_aws_is_two_lines_and_takes_nothing_of_the_store_along",
    **dict.fromkeys(
        (line for line in commands("docs/experiments.md") if line.startswith("dvc ")),
        "tests/test_experiments.py::test_the_docs_show_these_commands_and_what_they_print",
    ),
    **dict.fromkeys(
        (line for line in commands("README.md") if line.startswith("curl ")),
        "tests/test_docs.py::test_the_curl_line_gets_the_answer_that_is_shown",
    ),
}  # fmt: skip
# The test that runs all commands of a page. Those of README for one's own table are among them.
WHOLE = {
    "docs/own-table.md": "tests/test_own_table.py::test_the_docs_do_what_they_say",
    "docs/upgrade.md": "tests/test_upgrade.py::test_a_user_of_the_release_before_takes_this_one",
}
# Pages whose other commands run here, in a clone of their own, in the order of this list.
RUN = (
    "docs/tutorial.md",
    "docs/pipeline.md",
    "docs/sources.md",
    "docs/storage.md",
    "docs/releases.md",
    "CONTRIBUTING.md",
)
# Pages whose other commands need an account, a cluster or an engine: they run here with tools in
# the place of those, and the tests of deploy/ and of the image run what they lead to.
PLAYED = (
    "docs/serving.md",
    "docs/deployment/compose.md",
    "docs/deployment/ec2.md",
    "docs/deployment/kubernetes.md",
    "docs/deployment/training.md",
    "docs/scale.md",
)
TOOLS = ("aws", "docker", "kubectl")
TOOL = """#!/bin/sh
printf '%s' "${0##*/}" >>"$CALLS"
printf ' %s' "$@" >>"$CALLS"
echo >>"$CALLS"
case $1 in version) echo 29.1.0 ;; esac
[ -t 0 ] || cat >/dev/null
"""


def test_each_command_has_run_somewhere() -> None:
    pages = [page for page in PAGES if page not in {*RUN, *PLAYED, *WHOLE}]
    known = {*ELSEWHERE, *commands("docs/own-table.md")}
    assert [each for page in pages for each in commands(page) if each not in known] == []
    assert set(ELSEWHERE) <= {line for page in PAGES for line in commands(page)}


@pytest.mark.parametrize("path", sorted({*ELSEWHERE.values(), *WHOLE.values()}))
def test_what_runs_a_command_is_there(path: str) -> None:
    name, _, test = path.partition("::")
    text = (ROOT / name).read_text()
    if test:
        assert f"def {test}(" in text
        return
    targets = set(re.findall(r"[a-z-]+", " ".join(re.findall(r"make (.*)", text))))
    called = {line.split()[1] for line, where in ELSEWHERE.items() if where == path}
    assert called - targets <= {"install-dev"}  # which `check` needs first


# What a stage prints every ten seconds, where the machine is slow.
PROGRESS = re.compile(r"^\w+: (still .*|.*), (for )?\d+ s\n", re.MULTILINE)


def masked(text: str) -> str:
    """Return an output without what differs from one machine, or one commit, to the next."""
    for pattern, mask in (
        (r"\b(penguins|cairn):[0-9a-f]{12}\b", r"\1:MODEL"),
        (r'"request_id":"[0-9a-f]+"', '"request_id":"REQUEST"'),
        (r"\b(commit )?[0-9a-f]{7}\b", r"\1COMMIT"),
        (r"\d{4}-\d\d-\d\d", "DATE"),
        (r"to \d(\.\d)?e-\d+", "to NUMBER"),
        (r"\d[\d.]* µs", "TIME µs"),
        (r"[ \t]+", " "),
    ):
        text = re.sub(pattern, mask, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Project]:
    """A clone of the tutorial's reader, whose store ends with the test."""
    project = clone(tmp_path / "own")
    use_port(project, free_ports())
    try:
        yield project
    finally:
        project.run("python", "deploy/local/store.py", "stop")


def edit(project: Project, text: str) -> None:
    """Set the keys of an example in params.yaml."""
    path = project.root / "params.yaml"
    content = yaml.safe_load(path.read_text())
    for block, keys in yaml.safe_load(text).items():
        content[block] |= keys
    path.write_text(yaml.safe_dump(content))


def serve(project: Project, line: str, servers: ExitStack) -> httpx.Client:
    """Start what a line serves, on a port that is free, until the stack ends."""
    port = free_ports(1)

    def stop(make: subprocess.Popen[bytes]) -> None:
        os.killpg(make.pid, signal.SIGINT)

    command = [*shlex.split(line), f"PORT={port}"]
    return servers.enter_context(started(project, port, command, stop))


# What must have happened before a command: there is a version to go back to.
BEFORE = {
    "make rollback STAGE=prod": "git commit --quiet --allow-empty --message more\n"
    "make release\nmake promote STAGE=prod",
}
# Of the tutorial: the clone and its environment are there.
GIVEN = {"git clone URL cairn", "cd cairn"}


TUTORIAL = "docs/tutorial.md"


@pytest.mark.slow
@pytest.mark.long
def test_the_tutorial_prints_what_it_shows(own: Project) -> None:
    """Run every command in order; with WRITE_DOCS=1 in the environment, write what they print."""
    page = blocks(TUTORIAL)
    text = PAGES[TUTORIAL]
    with ExitStack() as servers:
        address = ""
        for block, output in zip(page, [*page[1:], Block("", "")], strict=True):
            if block.language == "yaml":
                edit(own, block.text)
            if block.language != "console":
                continue
            if block.text.startswith("make serve"):
                address = str(serve(own, block.text, servers).base_url)
                continue
            lines = [line for line in block.text.splitlines() if line not in GIVEN]
            script = "\n".join(lines).replace("http://localhost:3000", address)
            printed = PROGRESS.sub("", own.run("bash", "-ec", script).stdout)
            is_shown = output.language in {"text", "json"}
            if is_shown and masked(printed) != masked(output.text):
                text = text.replace(output.text, f"{printed.strip()}\n", 1)
    if os.environ.get("WRITE_DOCS"):
        (ROOT / TUTORIAL).write_text(text, encoding="utf-8")
    assert text == PAGES[TUTORIAL]


def lines_of(page: str) -> list[str]:
    """Return the commands of a page that run here."""
    return [line for line in commands(page) if line not in ELSEWHERE and line not in GIVEN]


@pytest.mark.slow
@pytest.mark.long
def test_the_other_pages_commands_run(own: Project) -> None:
    edit(own, "{train: {arguments: {n_estimators: 50}}, evaluate: {slices: [mean_area]}}")
    for page in RUN[1:]:
        for line in lines_of(page):
            if line.startswith("make serve"):
                with ExitStack() as servers:
                    assert serve(own, line, servers).get("/model").json()["model_version"]
                continue
            own.run("bash", "-ec", BEFORE.get(line, "true"))
            own.run("bash", "-ec", line)
    assert own.git("tag", "--list", "cairn#prod#*").splitlines()
    assert (own.root / "build/docs/index.html").exists()
    assert (own.root / ".git/hooks/pre-commit").exists()


@pytest.fixture
def played(project: Project, tmp_path: Path) -> Project:
    """A copy of the project where what needs an account or an engine only notes its arguments."""
    mine = copy(project, tmp_path)
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).write_text(TOOL)
        (folder / name).chmod(0o755)
    example = mine.root / "deploy/ec2/parameters.example.json"
    (example.parent / "parameters.json").write_text(example.read_text())
    env = {
        "PATH": f"{folder}{os.pathsep}{mine.env['PATH']}", "CALLS": str(tmp_path / "calls"),
        "STORE_ACCESS_KEY": "cairn", "STORE_SECRET_KEY": "key",
    }  # fmt: skip
    return Project(mine.root, {**mine.env, **env})


@pytest.mark.slow
@pytest.mark.long
def test_the_commands_for_an_account_or_a_cluster_reach_their_tools(played: Project) -> None:
    for page in PLAYED:
        for line in lines_of(page):
            played.run("bash", "-ec", line)
    calls = Path(played.env["CALLS"]).read_text().splitlines()
    version = played.run("python", "-m", "service.bento.version").stdout.strip()
    expected = {
        f"docker run --rm -p 3000:3000 {version}",
        f"docker tag {version} ACCOUNT.dkr.ecr.REGION.amazonaws.com/cairn:1.0",
        "kubectl apply -k deploy/k8s/overlays/production",
        "kubectl apply -k deploy/k8s/training",
    }
    assert expected <= set(calls)
    assert any(call.startswith("docker compose --project-name cairn") for call in calls)
    assert any("--disable-rollback" in call for call in calls if call.startswith("aws cloudform"))
    for call in calls:
        for folder in re.findall(r"(?:-k|--kustomize|kustomize) (deploy/\S+)", call):
            assert (ROOT / folder / "kustomization.yaml").exists()
