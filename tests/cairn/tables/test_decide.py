from __future__ import annotations

import random
from typing import Any

import pytest

from cairn.contract import Column, LeftOut
from cairn.tables import profile
from cairn.tables.decide import Decision, Options, decide, find_copies
from cairn.tables.infer import find_mixed
from cairn.tables.part import Part
from cairn.tables.profile import Profile
from tests.cairn.tables.tables import as_csv

RANDOM = random.Random(7)  # noqa: S311 - the same numbers in each run
MANY = range(1, 101)
DIFFERENT = RANDOM.sample(range(1000), 100)


def profiled(cells: list[Any], header: str = "a") -> tuple[str, Profile, int]:
    """The profile of a column of a CSV file, as `decide` takes it."""
    rows = [{header: cell, "y": "uv"[index % 2]} for index, cell in enumerate(cells)]
    names = tuple(rows[0])
    part = Part("csv", as_csv(rows).split(b"\n", 1)[1], "t", 2, names)
    survey = profile.survey(part, "y")
    [name] = [name for name in survey.columns if name != "y"]
    return name, survey.columns[name], survey.good


def decided(cells: list[Any], header: str = "a", **params: Any) -> Decision:
    return decide(*profiled(cells, header), Options(**{"max_categories": 100, **params}))


@pytest.mark.parametrize(
    ("cells", "header", "reason", "why"),
    [
        ([""] * 20, "a", "empty", "no row has a value"),
        (["x"] * 20, "a", "constant", 'every row has "x"'),
        ([7] * 20, "a", "constant", "every row has 7"),
        (["7%"] * 20, "a", "constant", 'every row has "7%"'),
        (["7%", "7.0%"] * 10, "a", "constant", "every row has 7"),
        (["true"] * 20, "a", "constant", "every row has True"),
        (list(MANY), "a", "index", "it rises by one from row to row, 1 to 100"),
        (RANDOM.sample(list(MANY), 100), "a", "index", "it has each number of its range once"),
        (DIFFERENT, "a", "identifier", "every row has a different whole number"),
        (
            RANDOM.sample(range(100_000, 999_999), 100),
            "a",
            "identifier",
            "every row has a different",
        ),
        ([n**3 for n in DIFFERENT], "customer_id", "identifier", "every row has a different"),
        ([10**15 + n % 9 for n in MANY], "a", "identifier", "whole numbers too long to be quan"),
        ([f"{17_000 + n % 40}.0" for n in MANY] + [""], "CustomerID", "identifier", "40 different"),
        (
            [f"{10**15 + n}" for n in MANY] + ["x"],
            "a",
            "no type",
            "100 cells are numbers and 1 are",
        ),
        ([f"{n:05d}" for n in MANY], "a", "identifier", "100 different texts in 100 rows"),
        ([f"Miss Number {n}" for n in MANY], "a", "free text", "100 different texts in 100 rows"),
        ([f"T{n}" for n in MANY], "a", "identifier", "100 different texts in 100 rows"),
        (["x"] * 10 + [f"n{n}" for n in range(9)] + list(range(30)), "a", "no type", "30 cells"),
        (list(range(20)), "", "index", "the program that wrote the table added it"),
        (["?"] * 20, "a", "constant", 'every row has "?"'),
        (["?", ""] * 10, "a", "empty", 'every row has "?"'),
    ],
)
def test_a_column_that_says_nothing_is_left_out(
    cells: list[Any], header: str, reason: str, why: str
) -> None:
    decision = decided(cells, header)
    assert isinstance(decision.outcome, LeftOut), decision
    assert decision.outcome.reason == reason
    assert why in decision.why


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([n**3 for n in DIFFERENT], "integer"),
        ([n % 5 for n in MANY], "integer"),
        ([n / 7 for n in MANY], "number"),
        (["01/02/2020", "25/12/2021"] * 10, "date"),
        (["20200131", "20211231"] * 10, "date"),
        (["x", "y"] * 10, "category"),
        (["07030", "10001"] * 10, "category"),
        ([*(f"{n / 7:.2f}" for n in MANY), "7O.1"], "number"),
        (["12,5 €", "1.000,25 €"] * 10, "number"),
    ],
)
def test_a_column_that_says_something_stays(cells: list[Any], kind: str) -> None:
    decision = decided(cells)
    assert isinstance(decision.outcome, Column), decision.why
    assert decision.outcome.kind == kind


def test_long_codes_that_are_read_again_as_texts_are_no_numbers() -> None:
    """`mixed` has them read so, for float32 would round them."""
    rows = [{"card": 10**15 + 7 * n % 997, "y": "uv"[n % 2]} for n in MANY]
    part = Part("csv", as_csv(rows).split(b"\n", 1)[1], "t", 2, ("card", "y"))
    typed, again = profile.survey(part, "y"), profile.survey(part, "y", ["card"])
    assert find_mixed(typed, "y") == ["card"]
    outcome = decide("card", again.columns["card"], again.good, Options(100)).outcome
    assert isinstance(outcome, LeftOut)
    assert outcome.reason == "identifier"


def test_what_is_left_out_can_be_kept() -> None:
    for cells in (list(MANY), ["x"] * 20, [f"T{n}" for n in MANY]):
        decision = decided(cells, keep=frozenset({"a"}))
        assert isinstance(decision.outcome, Column)


