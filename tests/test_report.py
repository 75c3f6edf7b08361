"""The report on a pull request: made of two real models, and posted as the workflow says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, Project, copy, environment

WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
REPORT = ("python", "-m", "cairn.releases.report")
JOBS: dict[str, Any] = WORKFLOW["jobs"]
GH = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
"""


def shell(job: str, name: str) -> str:
    """Return what a step of a job runs."""
    [result] = [step["run"] for step in JOBS[job]["steps"] if step.get("name") == name]
    return str(result)


def test_only_the_comment_may_write_and_it_runs_nothing_of_the_project() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [name for name, job in JOBS.items() if "permissions" in job] == ["comment"]
    comment = JOBS["comment"]
    assert comment["permissions"] == {"contents": "write", "pull-requests": "write"}
    assert comment["needs"] == "report"
    own = "github.event.pull_request.head.repo.full_name == github.repository"
    assert comment["if"] == own
    [action] = [step["uses"] for step in comment["steps"] if "uses" in step]
    assert action.startswith("actions/download-artifact@")


@dataclass(frozen=True)
class Runner:
    """A machine that the job `comment` runs on: its folder, its environment, the repository."""

    folder: Path
    env: dict[str, str]
    remote: Path

    def step(self, name: str, head: str = "a" * 40, number: int = 7) -> None:
        """Run a step as GitHub does, for a commit of a pull request."""
        env = {**self.env, "NUMBER": str(number), "HEAD": head}
        command = ["bash", "-e", "-c", shell("comment", name)]
        done = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=600,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def keep(self, text: str, head: str = "a" * 40, number: int = 7) -> None:
        """Keep one picture, of these bytes, on a machine that did nothing before."""
        subprocess.run(["rm", "-rf", self.folder / "pictures"], check=True)
        (self.folder / "report/this-roc.png").write_text(text)
        self.step("keep the pictures", head, number)

    def git(self, *arguments: str) -> str:
        """Return what git prints in the repository."""
        command = ["git", "-C", str(self.remote), *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def kept(self) -> set[str]:
        """List the pictures in the branch."""
        return set(self.git("ls-tree", "-r", "--name-only", "reports").split())


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    folder, remote, tools = tmp_path / "work", tmp_path / "remote.git", tmp_path / "bin"
    for each in (folder / "report", tools):
        each.mkdir(parents=True)
    (folder / "report/report.md").write_text("### The model\n")
    (tools / "gh").write_text(GH)
    (tools / "gh").chmod(0o755)
    env = environment(tmp_path / "home")
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True, env=env)
    return Runner(
        folder,
        {
            **env,
            "PATH": f"{tools}{os.pathsep}{env['PATH']}",
            "CALLS": str(tmp_path / "calls"),
            "REMOTE": str(remote),
            "GH_REPO": "owner/name",
        },
        remote,
    )


def test_the_pictures_get_a_branch_of_their_own_and_the_newest_replace_the_older(
    runner: Runner,
) -> None:
    runner.keep("one")
    assert runner.kept() == {f"7/{'a' * 40}/this-roc.png"}
    runner.keep("two", head="b" * 40)
    runner.keep("other", head="c" * 40, number=8)
    assert runner.kept() == {f"7/{'b' * 40}/this-roc.png", f"8/{'c' * 40}/this-roc.png"}
    assert runner.git("show", f"reports:7/{'b' * 40}/this-roc.png") == "two"
    assert runner.git("rev-list", "--count", "reports") == "3"


def test_the_same_pictures_again_are_no_commit(runner: Runner) -> None:
    runner.keep("one")
    runner.keep("one")
    assert runner.git("rev-list", "--count", "reports") == "1"


def test_no_pictures_are_no_branch_and_no_error(runner: Runner) -> None:
    runner.step("keep the pictures")
    assert runner.git("branch", "--list") == ""


