from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from sklearn import datasets

from cairn.sources import compat
from cairn.sources.scikit_learn import TABLES, format_table


@pytest.mark.parametrize("name", TABLES)
def test_a_shipped_table_is_what_its_loader_gives(name: str) -> None:
    frame: Any = getattr(datasets, f"load_{name}")(as_frame=True).frame
    assert format_table(name) == frame.to_csv(index=False, lineterminator="\n")


def test_the_installed_scikit_learn_is_one_whose_source_was_read() -> None:
    assert metadata.version("scikit-learn") in SpecifierSet(compat.SCIKIT_LEARN)


def test_a_shipped_table_costs_no_import_of_scikit_learn() -> None:
    program = (
        "import sys, stages.raw; from cairn.sources.scikit_learn import format_table; "
        "format_table('breast_cancer'); print({'sklearn', 'pandas', 'numpy'} & sys.modules.keys())"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert output == b"set()\n"
