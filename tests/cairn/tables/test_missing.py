from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.contract import MISSING_TEXTS, Column, Contract, Target
from cairn.tables.missing import MissingRule, list_missing_texts, rule_of
from cairn.tables.part import JSON

TEXTS = st.lists(st.sampled_from(["u", " u", "v ", "NA", " NA ", "?", "", " ", " w", "w"]))


def clean(rule: MissingRule, values: list[Any]) -> list[Any]:
    return rule.clean(pa.chunked_array([pa.array(values, pa.string())])).to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("rule", "text", "cleaned"),
    [
        (MissingRule(()), " u ", "u"),
        (MissingRule((), strip=False), " u ", " u "),
        (MissingRule(("NA", "")), " NA ", None),
        (MissingRule(("NA", "")), "  ", None),
        (MissingRule(("NA",), strip=False), " NA", " NA"),
        (MissingRule(("NA",), categories=("NA", "u")), "NA", "NA"),
        (MissingRule((), categories=(" w", "u")), " w", " w"),
        (MissingRule((), categories=(" w", "u")), " u", "u"),
        (MissingRule(("99",), categories=(1, 99)), "99", None),  # as the service has it
    ],
)
def test_a_text_is_cleaned(rule: MissingRule, text: str, cleaned: str | None) -> None:
    assert clean(rule, [text]) == [rule.clean_text(text)] == [cleaned]


@given(
    texts=TEXTS,
    missing=TEXTS.map(tuple),
    strip=st.booleans(),
    categories=st.lists(st.sampled_from(["u", " w", "NA", "?"])).map(tuple),
)
def test_many_texts_are_cleaned_as_each_of_them(
    texts: list[str],
    missing: tuple[str, ...],
    strip: bool,  # noqa: FBT001
    categories: tuple[str, ...],
) -> None:
    rule = MissingRule(missing, strip, categories)
    assert clean(rule, texts) == [rule.clean_text(text) for text in texts]


def test_values_of_json_are_missing_as_they_were_written() -> None:
    values = ["NA", " NA", 7, None]
    texts = pa.array([None if value is None else json.dumps(value) for value in values])
    array = pa.chunked_array([pa.ExtensionArray.from_storage(JSON, texts)])
    cleaned = MissingRule(("NA",)).clean(array)
    assert cleaned.cast(pa.string()).to_pylist() == [None, '" NA"', "7", None]


def test_other_values_stay() -> None:
    numbers = pa.chunked_array([[1, None]])
    assert MissingRule(("1",)).clean(numbers) is numbers


def test_the_usual_texts_are_missing_in_csv_only() -> None:
    assert list_missing_texts(None) == MISSING_TEXTS
    assert list_missing_texts(None, is_csv=False) == ()
    assert list_missing_texts([""], is_csv=False) == ("",)


def test_the_rule_of_a_column_has_its_markers_and_categories() -> None:
    column = Column(name="a", kind="category", categories=("u", "?"), markers=("-",), missing=True)
    contract = Contract(
        columns=(column,), target=Target(name="y", classes=(0, 1)), strip=False, missing=("NA",)
    )
    assert rule_of(column, contract) == MissingRule(("NA", "-"), False, ("u", "?"))  # noqa: FBT003
