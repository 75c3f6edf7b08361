from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cairn.contract import Label
from cairn.paths import CONTRACT
from cairn.tables import reader
from cairn.tables.part import Part
from tests.cairn.tables import bad_rows
from tests.cairn.tables.tables import (
    as_lines,
    refused,
    run,
    run_again,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", bad_rows.FILES)
def test_what_is_no_table_is_refused_by_name(name: str) -> None:
    content, message = bad_rows.FILES[name]
    error = refused(content)
    assert error.startswith("data/raw/table: ")
    assert message in error
    assert not CONTRACT.exists()


@pytest.mark.parametrize("name", bad_rows.COLUMNS)
def test_a_column_that_cannot_be_used_is_named(name: str) -> None:
    content, message = bad_rows.COLUMNS[name]
    assert message in refused(content)
    assert not CONTRACT.exists()


@pytest.mark.parametrize(
    ("values", "kind", "categories", "missing"),
    [
        (("1", "-2"), "integer", (), False),
        (("1", ""), "integer", (), True),
        (("1.0", "2"), "number", (), False),
        (("1.5", "2"), "number", (), False),
        (("1e-300", "nan"), "number", (), True),
        (("True", "false"), "boolean", (), False),
        (("True", ""), "boolean", (), True),
        (("b", "a"), "category", ("a", "b"), False),
        (("b", ""), "category", ("b",), True),
        (("01", "x"), "category", ("01", "x"), False),
        (("1", "True"), "category", ("1", "True"), False),
        (("0x1F", "0x2A"), "category", ("0x1F", "0x2A"), False),
        (("10:00", "11:30"), "category", ("10:00", "11:30"), False),
        (('"1,5"', '"2,25"'), "number", (), False),
        (('"1,5"', '"x ""q"""'), "category", ("1,5", 'x "q"'), False),
        (("日", "größe"), "category", ("größe", "日"), False),
        (('"two\nlines"', "x"), "category", ("two\nlines", "x"), False),
        (("7", "7"), "integer", (), False),
        (("2024-02-29", "1999-01-01"), "date", (), False),
        (("2024-02-29 10:00", ""), "date", (), True),
        (("2024-02-29", "x"), "category", ("2024-02-29", "x"), False),
        (("2024-02-29T10:00Z", "2024-02-29T10:00Z"), "date", (), False),
        (("29.02.2024", "1.3.2024"), "date", (), False),
    ],
)
@pytest.mark.parametrize("size", [1, 2**20])
def test_values_suggest_the_kind_of_their_column(  # noqa: PLR0913, PLR0917
    values: tuple[str, str],
    kind: str,
    categories: tuple[str, ...],
    missing: bool,  # noqa: FBT001
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    contract, _, _ = run(f"a,y\n{values[0]},0\n{values[1]},1\n")
    (column,) = contract.columns
    assert (column.kind, column.categories, column.missing) == (kind, categories, missing)


@pytest.mark.parametrize(
    ("labels", "classes", "kept"),
    [
        (("1", "-1", "1"), (-1, 1), 3),
        (("0.0", "1.0", "1.0"), (0, 1), 3),
        (("0", "", "1"), (0, 1), 2),
        (("3", "2", "1"), (1, 2, 3), 3),
        (("True", "False", "True"), (False, True), 3),
        (("True", "", "False"), (False, True), 2),
        (("x", "ä", "x"), ("x", "ä"), 3),
        (("x", "", "z"), ("x", "z"), 2),
        (("1", "x", "1"), ("1", "x"), 3),
    ],
)
@pytest.mark.parametrize("size", [1, 2**20])
def test_labels_keep_the_type_that_they_have_in_the_table(
    labels: tuple[str, ...],
    classes: tuple[Label, ...],
    kept: int,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    content = "a,y\n" + "".join(f"{index},{label}\n" for index, label in enumerate(labels))
    contract, rows, report = run(content, bad_rows="set_aside")
    assert contract.target.classes == classes
    assert [type(label) for label in contract.target.classes] == [type(label) for label in classes]
    assert set(rows["y"]) == set(classes)
    assert (report["kept"], report["set_aside"]) == (kept, 3 - kept)


def test_of_too_many_categories_the_most_frequent_stay(capsys: pytest.CaptureFixture[str]) -> None:
    cells = ["u"] * 5 + ["v"] * 4 + ["w"] * 3
    contract, rows, report = run(
        "a,y\n" + "".join(f"{cell},{index % 2}\n" for index, cell in enumerate(cells)),
        max_categories=2,
    )
    (column,) = contract.columns
    assert (column.categories, column.unknown) == (("u", "v"), True)
    assert len(rows) == 12
    assert report["notes"] == {"a: a category that the contract does not list": 3}
    output = capsys.readouterr().out
    assert (
        "keeps the 2 most frequent of 3 categories (9 rows); the others (3 rows) become" in output
    )


def test_too_many_classes_are_named_with_the_limit() -> None:
    content = "a,y\n" + "".join(f"{index},t{index}\n" for index in range(4))
    assert "target 'y' has 4 different labels" in refused(content, max_categories=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,y\ninf,0\n1,1\n2,1\n", "target 'y' has only the label 1"),
        ("b,y\ninf,0\n,1\n,0\n", "b: left out: no row has a value"),
    ],
)
def test_what_the_rows_that_are_kept_lack_is_named(content: str, message: str) -> None:
    assert message in refused(content, bad_rows="set_aside")


def test_a_category_and_a_gap_of_which_no_row_is_kept_are_not_allowed() -> None:
    content = "a,c,n,y\ninf,x,,0\n1,y,2,1\n2,z,3,0\n"
    contract, rows, _ = run(content, bad_rows="set_aside")
    _, colour, number = contract.columns
    assert colour.categories == ("y", "z")
    assert (number.kind, number.missing) == ("integer", False)
    assert rows["c"].tolist() == ["y", "z"]


@pytest.mark.parametrize("label", ["1e300", "-1e19", str(2**63), str(2**64 - 1)])
def test_a_huge_label_is_refused(label: str) -> None:
    assert "target 'y' is a number: 2 different values" in refused(f"a,y\n1,{label}\n2,1\n")


@pytest.mark.parametrize("first", ["1", "x"])
def test_the_largest_label_is_kept_to_the_last_digit(first: str) -> None:
    run(f"a,y\n1,{2**63 - 1}\n2,{2**63 - 2}\n3,{2**53 + 1}\n")
    _, rows, _ = run_again(
        f"a,y\n{first},0\n1,{2**63 - 1}\n2,{2**63 - 2}\n3,{2**53 + 1}\n", bad_rows="set_aside"
    )
    assert rows["y"].tolist() == [2**63 - 1, 2**63 - 2, 2**53 + 1]


@pytest.mark.parametrize("size", [60, 2**20])
def test_dates_stay_dates_beside_a_column_of_mixed_values(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    ids = (7, "A1", 8, "A2")
    rows = [{"id": i, "day": f"2024-01-0{n + 1}", "y": n % 2} for n, i in enumerate(ids)]
    contract, kept, _ = run(as_lines(rows), identifier="id", drop=[])
    assert [column.kind for column in contract.columns] == ["date"]
    assert kept["id"].tolist() == ["7", "A1", "8", "A2"]


@pytest.mark.parametrize("size", [8, 2**20])
def test_a_code_that_begins_with_a_zero_is_a_text(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    contract, rows, _ = run("zip,n,y\n10115,0,0\n01067,0.5,1\n10115,10,0\n")
    assert [column.kind for column in contract.columns] == ["category", "number"]
    assert rows["zip"].tolist() == ["10115", "01067", "10115"]


def test_a_column_named_as_a_part_of_a_date_is_refused() -> None:
    error = refused("since,since_year,y\n2024-01-01,1,0\n2024-01-02,2,1\n")
    assert (
        "'since_year' appears twice among the columns, the parts of dates and the target" in error
    )


LATER = {
    "as at first": ["0.5,u,0", "1.5,v,1"],
    "no value": [",u,0"],
    "a text": ["x,u,1"],
    "a new category": ["2.5,w,0"],
    "a new label": ["2.5,u,2"],
}


@pytest.mark.parametrize("name", LATER)
def test_what_comes_later_suggests_as_much_as_what_comes_first(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "a,c,y\n" + "\n".join([*["0.5,u,0", "1.5,v,1"] * 3, *LATER[name]]) + "\n"
    at_once = run(content)
    CONTRACT.unlink()
    monkeypatch.setattr(reader, "BYTES", 30)
    parted = run_again(content)
    assert (parted[0], parted[2]) == (at_once[0], at_once[2])
    pd.testing.assert_frame_equal(parted[1], at_once[1])


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the parts that each reading of the table takes."""
    counts: list[int] = []
    read_parts = reader.read_parts

    def read(*arguments: Any) -> Iterator[Part]:
        counts.append(0)
        for part in read_parts(*arguments):
            counts[-1] += 1
            yield part

    monkeypatch.setattr(reader, "read_parts", read)
    return counts


def test_a_table_that_goes_on_as_it_begins_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES", 30)
    counts = count_reads(monkeypatch)
    contract, rows, _ = run("a,c,y\n" + "0.5,u,0\n1.5,v,1\n" * 6)
    assert [column.kind for column in contract.columns] == ["number", "category"]
    assert len(rows) == 12
    beginning, all_parts = counts
    assert (beginning, all_parts > 2) == (1, True)


def test_a_table_of_one_part_is_surveyed_as_read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_reads(monkeypatch)
    run("a,c,y\n" + "0.5,u,0\n1.5,v,1\n" * 6)
    assert counts == [1, 1]


def test_a_later_run_reads_the_first_part_for_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES", 30)
    content = "a,c,y\n" + "0.5,u,0\n1.5,v,1\n" * 6
    run(content)
    counts = count_reads(monkeypatch)
    run_again(content)
    assert (len(counts), counts[0]) == (2, 1)


WEIGHTS = [f"{n % 97 + 2},{n % 89 + 101}" for n in range(60)]


def write(sign: str, **columns: list[str]) -> str:
    """A table of these columns, in which quotes are around each cell, and a target."""
    names = [*columns, "y"]
    rows = zip(*columns.values(), [str(n % 2) for n in range(60)], strict=True)
    lines = [sign.join(f'"{cell}"' for cell in row) for row in rows]
    return "\n".join([sign.join(names), *lines, ""])


def points(cells: list[str]) -> list[str]:
    return [cell.replace(",", ".") for cell in cells]


@pytest.mark.parametrize(
    ("sign", "cells", "beside", "value"),
    [
        (";", WEIGHTS, "12,5", 2.101),  # a German table
        (";", points(WEIGHTS), "12,5", 2101),
        (";", points(WEIGHTS), "12.5678", 2.101),
        (";", points(WEIGHTS), "1.234.567", 2101),
        (",", WEIGHTS, "12.5", 2101),
        (",", WEIGHTS, "red", 2101),
        (",", points(WEIGHTS), "red", 2.101),
        (",", [f"{cell} kg" for cell in points(WEIGHTS)], "12.5", 2.101),
        (",", [f"{cell} kg" for cell in WEIGHTS], "red", 2101),
        (",", [f"R$ {cell}" for cell in points(WEIGHTS)], "1.234,56", 2101),
        (",", [f"({cell})" for cell in points(WEIGHTS)], "red", -2.101),
    ],
)
def test_thousands_are_told_from_fractions_by_the_other_columns(
    sign: str, cells: list[str], beside: str, value: float
) -> None:
    _, rows, _ = run(write(sign, a=cells, b=[beside, beside.replace("5", "6")] * 30))
    assert rows["a"][0] == pytest.approx(value)


@pytest.mark.parametrize(
    ("sign", "cells", "edits"),
    [
        (";", WEIGHTS, ('a: "1234,5"', 'a: "1,234.5"')),
        (";", points(WEIGHTS), ('a: "1234.5"', 'a: "1.234,5"')),
        (",", [f"{cell} kg" for cell in points(WEIGHTS)], ('"1234.5 kg"', '"1.234,5 kg"')),
        (",", [f"${cell}" for cell in points(WEIGHTS)], ('"$1234.5"', '"$1.234,5"')),
    ],
)
def test_thousands_or_fractions_in_doubt_are_for_a_person(
    sign: str, cells: list[str], edits: tuple[str, str]
) -> None:
    table = write(sign, a=cells, b=["red", "blue"] * 30)
    error = refused(table)
    assert "column 'a': add to processed.formats: " in error
    assert all(edit in error for edit in edits)
    for edit, value in zip(edits, [2.101, 2101], strict=True):
        CONTRACT.unlink(missing_ok=True)
        form = edit.partition('"')[2].rstrip('"')
        _, rows, _ = run_again(table, formats={"a": form})
        assert rows["a"][0] == value


@pytest.mark.parametrize("key", ["target", "identifier", "drop", "keep", "formats"])
def test_a_column_that_no_json_line_has_is_named(key: str) -> None:
    one: Any = {"drop": ["z"], "keep": ["z"], "formats": {"z": "1,234"}}.get(key, "z")
    error = refused(as_lines([{"a": 1.5, "y": 0}, {"a": 2.5, "y": 1}]), **{key: one})
    assert error == f"processed.{key}: got 'z'; the columns are a, y"


def test_the_nulls_of_databases_are_missing_values() -> None:
    lines = [f"{n + 0.5}\t{'ab'[n % 2]}\t{n % 2}" for n in range(20)]
    contract, rows, _ = run("\n".join(["a\tb\ty", *lines, "\\N\t\\N\t1", ""]))
    assert [(column.kind, column.missing) for column in contract.columns] == [
        ("number", True),
        ("category", True),
    ]
    assert rows.isna().sum().sum() == 2


def test_a_title_above_the_header_is_no_part_of_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    contract, rows, _ = run("Sales;2024\n\na;b;y\n1,5;x;0\n2,5;z;1\n")
    assert (contract.names, len(rows)) == (("a", "b"), 2)
    assert (
        "the header is line 3; lines above it are no part of the table" in capsys.readouterr().out
    )


def test_a_header_with_line_breaks_is_one_line_of_the_table_of_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run('"two\r\nlines",y\n1.5,0\n2.5,1\n')
    assert "two lines  number" in capsys.readouterr().out


def test_a_quote_within_the_first_row_opens_no_field() -> None:
    _, rows, _ = run('a\tsize 5" or 6"\ty\n1.5\t 6"\t0\n2.5\t "7\t1\n', header="first")
    assert len(rows) == 2