@pytest.mark.parametrize("older", [["one"], []])
@pytest.mark.parametrize("moment", ["post-commit", "pre-push"])
def test_a_branch_that_moved_meanwhile_keeps_what_it_got(
    runner: Runner, older: list[str], moment: str
) -> None:
    """Before the first push, or while it goes on, another pull request's pictures get there."""
    for text in older:
        runner.keep(text)
    before = runner.git("for-each-ref", "--format=%(objectname)", "refs/heads/reports")
    runner.keep("other", head="c" * 40, number=8)
    moved = runner.git("rev-parse", "reports")
    runner.git("update-ref", "refs/other", moved)
    runner.git(
        "update-ref", *(["refs/heads/reports", before] if before else ["-d", "refs/heads/reports"])
    )
    raced = overtaken(runner, moved, moment)
    raced.keep("two", head="b" * 40)
    assert (runner.folder / "raced").is_dir()
    assert runner.kept() == {f"7/{'b' * 40}/this-roc.png", f"8/{'c' * 40}/this-roc.png"}
    assert runner.git("merge-base", "reports", moved) == moved


def overtaken(runner: Runner, commit: str, moment: str) -> Runner:
    """Move the branch to a commit, once, at the moment of this hook of git."""
    hook = runner.folder / "templates/hooks" / moment
    hook.parent.mkdir(parents=True)
    hook.write_text(
        f"#!/bin/sh\nmkdir {runner.folder}/raced 2>/dev/null || exit 0\n"
        f"git -C {runner.remote} update-ref refs/heads/reports {commit}\n"
    )
    hook.chmod(0o755)
    env = {**runner.env, "GIT_TEMPLATE_DIR": str(hook.parents[1])}
    return Runner(runner.folder, env, runner.remote)


def test_one_comment_is_posted_and_then_edited(runner: Runner) -> None:
    runner.step("comment")
    runner.step("comment")
    calls = Path(runner.env["CALLS"]).read_text().splitlines()
    assert calls == 2 * ["pr comment 7 --edit-last --create-if-none --body-file report/report.md"]


@pytest.mark.long
@pytest.mark.slow
def test_a_change_is_reported_with_scores_params_and_pictures(
    project: Project, tmp_path: Path
) -> None:
    own = copy(project, tmp_path)
    changes = ("train.estimator=sklearn.naive_bayes.GaussianNB", "~train.arguments.n_estimators")
    own.run("dvc", "exp", "run", *(word for change in changes for word in ("-S", change)))
    build_base(own, tmp_path)
    output = own.run(*REPORT, "main", "https://example.org/7").stdout
    assert output.splitlines()[-1] == "report: build/report/report.md"
    folder = own.root / "build/report"
    report = (folder / "report.md").read_text()
    assert f"The model against main ({own.git('rev-parse', '--short=7', 'main')})" in report
    [loss] = re.findall(r"^\| log_loss \|(.*)\|$", report, re.MULTILINE)
    assert re.fullmatch(
        r" 0\.\d{4} \| \d\.\d{4} \| [+]\d\.\d{4} \| \d\.\d{4} to \d\.\d{4} "
        r"\| worse: [+]\d\.\d{4} to [+]\d\.\d{4} ",
        loss,
    )
    assert "113 test rows of this, none of which main was trained on" in report
    assert "| `train.arguments.n_estimators` | 100 | – |" in report
    assert "Unchanged" not in report
    shown = re.findall(r"!\[[^]]*\]\(https://example\.org/7/([^)]+)\)", report)
    assert {"base-roc.png", "this-roc.png"} <= set(shown)
    for name in shown:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in folder.iterdir()} == {"report.md", *shown}


