from __future__ import annotations

from typing import Any

import pytest

from cairn.contract import Contract, LeftOut
from cairn.errors import CairnError
from cairn.tables import infer, profile
from cairn.tables.decide import Options
from cairn.tables.infer import Proposal
from cairn.tables.part import COMMAS, Part
from cairn.tables.profile import Profile, Survey
from cairn.tables.roles import Roles
from tests.cairn.tables.tables import ROWS, as_lines

LABELS = Profile(frozenset({"text"}), present=2, counts={"u": 1, "v": 1}, digest=b"y")


def csv(text: str) -> Survey:
    header, rows = text.split("\n", 1)
    part = Part("csv", rows.encode(), "table", 2, tuple(header.split(",")), COMMAS)
    return profile.survey(part, "y")


def proposed(survey: Survey, most: int = 9, **more: Any) -> Proposal:
    roles = Roles("y", **{key: more.pop(key) for key in ("identifier", "drop") if key in more})
    return infer.propose(survey, roles, Options(most), **more)


def infer_contract(text: str, **more: Any) -> Contract:
    return proposed(csv(text), **more).contract


def table_of(labels: list[str]) -> str:
    return "a,y\n" + "".join(f"{index % 7}.5,{label}\n" for index, label in enumerate(labels))


@pytest.mark.parametrize(
    ("forms", "kind"),
    [
        ({"integer"}, "integer"),
        ({"integer", "number"}, "number"),
        ({"boolean"}, "boolean"),
        ({"date"}, "date"),
        ({"date", "time"}, "date"),
    ],
)
def test_forms_are_a_kind_together(forms: Any, kind: str) -> None:
    column = Profile(frozenset(forms), present=2, digest=b"a")
    survey = Survey(2, 2, {"a": column, "y": LABELS})
    assert infer.find_mixed(survey, "y") == []
    assert [column.kind for column in proposed(survey).contract.columns] == [kind]


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        ({"integer", "text"}, r"texts, whole numbers"),
        ({"boolean", "number"}, r"booleans, numbers"),
        ({"date", "integer"}, r"dates, whole numbers"),
        ({"other"}, r"lists, objects, times of day, durations or bytes, or of several types"),
    ],
)
def test_forms_that_are_no_kind_are_named(forms: Any, message: str) -> None:
    odd = Profile(frozenset(forms), present=2, digest=b"a")
    number = Profile(frozenset({"number"}), present=2, digest=b"b")
    survey = Survey(2, 2, {"a": odd, "b": number, "y": LABELS})
    assert infer.find_mixed(survey, "y") == ["a"]
    assert proposed(survey).contract.left_out == (LeftOut(name="a", reason="no type"),)
    with pytest.raises(
        CairnError, match=f"target 'y' has values that cannot be classes .{message}"
    ):
        proposed(Survey(2, 2, {"a": number, "y": odd}))


@pytest.mark.parametrize(
    ("form", "shown"),
    [("{} €", '"1000 €"'), ("{},5", '"1000,5"'), ("{} kg", '"1000 kg"')],
)
def test_a_target_of_numbers_is_told_as_one_in_any_format(form: str, shown: str) -> None:
    labels = [form.format(number) for number in range(1000, 1400)]
    profile = Profile(
        frozenset({"text"}), present=400, counts=dict.fromkeys(labels, 1), digest=b"y"
    )
    number = Profile(frozenset({"number"}), present=400, digest=b"a")
    with pytest.raises(CairnError, match="target 'y' is a number: 400 different values") as error:
        proposed(Survey(400, 400, {"a": number, "y": profile}))
    assert f"such as {shown}" in str(error.value)


def test_what_is_left_out_and_what_names_a_row_are_no_columns() -> None:
    contract = infer_contract("id,a,b,y\n1,2,3,0\n2,3,4,1\n", identifier="id", drop=("a",))
    assert (contract.names, contract.identifier) == (("b",), "id")
    assert contract.left_out == (LeftOut(name="a", reason="dropped"),)
    assert contract.ignored == {"y", "a"}


def test_columns_keep_their_order() -> None:
    survey = profile.survey(Part("jsonl", as_lines(ROWS), "t"), "y")
    names = proposed(survey).contract.names
    assert names == ("id", "n", "i", "b", "c", "code", "day", "time")


def test_a_copy_is_left_out_and_names_its_original() -> None:
    rows = "".join(f"{n % 4},{n % 4}.0,{'uv'[n % 2]}\n" for n in range(20))
    contract = infer_contract("a,b,y\n" + rows)
    assert contract.names == ("a",)
    assert contract.left_out == (LeftOut(name="b", reason="copy", of="a"),)


