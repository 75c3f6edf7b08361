from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cairn.console import CairnError
from cairn.contract import Contract, Label
from cairn.paths import CONTRACT, PROCESSED, REPORT
from cairn.tables import contract_file, reader, validate
from stages import processed
from tests import small
from tests.cairn.tables import bad_rows
from tests.cairn.tables.tables import (
    PACK,
    ROWS,
    as_csv,
    as_lines,
    as_parquet,
    as_tar,
    refused,
    run,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def edit(change: dict[str, dict[str, Any]], **top: Any) -> None:
    """Edit the contract as people do: keys of columns by name, and others."""
    content = yaml.safe_load(CONTRACT.read_text())
    content.update(top)
    for column in content["columns"]:
        column.update(change.get(column["name"], {}))
    CONTRACT.write_text(yaml.safe_dump(content))


def again(content: str | bytes, **knobs: Any) -> tuple[Contract, pd.DataFrame, dict[str, Any]]:
    """Run the stage as DVC does, which takes away the rows that it made before."""
    PROCESSED.unlink(missing_ok=True)
    return run(content, **knobs)


def refused_again(content: str | bytes, **knobs: Any) -> str:
    PROCESSED.unlink(missing_ok=True)
    return refused(content, **knobs)


@pytest.mark.parametrize("name", bad_rows.FILES)
def test_what_is_no_table_is_refused_by_name(name: str) -> None:
    content, says = bad_rows.FILES[name]
    error = refused(content)
    assert error.startswith("data/raw/table: ")
    assert says in error
    assert not CONTRACT.exists()


@pytest.mark.parametrize("name", bad_rows.COLUMNS)
def test_a_column_that_cannot_be_used_is_named(name: str) -> None:
    content, says = bad_rows.COLUMNS[name]
    assert says in refused(content)
    assert not CONTRACT.exists()


def test_the_small_table_suggests_its_contract() -> None:
    contract, rows, report = run(small.text(), target="kind")
    headed = {column.name: column for column in small.CONTRACT.columns}
    headed["area"] = headed["area"].model_copy(update={"header": "area (cm2)"})
    assert contract == small.CONTRACT.model_copy(update={"columns": tuple(headed.values())})
    assert list(rows) == [*contract.names, "kind"]
    assert report == {"rows": 80, "kept": 80, "set_aside": 0, "problems": {}, "notes": {}}
    for place, row in enumerate(small.table()):
        for name, value in zip(list(rows), row, strict=True):
            kept = rows[name][place]
            assert pd.isna(kept) if value is None else kept == _as_kept(value)


def _as_kept(value: Any) -> Any:
    return np.float32(value) if type(value) in {int, float} else value


def formats(folder: Path) -> dict[str, bytes]:
    times = pd.to_datetime([row["time"] for row in ROWS]).astype("datetime64[us]")
    days = [row["day"] and pd.Timestamp(row["day"]).date() for row in ROWS]
    dated = [
        {**row, "day": day, "time": None if pd.isna(time) else time.to_pydatetime()}
        for row, day, time in zip(ROWS, days, times, strict=True)
    ]
    parquet = as_parquet(dated)
    halves = {"1.parquet": as_parquet(dated[:3]), "2.parquet": as_parquet(dated[3:])}
    return {
        "csv": as_csv(ROWS),
        "lines": as_lines(ROWS),
        "parquet": parquet,
        **{f"csv.{name}": pack(as_csv(ROWS)) for name, pack in PACK.items()},
        "lines.gz": PACK["gz"](as_lines(ROWS)),
        "tar of Parquet": as_tar(halves, folder / "parquet"),
        "tar of lines": as_tar({"1": as_lines(ROWS[:2]), "2": as_lines(ROWS[2:])}, folder / "l"),
        "tar of CSV": as_tar({"1": as_csv(ROWS[:2]), "2": as_csv(ROWS[2:], ";")}, folder / "c"),
    }


def test_the_same_rows_give_the_same_contract_and_rows_in_every_format(tmp_path: Path) -> None:
    contract, rows, report = run(as_csv(ROWS), identifier="id")
    kinds = {column.name: (column.kind, column.missing) for column in contract.columns}
    assert kinds == {
        "n": ("number", True), "i": ("integer", True), "b": ("boolean", True),
        "c": ("category", True), "code": ("integer", True), "day": ("date", True),
        "time": ("date", True),
    }  # fmt: skip
    assert (contract.column("n").unit, contract.identifier) == ("cm", "id")
    assert contract.column("time").parts == ("year", "month", "day", "weekday", "hour")
    assert rows["id"].tolist()[:2] == ["r1", "r2"]
    assert rows["time"][2] == pd.Timestamp("1969-12-31T23:59:58")
    assert rows["b"].tolist() == [True, None, False, True, False]
    for name, content in formats(tmp_path).items():
        CONTRACT.unlink()
        found, same, counts = again(content, identifier="id")
        assert (name, found, counts) == (name, contract, report)
        pd.testing.assert_frame_equal(same, rows)


def test_the_same_table_gives_the_same_bytes() -> None:
    run(small.text(), target="kind")
    before = PROCESSED.read_bytes(), CONTRACT.read_bytes(), REPORT.read_bytes()
    run(small.text(), target="kind")
    assert (PROCESSED.read_bytes(), CONTRACT.read_bytes(), REPORT.read_bytes()) == before


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
    content = "a,y\n" + "".join(f"{place},{label}\n" for place, label in enumerate(labels))
    contract, rows, report = run(content, bad_rows="set_aside")
    assert contract.target.classes == classes
    assert [type(label) for label in contract.target.classes] == [type(label) for label in classes]
    assert set(rows["y"]) == set(classes)
    assert (report["kept"], report["set_aside"]) == (kept, 3 - kept)


CELLS = st.sampled_from(
    ["", "1", "-3", "2.5", "true", "False", "x", "NA", "2024-02-29", "2024-02-29 10:00", "inf",
     "1e3", "two\nlines", 'a "b"', "a,b", "10:00", "9007199254740993"]
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    columns=st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=3),
    size=st.integers(1, 40),
)
@example(columns=[["", "", "inf", "true"], ["", "", "9007199254740993", ""]], size=1)
def test_no_size_of_the_parts_changes_the_contract_or_a_row(
    columns: list[list[str]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [
        {**{f"c{place}": column[row] for place, column in enumerate(columns)}, "y": "uvuv"[row]}
        for row in range(4)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("size"))
        whole = outcome(as_csv(rows))
        patch.chdir(tmp_path_factory.mktemp("size"))
        patch.setattr(reader, "BYTES", size)
        assert outcome(as_csv(rows)) == whole


def outcome(content: bytes) -> Any:
    """The contract, rows and report, or the error."""
    try:
        contract, rows, report = run(content, bad_rows="set_aside")
    except CairnError as error:
        return str(error)
    return contract, rows.to_csv(), report


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa b,y\n1,0\n2,1\n",
        b'\xef\xbb\xbf"a, b",y\n1,0\n2,1\n',
        b"a b,y\r\n1,0\r\n2,1\r\n",
        b"a b,y\r1,0\r2,1\r",
        b" a b ,y\n\n1,0\n\n2,1",
        b"\na b;y\n1;0\n2;1",
        b'"a b"\t"y"\n"1"\t"0"\n"2"\t"1"',
    ],
)
def test_a_csv_file_may_come_from_any_program(content: bytes) -> None:
    contract, rows, _ = run(content)
    assert contract.names == ("a_b",)
    assert rows["a_b"].tolist() == [1, 2]


