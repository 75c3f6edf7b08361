"""The service of a contract that says all that one can, in this process and as a project."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from service.predictor import Predictor
from stages import identity
from stages.paths import MODEL
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
    made = small.fitted_to(np.column_stack([rows, area * 2, opened - born]), ("doubled", "age"))
    sha256 = hashlib.sha256(ENGINEERING.encode()).hexdigest()
    return made._replace(terms=made.terms.model_copy(update={"engineering": sha256}))


def project(into: Path) -> Project:
    """The service's code with that model in data/model, as a pull has it, and no pipeline."""
    made = Project(into / "project", environment(into / "home"))
    for name in ("service", "stages"):
        shutil.copytree(ROOT / name, made.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bentofile.yaml", "requirements-serve.txt"):
        shutil.copyfile(ROOT / name, made.root / name)
    (made.root / "stages" / "engineering.py").write_text(ENGINEERING)
    small.save(made.root / MODEL, engineered())
    outs = [
        {"path": path.as_posix(), "md5": identity.digest(made.root / path, "md5")}
        for path in identity.FILES
    ]
    params = {"params.yaml": {"train": {"name": "small"}}}
    lock = {"stages": {"train": {"outs": outs, "params": params}}}
    (made.root / "dvc.lock").write_text(yaml.safe_dump(lock))
    return made
