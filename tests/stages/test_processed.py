from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages import contract, processed
from stages.console import CairnError
from stages.contract import Contract, Label
from stages.paths import PROCESSED, RAW, REPORT, TERMS
from tests import small
from tests.small import PARAMS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RAW.parent.mkdir(parents=True)


def made(
    table: str | bytes, target: str = "y", drop: tuple[str, ...] = (), **block: Any
) -> tuple[Contract, pd.DataFrame, dict[str, Any]]:
    RAW.write_bytes(table if isinstance(table, bytes) else table.encode())
    own = {**PARAMS["processed"], "target": target, "drop": list(drop), **block}
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, "processed": own}))
    processed.main()
    return contract.read(TERMS), pd.read_parquet(PROCESSED), json.loads(REPORT.read_bytes())


def refused(table: str | bytes, **block: Any) -> str:
    with pytest.raises(CairnError) as error:
        made(table, **block)
    assert not PROCESSED.exists()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_the_small_table_suggests_its_contract() -> None:
    terms, rows, report = made(small.text(), target="kind")
    assert terms == small.TERMS
    assert list(rows) == [*terms.names, "kind"]
    assert report == {"rows": 80, "kept": 80, "set_aside": 0, "problems": {}}
    assert [str(rows[name].dtype) for name in terms.names] == [
        "float32", "float32", "float32", "boolean", "str",
    ]  # fmt: skip
    for place, row in enumerate(small.table()):
        for name, value in zip(list(rows), row, strict=True):
            kept = rows[name][place]
            assert pd.isna(kept) if value is None else kept == _as_kept(value)


def _as_kept(value: Any) -> Any:
    return np.float32(value) if type(value) in {int, float} else value


def test_the_same_table_gives_the_same_bytes() -> None:
    made(small.text(), target="kind")
    before = PROCESSED.read_bytes(), TERMS.read_bytes(), REPORT.read_bytes()
    made(small.text(), target="kind")
    assert (PROCESSED.read_bytes(), TERMS.read_bytes(), REPORT.read_bytes()) == before


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
        (('"1,5"', '"x ""q"""'), "category", ("1,5", 'x "q"'), False),
        (("日", "größe"), "category", ("größe", "日"), False),
        (('"two\nlines"', "x"), "category", ("two\nlines", "x"), False),
        (("7", "7"), "integer", (), False),
    ],
)
def test_values_suggest_the_kind_of_their_column(
    values: tuple[str, str],
    kind: str,
    categories: tuple[str, ...],
    missing: bool,  # noqa: FBT001
) -> None:
    terms, _, _ = made(f"a,y\n{values[0]},0\n{values[1]},1\n")
    (column,) = terms.columns
    assert (column.kind, column.categories, column.missing) == (kind, categories, missing)


@pytest.mark.parametrize(
    ("labels", "classes", "kept"),
    [
        (("1", "-1", "1"), (-1, 1), 3),
        (("0.0", "1.0", "1.0"), (0, 1), 3),
        (("0", "", "1"), (0, 1), 2),
        (("True", "False", "True"), (False, True), 3),
        (("True", "", "False"), (False, True), 2),
        (("x", "ä", "x"), ("x", "ä"), 3),
        (("x", "", "z"), ("x", "z"), 2),
    ],
)
def test_labels_keep_the_type_that_they_have_in_the_table(
    labels: tuple[str, ...], classes: tuple[Label, ...], kept: int
) -> None:
    table = "a,y\n" + "".join(f"{place},{label}\n" for place, label in enumerate(labels))
    terms, rows, report = made(table, bad_rows="set_aside")
    assert terms.target.classes == classes
    assert [type(label) for label in terms.target.classes] == [type(label) for label in classes]
    assert set(rows["y"]) == set(classes)
    assert (report["kept"], report["set_aside"]) == (kept, 3 - kept)


