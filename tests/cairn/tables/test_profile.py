from __future__ import annotations

import pickle
from functools import partial, reduce
from itertools import pairwise
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.tables import profile
from cairn.tables.part import COMMAS, Part
from cairn.tables.profile import Survey
from tests.cairn.tables.tables import as_lines

VALUES = st.one_of(st.none(), st.integers(-9, 9), st.floats(-1, 1), st.booleans(), st.text("ab"))


def csv(text: str) -> Part:
    header, rows = text.split("\n", 1)
    return Part("csv", rows.encode(), "table", 2, tuple(header.split(",")), COMMAS)


def test_a_survey_counts_and_spans_the_good_rows() -> None:
    survey = profile.survey(csv("a (m),b,y\n1.5,u,0\ninf,v,1\n-2,,\n,w,1\n3,u,1\n"), target="y")
    assert (survey.rows, survey.good) == (5, 3)
    numbers, texts, labels = survey.columns.values()
    assert numbers.forms == {"number"}
    assert (numbers.header, numbers.unit) == ("a (m)", "m")
    assert (numbers.present, numbers.low, numbers.high) == (2, 1.5, 3.0)
    assert (texts.present, texts.counts) == (3, {"u": 2, "w": 1})
    assert labels.counts == {0: 1, 1: 2}


def test_a_column_apart_makes_no_row_bad() -> None:
    part = csv("a,b,y\ninf,1,0\n1,2,1\n")
    assert profile.survey(part, target="y").good == 1
    assert profile.survey(part, target="y", unused=["a"]).good == 2


def test_a_survey_can_be_sent_to_another_process() -> None:
    survey = partial(profile.survey, target="y", texts=["a"], unused=["b"])
    sent = pickle.loads(pickle.dumps(survey))  # noqa: S301
    part = csv("a,b,y\n1,2,0\n2,2,1\n")
    assert sent(part) == survey(part)
    assert survey(part).columns["a"].forms == {"text"}


@given(
    rows=st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES, "y": st.sampled_from("uv")}),
                  min_size=1, max_size=8),
    data=st.data(),
)  # fmt: skip
def test_surveys_add_up_to_that_of_the_whole(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    survey = partial(profile.survey, target="y", texts=["a"])
    halves = [
        survey(Part("jsonl", as_lines(half), "t")) for half in (rows[:cut], rows[cut:]) if half
    ]
    total, all_rows = reduce(add, halves), survey(Part("jsonl", as_lines(rows), "t"))
    assert (total.rows, total.good) == (all_rows.rows, all_rows.good)
    assert {n: c.present for n, c in total.columns.items()} == {
        n: c.present for n, c in all_rows.columns.items()
    }


@given(
    numbers=st.lists(st.integers(-50, 50), min_size=2, max_size=40),
    cut=st.integers(1, 39),
)
def test_whole_numbers_are_known_as_unique_and_rising_wherever_they_are_cut(
    numbers: list[int], cut: int
) -> None:
    rows = [{"a": number, "y": "u"} for number in numbers]
    halves = [rows[:cut], rows[cut:]]
    surveys = [profile.survey(Part("jsonl", as_lines(h), "t"), "y") for h in halves if h]
    column = reduce(add, surveys).columns["a"]
    assert column.is_unique == (len(set(numbers)) == len(numbers))
    assert column.is_rising == all(b > a for a, b in pairwise(numbers))
    assert (column.first, column.last) == (numbers[0], numbers[-1])
    assert column.values == set(numbers)


def test_values_beyond_those_counted_stay_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "TEXTS", 2)
    halves = [profile.survey(csv(f"a,y\n{x}1,0\n{x}2,1\n{x}3,0\n"), target="y") for x in "st"]
    column = reduce(add, halves).columns["a"]
    assert column.distinct == 3
    assert column.is_capped


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        ("07030\n10001", "text"),
        ("1\n" * 90_000 + "07030", "text"),
        ("0x1F\n0x2A", "text"),
        ("-01\n2", "text"),
        ("0\n10", "integer"),
        ("0.5\n10", "number"),
        ("2024-01-01\n2024-01-02", "date"),
        ("2024-01-01T10:00Z\n2024-01-02T10:00Z", "time"),
    ],
)
def test_the_form_of_a_column_is_that_of_all_its_cells(cells: str, form: str) -> None:
    text = "a,y\n" + "\n".join(f"{cell},u" for cell in cells.split("\n")) + "\n"
    assert profile.survey(csv(text), "y").columns["a"].forms == {form}


def test_blanks_around_texts_are_no_part_of_them() -> None:
    column = profile.survey(csv("a,y\n u,u\nu,u\nu ,v\n NA ,v\n"), "y").columns["a"]
    assert (column.counts, column.present) == ({"u": 3}, 3)


def test_columns_of_the_same_values_have_one_digest() -> None:
    survey = profile.survey(csv("a,b,c,d,y\n1,1.0,1,x,u\n2,2.0,3,x,v\n"), "y")
    a, b, c, d, _ = (column.digest for column in survey.columns.values())
    assert a == b
    assert len({a, c, d}) == 3


def test_an_empty_survey_adds_nothing() -> None:
    survey = profile.survey(csv("a,y\n1,u\n2,v\n"), "y")
    assert Survey() + survey == survey