def build_base(project: Project, folder: Path) -> None:
    """Do as the job `report` does where nothing but this model was built: DVC's cache lacks main's.

    There are no two environments here: for `make repro` stands what it does in the first.
    """
    outs = yaml.safe_load(project.git("show", "main:dvc.lock"))["stages"]["evaluate"]["outs"]
    [roc] = [out["md5"] for out in outs if out["path"] == "data/evaluation/plots/roc.png"]
    cache = project.root / ".dvc/cache"
    (cache / "files/md5" / roc[:2] / roc[2:]).unlink()
    shutil.rmtree(cache / "runs")
    project.git("switch", "--quiet", "--create", "change")
    project.git("commit", "--quiet", "--all", "--message", "a change")
    project.git("remote", "add", "origin", str(project.root))
    project.git("fetch", "--quiet", "origin")
    make = folder / "bin/make"
    make.parent.mkdir()
    make.write_text('#!/bin/sh\ncd "$2" && exec dvc "$3"\n')
    make.chmod(0o755)
    path = f"{make.parent}:{project.env['PATH']}"
    step = shell("report", "build the base")
    output = project.run(
        "bash", "-e", "-c", step, BASE="main", RUNNER_TEMP=str(folder), PATH=path
    ).stdout
    assert "Running stage 'evaluate'" in output
    assert "::warning::" not in output


@pytest.mark.long
@pytest.mark.slow
def test_what_the_base_has_not_is_reported(project: Project, tmp_path: Path) -> None:
    own = copy(project, tmp_path)
    own.git("rm", "--quiet", "--cached", "-r", "data/model", "dvc.lock")
    own.git("commit", "--quiet", "--message", "no model")
    report = reported(own, "HEAD")
    assert re.search(r"^\| accuracy \| – \| 0\.\d+ \| – \| .* \| – \|$", report, re.MULTILINE)
    assert "HEAD does not have these: confusion, roc" in report
    assert "![roc of HEAD]" not in report


@pytest.mark.long
@pytest.mark.slow
def test_scores_of_another_target_are_not_set_against_these(
    project: Project, tmp_path: Path
) -> None:
    own = copy(project, tmp_path)
    lock, contract = own.root / "dvc.lock", own.root / "data/processed/contract.yaml"
    before = lock.read_text(), contract.read_text()
    outs = yaml.safe_load(before[0])["stages"]["train"]["outs"]
    [graph] = [out["md5"] for out in outs if out["path"] == "data/model/model.onnx"]
    lock.write_text(before[0].replace(graph, "f" * 32))
    contract.write_text(before[1].replace("name: target", "name: other"))
    own.git("commit", "--quiet", "--all", "--message", "another target")
    for path, text in zip((lock, contract), before, strict=True):
        path.write_text(text)
    report = reported(own, "HEAD")
    assert re.search(r"^\| accuracy \| – \| 0\.\d+ \| – \| .* \| – \|$", report, re.MULTILINE)
    assert "The two models could not be compared on the same rows" in report


@pytest.mark.long
@pytest.mark.slow
def test_pictures_that_cannot_be_had_are_reported(project: Project, tmp_path: Path) -> None:
    own = copy(project, tmp_path)
    roc = own.root / "data/evaluation/plots/roc.png"
    roc.unlink()
    roc.write_bytes(b"\x89PNG another")
    with (own.root / "data/evaluation/metrics.json").open("a") as metrics:
        metrics.write("\n")
    subprocess.run(["rm", "-rf", own.root / ".dvc/cache"], check=True)
    own.run("dvc", "remote", "modify", "--local", "embedded", "endpointurl", "http://127.0.0.1:9")
    report = reported(own, "main")
    assert (
        "The pictures of main are not available: data/evaluation/plots/roc.png of commit" in report
    )
    assert "The two models could not be compared on the same rows: data/" in report
    assert "within the interval |" in report


def reported(project: Project, base: str) -> str:
    project.run(*REPORT, base)
    return (project.root / "build/report/report.md").read_text()


@pytest.mark.long
@pytest.mark.slow
def test_of_the_same_model_little_is_reported(project: Project, tmp_path: Path) -> None:
    report = reported(copy(project, tmp_path), "HEAD")
    assert "The scores are unchanged: this is the same model, byte for byte." in report
    assert "Unchanged: confusion, roc" in report
    assert "![" not in report


@pytest.mark.slow
def test_a_commit_that_git_does_not_know_is_one_line(project: Project) -> None:
    done = project.run(*REPORT, "nowhere", check=False)
    assert done.returncode == 1
    assert done.stderr == "error: git knows no commit 'nowhere'; `git fetch` may bring it\n"