def test_a_decimal_comma_can_be_given() -> None:
    good, wrong = "a;i;y\n1,5;3;0\n-2;4,0;1\n", "1.5;5;0\nx;6;1\n"
    contract, rows, _ = run(good, decimal=",")
    assert [column.kind for column in contract.columns] == ["number", "number"]
    assert rows["a"].tolist() == [1.5, -2]
    _, rows, report = again(good + wrong, decimal=",", bad_rows="set_aside")
    assert rows["a"].tolist() == [1.5, -2]
    assert report["problems"] == {"a: not a number": 2}


def test_dropped_columns_may_be_named_as_in_the_header_or_as_in_the_contract() -> None:
    content = "id no,b (cm),c,y\nu,1,1,0\nv,2,2,1\n"
    assert run(content, drop=["id no", "b"])[0].names == ("c",)
    CONTRACT.unlink()
    assert again(content, drop=["b (cm)"])[0].names == ("id_no", "c")
    CONTRACT.unlink()
    assert "processed.drop: got 'd'; the columns are id no, b (cm), c, y" in refused_again(
        content, drop=["d"]
    )


def test_a_dropped_column_and_an_identifier_may_hold_anything() -> None:
    content = "n,id,a,y\ninf,7,1,0\n1,inf,2,1\n2,x,3,0\n"
    contract, rows, report = run(content, drop=["n"], identifier="id")
    assert (contract.names, report["kept"]) == (("a",), 3)
    assert rows["id"].tolist() == ["7", "inf", "x"]