@pytest.mark.parametrize(
    "table",
    [
        b"\xef\xbb\xbfa b,y\n1,0\n2,1\n",
        b'\xef\xbb\xbf"a, b",y\n1,0\n2,1\n',
        b"a b,y\r\n1,0\r\n2,1\r\n",
        b"a b,y\r1,0\r2,1\r",
        b" a b ,y\n\n1,0\n\n2,1",
    ],
)
def test_a_csv_file_may_come_from_any_program(table: bytes) -> None:
    terms, rows, _ = made(table)
    assert terms.names == ("a_b",)
    assert rows["a_b"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "not a CSV table"),
        ("a,y\n", "a header and no rows"),
        ("a,y", "a header and no rows"),
        ("a,y\n1,0\n2,1,3\n", "line 3 has 3 fields, the header 2"),
        ("a,y\n1,0,5\n2,1,3\n", "line 2 has 3 fields, the header 2"),
        ("a,b,y\n1,2,0\n\n2,1\n", "line 4 has 2 fields, the header 3"),
        ('a,b,y\n"1\n",2,0\n2\n', "line 4 has 1 fields, the header 3"),
        ("\n\na,y\n1,0\n2\n", "line 5 has 1 fields, the header 2"),
        ('a,y\n"1,0\n2,1\n', "line 3 has 1 fields, the header 2"),
        ('a,y\n1,0\n2,"1\n', "not a CSV table: .*string"),
        ("gr\xf6,y\n1,0\n".encode("latin-1"), "not UTF-8 text .byte 2"),
        ("a,y\n\xf6,0\n".encode("latin-1"), "not UTF-8 text .byte 4"),
        ("a,y\n1,0\n".encode("utf-16"), "not UTF-8 text"),
        (b"\x1f\x8b\x08\x00", "not UTF-8 text"),
        ("a" * 200_000 + ",y\n1,0\n", "not a CSV table: field larger"),
    ],
)
def test_what_is_no_table_is_refused_by_name(table: str | bytes, says: str) -> None:
    error = refused(table)
    assert error.startswith(f"{RAW}: ")
    assert pd.Series([error]).str.contains(says).all()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("a,a,y\n1,0,0\n2,1,1\n", "column 'a' stands twice"),
        ("a b,a_b,y\n1,0,0\n2,1,1\n", "column 'a_b' stands twice"),
        (",y\n1,0\n2,1\n", "column 1 of data/raw/table.csv has no name"),
        ("a,y,\n1,0,\n2,1,\n", "column 3 of data/raw/table.csv has no name"),
        ("a,%,y\n1,0,0\n2,1,1\n", "column 2 of data/raw/table.csv has no name"),
        ("a,b,y\n,0,0\n,1,1\n", "column 'a' has no value at all; add it to processed.drop"),
        ("a,b\n1,0\n2,1\n", "processed.target: got 'y'; the columns are a, b"),
        ("y\n0\n1\n", "one column only, 'y'; separate columns by commas"),
        ("a;y\n1;0\n2;1\n", "one column only, 'a;y'; separate columns by commas"),
        ("a,y\n1,1\n2,1\n", "target 'y' has 1 distinct labels; allowed: 2 to 100"),
        ("a,y\n1,\n2,\n", "target 'y' has 0 distinct labels"),
        ("a,y\n1,0.5\n2,1\n", "target 'y' has numbers that name no class"),
        ("a,y\n1,inf\n2,1\n", "target 'y' has numbers that name no class"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(table: str, says: str) -> None:
    assert says in refused(table)


def test_a_text_column_with_too_many_values_is_named_with_the_limit() -> None:
    table = "a,y\n" + "".join(f"t{place},{place % 2}\n" for place in range(11))
    assert "column 'a' has 11 distinct texts, more than processed.max_categories (10)" in refused(
        table, max_categories=10
    )
    assert len(made(table, max_categories=11)[0].columns[0].categories) == 11


def test_too_many_classes_are_refused() -> None:
    table = "a,y\n" + "".join(f"{place},t{place}\n" for place in range(4))
    assert "target 'y' has 4 distinct labels; allowed: 2 to 3" in refused(table, max_categories=3)


def test_dropped_columns_may_be_named_as_in_the_header_or_as_in_the_contract() -> None:
    table = "id no,b (cm),c,y\nu,1,1,0\nv,2,2,1\n"
    assert made(table, drop=("id no", "b"))[0].names == ("c",)
    assert made(table, drop=("b (cm)",))[0].names == ("id_no", "c")
    with pytest.raises(
        CairnError, match=r"processed\.drop: got 'd'; the columns are id_no, b, c, y"
    ):
        made(table, drop=("d",))


def test_the_target_may_be_named_as_in_the_header() -> None:
    assert made("a,my label (x)\n1,0\n2,1\n", target="my label (x)")[0].target.name == "my_label"


def test_without_a_table_it_says_what_makes_one() -> None:
    with pytest.raises(CairnError, match="no such file; run `dvc repro`"):
        processed.read(RAW)


BAD = "a,b,y\n1,1,0\ninf,2,1\n1e300,3,0\n4,4,\n5,5,1\n"


def test_bad_rows_end_the_stage_with_each_column_and_its_rows() -> None:
    error = refused(BAD)
    assert error.startswith("3 bad rows: ")
    assert "'a' not in -3.40282e+38 to 3.40282e+38 in 2 (data rows 2, 3)" in error
    assert "'y' missing in 1 (data rows 4)" in error
    assert "set processed.bad_rows: set_aside" in error


def test_bad_rows_are_set_aside_and_counted() -> None:
    _, rows, report = made(BAD, bad_rows="set_aside")
    assert rows["a"].tolist() == [1, 5]
    assert report == {
        "rows": 5,
        "kept": 2,
        "set_aside": 3,
        "problems": {"a: not in -3.40282e+38 to 3.40282e+38": 2, "y: missing": 1},
    }


def test_a_row_with_two_problems_is_one_bad_row() -> None:
    _, rows, report = made("a,y\ninf,\n1,0\n2,1\n", bad_rows="set_aside")
    assert (len(rows), report["set_aside"], sum(report["problems"].values())) == (2, 1, 2)


def test_of_many_bad_rows_the_first_are_named() -> None:
    error = refused("a,y\n1,0\n2,1\n" + "inf,1\n" * 8)
    assert "in 8 (data rows 3, 4, 5, 6, 7, …)" in error


def test_rows_are_held_to_a_contract_that_is_narrower_than_they_are() -> None:
    narrow = [
        column.model_copy(update={"missing": False, "categories": column.categories[:2]})
        if column.kind == "category"
        else column.model_copy(update={"minimum": -1.0, "maximum": 1.0})
        if column.name == "area"
        else column
        for column in small.TERMS.columns
    ]
    rows = small.frame()
    found = processed.check(rows, small.TERMS.model_copy(update={"columns": tuple(narrow)}))
    colour, area = rows["colour"], rows["area"].abs()
    assert set(found["row"][found["problem"] == "missing"]) == set(colour.index[colour.isna()])
    assert set(found["row"][found["problem"] == "not a known category"]) == set(
        colour.index[colour == "red"]
    )
    assert set(found["row"][found["problem"] == "not in -1 to 1"]) == set(area.index[area > 1])


def test_no_function_changes_the_frame_that_it_was_given() -> None:
    rows = small.frame()
    before = rows.copy(deep=True)
    processed.check(processed.typed(rows, small.TERMS), small.TERMS)
    processed.without(rows, ["flag"])
    pd.testing.assert_frame_equal(rows, before)


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("sepal length (cm)", "sepal_length", "cm"),
        ("mean radius", "mean_radius", None),
        (" od280/od315_of wines ", "od280_od315_of_wines", None),
        ("größe (µm)", "größe", "µm"),
        ("f(x) (m/s)", "f_x", "m/s"),
        ("(cm)", "cm", None),
        ("a()", "a", None),
        ("%", "", None),
    ],
)
def test_a_title_is_a_name_and_a_unit(text: str, name: str, unit: str | None) -> None:
    assert processed.title(text) == (name, unit)


