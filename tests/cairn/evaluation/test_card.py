from __future__ import annotations

import re
from typing import Any

import pytest

from cairn import paths
from cairn.contract import Column, Contract, LeftOut, Target
from cairn.evaluation.card import _allowed, card
from cairn.params import Train
from tests import small
from tests.cairn.evaluation import evaluated

VERSIONS = {"numpy": "2.4.6", "scikit-learn": "1.9.1"}
HASHES = {"data/features/train.parquet": "d41d8cd98f00b204e9800998ecf8427e"}
SURE = {"low": 0.1, "high": 0.9}
BLOCK = small.LINEAR


def made(contract: Contract | None = None, block: Train = BLOCK, **more: Any) -> str:
    known = contract or small.fitted().contract
    return card(known, block, evaluated.evaluation(known, **more), VERSIONS, HASHES)


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """The rows of the tables in a text, their headers too."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_card_says_all_that_a_reader_asks() -> None:
    titles = re.findall(r"^#+ (.*)$", made(), re.MULTILINE)
    assert titles == [
        "Model card of `small`", "What it predicts", "From what", "Data", "How it was made",
        "How good it is", "Each class", "Pictures", "Limits", "Made with", "Where it comes from",
    ]  # fmt: skip


def test_the_same_model_gives_the_same_card() -> None:
    assert made() == made()
    assert made().endswith("\n")


def test_classes_stand_with_their_training_rows() -> None:
    contract = small.fitted().contract
    no, yes = contract.target.counts
    found = cells(section(made(), "What it predicts"))
    assert found[2][:2] == ["`no`", str(no)]
    assert found[3][:2] == ["`yes`", str(yes)]


def test_columns_stand_with_kind_unit_values_and_what_is_missing() -> None:
    found = {row[0]: row[1:] for row in cells(section(made(), "From what"))}
    histograms = {each.name: each.histogram for each in small.fitted().contract.features}
    assert found["`area`"][:3] == ["number", "`cm2`", "any"]
    assert found["`area`"][4] == "no"
    depth = histograms["depth"]
    assert depth
    assert found["`depth`"][3] == f"{depth.edges[0]:g} to {depth.edges[-1]:g}"
    assert found["`depth`"][4] == f"may be; is in {depth.missing}"
    assert found["`colour`"][2] == "`blue`, `green`, `red`"
    assert found["`flag`"][2] == "true, false"


def test_ranges_dates_and_unlisted_categories_are_said() -> None:
    found = {row[0]: row[1:] for row in cells(section(made(small.FULL), "From what"))}
    assert found["`area`"][2] == "from -9 to 9"
    assert found["`opened`"][2] == "a date; used: year, month, weekday, hour"
    assert found["`branch`"][2] == "`-7`, `30`, or any other"
    assert "`customer` names a row; the model does not see it." in made(small.FULL)


def test_a_wide_table_is_cut() -> None:
    contract = Contract(
        columns=tuple(Column(name=f"x{place}", kind="number") for place in range(70)),
        target=Target(name="y", classes=(0, 1)),
    )
    text = section(made(contract), "From what")
    assert len(cells(text)) == 52
    assert "And 20 more, in `contract.json`." in text


def test_scores_stand_with_their_interval_and_cross_validation() -> None:
    text = made()
    accuracy = evaluated.evaluation(small.CONTRACT)["test"]["accuracy"]
    row = next(row for row in cells(section(text, "How good it is")) if row[0] == "accuracy")
    shown = [f"{accuracy['value']:.3f}", f"{accuracy['low']:.3f} to {accuracy['high']:.3f}"]
    assert row[1:] == [*shown, *shown]
    assert "5 folds of the training rows, 3 times" in text
    alone = section(made(cross_validation=None), "How good it is")
    assert all(len(row) == 3 for row in cells(alone))


def test_a_score_that_cannot_be_said_is_a_dash() -> None:
    accuracy = {"value": 0.5, "low": 0.1, "high": 0.9}
    brier = {"value": 0.25, "low": None, "high": None}
    part = {"column": "colour", "value": "red", "rows": 3}
    parts = [{**part, "accuracy": accuracy, "roc_auc": None, "brier": brier}]
    found = cells(section(made(slices=parts), "Parts of the test rows"))
    assert found[0] == ["column", "value", "test rows", "accuracy", "ROC AUC", "Brier score"]
    assert found[2] == ["`colour`", "`red`", "3", "0.500 (0.100 to 0.900)", "–", "0.250"]


def test_each_class_has_its_scores_on_the_test_rows_and_by_cross_validation() -> None:
    text = section(made(), "Each class")
    test, folds = text.split("By cross-validation:")
    assert cells(test)[0][:3] == ["class", "test rows", "precision"]
    assert cells(folds)[0][:2] == ["class", "precision"]
    for part in (test, folds):
        named = [row[0] for row in cells(part)[2:]]
        assert named == ["`no`", "`yes`"]
    assert re.fullmatch(r"[01]\.\d{3} \(0\.\d{3} to [01]\.\d{3}\)", cells(test)[2][2])
    assert "By cross-validation" not in section(made(cross_validation=None), "Each class")


def test_of_very_many_classes_the_first_are_shown() -> None:
    [one, _] = evaluated.evaluation(small.CONTRACT)["classes"]
    text = section(made(classes=[one] * 103, cross_validation=None), "Each class")
    assert len(cells(text)) == 2 + 100
    assert "And 3 more, in `evaluation.json`." in text


def test_the_pictures_are_those_beside_it() -> None:
    links = re.findall(r"!\[(.+)\]\((.+)\)", made())
    assert [link for _, link in links] == [f"plots/{name}.png" for name in paths.PICTURES]
    assert all(len(alternative) > 20 for alternative, _ in links)


def test_how_it_was_made_says_search_threshold_and_preparation() -> None:
    chosen = {"label": "yes", "value": 0.42, "rule": "recall at least 0.95", "reached": None}
    block = BLOCK.model_copy(update={"calibration": "sigmoid", "rare": 0.01})
    text = section(made(block=block, threshold=chosen, search=evaluated.SEARCH), "How it was made")
    assert "`C=1` (`sklearn.svm.SVC`), by a search: halving, 3 candidates, chosen by log" in text
    assert "rare: 0.01, calibration: sigmoid" in text
    assert "scale" not in text, "the search has changed it, and its name says how"
    assert "`yes` is predicted where its probability is at least 0.42, and `no` otherwise" in text
    assert "`recall at least 0.95`" in text
    plain = section(made(), "How it was made")
    assert "`sklearn.linear_model.LogisticRegression`, as it comes" in plain
    assert "The class with the largest probability is predicted" in plain


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rows": {"train": 9, "test": 60}}, "The test has just 60 rows"),
        ({}, "`train.slices` names no column"),
        (
            {
                "slices": [
                    {
                        "column": "colour",
                        "value": "red",
                        "rows": 9,
                        "accuracy": SURE | {"value": 0.5},
                    },
                    {
                        "column": "colour",
                        "value": "blue",
                        "rows": 9,
                        "accuracy": SURE | {"value": 0.25},
                    },
                ]
            },
            "worst where `colour` is `blue`: 25.0 % of 9 test rows right",
        ),
    ],
)
def test_limits_follow_from_the_facts(more: dict[str, Any], said: str) -> None:
    assert said in section(made(**more), "Limits")


def test_copies_are_counted() -> None:
    assert "No two rows are alike in every feature." in section(made(), "Data")
    text = section(made(duplicates={"copies": 1094, "contradicting": 12}), "Data")
    assert "1,094 rows are copies of another in every feature; a row and its copies are on" in text
    assert "12 rows have the features of another row and a different label" in text
    one = section(made(duplicates={"copies": 1, "contradicting": 0}), "Data")
    assert "1 row is a copy of another" in one
    assert "different label" not in one


def test_a_leak_is_the_first_limit_and_bold() -> None:
    first = section(made(leaks=[{"feature": "area", "auc": 0.9987}]), "Limits").strip()
    assert first.startswith("- **`area` alone tells `kind` almost perfectly (AUC 0.999).**")
    assert "add it to `processed.drop`" in first.splitlines()[0]


def test_what_could_not_be_judged_is_said() -> None:
    notes = ["no test row is of class 'a|b <i>_x_': no score counts it"]
    text = section(made(notes=notes), "Limits")
    assert (
        "- No test row is of class 'a&#124;b &#60;i&#62;&#95;x&#95;': no score counts it." in text
    )


def test_a_class_without_a_test_row_is_neither_the_worst_nor_scored() -> None:
    contract = small.fitted().contract
    evaluation = evaluated.evaluation(contract)
    gone = {"value": None, "low": None, "high": None}
    classes = [{**evaluation["classes"][0], "rows": 0, "recall": gone, "roc_auc": gone},
               evaluation["classes"][1]]  # fmt: skip
    scores = {**evaluation["test"], "roc_auc": gone}
    text = made(classes=classes, test=scores)
    assert "ROC AUC is" not in text
    assert "Of the class `yes` it finds the least" in text
    assert cells(section(text, "Each class"))[2][3] == "–"


def test_a_large_even_table_has_no_limit_of_few_rows() -> None:
    contract = small.fitted().contract
    evaluation = evaluated.evaluation(contract, rows={"train": 90_000, "test": 9_000})
    classes = [{**each, "rows": 4_500} for each in evaluation["classes"]]
    text = section(made(rows=evaluation["rows"], classes=classes), "Limits")
    assert "just" not in text
    assert "uneven" not in text


def test_uneven_classes_are_a_limit() -> None:
    contract = small.fitted().contract
    target = contract.target.model_copy(update={"counts": (90, 10)})
    text = section(made(contract.model_copy(update={"target": target})), "Limits")
    assert "right in 90.0 % of the training rows" in text


def test_versions_hashes_and_the_way_back_are_there() -> None:
    text = made()
    assert ["`numpy`", "`2.4.6`"] in cells(section(text, "Made with"))
    assert [f"`{name}`" for name in next(iter(HASHES.items()))] in cells(section(text, "Data"))
    assert "`GET /model`" in text


def test_hostile_names_leave_the_card_whole() -> None:
    contract = Contract(
        columns=(Column(name="<img src=x>|", kind="category", unit="a|b", categories=("`", "|")),),
        target=Target(name="# t\n", classes=("![x](y)", "<script>", "a|b")),
    )
    text = made(contract)
    assert "<" not in text
    assert len(re.findall(r"^#+ ", text, re.MULTILINE)) == 11
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(row) for row in cells(block)}) == 1


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({}, "any"),
        ({"minimum": 0.0}, "from 0"),
        ({"maximum": 9.5}, "to 9.5"),
        ({"minimum": -1.0, "maximum": 1.0}, "from -1 to 1"),
    ],
)
def test_a_range_may_have_one_end(ends: dict[str, float], said: str) -> None:
    assert _allowed(Column(name="area", kind="number", **ends)) == said


def test_what_is_left_out_and_set_aside_is_said() -> None:
    contract = small.fitted().contract
    target = contract.target.model_copy(update={"rare": ("maybe",)})
    left = (LeftOut(name="no", header="No.", reason="index"),)
    contract = contract.model_copy(update={"target": target, "left_out": left})
    report = {
        "rows": 100,
        "set_aside": 3,
        "problems": {"kind: missing": 2, "kind: a rare class": 1},
        "notes": {"depth: '?' taken for missing": 4},
    }
    text = made(contract, table=report)
    assert "Columns of the table that are not used: `No.` (it numbers rows)." in text
    assert "Of 100 rows of the table 3 were set aside: `kind: missing` in 2; `kind: a rare" in text
    assert "Classes with too few rows are not predicted: `maybe`." in text
    assert "`depth: '?' taken for missing` in 4 rows." in text
