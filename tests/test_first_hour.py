from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from bench import first_hour
from bench.pipeline import STAGES
from bench.server import BenchError
from cairn.paths import MODEL_CONTRACT, RAW
from tests import small
from tests.test_make import MAKEFILE


def test_the_steps_are_those_of_make_run() -> None:
    recipe = MAKEFILE.split("\nrun: ")[1].split("\n\n")[0]
    assert recipe.split()[0] == "install"
    steps = re.search(r"\$\(MAKE\) --no-print-directory (.*); \\", recipe)
    assert steps
    assert ["install", *steps[1].split()] == list(first_hour.TARGETS)
    assert "$(SERVE)" in recipe
    assert set(first_hour.STEPS) == {
        *set(first_hour.TARGETS) - {"repro"}, "dvc", *STAGES, first_hour.ANSWER,
    }  # fmt: skip


def test_a_stage_lasts_from_its_line_to_the_next() -> None:
    lines = [
        (0.5, "dvc repro\n"),
        (1.0, "Running stage 'raw':\n"),
        (1.1, "> python -m stages.raw\n"),
        (2.5, "Running stage 'train':\n"),
    ]
    assert first_hour.split_by_stage(lines, 8) == {"dvc": 1.0, "raw": 1.5, "train": 5.5}
    assert first_hour.split_by_stage([], 2) == {"dvc": 2.0}


def test_the_median_is_of_each_step() -> None:
    runs = [{"push": 1.0, "all": 30.0}, {"push": 3.0, "all": 10.0}, {"push": 2.0, "all": 20.009}]
    assert first_hour.compute_medians(runs) == {"push": 2.0, "all": 20.01}


def test_a_fresh_user_has_another_home_and_the_same_index(tmp_path: Path) -> None:
    own = str(Path(sys.prefix, "bin"))
    before = {
        "HOME": "/home/me", "PATH": f"{own}:/usr/bin", "LANG": "C", "PIP_INDEX_URL": "https://i",
        "UV_INDEX": "https://i", "SSL_CERT_FILE": "c", "AWS_PROFILE": "p", "BENTOML_HOME": "b",
        "VIRTUAL_ENV": "v", "MODEL_TAG": "t", "MAKEFLAGS": "w", "MLFLOW_TRACKING_URI": "m",
    }  # fmt: skip
    kept = {name: before[name] for name in ("LANG", "PIP_INDEX_URL", "UV_INDEX", "SSL_CERT_FILE")}
    variables = first_hour.clean_variables(before, tmp_path)
    assert variables == {**kept, "HOME": str(tmp_path), "PATH": "/usr/bin"}


def test_a_command_that_fails_is_an_error_with_what_it_printed(tmp_path: Path) -> None:
    lines = first_hour.run(["sh", "-c", "echo one; echo two >&2"], tmp_path, os.environ)
    assert [line for _, line in lines] == ["one\n", "two\n"]
    assert 0 < lines[0][0] <= lines[1][0]
    with pytest.raises(BenchError, match="ended with 3:\nwhy"):
        first_hour.run(["sh", "-c", "echo why; exit 3"], tmp_path, os.environ)


def test_only_what_the_model_says_is_right(tmp_path: Path) -> None:
    small.save_tree(tmp_path)
    assert (tmp_path / MODEL_CONTRACT).exists()
    fit = small.fitted()
    probabilities = fit.pipeline.predict_proba(fit.features[:1])[0]
    index = int(probabilities.argmax())
    row, classes = fit.features[0].tolist(), small.CONTRACT.target.classes
    right = {"prediction": classes[index], "confidence": float(probabilities[index])}
    assert first_hour.is_right(right, row, tmp_path)
    other = classes[1 - index]
    assert not first_hour.is_right({**right, "prediction": other}, row, tmp_path)
    assert not first_hour.is_right({**right, "confidence": 0.5}, row, tmp_path)
    assert not first_hour.is_right({**right, "confidence": None}, row, tmp_path)


def test_the_row_that_is_asked_about_is_the_first_less_its_target(tmp_path: Path) -> None:
    (tmp_path / RAW).parent.mkdir(parents=True)
    (tmp_path / RAW).write_text("a,b,target\n1.5,2,0\n3,4,1\n")
    assert first_hour.read_first_row(tmp_path) == [1.5, 2.0]