@given(text=st.text())
def test_a_name_is_an_identifier_and_its_own_name(text: str) -> None:
    name, _ = processed.title(text)
    assert all(sign == "_" or sign.isalnum() for sign in name)
    assert not name.startswith("_")
    assert processed.title(name) == (name, None)


def test_blank_lines_before_the_header_are_skipped() -> None:
    assert made("\na,y\n1,0\n2,1\n")[0].names == ("a",)


@pytest.mark.parametrize("label", ["1e300", "-1e19", str(2**63), str(2**64 - 1)])
def test_a_huge_label_is_refused(label: str) -> None:
    assert "target 'y' has numbers that name no class" in refused(f"a,y\n1,{label}\n2,1\n")


def test_a_class_of_which_no_row_is_kept_is_no_class() -> None:
    terms, rows, _ = made("a,y\ninf,0\n1,1\n2,2\n", bad_rows="set_aside")
    assert terms.target.classes == (1, 2)
    assert rows["y"].tolist() == [1, 2]


def test_the_largest_label_is_kept_to_the_last_digit() -> None:
    terms, rows, _ = made(f"a,y\n1,{2**63 - 1}\n2,{2**63 - 2}\n3,\n", bad_rows="set_aside")
    assert terms.target.classes == (2**63 - 2, 2**63 - 1)
    assert rows["y"].tolist() == [2**63 - 1, 2**63 - 2]


