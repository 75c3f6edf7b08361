from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from cairn.contract import (
    Column,
    Contract,
    Histogram,
    Label,
    LeftOut,
    Target,
    read_contract,
    to_plain,
    write_contract,
)
from cairn.errors import CairnError
from tests import small


@settings(max_examples=50)
@given(contract=small.contracts())
def test_what_is_written_is_what_is_read(
    contract: Contract, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "contract.json"
    write_contract(contract, path)
    again = read_contract(path)
    assert again == contract
    types = [type(label) for label in contract.target.classes]
    assert [type(label) for label in again.target.classes] == types


def test_histograms_survive_to_the_last_bit(tmp_path: Path) -> None:
    write_contract(small.fitted().contract, tmp_path / "contract.json")
    assert read_contract(tmp_path / "contract.json") == small.fitted().contract


# As the commit wrote it that first had a contract inside the model, shortened; and the one after,
# which moved the histograms from the columns to the features.
FIRST = """\
{
  "columns": [
    {"name": "area", "kind": "number", "unit": "cm2", "categories": [], "missing": false,
     "histogram": {"edges": [0.5], "counts": [3, 4], "missing": 0}}
  ],
  "target": {"name": "y", "classes": [0, 1], "counts": [3, 4]}
}
"""
SECOND = """\
{
  "target": {"name": "y", "classes": [0, 1], "counts": [3, 4]},
  "columns": [{"name": "area", "kind": "number", "unit": "cm2", "missing": false,
               "categories": [], "unknown": false, "parts": []}],
  "features": [{"name": "area", "column": "area",
                "histogram": {"edges": [0.5], "counts": [3, 4], "missing": 0}}]
}
"""


def test_a_contract_from_before_headers_markers_and_examples_is_read(tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text(SECOND)
    contract = read_contract(tmp_path / "contract.json")
    (feature,) = contract.features
    assert feature.histogram == Histogram(edges=(0.5,), counts=(3, 4), missing=0)
    assert contract.columns == (Column(name="area", kind="number", unit="cm2"),)
    assert contract.example == ()


def test_a_contract_of_a_form_that_is_no_more_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text(FIRST)
    with pytest.raises(
        CairnError, match=r"contract\.json: columns\.0\.histogram: unknown key"
    ) as e:
        read_contract(tmp_path / "contract.json")
    assert str(e.value).endswith(
        "another release of Cairn trained this model: use the code of its commit, or train it "
        "again with `dvc repro`"
    )
    assert "\n" not in str(e.value)


@settings(max_examples=50)
@given(contract=small.contracts())
def test_a_code_is_the_place_among_the_categories(contract: Contract) -> None:
    for column in contract.columns:
        codes = [column.code(category) for category in column.categories]
        assert codes == list(range(len(codes)))


def test_a_category_that_is_not_listed_has_the_place_after_the_last() -> None:
    column = Column(name="c", kind="category", categories=("u", "v"), unknown=True)
    assert column.code("w") == 2
    assert math.isnan(column.code(None))
    assert math.isnan(column.code(float("nan")))  # type: ignore[arg-type]


def test_the_features_of_the_columns_are_in_their_order() -> None:
    contract = Contract(
        columns=(
            Column(name="d", kind="date", parts=("hour", "year")),
            Column(name="a", kind="number"),
        ),
        target=Target(name="y", classes=(0, 1)),
    )
    assert [(feature.name, feature.column) for feature in contract.own] == [
        ("d_hour", "d"), ("d_year", "d"), ("a", "a"),
    ]  # fmt: skip
    assert not contract.plain
    assert contract.column("a") is contract.columns[1]
    with pytest.raises(KeyError):
        contract.column("b")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "number", "categories": ("u",)}, "a: categories is for the kind category"),
        ({"kind": "number", "unknown": True}, "a: unknown is for the kind category"),
        ({"kind": "number", "parts": ("day",)}, "a: parts is for the kind date"),
        ({"kind": "boolean", "minimum": 0.0}, "a: minimum is for the kind number or integer"),
        ({"kind": "date", "parts": ("day",), "maximum": 1.0}, "a: maximum is for the kind number"),
        ({"kind": "category"}, "a: a category needs categories"),
        ({"kind": "date"}, "a: a date needs parts"),
        ({"kind": "date", "parts": ("day", "day")}, "a: parts has a duplicate"),
        (
            {"kind": "category", "categories": (1, "1")},
            "a: categories are all texts, or all integers",
        ),
        ({"kind": "number", "minimum": 2.0, "maximum": 1.0}, "a: minimum 2 is over 1"),
    ],
)
def test_keys_that_a_column_cannot_have_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Column(name="a", **keys)


