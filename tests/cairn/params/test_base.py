from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cairn.errors import CairnError
from cairn.params.base import read_params
from cairn.params.compute import Compute
from cairn.params.features import Features
from cairn.params.raw import Raw
from tests.small import PARAMS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(PARAMS))
    return file


def test_one_section_is_read_or_two(path: Path) -> None:
    assert read_params(Raw, path=path) == Raw(source="table.csv")
    features, compute = read_params(Features, Compute, path=path)
    assert (features, compute) == (Features(), Compute())


def test_a_section_that_is_left_out_has_its_defaults(path: Path) -> None:
    path.write_text("raw: {source: a}\nprocessed: {target: y}\nfeatures:\n")
    assert read_params(Features, Compute, path=path) == (Features(), Compute())


def test_what_is_wrong_in_any_section_is_an_error_of_each_stage(path: Path) -> None:
    content = {**PARAMS, "train": {"nam": "x"}, "gates": {"size_mb": 0}}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(CairnError) as error:
        read_params(Raw, path=path)
    first, second = str(error.value).splitlines()
    assert "train.nam: unknown key; allowed here: name, estimator" in first
    assert "gates.size_mb: got 0; allowed: a number, over 0" in second