def test_a_category_and_a_gap_of_which_no_row_is_kept_are_not_allowed() -> None:
    table = "a,c,n,y\ninf,x,,0\n1,y,2,1\n2,z,3,0\n"
    terms, rows, _ = made(table, bad_rows="set_aside")
    _, colour, number = terms.columns
    assert colour.categories == ("y", "z")
    assert (number.kind, number.missing) == ("integer", False)
    assert rows["c"].tolist() == ["y", "z"]


def test_where_every_row_is_bad_none_is_left() -> None:
    error = refused("a,y\ninf,0\n-inf,1\n1,\n", bad_rows="set_aside")
    assert error.startswith("no row is left: 3 bad rows: ")
    assert "(data rows 1, 2)" in error


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("a,y\ninf,0\n1,1\n2,1\n", "target 'y' has 1 distinct labels"),
        ("a,b,y\ninf,1,0\n1,,1\n2,,0\n", "column 'b' has no value at all"),
    ],
)
def test_what_the_rows_that_are_kept_lack_is_named(table: str, says: str) -> None:
    assert says in refused(table, bad_rows="set_aside")


def test_a_whole_number_is_counted_where_float32_makes_two_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = [2**24, 2**24 + 1, 2**24 + 2, 5]
    made("a,b,y\n" + "".join(f"{value},{place},{place % 2}\n" for place, value in enumerate(whole)))
    said = [line for line in capsys.readouterr().out.splitlines() if "float32" in line]
    assert said == ["processed: column 'a': float32 makes 3 of 4 distinct whole numbers"]


def test_whole_numbers_within_float32_are_not_rounded() -> None:
    frame = pd.DataFrame({"i": [2**24, -(2**24), None], "n": [0.1, 0.2, 0.3]}).astype(
        {"i": "Int64"}
    )
    columns = tuple(contract.Column(name=name, kind=kind) for name, kind in
                    (("i", "integer"), ("n", "number")))  # fmt: skip
    terms = Contract(columns=columns, target=small.TERMS.target)
    assert processed.rounded(frame, terms) == []
    assert len(processed.rounded(frame.replace({"i": {-(2**24): 2**24 + 1}}), terms)) == 1


def test_a_line_has_as_many_fields_as_the_header() -> None:
    RAW.write_text('a,"b\nc"\n1,"2\n3"\n\n4,5\n')
    assert processed.even(RAW) == ["a", "b\nc"]
