from __future__ import annotations

import csv
from typing import Any

import pandas as pd
import pytest

from cairn.contract import MISSING_TEXTS
from cairn.errors import CairnError
from cairn.tables.columns import Columns, find_columns
from tests.cairn.tables import tables

IRIS = ["5.1,3.5,0.2,setosa", "4.9,3.0,0.2,setosa", "6.4,3.2,1.5,versicolor"]


def read(lines: list[str], **params: Any) -> Columns:
    rows = [row for row in csv.reader(lines) if row]
    return find_columns(rows, tables.make_params(**params), "table", MISSING_TEXTS)


@pytest.mark.parametrize(
    "lines",
    [
        IRIS,
        ["M,0.45,15", "F,0.53,9", "M,0.44,10"],
        ["p,x,s,n", "e,x,s,y", "e,b,y,w", "p,x,y,n"],
        ["A11,6,?,4", "A12,48,x,2", "A14,12,y,3", "A11,7,x,3"],
        ["2020-01-01,5", "2020-01-02,7"],
        ["5,3,4", "6,2,9"],
        ["I love it,pos", "I hate it,neg", "so so,pos"],
        ["0,0,0,5,9", "0,1,0,3,0"],
        ["1,2,3,4", "5,6,7,8", "2,3,4,5"],
        ['"$1,200","50 %"', '"$900","20 %"'],
    ],
)
def test_a_first_row_like_those_below_it_is_refused_with_the_ways_out(lines: list[str]) -> None:
    count = len(next(csv.reader(lines)))
    with pytest.raises(CairnError, match="the first row looks like data, not like a h") as error:
        read(lines)
    assert f"processed.header: none, which names the columns column_1 to column_{count}" in str(
        error.value
    )
    assert f"to a list of {count} names" in str(error.value)
    assert "set processed.header: first" in str(error.value)
    assert read(lines, header="first").names == tuple(next(csv.reader(lines)))
    assert read(lines, header="none") == Columns(
        tuple(f"column_{index + 1}" for index in range(count)),
        has_header=False,
        notes=(f"no header: the columns are column_1 to column_{count}",),
    )
    names = [f"n{index}" for index in range(count)]
    assert read(lines, header=names) == Columns(tuple(names), has_header=False)


@pytest.mark.parametrize(
    "lines",
    [
        ["a,b,y", "1,2,0"],
        ["text,label", "I love it,pos", "I hate it,neg"],
        ["class,odor", "p,n", "e,n", "e,a"],
        ["country,2019,2020,2021", "A,5,3,1", "B,7,9,0"],
        ["2019,2020,2021,2022", "1,5,4,0", "7,1,5,1"],
        ["0,1,2,3,4", "5,3,4,1,0", "7,1,5,1,1"],
        ["350.2,351.9,353.4,355.1,356.3,358", "1,5,4,0,7,2", "7,1,5,1,3,3"],
        ["age,2020,income", "1,2,3", "4,5,6"],
        ["a,b,y", "a,b,y", "1,2,0", "a,b,y", "3,4,1"],
        ["a,b", "x,y"],
        ["a,b"],
        ["7,y,3", "1,0,4", "2,1,5"],  # for the target is y
    ],
)
def test_a_first_row_that_names_columns_is_the_header(lines: list[str]) -> None:
    assert read(lines).names == tuple(lines[0].split(","))


def test_a_row_of_numbers_that_is_read_as_the_header_is_noted() -> None:
    [note] = read(["0,1,2", "5,3,4", "7,1,5"]).notes
    assert note.startswith("the first row is read as the header, because its numbers count")
    assert note.endswith("'0', '1', '2'")
    assert not read(["a,b,y", "1,2,0", "3,4,1"]).notes


@pytest.mark.parametrize(
    ("lines", "names", "is_trailing"),
    [
        (["a,y,", "1,0,", "2,1,"], ("a", "y"), True),
        (["a,y", "1,0,", "2,1,"], ("a", "y"), True),
        (["a,y,", "1,0", "2,1"], ("a", "y"), False),
        (["a,y,", "1,0,", "2,1,5"], ("a", "y", ""), False),
        (["a,y,"], ("a", "y", ""), False),
    ],
)
def test_a_delimiter_at_the_end_of_lines_makes_no_column(
    lines: list[str],
    names: tuple[str, ...],
    is_trailing: bool,  # noqa: FBT001
) -> None:
    columns = read(lines)
    assert (columns.names, columns.is_trailing) == (names, is_trailing)
    assert any("delimiter" in note for note in columns.notes) == (len(names) == 2)


def test_row_names_of_r_get_a_name() -> None:
    columns = read(["a,y", "r1,5,0", "r2,6,1"])
    assert (columns.names, columns.index) == (("rownames", "a", "y"), frozenset({0}))
    assert columns.notes[0] == (
        "the header has one field fewer than the rows: their first field is rownames"
    )
    assert read(["a,y", "r1,5,0", "r1,6,1"]).names == ("a", "y")


def test_a_list_has_as_many_names_as_a_row_has_fields() -> None:
    with pytest.raises(CairnError, match=r"header: got 2 names, but a row of table has 4"):
        read(IRIS, header=["a", "b"])
    assert read(["1,0,", "2,1,"], header=["a", "y"]).is_trailing
    assert not read(["1,0,", "2,1,"], header=["a", "y", "z"]).is_trailing
    assert read(["1,0,", "2,1,"], header="none").names == ("column_1", "column_2")


def test_what_pandas_writes_without_its_header_is_seen() -> None:
    frame = pd.DataFrame({"n": [1.5, 2.5, 3.5], "c": ["x", "y", "x"]})
    assert read(frame.to_csv(index=False).splitlines()).names == ("n", "c")
    with pytest.raises(CairnError, match="looks like data"):
        read(frame.to_csv(index=False, header=False).splitlines())
