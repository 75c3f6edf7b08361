from __future__ import annotations

import ast
from types import ModuleType

import pytest

from cairn.sources import file, http, s3, scikit_learn, sql, table
from tests.conftest import ROOT

FOLDER = ROOT / "cairn" / "sources"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("sklearn:iris", scikit_learn),
        ("t.csv", file),
        ("~/in/", file),
        ("s3://bucket/key", s3),
        ("S3://bucket/key", s3),
        ("http://host/t.csv", http),
        ("HTTPS://host/t.csv", http),
        ("sqlite:///shop.db", sql),
        ("postgresql+psycopg://host/db", sql),
        ("${URL}", file),
    ],
)
def test_an_address_is_of_one_kind(address: str, kind: ModuleType) -> None:
    assert table.find_source(address) is kind


def test_every_module_of_a_kind_is_in_the_table_and_in_params_yaml() -> None:
    """A kind is a module with FORM; what nothing lists, nobody would use."""
    modules = {
        path.stem
        for path in FOLDER.glob("*.py")
        if any(
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FORM"
            for node in ast.parse(path.read_text()).body
        )
    }
    names = {str(getattr(kind, "__name__", "")).rpartition(".")[2] for kind in table.SOURCES}
    assert modules == names
    shipped = (ROOT / "params.yaml").read_text()
    for kind in table.SOURCES:
        scheme, colon, _ = kind.FORM.partition(":")
        assert not colon or f"{scheme}:" in shipped


def test_of_an_address_that_nothing_reads_every_part_is_hidden() -> None:
    assert table.mask("gs://user:hunter2@bucket/t?sig=hunter2") == "gs://***@bucket/t?***"