def test_two_readings_of_a_date_are_a_person_s_to_choose_from() -> None:
    decision = decided(["01/02/2020", "03/04/2021"] * 10)
    assert decision.outcome is None
    assert decision.why == (
        'add to processed.formats: `a: "%d/%m/%Y"` (01/02/2020 is February 1, 2020) or '
        '`a: "%m/%d/%Y"` (01/02/2020 is January 2, 2020)'
    )
    chosen = decided(["01/02/2020", "03/04/2021"] * 10, formats={"a": "%d/%m/%Y"}).outcome
    assert isinstance(chosen, Column)
    assert (chosen.kind, chosen.format) == ("date", "%d/%m/%Y")


@pytest.mark.parametrize(
    ("cells", "header", "form"),
    [
        ([20200101 + n for n in range(31)], "day", "%Y%m%d"),
        ([1_500_000_000 + 86_399 * n for n in DIFFERENT], "timestamp", "epoch s"),
        ([1_500_000_000_000 + 86_399_999 * n for n in DIFFERENT], "createdAt", "epoch ms"),
        ([1_500_000_000 + 86_399 * n for n in DIFFERENT], "visitor_id", None),
        ([1_500_000_000 + 86_399 * n for n in DIFFERENT], "format", None),
        ([20200101 + n for n in range(40)], "timestamp", None),
    ],
)
def test_whole_numbers_are_dates_where_nothing_else_is_likely(
    cells: list[int], header: str, form: str | None
) -> None:
    outcome = decided(cells, header).outcome
    assert isinstance(outcome, LeftOut if form is None else Column)
    if isinstance(outcome, Column):
        assert (outcome.kind, outcome.format) == ("date", form)


def test_a_year_of_two_digits_that_lies_far_ahead_is_reported() -> None:
    decision = decided(["11/19/53", "01/04/87", "10/13/92"] * 10)
    assert decision.is_loud
    assert decision.why.endswith("53 is 2053: write the year in four digits if that is wrong")
    assert not decided(["11/19/13", "01/04/87", "10/13/92"] * 10).is_loud


def test_a_format_that_reads_nothing_is_reported() -> None:
    decision = decided(["x", "y"] * 10, formats={"a": "%d/%m/%Y"})
    assert decision.outcome is None
    assert 'does not read enough of the values, which are like "x", "y"; change' in decision.why


def test_a_decision_is_explained_with_rows_and_counts() -> None:
    cells = [f"{n / 7:.2f}" for n in MANY]
    decision = decided([*cells, "?", "?", "7O.1"])
    assert decision.why == 'missing: "?" in 2 rows; unreadable: "7O.1", in 1 bad row'
    assert isinstance(decision.outcome, Column)
    assert decision.outcome.markers == ("?",)
    assert decision.outcome.missing


def test_numbers_beside_many_other_texts_are_reported_as_categories() -> None:
    decision = decided([*MANY, *["90+"] * 15, *(n % 50 for n in range(400)), *["<1"] * 60])
    assert isinstance(decision.outcome, Column)
    assert decision.outcome.kind == "category"
    assert decision.is_loud
    assert decision.why.startswith(
        'read as categories, although 500 cells are numbers and 75 are not, such as "<1", "90+"'
    )


@pytest.mark.parametrize(
    "header", ["id", "store_id", "StoreID", "Postal Code", "zip", "nr", "fips"]
)
def test_numbers_under_the_header_of_a_code_are_reported(header: str) -> None:
    decision = decided([n % 5 for n in MANY], header)
    assert isinstance(decision.outcome, Column)
    assert decision.outcome.kind == "integer"
    assert decision.why.startswith("read as numbers, although the header may be that of a code;")
    for other, cells in (("paid", MANY[:5]), ("age", MANY[:5]), ("id", [0, 1]), ("id", [0.5, 1])):
        assert not decided([*cells] * 40, other).why


def test_more_texts_than_categories_under_the_header_of_an_identifier_are_left_out() -> None:
    cells = [f"p{n % 30:02}" for n in range(900)]
    for header, most, reason in (("playerID", 9, "identifier"), ("playerID", 30, None)):
        outcome = decided(cells, header, max_categories=most).outcome
        assert (outcome.reason if isinstance(outcome, LeftOut) else None) == reason
    assert isinstance(decided(cells, "player", max_categories=9).outcome, LeftOut | Column)


def test_words_that_are_read_as_missing_among_categories_are_reported() -> None:
    why = decided([*["None", "oil", "gas"] * 10, "NA"]).why
    says = 'missing: "None" in 10, "NA" in 1 row; if it is a category, set processed.missing: [""]'
    assert why == says
    assert not decided(["oil", "gas", ""] * 10).why
    assert not decided([*range(30), "NA"]).why, "no number is written so"


def test_units_come_from_the_values_where_the_header_has_none() -> None:
    assert decided(["5%", "7.5%"] * 10).outcome == Column(
        name="a", kind="number", unit="%", format="1234.5%"
    )


def test_the_header_is_kept_where_it_is_not_the_name() -> None:
    for header in ("emp.var.rate", "avg(age)", "度 [cm]"):
        outcome = decided([n % 5 for n in MANY], header).outcome
        assert isinstance(outcome, Column)
        assert outcome.header == header


def test_a_copy_is_known_by_its_values_whatever_their_type() -> None:
    columns: dict[str, list[Any]] = {
        "a": [1, 2, 2] * 9,
        "b": ["1.0", "2.0", "2.0"] * 9,
        "c": [1, 2, 1] * 9,
    }
    profiles = {name: profiled(cells)[1] for name, cells in columns.items()}
    decisions = {name: Decision(name, Column(name=name, kind="number"), "") for name in columns}
    assert find_copies(profiles, decisions) == {"b": "a"}
