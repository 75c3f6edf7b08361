from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from cairn.contract import Column, Contract, Feature, Histogram, write_contract
from cairn.paths import MODEL_CONTRACT
from service.inference import example
from service.inference.rows import Reader
from tests import small


def column(name: str, kind: str, **more: Any) -> Column:
    return Column.model_validate({"name": name, "kind": kind, **more})


def seen(*actual: tuple[Column, tuple[tuple[tuple[float, ...], tuple[int, ...]], ...]]) -> Contract:
    """A contract of columns, with the edges and counts of each of their features."""
    features = [
        Feature(
            name=name,
            column=of.name,
            histogram=Histogram(edges=edges, counts=counts, missing=0),
        )
        for of, histograms in actual
        for name, (edges, counts) in zip(of.features, histograms, strict=True)
    ]
    columns = tuple(of for of, _ in actual)
    return Contract(columns=columns, features=tuple(features), target=small.CONTRACT.target)


def test_an_example_is_the_middle_of_what_was_seen() -> None:
    texts = column("c", "category", categories=("x", "y", "z"))
    codes = column("k", "category", categories=(3, 1, 2))
    open_ended = column("u", "category", categories=("x", "y"), unknown=True)
    contract = seen(
        (column("n", "number"), (((0.5, 1.5, 2.5), (1, 1, 1, 1)),)),
        (column("i", "integer"), (((1, 2, 3), (1, 1, 1, 1)),)),
        (column("b", "boolean"), (((), (1, 2)),)),
        (texts, (((), (1, 0, 2)),)),
        (codes, (((), (1, 2, 0)),)),
        (open_ended, (((), (1, 2, 9)),)),
    )
    actual = example.make_example(contract)
    assert actual == {"n": 1.5, "i": 2, "b": True, "c": "z", "k": 1, "u": "y"}
    assert [type(value) for value in actual.values()] == [float, int, bool, str, int, str]


@pytest.mark.parametrize(
    ("parts", "medians", "date"),
    [
        (["year", "month", "day"], [2024, 2, 31], "2024-02-29"),
        (["year", "month", "day"], [1900, 2, 31], "1900-02-28"),
        (["day", "month"], [31, 4], "2000-04-30"),
        (["weekday"], [3], "2000-01-01"),
        (["year"], [33], "0033-01-01"),
        (["hour"], [23], "2000-01-01T23:00"),
        (["minute", "year"], [59, 1999], "1999-01-01T00:59"),
    ],
)
def test_an_example_of_a_date_is_one_of_the_calendar(
    parts: list[str], medians: list[float], date: str
) -> None:
    when = column("when", "date", parts=parts)
    contract = seen((when, tuple(((median,), (1, 1)) for median in medians)))
    assert example.make_example(contract) == {"when": date}
    assert Reader(contract).check({"when": date}).single


@pytest.mark.parametrize("contract", [small.CONTRACT, small.FULL, small.full().contract])
def test_an_example_is_allowed_and_has_no_identifier(contract: Contract) -> None:
    actual = example.make_example(contract)
    assert tuple(actual) == contract.names
    assert Reader(contract).check(actual) == ([tuple(actual.values())], True, None)


@settings(max_examples=50, deadline=None)
@given(contract=small.contracts())
def test_any_contract_has_an_example_that_it_allows(contract: Contract) -> None:
    assert Reader(contract).check({"records": [example.make_example(contract)]})


def test_the_command_line_sends_a_row_that_the_contract_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    MODEL_CONTRACT.parent.mkdir(parents=True)
    quotes = column("c", "category", categories=("it's", "$(id)", "`"))
    fitted = small.full().contract
    contract = Contract(
        columns=(*fitted.columns, quotes),
        features=(*fitted.features, Feature(name="c", column="c")),
        target=fitted.target,
    )
    write_contract(contract, MODEL_CONTRACT)
    words = shlex.split(example.format_curl("http://localhost:3001", "--noproxy", "localhost"))
    assert words[:4] == ["curl", "--noproxy", "localhost", "http://localhost:3001/predict"]
    options = words[4:]
    assert options[:3] == ["-H", "Content-Type: application/json", "-d"]
    values = tuple(example.make_example(contract).values())
    assert Reader(contract).read(options[3].encode()).values == [values]
    assert json.loads(options[3])["features"][-1] == "it's"
