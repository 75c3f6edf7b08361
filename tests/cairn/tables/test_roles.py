from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cairn.paths import CONTRACT
from tests.cairn.tables.tables import (
    ROWS,
    as_csv,
    refused,
    refused_again,
    run,
    run_again,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_dropped_columns_may_be_named_as_in_the_header_or_as_in_the_contract() -> None:
    content = "id no,b (cm),c,y\nu,1,1,0\nv,2,2,1\n"
    assert run(content, drop=["id no", "b"])[0].names == ("c",)
    CONTRACT.unlink()
    assert run_again(content, drop=["b (cm)"])[0].names == ("id_no", "c")
    CONTRACT.unlink()
    assert "processed.drop: got 'd'; the columns are id no, b (cm), c, y" in refused_again(
        content, drop=["d"]
    )


def test_a_dropped_column_and_an_identifier_may_hold_anything() -> None:
    content = "n,id,a,y\ninf,7,1,0\n1,inf,2,1\n2,x,3,0\n"
    contract, rows, report = run(content, drop=["n"], identifier="id")
    assert (contract.names, report["kept"]) == (("a",), 3)
    assert rows["id"].tolist() == ["7", "inf", "x"]


def test_the_target_and_the_identifier_may_be_named_as_in_the_header() -> None:
    contract, rows, _ = run("a,my label (x),my id\n1,0,007\n2,1,8\n",
                         target="my label (x)", identifier="my id")  # fmt: skip
    assert (contract.target.name, contract.identifier, contract.names) == (
        "my_label",
        "my_id",
        ("a",),
    )
    assert rows["my_id"].tolist() == ["007", "8"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"identifier": "x"}, "processed.identifier: got 'x'; the columns are a, b, y"),
        ({"identifier": "y"}, "processed.identifier: got 'y', which is the target"),
        (
            {"identifier": "a", "drop": ["a"]},
            "processed.drop: got 'a', which processed.identifier names as well",
        ),
    ],
)
def test_an_identifier_that_cannot_be_is_named(params: dict[str, Any], message: str) -> None:
    assert message in refused("a,b,y\n1,2,0\n2,3,1\n", **params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"target": "n"}, "processed.target: got 'n', but data/processed/contract.yaml has 'y'"),
        (
            {"identifier": None},
            "processed.identifier: got None, but data/processed/contract.yaml has",
        ),
        (
            {"identifier": "c"},
            "processed.identifier: got 'c', but data/processed/contract.yaml has",
        ),
        ({"drop": ["n (cm)", "c"]}, "processed.drop: 'n' is also in data/processed/contract.yaml"),
    ],
)
def test_params_that_speak_of_other_columns_than_the_contract_are_named(
    params: dict[str, Any], message: str
) -> None:
    run(as_csv(ROWS), identifier="id")
    error = refused_again(as_csv(ROWS), **{"identifier": "id", **params})
    assert message in error
    assert f"delete {CONTRACT} and run `dvc repro`" in error
