from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cairn.contract import Column, Contract, Target
from cairn.errors import CairnError
from cairn.tables.part import COMMAS, Dialect, Part
from cairn.tables.validate import ValidPart, validate_part
from tests.cairn.tables.tables import as_lines

TARGET = Target(name="y", classes=("no", "yes"))


def contract(*columns: Column, target: Target = TARGET, identifier: str | None = None) -> Contract:
    return Contract(columns=columns, target=target, identifier=identifier)


def csv(names: str, rows: str, dialect: Dialect = COMMAS) -> Part:
    return Part("csv", rows.encode(), "t", 2, tuple(names.split(dialect.delimiter)), dialect)


def problems(result: ValidPart) -> list[tuple[str, str, Any, int]]:
    return [tuple(row) for row in result.problems.itertuples(index=False)]


def parquet(**columns: pa.Array) -> Part:
    table = pa.table(columns)
    return Part("parquet", table, "t", names=tuple(table.column_names))


def labels(count: int) -> pa.Array:
    return pa.array(["no"] * count)


NUMBER = Column(name="a", kind="number", missing=True)
CODE = Column(name="a", kind="category", categories=(1, 2), missing=True)
TEXT = Column(name="a", kind="category", categories=("u", "v"), missing=True)
FLAG = Column(name="a", kind="boolean", missing=True)
DATE = Column(name="a", kind="date", parts=("day",), missing=True)
WHOLE = Column(name="a", kind="integer", missing=True)


@pytest.mark.parametrize(
    ("column", "right", "kept", "wrong"),
    [
        (NUMBER, ["1.5", " 2 ", "+3", "1e3", ".5", "NA", " "], [1.5, 2, 3, 1000, 0.5, None, None],
         ["x", "1_0", "0x10", "1,5", "--1", "true"]),
        (WHOLE, ["1.0", "-2", "1e3"], [1, -2, 1000], ["1.5", "x"]),
        (CODE, ["1", "2.0", " 1", ""], [1, 2, 1, None], ["1.5", "x", "True", "9" * 30]),
        (TEXT, ["u", "v", "null"], ["u", "v", None], []),
        (FLAG, ["true", "False", "TRUE", " true", ""], [True, False, True, True, None],
         ["1", "yes", "tRUE"]),
        (DATE, ["2024-02-29", "2024-02-29T10:00", ""], None, ["2023-02-29", "x", "20240101"]),
    ],
)  # fmt: skip
def test_a_text_of_csv_is_read_the_same_among_right_and_wrong_ones(
    column: Column, right: list[str], kept: list[Any] | None, wrong: list[str]
) -> None:
    own = contract(column)
    expected = kept or [None]
    for rows in (right, [*right, *wrong]):
        result = validate_part(csv("a,y", "".join(f'"{text}",no\n' for text in rows)), own)
        assert result.is_valid.tolist() == [text in right for text in rows]
        if kept:
            assert result.rows["a"].to_pylist() == expected


@pytest.mark.parametrize(
    ("column", "values", "good"),
    [
        (NUMBER, pa.array([1, None], pa.int8()), [True, True]),
        (NUMBER, pa.array([1.5, np.nan, np.inf]), [True, True, False]),
        (NUMBER, pa.array(["1.5", "x"]), [True, False]),
        (NUMBER, pa.array([True]), [False]),
        (WHOLE, pa.array([1.0, 1.5, None]), [True, False, True]),
        (CODE, pa.array([1.0, np.nan, 1.5, 3.0]), [True, True, False, False]),
        (CODE, pa.array([2, 2**62]), [True, False]),
        (CODE, pa.array(["1", "x"]), [True, False]),
        (TEXT, pa.array(["u", "w", None]), [True, False, True]),
        (TEXT, pa.array([1]), [False]),
        (TEXT, pa.array([[1]]), [False]),
        (FLAG, pa.array([True, None]), [True, True]),
        (FLAG, pa.array([1]), [False]),
        (DATE, pa.array(["2024-02-29", "x"]), [True, False]),
        (DATE, pa.array([1, None], pa.date32()), [True, True]),
        (DATE, pa.array([1], pa.timestamp("ms")), [True]),
        (DATE, pa.array([1], pa.timestamp("s", tz="UTC")), [True]),
        (DATE, pa.array([1]), [False]),
        (DATE, pa.nulls(2), [True, True]),
    ],
)
def test_a_value_of_parquet_has_its_type(
    column: Column, values: pa.Array, good: list[bool]
) -> None:
    result = validate_part(parquet(a=values, y=labels(len(values))), contract(column))
    assert result.is_valid.tolist() == good
    assert len(result.rows) == sum(good)


