from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cairn.errors import CairnError
from cairn.paths import CONTRACT, PROCESSED, REPORT
from cairn.tables import contract_file, reader
from tests import small
from tests.cairn.tables.tables import (
    PACK,
    ROWS,
    as_csv,
    as_lines,
    as_parquet,
    as_tar,
    edit,
    refused_again,
    run,
    run_again,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_small_table_suggests_its_contract() -> None:
    contract, rows, report = run(small.text(), target="kind")
    headed = {column.name: column for column in small.CONTRACT.columns}
    headed["area"] = headed["area"].model_copy(update={"header": "area (cm2)"})
    assert contract == small.CONTRACT.model_copy(update={"columns": tuple(headed.values())})
    assert list(rows) == [*contract.names, "kind"]
    assert report == {"rows": 80, "kept": 80, "set_aside": 0, "problems": {}, "notes": {}}
    for index, row in enumerate(small.table()):
        for name, value in zip(list(rows), row, strict=True):
            kept = rows[name][index]
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
        result, same, counts = run_again(content, identifier="id")
        assert (name, result, counts) == (name, contract, report)
        pd.testing.assert_frame_equal(same, rows)


def test_the_same_table_gives_the_same_bytes() -> None:
    run(small.text(), target="kind")
    before = PROCESSED.read_bytes(), CONTRACT.read_bytes(), REPORT.read_bytes()
    run(small.text(), target="kind")
    assert (PROCESSED.read_bytes(), CONTRACT.read_bytes(), REPORT.read_bytes()) == before


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
        {**{f"c{index}": column[row] for index, column in enumerate(columns)}, "y": "uvuv"[row]}
        for row in range(4)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("size"))
        at_once = outcome(as_csv(rows))
        patch.chdir(tmp_path_factory.mktemp("size"))
        patch.setattr(reader, "BYTES", size)
        assert outcome(as_csv(rows)) == at_once


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
    _, rows, report = run_again(good + wrong, decimal=",", bad_rows="set_aside")
    assert rows["a"].tolist() == [1.5, -2]
    assert report["problems"] == {"a: not a number": 2}


def test_json_is_utf_8_whatever_csv_is() -> None:
    _, rows, _ = run(as_lines([{"c": c, "y": y} for y, c in enumerate("äß")]), encoding="cp1252")
    assert rows["c"].tolist() == ["ä", "ß"]


def test_the_first_run_shows_what_it_inferred(capsys: pytest.CaptureFixture[str]) -> None:
    run(as_csv(ROWS), identifier="id")
    output = capsys.readouterr().out
    for words in (
        ["n (cm)", "number (cm)", "20.0%", "-2.25 to 1000000"],
        ["time", "date", "20.0%"],
        ["y", "target", "2"],
        ["id", "identifier"],
        ["target y: no, yes"],
        [f"wrote {CONTRACT}; read it, edit it, commit it"],
    ):
        assert any(all(word in line for word in words) for line in output.splitlines())


def test_the_second_run_leaves_the_contract_as_its_user_wrote_it() -> None:
    run(as_csv(ROWS), identifier="id")
    CONTRACT.write_text(
        "# mine\n" + CONTRACT.read_text().replace("- {name: b", "\n# ours\n- {name: b")
    )
    before = CONTRACT.read_bytes()
    run_again(as_csv(ROWS), identifier="id")
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
    contract, rows, report = run_again(as_csv(ROWS), identifier="id")
    assert report["kept"] == 5
    assert contract.column("time").parts == ("minute", "hour")
    assert rows["code"].tolist()[:4] == [10, 20, 10, 30]
    assert rows["c"][2] == "blue, dark"
    edit({"code": {"categories": [10, 20]}, "n": {"missing": False, "maximum": 1.0}})
    for content in (as_csv(ROWS), as_lines(ROWS)):
        _, rows, report = run_again(content, identifier="id", bad_rows="set_aside")
        assert report["problems"] == {
            "code: not a known category": 1,
            "n: missing": 1,
            "n: under -3 or over 1": 1,
        }
        assert rows["id"].isna().sum() == 1


def test_json_lines_may_have_other_keys_in_each_row() -> None:
    content = '{"a":1,"y":"u"}\n{"y":"v","b":true}\n{"b":null,"a":2.5,"y":"u"}\n'
    contract, rows, _ = run(content)
    assert [(column.name, column.kind, column.missing) for column in contract.columns] == [
        ("a", "number", True), ("b", "boolean", True),
    ]  # fmt: skip
    assert rows["a"].isna().tolist() == [False, True, False]


def test_a_contract_that_is_wrong_ends_the_stage() -> None:
    run(as_csv(ROWS), identifier="id")
    CONTRACT.write_text(CONTRACT.read_text().replace("kind: number", "kind: real"))
    with pytest.raises(CairnError, match="column n: kind: got 'real'; allowed: 'number', 'integ"):
        contract_file.read(CONTRACT)
    assert "column n: kind: got 'real'" in refused_again(as_csv(ROWS), identifier="id")