def test_classes_of_few_rows_are_rare() -> None:
    labels = ["u"] * 300 + ["v"] * 300 + ["w"] * 4 + ["x"]
    target = infer_contract(table_of(labels), min_class_rows=5).target
    assert (target.classes, target.rare) == (("u", "v"), ("w", "x"))
    assert infer_contract(table_of(labels), min_class_rows=1).target.rare == ()
    # Of a small table four rows are many.
    assert infer_contract(table_of(["u"] * 9 + ["w"] * 4), min_class_rows=5).target.rare == ()


def test_a_target_of_which_classes_are_rare_needs_two_others() -> None:
    with pytest.raises(
        CairnError, match=r'1 class with 5 rows or more .*; others, such as "w", have'
    ):
        infer_contract(table_of(["u"] * 300 + ["w"]), min_class_rows=5)


@pytest.mark.parametrize("form", ["{}", "{}.5"])
def test_a_number_as_target_is_reported(form: str) -> None:
    labels = [form.format(n * 3) for n in range(200)]
    with pytest.raises(CairnError, match="target 'y' is a number: 200 different values, from 0"):
        infer_contract(table_of(labels), min_class_rows=5)


def test_texts_that_are_no_classes_are_reported_with_examples() -> None:
    with pytest.raises(CairnError, match="30 different labels, most of them in few rows, such as"):
        infer_contract(table_of([f"name {n}" for n in range(30)]))


def test_a_label_that_is_void_is_none() -> None:
    contract = infer_contract(table_of(["u"] * 10 + ["v"] * 10 + ["?"]))
    assert (contract.target.classes, contract.target.markers) == (("u", "v"), ("?",))


def test_all_that_a_person_must_decide_is_reported_at_once() -> None:
    rows = "".join(f"0{n % 9 + 1}/02/2020,0{n % 8 + 1}/03/2021,u\n" for n in range(20))
    with pytest.raises(CairnError) as error:
        infer_contract("a,b,y\n" + rows)
    lines = str(error.value).splitlines()
    assert [line.split("'")[1] for line in lines] == ["y", "a", "b"]
    assert "only the label" in lines[0]
    assert all("add to processed.formats" in line for line in lines[1:])


def test_what_was_inferred_is_shown_in_a_table() -> None:
    survey = csv("id,a,b,y\n" + "".join(f"{n},{n % 3},{'?' if n % 4 else 'x'},u\n{n},1,z,v\n"
                                        for n in range(20)))  # fmt: skip
    proposal = proposed(survey, drop=("id",))
    lines = [line.split() for line in infer.format_decisions(proposal, survey).splitlines()]
    assert lines[0] == ["column", "kind", "distinct", "missing", "examples", "decided"]
    assert [line[0] for line in lines[1:]] == ["id", "a", "b", "y"]
    text = infer.format_decisions(proposal, survey)
    assert "left out: processed.drop names it" in text
    assert 'missing: "?" in 15 rows' in text


def test_numbers_are_shown_without_an_exponent_and_one_number_once() -> None:
    rows = "".join(f"{9_000_050 + n * n},80,{1.5e6 * n},{'uv'[n % 2]}\n" for n in range(20))
    survey = csv(f"id,hours,paid,y\n{rows}")
    shown = {
        line.split()[0]: line
        for line in infer.format_decisions(proposed(survey), survey).splitlines()
    }
    assert " 9000050 to 9000411 " in shown["id"]
    assert " 80 " in shown["hours"]
    assert " to 80" not in shown["hours"]
    assert "0 to 28500000" in shown["paid"]


def test_a_label_that_is_read_as_missing_is_reported_with_the_edit() -> None:
    survey = csv(table_of(["u", "v", "None", " NA", "", "None"] * 9))
    [_, decision] = proposed(survey, missing=None).decisions
    assert decision.is_loud
    assert decision.why == (
        'missing: "None" in 18, "NA" in 9 rows; if it is a label, set processed.missing: [""]'
    )
    assert decision.why in infer.format_decisions(proposed(survey), survey)
    assert len(proposed(csv(table_of(["u", "v", ""] * 9))).decisions) == 1


def test_what_may_mislead_is_hinted_at() -> None:
    colors, labels = ("red", "Red", "blue"), ("Yes", "yes", "no")
    rows = "".join(
        f"{n % 5 if n % 7 else -999},{colors[n % 3]},{labels[n % 3]}\n" for n in range(60)
    )
    survey = csv("a,b,y\n" + rows)
    spelled, named, sentinel = infer.hint(proposed(survey).contract, survey)
    assert spelled.startswith("column 'b': ")
    assert spelled.endswith('"Red" and "red" differ only in case; they are separate categories')
    assert named == 'target \'y\': "Yes" and "yes" differ only in case; they are separate classes'
    assert sentinel.startswith("column 'a': -999 is its only value below 0; if it stands for a ")
    assert '`markers: ["-999"], missing: true`' in sentinel
    survey = csv(table_of([str(n % 15) for n in range(150)]))
    [hint] = infer.hint(proposed(survey, most=99).contract, survey)
    assert hint.startswith("target 'y' has 15 whole numbers; each is a class")