def test_a_time_before_1970_is_cut_to_its_second_as_its_text_is() -> None:
    stamp = pd.Timestamp("1969-12-31T23:59:58.5")
    of_time = validate_part(parquet(a=pa.array([stamp]), y=labels(1)), contract(DATE))
    of_text = validate_part(csv("a,y", f"{stamp.isoformat()},no\n"), contract(DATE))
    assert of_time.rows["a"] == of_text.rows["a"]
    assert of_text.rows["a"][0].as_py() == pd.Timestamp("1969-12-31T23:59:58")


@pytest.mark.parametrize(
    ("classes", "labels", "kept"),
    [
        ((0, 1), "0 1.0 2 x 0.5", [0, 1]),
        ((2**63 - 1, 2**63 - 2), f"{2**63 - 1} {2**63 - 2} {2**63} x", [2**63 - 1, 2**63 - 2]),
        ((False, True), "true False 1 x", [True, False]),
        (("0", "1"), "0 1 1.0 x", ["0", "1"]),
    ],
)
def test_labels_have_the_type_of_the_classes(
    classes: tuple[Any, ...], labels: str, kept: list[Any]
) -> None:
    own = contract(NUMBER, target=Target(name="y", classes=classes))
    result = validate_part(csv("a,y", "".join(f"1,{label}\n" for label in labels.split())), own)
    assert result.rows["y"].to_pylist() == kept
    assert set(result.problems["problem"]) == {"not a known class"}


def test_each_problem_says_column_value_and_row() -> None:
    own = contract(
        NUMBER.model_copy(update={"missing": False, "minimum": 0.0}),
        Column(name="b", kind="category", categories=("u",), missing=True),
    )
    result = validate_part(csv("a,b,y", "1,u,no\nx,w,no\n-1,,\n,u,maybe\n"), own)
    assert problems(result) == [
        ("a", "not a number", "x", 1),
        ("b", "not a known category", "w", 1),
        ("y", "missing", None, 2),  # and nothing else of a row that nothing is learned from
        ("a", "missing", None, 3),
        ("y", "not a known class", "maybe", 3),
    ]
    assert (result.total, result.is_valid.tolist()) == (4, [True, False, False, False])


MONEY = Column(name="a", kind="number", format="$1,234.5", markers=("-",), missing=True)
DAY = Column(name="a", kind="date", parts=("day",), format="%d.%m.%Y", missing=True)


@pytest.mark.parametrize(
    ("column", "cells", "values"),
    [
        (MONEY, ["$1,234.50", "12", " - ", "", "-$3"], [1234.5, 12, None, None, -3]),
        (NUMBER, ["\N{MINUS SIGN}5", "1"], [-5, 1]),
        (WHOLE.model_copy(update={"markers": ("?",)}), ["?", "3"], [None, 3]),
        (TEXT.model_copy(update={"markers": ("?",)}), [" u", "?", "v "], ["u", None, "v"]),
    ],
)
@pytest.mark.parametrize("is_json", [False, True])
def test_a_column_is_read_in_its_own_form(
    column: Column,
    cells: list[str],
    values: list[Any],
    is_json: bool,  # noqa: FBT001
) -> None:
    rows = [{"a": cell or None, "y": "no"} for cell in cells]
    text = "".join(f'"{cell}",no\n' for cell in cells)
    part = Part("jsonl", as_lines(rows), "t") if is_json else csv("a,y", text)
    result = validate_part(part, contract(column))
    assert result.is_valid.all()
    assert result.rows["a"].to_pylist() == values


