from __future__ import annotations

import doctest
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from cairn import parquet, transform
from cairn.console import CairnError
from cairn.contract import Column, Contract, Target
from cairn.paths import PROCESSED
from cairn.sources import scikit_learn
from service.inference.rows import Reader
from stages import engineering
from tests.cairn.tables.tables import run
from tests.small import ENGINEERING

ONE = Contract(
    columns=(Column(name="a", kind="number"),),
    target=Target(name="y", classes=(0, 1)),
    engineering="0" * 64,
)


def engineer(columns: engineering.Columns) -> engineering.Columns:
    """The example of the module's docstring."""
    area, radius = columns["mean_area"], columns["mean_radius"]
    return {"roundness": area / (np.pi * radius**2), "growth": columns["worst_area"] / area}


def test_the_example_of_the_docstring_is_right() -> None:
    found = doctest.testmod(engineering)
    assert found.attempted > 3
    assert not found.failed


def test_nothing_is_made_until_somebody_writes_it() -> None:
    values: NDArray[np.float32] = np.ones(3, dtype=np.float32)
    assert not engineering.engineer({"a": values})


def test_the_same_features_are_made_of_a_table_and_of_its_rows_as_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engineering, "engineer", engineer)
    contract, _, _ = run(scikit_learn.format_table("breast_cancer"), target="target")
    contract = contract.model_copy(update={"engineering": ENGINEERING.sha256})
    [group] = parquet.groups(PROCESSED)
    offline = transform.features(transform.columns(group, contract), contract, ENGINEERING)
    rows = load_breast_cancer().data.tolist()
    reader = Reader(contract)
    online = transform.matrix(reader.check({"features": rows}).values, contract, ENGINEERING)
    assert list(offline)[30:] == ["roundness", "growth"]
    assert online.shape == (569, 32)
    assert np.column_stack(list(offline.values())).tobytes() == online.tobytes()
    alone = [
        transform.matrix(reader.check({"features": row}).values, contract, ENGINEERING)
        for row in rows
    ]
    assert np.concatenate(alone).tobytes() == online.tobytes()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"a": [1.0, 2.0]}, "'a' is taken by a feature or the target"),
        ({"y": [1.0, 2.0]}, "'y' is taken by a feature or the target"),
        ({3: [1.0, 2.0]}, "3 is taken by a feature or the target, or no text"),
        ({"b": ["x", "y"]}, "ValueError: "),
        (None, "TypeError: "),
        ({"b": 1.0}, r"'b' has the shape \(\)"),
        ({"b": [1.0]}, r"'b' has the shape \(1,\)"),
        ({"b": [[1.0], [2.0]]}, r"'b' has the shape \(2, 1\)"),
    ],
)
def test_what_is_not_one_number_a_row_under_a_new_name_is_refused(
    made: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engineering, "engineer", lambda _: made)
    with pytest.raises(CairnError, match=rf"stages/engineering\.py: {says}"):
        transform.matrix([[1.0], [2.0]], ONE, ENGINEERING)


def writes(columns: Any) -> Any:
    columns["a"][:] = 0
    return {"b": columns["a"]}


@pytest.mark.parametrize(
    ("engineer", "says"),
    [
        (writes, "ValueError: assignment destination is read-only"),
        (lambda columns: {"b": columns["c"]}, "KeyError: 'c'"),
    ],
)
def test_code_that_fails_or_changes_what_it_is_given_is_named(
    engineer: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engineering, "engineer", engineer)
    with pytest.raises(CairnError, match=rf"stages/engineering\.py: {says}"):
        transform.matrix([[1.0], [2.0]], ONE, ENGINEERING)


def test_a_feature_that_looks_at_other_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        engineering, "engineer", lambda columns: {"b": columns["a"] - columns["a"].mean()}
    )
    given = {"a": np.array([1.0, 2.0, 4.0])}
    with pytest.raises(CairnError, match=r"'b' of data row 1 is 0 by itself and -1\.33333 among"):
        transform.check_rows_alone(
            given, transform.features(given, ONE, ENGINEERING), ONE, ENGINEERING
        )


def test_the_code_is_known_by_its_bytes() -> None:
    code = Path(str(engineering.__file__)).read_bytes()
    assert ENGINEERING.sha256 == hashlib.sha256(code).hexdigest()
