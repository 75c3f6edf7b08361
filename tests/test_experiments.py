"""DVC's experiments: queued, run side by side, compared, and one brought back whole."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conftest import Project, copy
from tests.pages import blocks

pytestmark = [pytest.mark.long, pytest.mark.slow]

FOREST = "sklearn.ensemble.RandomForestClassifier"
LOGISTIC = "sklearn.linear_model.LogisticRegression"
METRICS = "data/evaluation/metrics.json"
# As the docs have them.
QUEUE = "dvc exp run --queue --name"
RUN = (
    f"{QUEUE} depth -S +train.arguments.max_depth=4",
    f"{QUEUE} logistic -S train.estimator={LOGISTIC} -S '~train.arguments.n_estimators'",
    "dvc exp run --run-all --jobs 2",
)
SHOW = "dvc exp show --hide-workspace --md --drop '.*' --keep 'Exp|test.log|train.est|.*depth'"


class Experiments(NamedTuple):
    """A clone in which two were run, and how `dvc exp show` lists each, by name."""

    project: Project
    listed: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def experiments(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Experiments:
    own = copy(project, tmp_path_factory.mktemp("experiments"))
    for command in RUN:
        own.run(*shlex.split(command))
    rows = csv.DictReader(own.run("dvc", "exp", "show", "--csv").stdout.splitlines())
    return Experiments(own, {row["Experiment"] or row["rev"]: row for row in rows})


def read_json(experiments: Experiments, *command: str) -> Any:
    """What a command of DVC's answers as JSON."""
    return json.loads(experiments.project.run("dvc", *command, "--json").stdout)


def test_they_leave_the_working_tree_alone(experiments: Experiments) -> None:
    assert experiments.project.git("status", "--porcelain") == ""
    assert "up to date" in experiments.project.run("dvc", "status").stdout


def test_show_has_their_params_and_scores(experiments: Experiments) -> None:
    rows = experiments.listed
    assert {"main", "depth", "logistic"} <= set(rows)
    assert rows["main"]["train.estimator"] == rows["depth"]["train.estimator"] == FOREST
    assert rows["depth"]["train.arguments.max_depth"] == "4"
    assert rows["logistic"]["train.estimator"] == LOGISTIC
    assert rows["logistic"]["train.arguments.n_estimators"] == ""
    scores = {rows[name]["test.log_loss"] for name in ("main", "depth", "logistic")}
    assert len(scores) == 3
    assert all(0 < float(score) < 1 for score in scores)


def test_the_columns_that_one_asks_for_are_all_that_is_shown(experiments: Experiments) -> None:
    head, _, *rows = experiments.project.run(*shlex.split(SHOW)).stdout.strip().splitlines()
    assert [cell.strip() for cell in head.split("|")[1:-1]] == [
        "Experiment", "test.log_loss", "train.estimator", "train.arguments.max_depth"
    ]  # fmt: skip
    assert len(head) <= 120
    assert len(rows) == 3


def test_the_docs_show_these_commands_and_what_they_print(experiments: Experiments) -> None:
    shown = [block.text for block in blocks("docs/experiments.md")]
    [index] = [n for n, text in enumerate(shown) if text.startswith("dvc exp run")]
    assert shown[index].splitlines() == [*RUN, SHOW]
    printed = experiments.project.run(*shlex.split(SHOW)).stdout.strip()
    assert masked(shown[index + 1].strip()) == masked(printed)


def masked(text: str) -> list[str]:
    """The lines, without the experiments' commits and in no order: both tell which ended first."""
    return sorted(re.sub(r"[├└]── [0-9a-f]{7} \[", "COMMIT [", text).splitlines())


def test_the_diffs_name_what_changed(experiments: Experiments) -> None:
    pair = ("main", "logistic")
    scores = read_json(experiments, "metrics", "diff", *pair)[METRICS]["test.log_loss"]
    rows = experiments.listed
    for side, name in (("old", "main"), ("new", "logistic")):
        assert scores[side] == float(rows[name]["test.log_loss"])
    assert scores["diff"] == pytest.approx(scores["new"] - scores["old"])
    assert read_json(experiments, "params", "diff", *pair)["params.yaml"] == {
        "train.arguments.n_estimators": {"old": 100, "new": None},
        "train.estimator": {"old": FOREST, "new": LOGISTIC},
    }


def test_the_plots_are_of_both(experiments: Experiments, tmp_path: Path) -> None:
    drawn = read_json(experiments, "plots", "diff", "main", "logistic", "--out", str(tmp_path))
    assert not drawn.get("errors")
    shown = {name.split("::")[-1]: plots for name, plots in drawn["data"].items()}
    for name in ("roc", "precision_recall", "calibration", "importance", "learning"):
        [plot] = shown[name]
        points = plot["content"]["data"]["values"]
        assert {point["rev"] for point in points} == {"main", "logistic"}, name
        first, second = (of(points, name) for name in ("main", "logistic"))
        assert first != second, name


def of(points: list[dict[str, str]], name: str) -> list[dict[str, str]]:
    """The points of one of the two."""
    return [{**point, "rev": ""} for point in points if point["rev"] == name]


def test_one_is_brought_whole_with_its_model(experiments: Experiments) -> None:
    own = experiments.project
    before = (own.root / "params.yaml").read_text()
    own.run("dvc", "exp", "apply", "logistic")
    try:
        assert "up to date" in own.run("dvc", "status").stdout
        after = (own.root / "params.yaml").read_text()
        assert yaml.safe_load(after)["train"]["estimator"] == LOGISTIC
        assert comments(after) == comments(before)
        scores = json.loads((own.root / METRICS).read_text())["test"]
        assert scores["log_loss"] == float(experiments.listed["logistic"]["test.log_loss"])
        # It refuses a folder whose files are not all those of dvc.lock.
        assert (
            "is in the BentoML store"
            in own.run("python", "-m", "cairn.releases.bento_store").stdout
        )
    finally:
        own.git("checkout", "--quiet", "--force", "--", ".")
        own.run("dvc", "checkout")


def comments(text: str) -> list[str]:
    """What params.yaml explains: DVC writes it anew, and must not lose it."""
    return [line.strip() for line in text.splitlines() if line.lstrip().startswith("#")]