def test_the_target_and_the_identifier_may_be_named_as_in_the_header() -> None:
    contract, rows, _ = run("a,my label (x),my id\n1,0,007\n2,1,8\n",
                         target="my label (x)", identifier="my id")  # fmt: skip
    assert (contract.target.name, contract.identifier, contract.names) == (
        "my_label",
        "my_id",
        ("a",),
    )
    assert rows["my_id"].tolist() == ["007", "8"]


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"identifier": "x"}, "processed.identifier: got 'x'; the columns are a, b, y"),
        ({"identifier": "y"}, "processed.identifier: 'y' is the target"),
        ({"identifier": "a", "drop": ["a"]}, "processed.identifier: 'a' is the target, or in"),
    ],
)
def test_an_identifier_that_cannot_be_is_named(knobs: dict[str, Any], says: str) -> None:
    assert says in refused("a,b,y\n1,2,0\n2,3,1\n", **knobs)


def test_of_too_many_categories_the_most_frequent_stay(capsys: pytest.CaptureFixture[str]) -> None:
    cells = ["u"] * 5 + ["v"] * 4 + ["w"] * 3
    contract, rows, report = run(
        "a,y\n" + "".join(f"{cell},{place % 2}\n" for place, cell in enumerate(cells)),
        max_categories=2,
    )
    (column,) = contract.columns
    assert (column.categories, column.unknown) == (("u", "v"), True)
    assert len(rows) == 12
    assert report["notes"] == {"a: a category that is not listed": 3}
    output = capsys.readouterr().out
    assert "the 2 most frequent of 3 categories stay, 9 rows; the others, 3 rows, are" in output


def test_too_many_classes_are_named_with_the_limit() -> None:
    content = "a,y\n" + "".join(f"{place},t{place}\n" for place in range(4))
    assert "target 'y' has 4 different labels" in refused(content, max_categories=3)


BAD = "a,b,y\n1,1,0\ninf,2,1\n1e300,3,0\n4,4,\n5,5,1\n"


def test_bad_rows_end_the_stage_with_each_column_and_its_rows() -> None:
    error = refused(BAD)
    assert error.startswith("3 bad rows: ")
    assert "'a' beyond float32 in 2 (data rows 2, 3, such as inf, 1e+300)" in (error)
    assert "'y' missing in 1 (data row 4)" in error
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
    assert "processed: 3 bad rows: 'a' beyond float32" in capsys.readouterr().out


def test_a_row_with_two_problems_is_one_bad_row() -> None:
    _, rows, report = run("a,b,y\ninf,inf,1\n1,2,0\n2,1,1\n", bad_rows="set_aside")
    assert (len(rows), report["set_aside"], sum(report["problems"].values())) == (2, 1, 2)


