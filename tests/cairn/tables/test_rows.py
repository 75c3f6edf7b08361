from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cairn.paths import CONTRACT, REPORT
from cairn.tables import reader, validate
from tests.cairn.tables.tables import (
    ROWS,
    as_csv,
    as_lines,
    as_parquet,
    edit,
    refused,
    refused_again,
    run,
    run_again,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


BAD = "a,b,y\n1,1,0\ninf,2,1\n1e300,3,0\n4,4,\n5,5,1\n"


def test_bad_rows_end_the_stage_with_each_column_and_its_rows() -> None:
    error = refused(BAD)
    assert error.startswith("3 bad rows: ")
    assert "'a' is beyond float32 in 2 rows (data rows 2, 3, such as inf, 1e+300)" in (error)
    assert "'y' is missing in 1 row (data row 4)" in error
    assert "set processed.bad_rows: set_aside" in error
    assert not CONTRACT.exists()


def test_bad_rows_are_set_aside_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    _, rows, report = run(BAD, bad_rows="set_aside")
    assert rows["a"].tolist() == [1, 5]
    assert report == {
        "rows": 5,
        "kept": 2,
        "set_aside": 3,
        "problems": {"a: beyond float32": 2, "y: missing": 1},
        "notes": {},
    }
    assert "processed: 3 bad rows: 'a' is beyond float32" in capsys.readouterr().out


def test_a_row_with_two_problems_is_one_bad_row() -> None:
    _, rows, report = run("a,b,y\ninf,inf,1\n1,2,0\n2,1,1\n", bad_rows="set_aside")
    assert (len(rows), report["set_aside"], sum(report["problems"].values())) == (2, 1, 2)


@pytest.mark.parametrize("size", [1, 2**20])
def test_of_many_bad_rows_the_first_are_named(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    error = refused("a,y\n1,0\n2,1\n" + "inf,1\n" * 8)
    assert "in 8 rows (data rows 3, 4, 5, 6, 7, …, such as inf)" in error


def test_where_every_row_is_bad_none_is_left() -> None:
    assert "no row is left, for each lacks a label or has an infinite number" in refused(
        "a,y\ninf,0\n-inf,1\n1,\n", bad_rows="set_aside"
    )
    run("a,y\n1,0\n2,1\n")
    assert refused_again("a,y\nu,0\nv,1\n", bad_rows="set_aside") == (
        "no row is left: 2 bad rows: 'a' is not a number in 2 rows (data rows 1, 2, such as 'u', "
        "'v')"
    )
    assert "a header but no rows" in refused_again("a,y\n")


def test_a_whole_number_is_counted_where_float32_rounds_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    integers = [2**24, 2**24 + 1, -(2**24) - 1, 5]
    _, _, report = run("a,y\n" + "".join(f"{n},{index % 2}\n" for index, n in enumerate(integers)))
    assert report["notes"] == {"a: rounded to float32": 2}
    output = [line for line in capsys.readouterr().out.splitlines() if "float32" in line]
    assert output == ["processed: column a: rounded to float32, in 2 rows"]


TWICE = "id,a,c,y\n1,1,u,0\n2,1,u,0\n3,2,v,1\n4,x,v,1\n5,1,u,0\n6,2,v,1\n7,2,v,0\n"


@pytest.mark.parametrize("size", [1, 2**20])
def test_rows_that_repeat_one_before_are_kept_set_aside_or_refused(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(TWICE.replace("4,x,v,1\n", ""), identifier="id")
    monkeypatch.setattr(reader, "BYTES", size)
    params = {"identifier": "id", "bad_rows": "set_aside"}
    _, rows, report = run_again(TWICE, **params)
    assert (rows["id"].tolist(), report["set_aside"]) == (["1", "2", "3", "5", "6", "7"], 1)
    _, rows, report = run_again(TWICE, duplicates="set_aside", **params)
    assert rows["id"].tolist() == ["1", "3", "7"]
    assert report == {
        "rows": 7,
        "kept": 3,
        "set_aside": 4,
        "problems": {"a: not a number": 1, "row: equals an earlier one": 3},
        "notes": {},
    }
    error = refused_again(TWICE, duplicates="fail", **params)
    assert "3 rows equal an earlier one (data rows 2, 5, 6)" in error
    assert "set processed.duplicates: set_aside or keep" in error


@pytest.mark.parametrize("size", [10, 50, 2**20])
def test_what_repeats_does_not_depend_on_gaps_elsewhere(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    lines = ["true,1,0", "false,2,1", ",3,0", *["true,1,0", "false,2,1"] * 20]
    _, rows, _ = run("b,a,y\n" + "\n".join(lines) + "\n", duplicates="set_aside")
    assert len(rows) == 3


def test_a_missing_text_is_not_the_text_nan() -> None:
    rows = [{"c": c, "x": 1, "y": y} for y in (0, 1) for c in (None, "nan", "a")]
    assert len(run(as_lines(rows), duplicates="set_aside")[1]) == 6


@pytest.mark.parametrize("size", [30, 2**20])
def test_a_key_that_the_first_object_lacks_is_read_as_any_other(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    texts = ["2024-01-01", "x", "2024-01-02", "x"]
    run(as_lines([{"my c": text, "y": n % 2} for n, text in enumerate(texts)]))
    edit({"my_c": {"missing": True}})
    rows: list[dict[str, Any]] = [{"my c": texts[0], "y": n % 2} for n in range(9)]
    assert run_again(as_lines([{"y": 0}, *rows]))[2]["problems"] == {}


def test_a_category_that_may_be_new_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    run("c,y\nu,0\nv,1\n")
    edit({"c": {"unknown": True}})
    _, rows, report = run_again("c,y\nu,0\nw,1\nw,1\n")
    assert rows["c"].tolist() == ["u", "w", "w"]
    assert report["notes"] == {"c: a category that the contract does not list": 2}
    assert (
        "column c: a category that the contract does not list, in 2 rows" in capsys.readouterr().out
    )


def test_another_unit_is_refused() -> None:
    run("h (cm),y\n1,0\n2,1\n")
    error = refused_again("h (mm),y\n1,0\n2,1\n")
    assert error.startswith("column 'h' is in mm, but data/processed/contract.yaml says cm; ")


def test_a_date_that_no_text_has_is_refused() -> None:
    good = {"day": "2024-01-01", "y": 0}
    run(as_lines([good, {**good, "y": 1}]))
    days = pa.array([0, 4 * 10**6], pa.int32()).cast(pa.date32())
    file = pa.BufferOutputStream()
    pq.write_table(pa.table({"day": days, "y": [0, 1]}), file)
    assert "'day' is not a date in 1 row (data row 2" in refused_again(file.getvalue().to_pybytes())


def test_what_nan_is_called_does_not_depend_on_its_neighbours() -> None:
    _, _, report = run("a,y\n1,0\nNAN,1\n2,0\n3,1\n")
    assert report["set_aside"] == 0
    assert "'a' is not a number in 1 row (data row 3" in refused_again(
        "a,y\n1,0\nNAN,1\nbad,0\n3,1\n"
    )


def test_an_unknown_code_is_shown_as_it_was_written() -> None:
    run("a,y\n1,0\n2,1\n")
    assert "'y' is not a known class in 1 row (data row 2, such as 3)" in refused_again(
        "a,y\n1,0\n2,3\n"
    )


def test_rows_that_only_float32_makes_the_same_are_two() -> None:
    content = f"a,y\n{2**24},0\n{2**24 + 1},0\n3,1\n"
    assert run(content, duplicates="fail")[2]["kept"] == 3


# In the second and the last row of five.
DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "a new category": ({"c": "green"}, "'c' is not a known category: 'green'"),
    "a number that is a text": ({"n (cm)": "tall"}, "'n' is not a number: 'tall'"),
    "a whole number with a fraction": ({"i": 0.5}, "'i' is not a whole number: 0.5"),
    "a boolean that is a text": ({"b": "1"}, "'b' is not true or false: '1'"),
    "a range left": ({"n (cm)": -99.5}, "'n' is under -3: -99.5"),
    "a date that is none": ({"day": "2023-02-29"}, "'day' is not a date: '2023-02-29'"),
    "a date that is a text": ({"day": "soon"}, "'day' is not a date: 'soon'"),
    "a gap": ({"y": None}, "'y' is missing"),
    "a new class": ({"y": "maybe"}, "'y' is not a known class: 'maybe'"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
@pytest.mark.parametrize("write", [as_csv, as_lines])
def test_each_difference_from_the_contract_is_explained(name: str, write: Any) -> None:
    run(write(ROWS), identifier="id")
    edit({"n": {"minimum": -3.0}})
    change, message = DIFFERENCES[name]
    rows = [{**row, **change} if index in {1, 4} else row for index, row in enumerate(ROWS)]
    error = refused_again(write(rows), identifier="id")
    what, _, got = message.partition(": ")
    such = f", such as {got}" if got else ""
    assert error.startswith(
        f"2 bad rows: {what} in 2 rows (data rows 2, 5{such}); fix the source, or"
    )
    _, kept, report = run_again(write(rows), identifier="id", bad_rows="set_aside")
    assert (len(kept), report["set_aside"], sum(report["problems"].values())) == (3, 2, 2)


@pytest.mark.parametrize("write", [as_csv, as_lines, as_parquet])
def test_a_column_that_is_gone_is_named(write: Any) -> None:
    run(write(ROWS), identifier="id")
    for gone in ("i", "y", "id"):
        rows = [{name: row[name] for name in row if name != gone} for row in ROWS]
        error = refused_again(write(rows), identifier="id", bad_rows="set_aside")
        assert f"data/raw/table has no column '{gone}', which {CONTRACT} names" in error
        assert f"delete {CONTRACT}" in error


def test_a_column_that_is_new_is_left_out_with_a_remark(capsys: pytest.CaptureFixture[str]) -> None:
    run("a,y\n1,0\n2,1\n")
    _, rows, _ = run_again("a,b,c,y\n1,5,6,0\n2,5,6,1\n", drop=["c"])
    assert list(rows) == ["a", "y"]
    output = capsys.readouterr().out
    assert f"column 'b' is left out: it is neither in {CONTRACT} nor in processed.drop" in output
    assert "column 'c'" not in output


def test_the_type_of_a_parquet_column_that_changed_is_explained() -> None:
    run(as_parquet(ROWS), identifier="id")
    rows = [{**row, "i": str(row["i"]), "b": 1} for row in ROWS]
    error = refused_again(as_parquet(rows), identifier="id")
    assert "'i' is not a number in 1 row (data row 2, such as 'None'" in error
    assert "'b' is not true or false in 5 rows" in error


def test_bad_rows_of_json_lines_do_not_hide_the_good_ones() -> None:
    rows = [{"a": n, "c": "x", "y": n % 2} for n in range(6)]
    run(as_lines(rows))
    wrong: list[dict[str, Any]] = [{"a": v, "c": "x", "y": 0} for v in ("u", True, [1], {"b": 1})]
    _, kept, report = run_again(as_lines([*wrong, *rows]), bad_rows="set_aside")
    assert (len(kept), report["problems"]) == (6, {"a: not a number": 4})
    error = refused_again(as_lines([*wrong, *rows]))
    assert (
        "'a' is not a number in 4 rows (data rows 1, 2, 3, 4, such as 'u', True, [1], {'b': 1})"
        in error
    )


def test_the_report_is_json_of_numbers() -> None:
    run(BAD, bad_rows="set_aside")
    report = json.loads(REPORT.read_text())
    assert {type(report.pop(name)) for name in ("rows", "kept", "set_aside")} == {int}
    assert {type(value) for counts in report.values() for value in counts.values()} == {int}


def test_blanks_of_many_columns_are_reported_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = "".join(f" u,v ,w,{n % 2}\nx,z,w,{n % 2}\n" for n in range(9))
    _, _, report = run("a,b,c,y\n" + rows)
    assert report["notes"] == {f"{name}: {validate.BLANKS}": 9 for name in "ab"}
    assert (
        "processed: removed surrounding blanks from 18 texts in 2 columns\n"
        in capsys.readouterr().out
    )
