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
    """The content of a commit: a fitted model, its `test` scores, rows of train and of test."""

    fitted: small.Fitted
    scores: dict[str, float]
    train: slice = slice(0, 60)
    test: slice = slice(60, None)


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a folder the current one, and git know who commits."""
    patch.chdir(folder)
    for name, value in WHO.items():
        patch.setenv(name, value)


def begin() -> None:
    """Create a repository in the current folder, without a commit; its remote is beside it."""
    git("init", "--quiet", "--initial-branch", "main")
    Repo.init().close()
    Path(".dvc/config").write_text(CONFIG)
    params = yaml.safe_load(SHIPPED.read_text())
    params["train"]["name"] = "small"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path(".gitignore").write_text("__pycache__/\n/bentoml/\n")


def commit(model: Model, message: str = "a model") -> str:
    """Commit a model with the rows that it was trained on; return the commit."""
    with TemporaryDirectory() as folder:
        shutil.copytree(small.save_tree(Path(folder), model.fitted), ".", dirs_exist_ok=True)
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
    names = [feature.name for feature in model.fitted.contract.features]
    columns: dict[str, Any] = dict(zip(names, model.fitted.features[part].T, strict=True))
    table = pa.table({**columns, model.fitted.contract.target.name: model.fitted.classes[part]})
    pq.write_table(table, path)


def scores(value: float = 0.95) -> dict[str, float]:
    """Build scores as metrics.json has them."""
    return {"accuracy": value, "roc_auc": value, "log_loss": round(1 - value, 4)}


@cache
def worse() -> small.Fitted:
    """Fit a model of the same table to classes by chance."""
    fitted = small.fitted()
    chance = np.random.default_rng(0).permutation(fitted.classes)
    pipeline = make_pipeline(SimpleImputer(), LogisticRegression())
    pipeline.fit(fitted.features, chance)
    graph = to_onnx(pipeline, fitted.features.shape[1])
    return fitted._replace(pipeline=pipeline, graph=graph)


def git(*arguments: str) -> str:
    """Return what git prints."""
    return _run("git", *arguments)


def dvc(*arguments: str) -> str:
    """Return what DVC prints."""
    return _run(sys.executable, "-m", "dvc", *arguments)


def tags() -> list[str]:
    """List the names of all tags."""
    return git("tag").split()


def _run(*command: str) -> str:
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    return process.stdout.strip()
