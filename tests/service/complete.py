"""The service of a contract that says all that one can, in this process and as a project."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cairn import provenance
from cairn.paths import EVALUATION as EVALUATION_FILE
from cairn.paths import MODEL
from service.inference.predictor import Predictor
from tests import small
from tests.conftest import ROOT, Project, environment
from tests.workers import VERSION

ROW: dict[str, Any] = {
    "opened": "2024-02-29T13:45", "born": "1970-01-01", "area": 1.5, "size": 5, "branch": 30,
    "colour": "blue", "flag": None,
}  # fmt: skip
ENGINEERING = """
def engineer(columns):
    return {"doubled": columns["area"] * 2, "age": columns["opened_year"] - columns["born_year"]}
"""


@cache
def predictor() -> Predictor:
    """A model of FULL, of no features but those of the columns."""
    with tempfile.TemporaryDirectory() as folder:
        return Predictor(small.save(Path(folder, "model"), small.full()), VERSION, {})


def engineered() -> small.Fitted:
    """A model of FULL that takes what ENGINEERING makes as well."""
    rows = small.full().features
    area, opened, born = rows[:, 6], rows[:, 0], rows[:, 4]
    model = small.fitted_to(np.column_stack([rows, area * 2, opened - born]), ("doubled", "age"))
    sha256 = hashlib.sha256(ENGINEERING.encode()).hexdigest()
    return model._replace(contract=model.contract.model_copy(update={"engineering": sha256}))


SCORES = {
    "accuracy": {"value": 0.9625, "low": 0.9, "high": 0.9875},
    "roc_auc": {"value": 0.991, "low": 0.97, "high": 1.0},
    "log_loss": {"value": 0.12, "low": 0.08, "high": 0.2},
}
EVALUATION = {
    "rows": {"train": 60, "test": 20},
    "test": SCORES,
    "cross_validation": {
        "folds": 5, "repeats": 3, "nested": False, "scores": SCORES, "classes": []
    },
    "classes": [
        {"class": "no", "rows": 8, "recall": {"value": 0.875, "low": 0.529, "high": 0.978}},
        {"class": "yes", "rows": 12, "recall": 1.0},  # as of older models
    ],
    "slices": [
        {
            "column": "colour", "value": None, "rows": 3, "roc_auc": None,
            "accuracy": {"value": 1.0, "low": 0.438, "high": 1.0},
            "balanced_accuracy": {"value": 0.951, "low": None, "high": None},
        }
    ],
    "threshold": {
        "label": "yes", "value": 0.42, "rule": "recall at least 0.95", "reached": {"recall": 0.97}
    },
    "search": {
        "method": "random", "metric": "log_loss", "best": "C=1", "estimator": "SVC", "changes": {},
        "tried": [
            {"candidate": "C=1", "rows": 60, "value": 0.11, "deviation": 0.02},
            {"candidate": "C=2", "rows": 60, "value": 0.13, "deviation": 0.01},
        ],
    },
}  # fmt: skip


def locked_stages(root: Path = Path(), name: str = "small") -> dict[str, Any]:
    """The stages of a dvc.lock that names the model below a folder."""
    outs: dict[str, list[dict[str, str]]] = {"train": [], "evaluate": []}
    for path in provenance.FILES:
        stage = "train" if path.is_relative_to(MODEL) else "evaluate"
        outs[stage].append(
            {"path": path.as_posix(), "md5": provenance.hash_file(root / path, "md5")}
        )
    params = {"params.yaml": {"train": {"name": name}}}
    return {
        "train": {"outs": outs["train"], "params": params},
        "evaluate": {"outs": outs["evaluate"]},
    }


def project(into: Path) -> Project:
    """The service's code with that model in data/model, as a pull has it, and no pipeline."""
    checkout = served_by(into, engineered())
    (checkout.root / "stages" / "engineering.py").write_text(ENGINEERING)
    return checkout


def served_by(into: Path, model: small.Fitted) -> Project:
    """The same with any model, which has been evaluated."""
    checkout = Project(into / "project", environment(into / "home"))
    for name in ("cairn", "service", "stages"):
        shutil.copytree(
            ROOT / name, checkout.root / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("bentofile.yaml", "requirements-serve.txt"):
        shutil.copyfile(ROOT / name, checkout.root / name)
    small.save_tree(checkout.root, model)
    (checkout.root / EVALUATION_FILE).write_text(json.dumps(EVALUATION))
    (checkout.root / "dvc.lock").write_text(
        yaml.safe_dump({"stages": locked_stages(checkout.root)})
    )
    return checkout