@pytest.mark.parametrize(
    ("text", "good"), [("TRUE", True), (" False", True), ("tRUE", False), ("yes", False)]
)
def test_a_text_is_true_or_false_in_json_as_in_csv(text: str, good: bool) -> None:  # noqa: FBT001
    lines = Part("jsonl", as_lines([{"a": text, "y": "no"}]), "t")
    for part in (lines, csv("a,y", f"{text},no\n")):
        assert validate_part(part, contract(FLAG)).is_valid.tolist() == [good]


def test_dates_are_read_in_their_own_form_and_as_iso() -> None:
    result = validate_part(
        csv("a,y", "29.02.2024,no\n2024-02-29,no\n2.29.2024,no\n"), contract(DAY)
    )
    assert result.is_valid.tolist() == [True, True, False]
    assert len(set(result.rows["a"].to_pylist())) == 1


def test_a_time_with_a_zone_is_given_in_utc() -> None:
    of_text = validate_part(csv("a,y", "2024-03-01T00:30:00+02:00,no\n"), contract(DATE))
    stamp = pa.array([pd.Timestamp("2024-03-01T00:30:00+02:00")])
    of_time = validate_part(parquet(a=stamp, y=labels(1)), contract(DATE))
    assert of_text.rows == of_time.rows
    assert str(of_text.rows["a"][0]) == "2024-02-29 22:30:00"


def test_removed_blanks_and_markers_are_counted() -> None:
    own = contract(TEXT.model_copy(update={"markers": ("?",)}))
    result = validate_part(csv("a,y", "u ,no\nv,no\n ?,no\n"), own)
    assert result.notes == {
        "a: surrounding blanks removed": 2,
        "a: '?' read as missing": 1,
    }
    assert validate_part(csv("a,y", "u ,no\n"), own.model_copy(update={"strip": False})).problems[
        "problem"
    ].tolist() == ["not a known category"]


def test_a_row_of_a_rare_class_has_only_that_problem() -> None:
    target = TARGET.model_copy(update={"rare": ("maybe",)})
    result = validate_part(csv("a,y", "x,maybe\n1,no\n1,never\n"), contract(NUMBER, target=target))
    assert problems(result) == [
        ("y", "a rare class", "maybe", 0),
        ("y", "not a known class", "never", 2),
    ]
    assert result.broken == 1


def test_a_category_keeps_the_blanks_that_it_has_itself() -> None:
    own = contract(TEXT.model_copy(update={"categories": (" u", "v")}))
    rows = [" u", " v ", "u"]
    result = validate_part(csv("a,y", "".join(f"{cell},no\n" for cell in rows)), own)
    lines = validate_part(Part("jsonl", as_lines([{"a": c, "y": "no"} for c in rows]), "t"), own)
    assert result.is_valid.tolist() == lines.is_valid.tolist() == [True, True, False]
    assert result.rows["a"].to_pylist() == lines.rows["a"].to_pylist() == [" u", "v"]


def test_the_contract_may_list_which_texts_are_missing() -> None:
    own = contract(TEXT.model_copy(update={"categories": ("NA", "u")}))
    assert validate_part(csv("a,y", "NA,no\n"), own).rows["a"].to_pylist() == [None]
    listed = own.model_copy(update={"missing": ("",)})
    part = csv("a,y", "NA,no\n,no\n", COMMAS._replace(missing=("",)))
    assert validate_part(part, listed).rows["a"].to_pylist() == ["NA", None]


