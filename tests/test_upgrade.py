"""A user of the release before takes this one: nothing of theirs is lost, and all goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Project, environment
from tests.ports import free_ports
from tests.release_before import BEFORE, NOW, release_both
from tests.serving import started

PAGE = (ROOT / "docs" / "upgrade.md").read_text()
CONTRACT = """\
# What a penguin is.
target: {name: species, classes: ["Adelie", "Chinstrap", "Gentoo"]}
columns:
- {name: island, kind: category, categories: ["Biscoe", "Dream", "Torgersen"], unknown: true}
- {name: bill_length_mm, kind: number, unit: mm, missing: true, minimum: 10, maximum: 90}
- {name: bill_depth_mm, kind: number, unit: mm, missing: true}
- {name: flipper_length_mm, kind: integer, missing: true}
- {name: body_mass_g, kind: integer, missing: true}
- {name: sex, kind: category, missing: true, categories: ["FEMALE", "MALE"]}
"""
ENGINEERING = '''\
"""Ours."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[np.float32]]


def engineer(columns: Columns) -> Columns:
    """A ratio."""
    return {"slender": columns["bill_length_mm"] / columns["bill_depth_mm"]}
'''
RULES = """\
groups:
  - name: ours
    rules:
      - alert: NobodyAsks
        expr: rate(cairn_predictions_total[1h]) == 0
"""
OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: cairn
resources: [../../base]
images:
  - {name: cairn, newName: registry.example.org/penguins, newTag: 1f6be2a4c3d0-000000000000}
"""
# What is the user's own, as a whole.
FILES = {
    "README.md": "# Penguins\n",
    "data/processed/contract.yaml": CONTRACT,
    "stages/engineering.py": ENGINEERING,
    "deploy/prometheus/ours.yml": RULES,
    "deploy/k8s/overlays/zoo/kustomization.yaml": OVERLAY,
}
# What the user changed in files of Cairn's, or that Cairn ships: what it is, and what it becomes.
EDITS = {
    "params.yaml": [
        ("  source: sklearn:breast_cancer\n", "  source: tables/penguins.csv  # of Palmer\n"),
        ("  target: target\n", "  target: species\n"),
        ("  name: cairn\n", "  name: penguins\n"),
        ("{n_estimators: 100}\n  #", "{n_estimators: 20}\n  #"),
        ("    repeats: 3\n", "    repeats: 0  # we have little time\n"),
        ("  slices: []\n", "  slices: [island]\n"),
    ],
    "deploy/prometheus/prometheus.yml": [("  - rules.yml\n", "  - rules.yml\n  - ours.yml\n")],
    "deploy/k8s/overlays/production/kustomization.yaml": [
        ("registry.example.com/cairn", "registry.example.org/penguins")
    ],
    "Makefile": [("BACKEND ?= docker\n", "BACKEND ?= buildah\n")],
}
ROWS = [
    {"island": "Dream", "bill_length_mm": 46.5, "bill_depth_mm": 17.9, "flipper_length_mm": 192,
     "body_mass_g": 3500, "sex": "FEMALE"},
    {"island": "Elsewhere", "bill_length_mm": 39.1, "bill_depth_mm": None,
     "flipper_length_mm": 181, "body_mass_g": 3750, "sex": None},
]  # fmt: skip


def adapt(folder: Path) -> None:
    """Make the release before into the repository of somebody with a table of their own."""
    (folder / "tables").mkdir()
    shutil.copy(ROOT / "tests" / "corpus" / "penguins.csv", folder / "tables")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name, pairs in EDITS.items():
        text = (folder / name).read_text()
        for before, after in pairs:
            assert before in text, (name, before)
            text = text.replace(before, after, 1)
        (folder / name).write_text(text)


def layer_environment(folder: Path) -> None:
    """Lay an environment over this one: what a release installs must not reach other tests."""
    venv.create(folder, symlinks=True)
    parent = sysconfig.get_path("purelib")
    [site] = folder.glob("lib/python*/site-packages")
    (site / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
    for stamp in (".installed", ".installed-dev"):
        (folder / stamp).touch()


def predict(project: Project, line: str) -> dict[str, Any]:
    """Start a service by a line that a user types, ask it about the rows, and end it."""
    port = free_ports(1)
    command = ["bash", "-c", f"{line} PORT={port}"]
    with started(project, port, command, lambda make: os.killpg(make.pid, signal.SIGINT)) as client:
        answer = client.post("/predict", json={"records": ROWS})
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return {name: value for name, value in content.items() if name != "request_id"}


def begin(folder: Path) -> tuple[Path, Project]:
    """Clone the release before, with an environment; returns Cairn's repository, too."""
    upstream = release_both(folder)
    project = Project(folder / "clone", environment(folder / "home"))
    project.root.mkdir()
    project.git("clone", "--quiet", "--branch", BEFORE, str(upstream), ".")
    project.git("switch", "--quiet", "--create", "penguins")
    layer_environment(project.root / ".venv")
    return upstream, project


def script(heading: str, upstream: Path) -> list[str]:
    """Return the blocks of commands below a heading of the page, or above the first one."""
    part = next(part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)
                if part.startswith(heading))  # fmt: skip
    commands = re.findall(r"^```console\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    return [text.replace("add upstream URL", f"add upstream {upstream}") for text in commands]


@pytest.mark.slow
@pytest.mark.long
def test_a_user_of_the_release_before_takes_this_one(tmp_path: Path) -> None:
    upstream, project = begin(tmp_path)
    adapt(project.root)
    project.run("dvc", "repro")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "Our penguins")
    own = {name: (project.root / name).read_text() for name in
           [*FILES, "dvc.lock", "data/processed/report.json"]}  # fmt: skip
    before = predict(project, "make serve")

    add_remote, make_upgrade, bootstrap = script("# Upgrade", upstream)
    assert NOW in make_upgrade
    project.run("bash", "-ec", add_remote)
    printed = project.run("bash", "-ec", bootstrap).stdout
    assert f"merged {NOW}" in printed
    assert project.git("status", "--porcelain") == ""
    assert {name: (project.root / name).read_text() for name in own} == own
    merged = {name: (project.root / name).read_text() for name in EDITS}
    for name, text in merged.items():
        edits = [after for _, after in EDITS[name]]
        assert [after for after in edits if after.strip() not in text] == [], name
    assert "upgrade:" in (project.root / "Makefile").read_text()
    assert "to fix" not in printed
    for stage in ("raw", "processed", "features", "train"):
        assert re.search(rf"^upgrade:   {stage} .*code changed: ", printed, re.MULTILINE), printed

    assert re.search(r"^upgrade:   evaluate +new in this release$", printed, re.MULTILINE)
    text = merged["params.yaml"]
    train, evaluate = text[text.index("\ntrain:") :], text[text.index("\nevaluate:") :]
    assert "repeats: 0  # we have little time\n" in evaluate
    assert "slices" not in train.removesuffix(evaluate)

    [tag] = re.findall(r"MODEL_TAG=(penguins:[0-9a-f]{12}) make serve", printed)
    [train_again, serve] = script("After the merge", upstream)
    assert predict(project, serve.strip().replace("cairn:1f6be2a4c3d0", tag)) == before

    refused = project.run("python", "-m", "service.bento.store", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "run `dvc repro` to train one" in refused.stderr

    [stale] = re.findall(r"after `dvc repro`, remove them: (rm -r .*)$", printed, re.MULTILINE)
    project.run("bash", "-ec", train_again.replace("git add", f"{stale} && git add"))
    assert project.git("status", "--porcelain") == ""
    again = project.run("bash", "-ec", make_upgrade).stdout
    assert f"{NOW} is in this branch already" in again
    assert "no stage runs again" in again
    after = predict(project, "make serve")
    assert after["predictions"] == before["predictions"]


@pytest.mark.slow
@pytest.mark.long
def test_what_both_sides_changed_is_ended_by_the_commands_of_the_page(tmp_path: Path) -> None:
    upstream, project = begin(tmp_path)
    text = (project.root / "Makefile").read_text()
    [(line, ours)] = EDITS["Makefile"]
    (project.root / "Makefile").write_text(text.replace(line, ours))
    (project.root / "bentofile.yaml").write_text("# Ours.\n")
    project.git("commit", "--quiet", "--all", "--message", "Ours")
    before = project.git("rev-parse", "HEAD")
    add_remote, _, bootstrap = script("# Upgrade", upstream)
    go_on, give_up = script("Where both sides", upstream)
    project.run("bash", "-ec", add_remote)
    for command in (give_up, go_on):
        done = project.run("bash", "-ec", bootstrap, check=False)
        assert done.returncode == 1
        assert "both sides changed the same lines of:\n  bentofile.yaml\n" in done.stderr
        assert go_on.strip() in done.stderr
        assert give_up.strip() in done.stderr
        assert project.git("diff", "--name-only", "--diff-filter=U") == "bentofile.yaml"
        if command == give_up:
            project.run("bash", "-ec", give_up)
            assert project.git("rev-parse", "HEAD") == before
        else:
            project.git("checkout", "--theirs", "bentofile.yaml")
            assert f"{NOW} is in this branch already" in project.run("bash", "-ec", go_on).stdout
        assert project.git("status", "--porcelain") == ""
    assert ours in (project.root / "Makefile").read_text()