@pytest.mark.parametrize("size", [1, 2**20])
def test_of_many_bad_rows_the_first_are_named(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    error = refused("a,y\n1,0\n2,1\n" + "inf,1\n" * 8)
    assert "in 8 (data rows 3, 4, 5, 6, 7, …, such as inf)" in error


def test_where_every_row_is_bad_none_is_left() -> None:
    assert "no row is left: each lacks a target or has an infinite number" in refused(
        "a,y\ninf,0\n-inf,1\n1,\n", bad_rows="set_aside"
    )
    run("a,y\n1,0\n2,1\n")
    assert refused_again("a,y\nu,0\nv,1\n", bad_rows="set_aside") == (
        "no row is left: 2 bad rows: 'a' not a number in 2 (data rows 1, 2, such as 'u', 'v')"
    )
    assert "a header and no rows" in refused_again("a,y\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,y\ninf,0\n1,1\n2,1\n", "target 'y' has only the label 1"),
        ("b,y\ninf,0\n,1\n,0\n", "b: left out: no row has a value"),
    ],
)
def test_what_the_rows_that_are_kept_lack_is_named(content: str, says: str) -> None:
    assert says in refused(content, bad_rows="set_aside")


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
    _, rows, _ = again(
        f"a,y\n{first},0\n1,{2**63 - 1}\n2,{2**63 - 2}\n3,{2**53 + 1}\n", bad_rows="set_aside"
    )
    assert rows["y"].tolist() == [2**63 - 1, 2**63 - 2, 2**53 + 1]


def test_a_whole_number_is_counted_where_float32_rounds_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = [2**24, 2**24 + 1, -(2**24) - 1, 5]
    _, _, report = run("a,y\n" + "".join(f"{n},{place % 2}\n" for place, n in enumerate(whole)))
    assert report["notes"] == {"a: rounded by float32": 2}
    said = [line for line in capsys.readouterr().out.splitlines() if "float32" in line]
    assert said == ["processed: column a: rounded by float32, in 2 rows"]


TWICE = "id,a,c,y\n1,1,u,0\n2,1,u,0\n3,2,v,1\n4,x,v,1\n5,1,u,0\n6,2,v,1\n7,2,v,0\n"


