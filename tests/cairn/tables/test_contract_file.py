from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings

from cairn.contract import Column, Contract, Target
from cairn.errors import CairnError
from cairn.tables import contract_file
from tests import small

GOOD = """\
target: {name: y, classes: [0, 1]}
columns:
- {name: a, kind: number}
- {name: b, kind: category, categories: [u, v]}
"""


def read(text: str, folder: Path) -> Contract:
    path = folder / "contract.yaml"
    path.write_text(text, encoding="utf-8")
    return contract_file.read(path)


@settings(max_examples=100)
@given(contract=small.contracts())
def test_what_is_written_is_what_is_read(
    contract: Contract, tmp_path_factory: pytest.TempPathFactory
) -> None:
    named = contract.target.model_copy(update={"name": "labelled"})
    contract = contract.model_copy(update={"target": named})
    path = tmp_path_factory.getbasetemp() / "contract.yaml"
    contract_file.write(contract, path)
    again = contract_file.read(path)
    assert again == contract
    for after, before in zip(again.columns, contract.columns, strict=True):
        assert list(map(type, after.categories)) == list(map(type, before.categories))
    assert list(map(type, again.target.classes)) == list(map(type, contract.target.classes))


def test_each_column_is_a_line_under_words_that_say_what_may_stand_there(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    contract_file.write(small.CONTRACT, path)
    lines = path.read_text().splitlines()
    head = [line for line in lines if line.startswith("#")]
    assert all(any(word in line for line in head) for word in ("kind", "missing", "parts"))
    assert lines[len(head) :] == [
        "columns:" if line is None else line
        for line in (
            'target: {name: kind, classes: ["no", "yes"]}',
            None,
            "- {name: area, kind: number, unit: cm2}",
            "- {name: depth, kind: number, missing: true}",
            "- {name: count, kind: integer}",
            "- {name: flag, kind: boolean, missing: true}",
            '- {name: colour, kind: category, missing: true, categories: ["blue", "green", "red"]}',
        )
    ]


@pytest.mark.parametrize("missing", [(), ("",), ("", "n.v.", "null", "-")])
def test_the_texts_for_missing_values_are_kept(missing: tuple[str, ...], tmp_path: Path) -> None:
    contract = Contract(
        columns=(Column(name="a", kind="number"),),
        target=Target(name="y", classes=(0, 1)),
        missing=missing,
    )
    path = tmp_path / "contract.yaml"
    contract_file.write(contract, path)
    assert contract_file.read(path) == contract
    assert yaml.safe_load(path.read_text())["missing"] == list(missing)


def test_other_readers_of_yaml_see_the_same(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    contract_file.write(small.CONTRACT, path)
    assert yaml.safe_load(path.read_text())["target"]["classes"] == ["no", "yes"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD, "", "the file: got None; allowed: a mapping"),
        (GOOD, "[]", "the file: got []; allowed: a mapping"),
        ("columns:", "columns: [", "line 3: not YAML"),
        ("columns:", "target: 1\ncolumns:", "line 2: not YAML: found duplicate key"),
        (
            "columns:",
            "colour: 1\ncolumns:",
            "colour: unknown key; allowed here: target, identifier",
        ),
        ("- {name: a, kind: number}", "- 5", "column 1: got 5; allowed: a mapping"),
        ("name: a, ", "", "column 1: name: missing; add it"),
        ("name: a", "name: 5", "column 5: name: got 5; allowed: a text"),
        ("name: a", "name: a b", "column a b: allowed in a name: letters, digits and _"),
        ("name: a", "name: b", "'b' appears twice"),
        ("name: a", "name: y", "'y' appears twice"),
        ("kind: number", "kind: real", "column a: kind: got 'real'; allowed: 'number', 'integer'"),
        (
            "kind: number",
            "kind: number, low: 1",
            "column a: low: unknown key; allowed here: name, kind",
        ),
        ("kind: number", "kind: date", "a: a date needs parts"),
        (
            "kind: number",
            "kind: date, parts: [week]",
            "column a: parts: 0: got 'week'; allowed: 'y",
        ),
        ("kind: number", "kind: number, parts: [day]", "a: parts is for the kind date"),
        ("kind: number", "kind: boolean, minimum: 1", "a: minimum is for the kind number or integ"),
        (
            "kind: number",
            "kind: number, minimum: x",
            "column a: minimum: got 'x'; allowed: a number",
        ),
        (
            "kind: number",
            "kind: number, maximum: .nan",
            "column a: maximum: got nan; allowed: a number within float32",
        ),
        (
            "kind: number",
            "kind: number, minimum: 1e39",
            "column a: minimum: got 1e+39; allowed: a number within float32",
        ),
        ("kind: number", "kind: number, minimum: 5, maximum: 1", "a: minimum 5 is over 1"),
        ("kind: number", "kind: number, missing: maybe", "column a: missing: got 'maybe'; allowed"),
        ("[u, v]", "[]", "b: a category needs categories"),
        ("[u, v]", "[u, u]", "b: categories has a duplicate"),
        ("[u, v]", "[u, 1]", "b: categories are all texts, or all integers"),
        ("[u, v]", "[u, 1.5]", "column b: categories: 1: got 1.5; allowed: a text or an integer"),
        ("[0, 1]", "[0.5, 1]", "target: classes: 0: got 0.5; allowed: a text, an integer, true"),
        ("[0, 1]", "0", "target: classes: got 0; allowed: a list"),
        ("[0, 1]", "[0]", "target: classes: got [0]; allowed: two or more, all texts"),
        ("[0, 1]", "[0, 0]", "target: classes: got [0, 0]; allowed: two or more"),
        ("[0, 1]", "[0, true]", "target: classes: got [0, True]; allowed: two or more"),
    ],
)
def test_what_is_no_contract_is_named_by_its_column(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in GOOD
    with pytest.raises(CairnError) as error:
        read(GOOD.replace(old, new), tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'contract.yaml'}: {message}")
    assert len(str(error.value).splitlines()) == 1


# As the commit wrote it that first had this file, shortened.
FIRST = """\
# What a row is. Made from the table by the first `dvc repro`, yours from then on: edit it, commit
# it. Every later table is held to it; without this file the next `dvc repro` makes a new one.
target: {name: target, classes: [0, 1]}
identifier: row
columns:
- {name: mean_radius, kind: number}
- {name: plan, kind: category, missing: true, categories: ["a", "b"], unknown: true}
- {name: born, kind: date, parts: [year, month]}
"""


def test_a_contract_of_the_first_release_that_had_one_is_read(tmp_path: Path) -> None:
    contract = read(FIRST, tmp_path)
    assert contract.names == ("mean_radius", "plan", "born")
    assert (contract.strip, contract.missing, contract.left_out) == (True, None, ())


def test_a_contract_without_columns_is_none(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match="columns: got none; allowed: one or more"):
        read("target: {name: y, classes: [0, 1]}\ncolumns: []\n", tmp_path)


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(CairnError) as error:
        read(GOOD.replace("number", "real").replace("[0, 1]", "0"), tmp_path)
    assert len(str(error.value).splitlines()) == 2


def test_without_a_contract_it_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match="no such file; run `dvc repro`, which writes one"):
        contract_file.read(tmp_path / "contract.yaml")
