from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from cairn import paths
from cairn.contract import Column, Contract, LeftOut, Target
from cairn.evaluation.card import _allowed, write_card
from cairn.evaluation.records import Interval, SliceScores, TableReport
from cairn.modeling.records import Copies, Leak, RowCounts, Threshold
from cairn.params.train import Train
from tests import small
from tests.cairn.evaluation import evaluated

VERSIONS = {"numpy": "2.4.6", "scikit-learn": "1.9.1"}
HASHES = {"data/features/train.parquet": "d41d8cd98f00b204e9800998ecf8427e"}
PARAMS = small.LINEAR


def card(contract: Contract | None = None, params: Train = PARAMS, **more: Any) -> str:
    known = contract or small.fitted().contract
    return write_card(known, params, evaluated.evaluation(known, **more), VERSIONS, HASHES)


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """Return the rows of the tables in a text, their headers too."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_card_says_all_that_a_reader_asks() -> None:
    titles = re.findall(r"^#+ (.*)$", card(), re.MULTILINE)
    assert titles == [
        "Model card of `small`", "What it predicts", "Inputs", "Data", "Training", "Scores",
        "Scores by class", "Plots", "Limits", "Library versions", "Provenance",
    ]  # fmt: skip


def test_the_same_model_gives_the_same_card() -> None:
    assert card() == card()
    assert card().endswith("\n")


def test_classes_stand_with_their_training_rows() -> None:
    contract = small.fitted().contract
    no, yes = contract.target.counts
    rows = cells(section(card(), "What it predicts"))
    assert rows[2][:2] == ["`no`", str(no)]
    assert rows[3][:2] == ["`yes`", str(yes)]


def test_columns_stand_with_kind_unit_values_and_what_is_missing() -> None:
    rows = {row[0]: row[1:] for row in cells(section(card(), "Inputs"))}
    histograms = {each.name: each.histogram for each in small.fitted().contract.features}
    assert rows["`area`"][:3] == ["number", "`cm2`", "any"]
    assert rows["`area`"][4] == "not allowed"
    depth = histograms["depth"]
    assert depth
    assert rows["`depth`"][3] == f"{depth.edges[0]:g} to {depth.edges[-1]:g}"
    assert rows["`depth`"][4] == f"allowed; {depth.missing} rows"
    assert rows["`colour`"][2] == "`blue`, `green`, `red`"
    assert rows["`flag`"][2] == "true, false"


def test_ranges_dates_and_unlisted_categories_are_reported() -> None:
    rows = {row[0]: row[1:] for row in cells(section(card(small.FULL), "Inputs"))}
    assert rows["`area`"][2] == "from -9 to 9"
    assert rows["`opened`"][2] == "a date; the model uses year, month, weekday, hour"
    assert rows["`branch`"][2] == "`-7`, `30`, or any other"
    assert "`customer` identifies a row; the model does not use it." in card(small.FULL)


def test_a_wide_table_is_cut() -> None:
    contract = Contract(
        columns=tuple(Column(name=f"x{index}", kind="number") for index in range(70)),
        target=Target(name="y", classes=(0, 1)),
    )
    text = section(card(contract), "Inputs")
    assert len(cells(text)) == 52
    assert "20 more columns: see `contract.json`." in text


def test_scores_stand_with_their_interval_and_cross_validation() -> None:
    text = card()
    accuracy = evaluated.evaluation(small.CONTRACT).test["accuracy"]
    assert accuracy.ends
    row = next(row for row in cells(section(text, "Scores")) if row[0] == "accuracy")
    low, high = accuracy.ends
    shown = [f"{accuracy.value:.3f}", f"{low:.3f} to {high:.3f}"]
    assert row[1:] == [*shown, *shown]
    assert "5 folds of the training rows, repeated 3 times" in text
    without = section(card(cross_validation=None), "Scores")
    assert all(len(row) == 3 for row in cells(without))


def test_a_score_that_is_undefined_is_a_dash() -> None:
    scores = {"accuracy": Interval(0.5, 0.1, 0.9), "roc_auc": None, "brier": Interval(0.25)}
    parts = (SliceScores("colour", "red", 3, scores),)
    rows = cells(section(card(slices=parts), "Scores by slice"))
    assert rows[0] == ["column", "value", "test rows", "accuracy", "ROC AUC", "Brier score"]
    assert rows[2] == ["`colour`", "`red`", "3", "0.500 (0.100 to 0.900)", "–", "0.250"]


def test_each_class_has_its_scores_on_the_test_rows_and_by_cross_validation() -> None:
    text = section(card(), "Scores by class")
    test, folds = text.split("By cross-validation:")
    assert cells(test)[0][:3] == ["class", "test rows", "precision"]
    assert cells(folds)[0][:2] == ["class", "precision"]
    for part in (test, folds):
        named = [row[0] for row in cells(part)[2:]]
        assert named == ["`no`", "`yes`"]
    assert re.fullmatch(r"[01]\.\d{3} \(0\.\d{3} to [01]\.\d{3}\)", cells(test)[2][2])
    assert "By cross-validation" not in section(card(cross_validation=None), "Scores by class")


def test_of_very_many_classes_the_first_are_shown() -> None:
    [one, _] = evaluated.evaluation(small.CONTRACT).classes
    text = section(card(classes=(one,) * 103, cross_validation=None), "Scores by class")
    assert len(cells(text)) == 2 + 100
    assert "3 more classes: see `evaluation.json`." in text


def test_the_pictures_are_those_beside_it() -> None:
    links = re.findall(r"!\[(.+)\]\((.+)\)", card())
    assert [link for _, link in links] == [f"plots/{name}.png" for name in paths.PICTURES]
    assert all(len(alternative) > 20 for alternative, _ in links)


def test_how_it_was_made_says_search_threshold_and_preparation() -> None:
    chosen = Threshold("yes", 0.42, "recall at least 0.95", None)
    params = PARAMS.model_copy(update={"calibration": "sigmoid", "rare": 0.01})
    text = section(card(params=params, threshold=chosen, search=evaluated.SEARCH), "Training")
    assert "`C=1` (`sklearn.svm.SVC`), the best of 3 candidates by log loss in 3 folds" in text
    assert "rare: 0.01, calibration: sigmoid" in text
    assert "scale" not in text, "the search has changed it, and its name says how"
    assert "Decision: `yes` where its probability is at least 0.42, otherwise `no`" in text
    assert "`recall at least 0.95`" in text
    plain = section(card(), "Training")
    assert "`sklearn.linear_model.LogisticRegression`, default arguments" in plain
    assert "Decision: the class with the highest probability" in plain


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"rows": RowCounts(9, 60)}, "The test has only 60 rows"),
        ({}, "`evaluate.slices` names no column"),
        (
            {
                "slices": (
                    SliceScores("colour", "red", 9, {"accuracy": Interval(0.5, 0.1, 0.9)}),
                    SliceScores("colour", "blue", 9, {"accuracy": Interval(0.25, 0.1, 0.9)}),
                )
            },
            "worst where `colour` is `blue`: it predicts the right class for 25.0% of 9 test rows",
        ),
    ],
)
def test_limits_follow_from_the_facts(more: dict[str, Any], sentence: str) -> None:
    assert sentence in section(card(**more), "Limits")


def test_copies_are_counted() -> None:
    assert "No two rows have the same features." in section(card(), "Data")
    text = section(card(duplicates=Copies(1094, 12)), "Data")
    assert "1,094 rows have the same features as another row; a row and its copies are on" in text
    assert "12 rows have the same features as another row but a different label" in text
    one = section(card(duplicates=Copies(1, 0)), "Data")
    assert "1 row has the same features as another row" in one
    assert "different label" not in one


def test_a_leak_is_the_first_limit_and_bold() -> None:
    first = section(card(leaks=(Leak("area", 0.9987),)), "Limits").strip()
    assert first.startswith("- **`area` by itself predicts `kind` almost perfectly (AUC 0.999).**")
    assert "add it to `processed.drop`" in first.splitlines()[0]


def test_what_could_not_be_measured_is_reported() -> None:
    notes = ("no test row is of class 'a|b <i>_x_': the scores leave it out",)
    text = section(card(notes=notes), "Limits")
    assert (
        "- No test row is of class 'a&#124;b &#60;i&#62;&#95;x&#95;': the scores leave it out."
        in text
    )


def test_a_class_without_a_test_row_is_neither_the_worst_nor_scored() -> None:
    contract = small.fitted().contract
    evaluation = evaluated.evaluation(contract)
    first, second = evaluation.classes
    undefined = dict.fromkeys(["recall", "roc_auc"], Interval(None))
    first = replace(first, rows=0, scores={**first.scores, **undefined})
    scores = {**evaluation.test, "roc_auc": Interval(None)}
    text = card(classes=(first, second), test=scores)
    assert "ROC AUC is" not in text
    assert "It misses `yes` most often" in text
    assert cells(section(text, "Scores by class"))[2][3] == "–"


def test_a_large_even_table_has_no_limit_of_few_rows() -> None:
    contract = small.fitted().contract
    classes = tuple(replace(each, rows=4_500) for each in evaluated.evaluation(contract).classes)
    text = section(card(rows=RowCounts(90_000, 9_000), classes=classes), "Limits")
    assert "only" not in text
    assert "imbalanced" not in text


def test_uneven_classes_are_a_limit() -> None:
    contract = small.fitted().contract
    target = contract.target.model_copy(update={"counts": (90, 10)})
    text = section(card(contract.model_copy(update={"target": target})), "Limits")
    assert "always predicts the largest class has an accuracy of 90.0% on the training rows" in text


def test_versions_hashes_and_the_way_back_are_there() -> None:
    text = card()
    assert ["`numpy`", "`2.4.6`"] in cells(section(text, "Library versions"))
    assert [f"`{name}`" for name in next(iter(HASHES.items()))] in cells(section(text, "Data"))
    assert "`GET /model`" in text


def test_hostile_names_leave_the_card_whole() -> None:
    contract = Contract(
        columns=(Column(name="<img src=x>|", kind="category", unit="a|b", categories=("`", "|")),),
        target=Target(name="# t\n", classes=("![x](y)", "<script>", "a|b")),
    )
    text = card(contract)
    assert "<" not in text
    assert len(re.findall(r"^#+ ", text, re.MULTILINE)) == 11
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(row) for row in cells(block)}) == 1


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({}, "any"),
        ({"minimum": 0.0}, "from 0"),
        ({"maximum": 9.5}, "to 9.5"),
        ({"minimum": -1.0, "maximum": 1.0}, "from -1 to 1"),
    ],
)
def test_a_range_may_have_one_end(ends: dict[str, float], expected: str) -> None:
    assert _allowed(Column(name="area", kind="number", **ends)) == expected


def test_what_is_left_out_and_set_aside_is_reported() -> None:
    contract = small.fitted().contract
    target = contract.target.model_copy(update={"rare": ("maybe",)})
    left = (LeftOut(name="no", header="No.", reason="index"),)
    contract = contract.model_copy(update={"target": target, "left_out": left})
    report = TableReport(
        rows=100,
        set_aside=3,
        problems={"kind: missing": 2, "kind: a rare class": 1},
        notes={"depth: '?' taken for missing": 4},
    )
    text = card(contract, table=report)
    assert "Columns of the table that the model does not use: `No.` (it numbers rows)." in text
    assert (
        "Of the 100 rows of the table, 3 were set aside: `kind: missing` in 2; `kind: a rare"
        in text
    )
    assert "These classes have too few rows and are not predicted: `maybe`." in text
    assert "`depth: '?' taken for missing` in 4 rows." in text


def test_a_perfect_score_has_no_interval_and_the_card_is_written() -> None:
    """As of a perfect model of millions of rows: to six digits both ends are 1."""
    contract = small.fitted().contract
    test = {**evaluated.evaluation(contract).test, "accuracy": Interval(1.0)}
    text = card(test=test, rows=RowCounts(90, 60))
    assert "the right class for 100.0% of 60 test rows" in text
    assert "The test has only" not in text


def test_of_rows_without_any_known_class_there_is_no_worst_one() -> None:
    classes = tuple(replace(each, rows=0) for each in evaluated.evaluation(small.CONTRACT).classes)
    assert "It misses" not in card(classes=classes)