@pytest.mark.parametrize("size", [1, 2**20])
def test_rows_that_repeat_one_before_are_kept_set_aside_or_refused(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(TWICE.replace("4,x,v,1\n", ""), identifier="id")
    monkeypatch.setattr(reader, "BYTES", size)
    knobs = {"identifier": "id", "bad_rows": "set_aside"}
    _, rows, report = again(TWICE, **knobs)
    assert (rows["id"].tolist(), report["set_aside"]) == (["1", "2", "3", "5", "6", "7"], 1)
    _, rows, report = again(TWICE, duplicates="set_aside", **knobs)
    assert rows["id"].tolist() == ["1", "3", "7"]
    assert report == {
        "rows": 7,
        "kept": 3,
        "set_aside": 4,
        "problems": {"a: not a number": 1, "row: the same as one before": 3},
        "notes": {},
    }
    error = refused_again(TWICE, duplicates="fail", **knobs)
    assert "the same as one before in 3 (data rows 2, 5, 6)" in error
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


@pytest.mark.parametrize("size", [30, 2**20])
def test_a_key_that_the_first_object_lacks_is_read_as_any_other(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    texts = ["2024-01-01", "x", "2024-01-02", "x"]
    run(as_lines([{"my c": text, "y": n % 2} for n, text in enumerate(texts)]))
    edit({"my_c": {"missing": True}})
    rows: list[dict[str, Any]] = [{"my c": texts[0], "y": n % 2} for n in range(9)]
    assert again(as_lines([{"y": 0}, *rows]))[2]["problems"] == {}


def test_a_category_that_may_be_new_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    run("c,y\nu,0\nv,1\n")
    edit({"c": {"unknown": True}})
    _, rows, report = again("c,y\nu,0\nw,1\nw,1\n")
    assert rows["c"].tolist() == ["u", "w", "w"]
    assert report["notes"] == {"c: a category that is not listed": 2}
    assert "column c: a category that is not listed, in 2 rows" in capsys.readouterr().out


@pytest.mark.parametrize("size", [8, 2**20])
def test_a_code_that_begins_with_a_zero_is_a_text(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BYTES", size)
    contract, rows, _ = run("zip,n,y\n10115,0,0\n01067,0.5,1\n10115,10,0\n")
    assert [column.kind for column in contract.columns] == ["category", "number"]
    assert rows["zip"].tolist() == ["10115", "01067", "10115"]


def test_json_is_utf_8_whatever_csv_is() -> None:
    _, rows, _ = run(as_lines([{"c": c, "y": y} for y, c in enumerate("äß")]), encoding="cp1252")
    assert rows["c"].tolist() == ["ä", "ß"]


def test_another_unit_is_refused() -> None:
    run("h (cm),y\n1,0\n2,1\n")
    error = refused_again("h (mm),y\n1,0\n2,1\n")
    assert error.startswith("column 'h' is in mm, data/processed/contract.yaml says cm; ")


def test_a_column_named_as_a_part_of_a_date_is_refused() -> None:
    error = refused("since,since_year,y\n2024-01-01,1,0\n2024-01-02,2,1\n")
    assert "'since_year' stands twice among columns, parts of dates and the target" in error


def test_a_date_that_no_text_has_is_refused() -> None:
    good = {"day": "2024-01-01", "y": 0}
    run(as_lines([good, {**good, "y": 1}]))
    days = pa.array([0, 4 * 10**6], pa.int32()).cast(pa.date32())
    file = pa.BufferOutputStream()
    pq.write_table(pa.table({"day": days, "y": [0, 1]}), file)
    assert "'day' not a date in 1 (data row 2" in refused_again(file.getvalue().to_pybytes())


def test_what_nan_is_called_does_not_depend_on_its_neighbours() -> None:
    _, _, report = run("a,y\n1,0\nNAN,1\n2,0\n3,1\n")
    assert report["set_aside"] == 0
    assert "'a' not a number in 1 (data row 3" in refused_again("a,y\n1,0\nNAN,1\nbad,0\n3,1\n")


def test_an_unknown_code_is_shown_as_it_was_written() -> None:
    run("a,y\n1,0\n2,1\n")
    assert "'y' not a known class in 1 (data row 2, such as 3)" in refused_again("a,y\n1,0\n2,3\n")


def test_rows_that_only_float32_makes_the_same_are_two() -> None:
    content = f"a,y\n{2**24},0\n{2**24 + 1},0\n3,1\n"
    assert run(content, duplicates="fail")[2]["kept"] == 3


def test_the_first_run_shows_what_it_inferred(capsys: pytest.CaptureFixture[str]) -> None:
    run(as_csv(ROWS), identifier="id")
    said = capsys.readouterr().out
    for words in (
        ["n (cm)", "number (cm)", "20.0%", "-2.25 to 1000000"],
        ["time", "date", "20.0%"],
        ["y", "target", "2"],
        ["id", "identifier"],
        ["target y: no, yes"],
        [f"wrote {CONTRACT}; read it, edit it, commit it"],
    ):
        assert any(all(word in line for word in words) for line in said.splitlines())


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
    whole = run(content)
    CONTRACT.unlink()
    monkeypatch.setattr(reader, "BYTES", 30)
    parted = again(content)
    assert (parted[0], parted[2]) == (whole[0], whole[2])
    pd.testing.assert_frame_equal(parted[1], whole[1])


def test_a_table_that_goes_on_as_it_begins_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES", 30)
    monkeypatch.setattr(processed, "inferred", lambda *_: pytest.fail("all rows were surveyed"))
    contract, rows, _ = run("a,c,y\n" + "0.5,u,0\n1.5,v,1\n" * 6)
    assert [column.kind for column in contract.columns] == ["number", "category"]
    assert len(rows) == 12


def test_the_second_run_leaves_the_contract_as_its_user_wrote_it() -> None:
    run(as_csv(ROWS), identifier="id")
    CONTRACT.write_text(
        "# mine\n" + CONTRACT.read_text().replace("- {name: b", "\n# ours\n- {name: b")
    )
    before = CONTRACT.read_bytes()
    again(as_csv(ROWS), identifier="id")
    assert CONTRACT.read_bytes() == before
    refused_again("a,y\n1,0\n", identifier="id")
    assert CONTRACT.read_bytes() == before


def test_an_edited_contract_is_honoured() -> None:
    run(as_csv(ROWS), identifier="id")
    edit(
        {
            "code": {"kind": "category", "categories": [10, 20, 30]},
            "c": {"unknown": True, "categories": ["red"]},
            "n": {"minimum": -3.0, "maximum": 1e6},
            "time": {"parts": ["minute", "hour"]},
        }
    )
    contract, rows, report = again(as_csv(ROWS), identifier="id")
    assert report["kept"] == 5
    assert contract.column("time").parts == ("minute", "hour")
    assert rows["code"].tolist()[:4] == [10, 20, 10, 30]
    assert rows["c"][2] == "blue, dark"
    edit({"code": {"categories": [10, 20]}, "n": {"missing": False, "maximum": 1.0}})
    for content in (as_csv(ROWS), as_lines(ROWS)):
        _, rows, report = again(content, identifier="id", bad_rows="set_aside")
        assert report["problems"] == {
            "code: not a known category": 1,
            "n: missing": 1,
            "n: under -3 or over 1": 1,
        }
        assert rows["id"].isna().sum() == 1


# In the second and the last row of five.
DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "a new category": ({"c": "green"}, "'c' not a known category: 'green'"),
    "a number that is a text": ({"n (cm)": "tall"}, "'n' not a number: 'tall'"),
    "a whole number with a fraction": ({"i": 0.5}, "'i' not a whole number: 0.5"),
    "a boolean that is a text": ({"b": "1"}, "'b' not true or false: '1'"),
    "a range left": ({"n (cm)": -99.5}, "'n' under -3: -99.5"),
    "a date that is none": ({"day": "2023-02-29"}, "'day' not a date: '2023-02-29'"),
    "a date that is a text": ({"day": "soon"}, "'day' not a date: 'soon'"),
    "a gap": ({"y": None}, "'y' missing"),
    "a new class": ({"y": "maybe"}, "'y' not a known class: 'maybe'"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
@pytest.mark.parametrize("write", [as_csv, as_lines])
def test_each_difference_from_the_contract_is_explained(name: str, write: Any) -> None:
    run(write(ROWS), identifier="id")
    edit({"n": {"minimum": -3.0}})
    change, says = DIFFERENCES[name]
    rows = [{**row, **change} if place in {1, 4} else row for place, row in enumerate(ROWS)]
    error = refused_again(write(rows), identifier="id")
    what, _, came = says.partition(": ")
    such = f", such as {came}" if came else ""
    assert error.startswith(f"2 bad rows: {what} in 2 (data rows 2, 5{such}); mend the source, or")
    _, kept, report = again(write(rows), identifier="id", bad_rows="set_aside")
    assert (len(kept), report["set_aside"], sum(report["problems"].values())) == (3, 2, 2)


@pytest.mark.parametrize("write", [as_csv, as_lines, as_parquet])
def test_a_column_that_is_gone_is_named(write: Any) -> None:
    run(write(ROWS), identifier="id")
    for gone in ("i", "y", "id"):
        rows = [{name: row[name] for name in row if name != gone} for row in ROWS]
        error = refused_again(write(rows), identifier="id", bad_rows="set_aside")
        assert f"data/raw/table has no column '{gone}', which {CONTRACT} names" in error
        assert f"delete {CONTRACT}" in error


def test_a_column_that_is_new_is_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    run("a,y\n1,0\n2,1\n")
    _, rows, _ = again("a,b,c,y\n1,5,6,0\n2,5,6,1\n", drop=["c"])
    assert list(rows) == ["a", "y"]
    said = capsys.readouterr().out
    assert f"column 'b' is left out: it is neither in {CONTRACT} nor in processed.drop" in said
    assert "column 'c'" not in said


def test_the_type_of_a_parquet_column_that_changed_is_explained() -> None:
    run(as_parquet(ROWS), identifier="id")
    rows = [{**row, "i": str(row["i"]), "b": 1} for row in ROWS]
    error = refused_again(as_parquet(rows), identifier="id")
    assert "'i' not a number in 1 (data row 2, such as 'None'" in error
    assert "'b' not true or false in 5" in error


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"target": "n"}, "processed.target: got 'n', data/processed/contract.yaml has 'y'"),
        ({"identifier": None}, "processed.identifier: got None, data/processed/contract.yaml has"),
        ({"identifier": "c"}, "processed.identifier: got 'c', data/processed/contract.yaml has"),
        ({"drop": ["n (cm)", "c"]}, "processed.drop: n is in data/processed/contract.yaml, too"),
    ],
)
def test_params_that_speak_of_other_columns_than_the_contract_are_named(
    knobs: dict[str, Any], says: str
) -> None:
    run(as_csv(ROWS), identifier="id")
    error = refused_again(as_csv(ROWS), **{"identifier": "id", **knobs})
    assert says in error
    assert f"delete {CONTRACT} and run `dvc repro`" in error