@pytest.mark.parametrize(
    ("names", "identifier", "twice"),
    [
        (("a", "a"), None, "'a' appears twice"),
        (("a", "y"), None, "'y' appears twice"),
        (("a", "b"), "b", "'b' appears twice"),
        (("a", "b"), "y", "'y' appears twice"),
        (("d_day", "d"), None, "'d_day' appears twice"),
    ],
)
def test_no_name_stands_twice(names: tuple[str, str], identifier: str | None, twice: str) -> None:
    columns = tuple(
        Column(name=name, kind="date", parts=("day",))
        if name == "d"
        else Column(name=name, kind="number")
        for name in names
    )
    with pytest.raises(ValidationError, match=twice):
        Contract(columns=columns, identifier=identifier, target=Target(name="y", classes=(0, 1)))


def test_the_plain_contract_says_nothing_twice() -> None:
    assert to_plain(small.CONTRACT)["columns"][0] == {
        "name": "area", "kind": "number", "unit": "cm2",
    }  # fmt: skip
    assert Contract.model_validate(to_plain(small.CONTRACT)) == small.CONTRACT


@pytest.mark.parametrize(
    ("classes", "keys"),
    [
        ((False, True), ("false", "true")),
        ((-1, 0, 2), ("-1", "0", "2")),
        (("no", 'say "yes"'), ("no", 'say "yes"')),
    ],
)
def test_a_class_is_the_key_that_json_makes_of_it(
    classes: tuple[Label, ...], keys: tuple[str, ...]
) -> None:
    assert Target(name="y", classes=classes).keys == keys


def test_a_label_is_no_fraction() -> None:
    with pytest.raises(ValidationError):
        Target.model_validate({"name": "y", "classes": [0.5, 1.5]})


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    content = json.loads(small.CONTRACT.model_dump_json())
    content["columns"][0]["nullable"] = True
    path.write_text(json.dumps(content))
    with pytest.raises(CairnError, match="nullable"):
        read_contract(path)


def test_a_contract_never_changes() -> None:
    histogram = Histogram(edges=(), counts=(1, 2), missing=0)
    with pytest.raises(ValidationError, match="frozen"):
        histogram.missing = 1  # type: ignore[misc]


def test_a_copy_knows_nothing_of_what_was_computed_before() -> None:
    column = Column(name="a", header="A a", kind="number")
    contract = Contract(target=Target(name="y", classes=(0, 1)), columns=(column,))
    assert contract.aliases == {"A a": "a"}
    other = column.model_copy(update={"header": "B b"})
    assert contract.model_copy(update={"columns": (other,)}).aliases == {"B b": "a"}


@pytest.mark.parametrize("text", ["[" * 2000 + "]" * 2000, '{"columns":' * 2000 + "}" * 2000])
def test_a_contract_that_is_nested_too_deep_is_an_error_of_one_line(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "contract.json").write_text(text)
    with pytest.raises(CairnError) as error:
        read_contract(tmp_path / "contract.json")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_columns_without_a_header_are_known_as_csv_readers_call_them() -> None:
    contract = Contract(
        columns=(Column(name="column_3", header="", kind="number"),),
        left_out=(LeftOut(name="index", header="", reason="index"),),
        target=Target(name="y", classes=(0, 1)),
    )
    assert contract.aliases == {"": "column_3", "Unnamed: 2": "column_3", "Unnamed: 0": "index"}
    assert contract.headers == {"column_3": "column_3", "y": "y", "index": "index"}
    named = contract.left_out[0].model_copy(update={"name": "Unnamed: 0", "header": None})
    assert "Unnamed: 0" not in contract.model_copy(update={"left_out": (named,)}).aliases