def test_a_category_may_be_one_that_is_not_listed() -> None:
    own = contract(TEXT.model_copy(update={"unknown": True}))
    assert validate_part(csv("a,y", "w,no\nu,no\n"), own).is_valid.all()
    own = contract(CODE.model_copy(update={"unknown": True}))
    assert validate_part(csv("a,y", "77,no\n1.5,no\n"), own).is_valid.tolist() == [True, False]
    inexact = parquet(a=pa.array([7.0, 2.0**60, np.inf]), y=labels(3))
    assert validate_part(inexact, own).is_valid.tolist() == [True, False, False]


def test_names_of_rows_are_kept_as_text() -> None:
    own = contract(NUMBER, identifier="id")
    result = validate_part(csv("id,a,y", "007,1,no\n,2,no\n"), own)
    assert result.rows["id"].to_pylist() == ["007", None]
    ids = pa.array([7.0, None, 7.5])
    result = validate_part(parquet(id=ids, a=pa.array([1, 2, 3]), y=labels(3)), own)
    assert result.rows["id"].to_pylist() == ["7", None]
    assert problems(result) == [("id", "neither a text nor a whole number", 7.5, 2)]


def test_a_decimal_comma_is_one_among_wrong_values_too() -> None:
    rows = "1,5;no\n1.5;no\nx;no\n"
    result = validate_part(csv("a;y", rows, Dialect(";", ",")), contract(NUMBER))
    assert result.rows["a"].to_pylist() == [1.5]


def test_columns_that_are_gone_are_named() -> None:
    own = contract(NUMBER, identifier="id")
    with pytest.raises(CairnError, match=r"has no column 'a', 'id', which .* names; it has b, y"):
        validate_part(csv("b,y", "1,no\n"), own)
    lines = Part("jsonl", as_lines([{"b": 1, "y": "no"}]), "t")
    assert validate_part(lines, own).columns == {"b", "y"}


def test_rows_are_the_same_where_all_but_their_names_is() -> None:
    own = contract(NUMBER, TEXT.model_copy(update={"name": "c"}), identifier="id")
    part = csv("id,a,c,y", "1,1,u,no\n2,1.0,u,no\n3,,u,no\n4,,u,no\n5,1,v,no\n6,1,u,yes\n")
    hashes = validate_part(part, own, with_hashes=True).hashes.tolist()
    assert hashes[0] == hashes[1]
    assert hashes[2] == hashes[3]
    assert len(set(hashes)) == 4
    assert not len(validate_part(part, own).hashes)


def test_whole_numbers_that_float32_rounds_are_counted() -> None:
    own = contract(WHOLE)
    result = validate_part(csv("a,y", f"{2**24},no\n{2**24 + 1},no\n{2**60 + 1},no\n,no\n"), own)
    assert result.notes == {
        "a: rounded to float32": 1
    }  # CSV's numbers are float64: 2**60 + 1 is 2**60
    assert validate_part(csv("a,y", "1,no\n"), own).notes == {}


def test_a_part_can_be_checked_in_another_process() -> None:
    check = pickle.loads(pickle.dumps(partial(validate_part, contract=contract(NUMBER))))  # noqa: S301
    result = pickle.loads(pickle.dumps(check(csv("a,y", "1,no\nx,no\n"))))  # noqa: S301
    assert result.rows["a"].to_pylist() == [1]


def test_what_was_given_is_not_changed() -> None:
    part = parquet(a=pa.array([1.0, np.inf]), y=labels(2))
    before = part.content.to_pydict() if isinstance(part.content, pa.Table) else {}
    validate_part(part, contract(NUMBER))
    assert isinstance(part.content, pa.Table)
    assert part.content.to_pydict() == before


def test_a_marker_among_values_of_several_types_is_missing_in_json_lines() -> None:
    """The column is read as JSON there, whose values Arrow cannot choose between."""
    marked = contract(NUMBER.model_copy(update={"markers": ("?",)}))
    rows = [{"a": value, "y": "no"} for value in ("?", [1], 2.5)]
    result = validate_part(Part("jsonl", as_lines(rows), "t"), marked)
    assert result.is_valid.tolist() == [True, False, True]
    assert result.rows["a"].to_pylist() == [None, 2.5]
