"""A small repository with versions: real git, real DVC, a folder as its remote, no training."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from dvc.repo import Repo
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from cairn import provenance
from cairn.export.onnx import to_onnx
from cairn.paths import METRICS, MODEL, TEST, TRAIN
from tests import small

WHO = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "test@example.org" for who in ("AUTHOR", "COMMITTER")},
}
CONFIG = """
[core]
    analytics = false
    check_update = false
    remote = disk
['remote "disk"']
    url = ../../remote
"""
SHIPPED = Path(__file__).resolve().parents[1] / "params.yaml"


class Model(NamedTuple):
    """What a commit holds: a fitted model, its `test` scores, and rows of train and of test."""

    made: small.Fitted
    scores: dict[str, float]
    train: slice = slice(0, 60)
    test: slice = slice(60, None)


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a folder the current one, and git know who commits."""
    patch.chdir(folder)
    for name, value in WHO.items():
        patch.setenv(name, value)


def begin() -> None:
    """A repository in the current folder, without a commit; its remote is beside it."""
    git("init", "--quiet", "--initial-branch", "main")
    Repo.init().close()
    Path(".dvc/config").write_text(CONFIG)
    params = yaml.safe_load(SHIPPED.read_text())
    params["train"]["name"] = "small"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path(".gitignore").write_text("__pycache__/\n/bentoml/\n")


def commit(model: Model, message: str = "a model") -> str:
    """Commit a model with the rows that it was trained on; returns the commit."""
    with TemporaryDirectory() as folder:
        shutil.copytree(small.save_tree(Path(folder), model.made), ".", dirs_exist_ok=True)
    TRAIN.parent.mkdir(parents=True, exist_ok=True)
    METRICS.write_text(json.dumps({"test": model.scores}))
    _rows(model, model.train, TRAIN)
    _rows(model, model.test, TEST)
    outs = sorted({*provenance.FILES, TEST, TRAIN} - {METRICS})
    trained = [str(path) for path in outs if path.is_relative_to(MODEL) or path in {TEST, TRAIN}]
    described = [str(path) for path in outs if str(path) not in trained]
    stages: dict[str, Any] = {
        "train": {"cmd": "true", "params": ["train"], "outs": trained},
        "evaluate": {"cmd": "true", "outs": [*described, {str(METRICS): {"cache": False}}]},
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with Repo() as repo:  # `dvc commit --force`, in a fifth of the time
        repo.commit(force=True)
    git("add", "--all")
    git("commit", "--quiet", "--allow-empty", "--message", message)
    return git("rev-parse", "HEAD")


def _rows(model: Model, part: slice, path: Path) -> None:
    names = [feature.name for feature in model.made.contract.features]
    columns: dict[str, Any] = dict(zip(names, model.made.features[part].T, strict=True))
    table = pa.table({**columns, model.made.contract.target.name: model.made.classes[part]})
    pq.write_table(table, path)


def scores(value: float = 0.95) -> dict[str, float]:
    """Scores as metrics.json has them."""
    return {"accuracy": value, "roc_auc": value, "log_loss": round(1 - value, 4)}


@cache
def worse() -> small.Fitted:
    """A model of the same table that learned from classes by chance."""
    made = small.fitted()
    chance = np.random.default_rng(0).permutation(made.classes)
    pipeline = make_pipeline(SimpleImputer(), LogisticRegression())
    pipeline.fit(made.features, chance)
    graph = to_onnx(pipeline, made.features.shape[1])
    return made._replace(pipeline=pipeline, graph=graph)


def git(*arguments: str) -> str:
    """What git prints."""
    return _run("git", *arguments)


def dvc(*arguments: str) -> str:
    """What DVC prints."""
    return _run(sys.executable, "-m", "dvc", *arguments)


def tags() -> list[str]:
    """The names of all tags."""
    return git("tag").split()


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()