def test_json_lines_may_have_other_keys_in_each_row() -> None:
    content = '{"a":1,"y":"u"}\n{"y":"v","b":true}\n{"b":null,"a":2.5,"y":"u"}\n'
    contract, rows, _ = run(content)
    assert [(column.name, column.kind, column.missing) for column in contract.columns] == [
        ("a", "number", True), ("b", "boolean", True),
    ]  # fmt: skip
    assert rows["a"].isna().tolist() == [False, True, False]


def test_bad_rows_of_json_lines_do_not_hide_the_good_ones() -> None:
    rows = [{"a": n, "c": "x", "y": n % 2} for n in range(6)]
    run(as_lines(rows))
    wrong: list[dict[str, Any]] = [{"a": v, "c": "x", "y": 0} for v in ("u", True, [1], {"b": 1})]
    _, kept, report = again(as_lines([*wrong, *rows]), bad_rows="set_aside")
    assert (len(kept), report["problems"]) == (6, {"a: not a number": 4})
    error = refused_again(as_lines([*wrong, *rows]))
    assert "'a' not a number in 4 (data rows 1, 2, 3, 4, such as 'u', True, [1], {'b': 1})" in error


def test_the_report_is_json_of_numbers() -> None:
    run(BAD, bad_rows="set_aside")
    report = json.loads(REPORT.read_text())
    assert {type(report.pop(name)) for name in ("rows", "kept", "set_aside")} == {int}
    assert {type(value) for counts in report.values() for value in counts.values()} == {int}


def test_a_contract_that_is_wrong_ends_the_stage() -> None:
    run(as_csv(ROWS), identifier="id")
    CONTRACT.write_text(CONTRACT.read_text().replace("kind: number", "kind: real"))
    with pytest.raises(CairnError, match="column n: kind: got 'real'; allowed: 'number', 'integ"):
        contract_file.read(CONTRACT)
    assert "column n: kind: got 'real'" in refused_again(as_csv(ROWS), identifier="id")


def test_blanks_of_many_columns_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f" u,v ,w,{n % 2}\nx,z,w,{n % 2}\n" for n in range(9))
    _, _, report = run("a,b,c,y\n" + rows)
    assert report["notes"] == {f"{name}: {validate.BLANKS}": 9 for name in "ab"}
    assert "processed: blanks around 18 texts of 2 columns taken off\n" in capsys.readouterr().out
