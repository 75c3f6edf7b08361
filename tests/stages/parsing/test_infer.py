from __future__ import annotations

import pickle
from functools import partial, reduce
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.console import CairnError
from stages.contract import Column
from stages.parsing import infer
from stages.parsing.infer import Found, Survey
from stages.parsing.table import COMMAS, Part
from tests.stages.tables import ROWS, as_lines

VALUES = st.one_of(st.none(), st.integers(-9, 9), st.floats(-1, 1), st.booleans(), st.text("ab"))


def csv(text: str) -> Part:
    header, rows = text.split("\n", 1)
    return Part("csv", rows.encode(), "table", 2, tuple(header.split(",")), COMMAS)


def proposed(found: Survey, **knobs: Any) -> tuple[Column, ...]:
    known: dict[str, Any] = {"identifier": None, "drop": [], "most": 9, **knobs}
    return infer.propose(found, "y", **known).columns


def test_a_survey_counts_and_spans_the_good_rows() -> None:
    found = infer.survey(csv("a (m),b,y\n1.5,u,0\ninf,v,1\n-2,,\n,w,1\n3,u,1\n"), target="y")
    assert (found.rows, found.good) == (5, 3)
    assert found.columns == {
        "a": Found(frozenset({"number"}), "m", 2, frozenset(), 1.5, 3.0),
        "b": Found(frozenset({"text"}), None, 3, frozenset({"u", "w"})),
        "y": Found(frozenset({"integer"}), None, 3, frozenset({0, 1}), 0, 1),
    }


def test_a_column_apart_makes_no_row_bad() -> None:
    part = csv("a,b,y\ninf,1,0\n1,2,1\n")
    assert infer.survey(part, target="y").good == 1
    assert infer.survey(part, target="y", apart=["a"]).good == 2


def test_a_survey_can_be_sent_to_another_process() -> None:
    survey = partial(infer.survey, target="y", texts=["a"], apart=["b"])
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
    survey = partial(infer.survey, target="y", texts=["a"])
    halves = [
        survey(Part("jsonl", as_lines(half), "t")) for half in (rows[:cut], rows[cut:]) if half
    ]
    found, whole = reduce(add, halves), survey(Part("jsonl", as_lines(rows), "t"))
    assert (found.rows, found.good) == (whole.rows, whole.good)
    assert {n: c.present for n, c in found.columns.items()} == {
        n: c.present for n, c in whole.columns.items()
    }


def test_values_beyond_those_counted_stay_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "DISTINCT", 2)
    halves = [infer.survey(csv(f"a,y\n{x}1,0\n{x}2,1\n{x}3,0\n"), target="y") for x in "st"]
    found = reduce(add, halves)
    assert len(found.columns["a"].distinct) == 3
    with pytest.raises(CairnError, match="column 'a' has over 2 distinct texts"):
        proposed(found, most=2)


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
    labels = Found(frozenset({"text"}), None, 2, frozenset({"u", "v"}))
    found = Survey(2, 2, {"a": Found(frozenset(forms), None, 2), "y": labels})
    assert infer.mixed(found) == []
    assert [column.kind for column in proposed(found)] == [kind]


@pytest.mark.parametrize(
    ("forms", "says"),
    [
        ({"integer", "text"}, r"\(texts, whole numbers\)"),
        ({"boolean", "number"}, r"\(booleans, numbers\)"),
        ({"date", "integer"}, r"\(dates, whole numbers\)"),
        ({"other"}, r"\(values of another type, or of several\)"),
    ],
)
def test_forms_that_are_no_kind_are_named(forms: Any, says: str) -> None:
    labels = Found(frozenset({"text"}), None, 2, frozenset({"u", "v"}))
    odd = Found(frozenset(forms), None, 2)
    found = Survey(2, 2, {"a": odd, "y": labels})
    assert infer.mixed(found) == ["a"]
    with pytest.raises(CairnError, match=f"column 'a' has values that no kind .*{says}; allowed"):
        proposed(found)
    with pytest.raises(CairnError, match=f"target 'y' has values that name no class {says}"):
        infer.propose(Survey(2, 2, {"a": labels, "y": odd}), "y", identifier=None, drop=[], most=9)


def test_what_is_left_out_and_what_names_a_row_are_no_columns() -> None:
    found = infer.survey(csv("id no,a,b,y\n1,2,3,0\n2,3,4,1\n"), target="y")
    terms = infer.propose(found, "y", identifier="id no", drop=["a"], most=9)
    assert (terms.identifier, terms.names) == ("id_no", ("b",))


def test_columns_keep_their_order() -> None:
    found = infer.survey(Part("jsonl", as_lines(ROWS), "t"), target="y")
    assert [column.name for column in proposed(found, identifier="id")] == [
        "n", "i", "b", "c", "code", "day", "time",
    ]  # fmt: skip


def test_what_was_inferred_is_shown_in_a_table() -> None:
    found = infer.survey(Part("jsonl", as_lines(ROWS), "t"), target="y")
    terms = infer.propose(found, "y", identifier="id", drop=[], most=9)
    lines = infer.shown(terms, found).splitlines()
    assert lines[0].split() == ["column", "kind", "unit", "missing", "values"]
    assert lines[1].split() == ["n", "number", "cm", "20.0%", "-2.25", "to", "1e+06"]
    assert len(lines) == 1 + len(terms.columns)
