from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.tables import delimiter
from cairn.tables.delimiter import Layout, find_layout, read_records, squeeze, unwrap

TABLES = st.integers(2, 5).flatmap(
    lambda width: st.lists(
        st.lists(
            st.text(st.sampled_from("ab1 .,;|\t\"'\né"), max_size=5), min_size=width, max_size=width
        ),
        min_size=2,
        max_size=6,
    )
)


def written(rows: list[list[Any]], **how: Any) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, **how).writerows(rows)
    return file.getvalue().encode()


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("a;b\n1,5;2\n3;4\n", ";"),
        ("a\tb\n1|2\t3\n", "\t"),
        ("id\tmessage, as sent\ty\n1\thi, you, there\t0\n2\tfine\t1\n3\tone, two\t0\n", "\t"),
        ('id,text\n1,"a;b;c"\n2,"d;e;f"\n', ","),
        ("movie,genres,y\nx,a|b,0\nz,c|d,1\n", ","),
        ("a,b,y\n1,2,0\n1,2\n3,4,1\n", ","),
        ("a;b,c\n1;2\n3;4\n", ";"),
        ("a:b\n1:2\n3:4\n", ":"),
        ("a b\n1 2\n3 4\n", " "),
        ("a,b", ","),
    ],
)
def test_the_delimiter_is_the_one_that_the_lines_agree_on(sample: str, expected: str) -> None:
    layout = find_layout(sample.encode(), is_complete=True)
    assert layout is not None
    assert layout.delimiter == expected


@pytest.mark.parametrize(
    "sample",
    [
        "y\n0\n1\n2\n",
        "time\n10:00\n11:00\n12:00\n",
        "Dear reader\nhere is\n",
        "Dear reader,\nhere is a letter\nof some words\n",
        "name\nAnn Lee\nBob Moe Ray\nCid\n",
        "",
    ],
)
def test_what_the_lines_do_not_agree_on_separates_no_columns(sample: str) -> None:
    layout = find_layout(sample.encode(), is_complete=True)
    assert layout is None or layout.delimiter == ","


def test_the_delimiter_that_is_given_stands() -> None:
    assert find_layout(b"a,b;c\n1,2;3\n", is_complete=True, required=";") == Layout(";")
    assert find_layout(b"a b\n1  2\n3 4\n", is_complete=True, required=" ") == Layout(" ")


def test_columns_that_blanks_align_are_read_with_a_tab_among_them() -> None:
    lines = b'18.0   8   307.0\t"a car"\n15.0   8   350.0\t"b"\n9.0   4   97.0\t"c  d"\n'
    layout = find_layout(lines, is_complete=True)
    assert layout == Layout(" ", has_runs=True)
    assert read_records(layout.to_plain(lines), " ", is_complete=True)[2] == [
        "9.0",
        "4",
        "97.0",
        "c  d",
    ]


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (b"  a \t b  \r\n 1   2\n", b"a b\n1 2\n"),
        (b'  a   "b  c" \n 1   2', b'a "b  c"\n1 2'),
        (b'a  5"  b  7"\n', b'a 5" b 7"\n'),
    ],
)
def test_runs_of_blanks_become_one(content: bytes, plain: bytes) -> None:
    assert squeeze(content) == plain


def test_blanks_before_quotes_are_no_part_of_a_field() -> None:
    sample = b'"a", "b, c", "y"\n1,  "x, ""z""", 0\n2, "u, ", 1\n'
    layout = find_layout(sample, is_complete=True)
    assert layout == Layout(",", is_padded=True)
    assert read_records(layout.to_plain(sample), ",", is_complete=True) == [
        ["a", "b, c", "y"], ["1", 'x, "z"', " 0"], ["2", "u, ", " 1"],
    ]  # fmt: skip
    assert find_layout(b'a,b\n1, 5" pipe\n2, "6\n', is_complete=True) == Layout(",")
    assert find_layout(b'a,b\n1,"x, ""y"", z"\n2,"u"\n', is_complete=True) == Layout(",")


def test_quotes_around_rows_are_removed() -> None:
    inside = written([["a", "b", "y"], ["1", 'x, "z"', "0"], ["2", "u\nv", "1"]])
    lines = [f'"{line}"' for line in inside.decode().replace('"', '""').split("\r\n")[:-1]]
    content = "\r\n".join(lines).encode()
    assert find_layout(content, is_complete=True) == Layout(",", is_wrapped=True)
    assert read_records(unwrap(content), ",", is_complete=True) == [
        ["a", "b", "y"], ["1", 'x, "z"', "0"], ["2", "u\nv", "1"],
    ]  # fmt: skip
    some = b'a,b,y\r\n"1,""x, z"",0"\r\n2,u,1\r\n"3,""u"",1";;\r\n'
    assert find_layout(some, is_complete=True) == Layout(",", is_wrapped=True)
    assert unwrap(some) == b'a,b,y\r\n1,"x, z",0\r\n2,u,1\r\n3,"u",1\r\n'
    assert find_layout(b'a,b\n1,2\n"a note, of one, field"\n3,4\n', is_complete=True) == Layout(",")


@pytest.mark.parametrize(
    "rows",
    [
        [["", "", "", "\n"], ["", "", "\n", ""]],  # '"\n,,"' is no row
        [[",,", ""], [",,", ""]],  # a delimiter ends each line
        [["a", 'b\n"c, d"\n'], ["e", 'f\n"g, h"\n']],
    ],
)
def test_lines_within_a_field_are_no_rows_in_quotes(rows: list[list[str]]) -> None:
    assert find_layout(written(rows, lineterminator="\n"), is_complete=True) == Layout(",")


def test_a_tab_before_a_quote_is_the_delimiter_of_tabs() -> None:
    content = b'a\t\t"b ""c"""\n1\t\t"d"\n'
    assert find_layout(content, is_complete=True) == Layout("\t")
    assert find_layout(b'a\t "b"\n1\t "d\te"\n', is_complete=True) == Layout("\t", is_padded=True)


def test_the_last_record_of_a_sample_may_be_cut() -> None:
    assert read_records(b"a,b\n1,2\n3", ",", is_complete=False) == [["a", "b"], ["1", "2"]]
    assert read_records(b"a,b\n1,2\n3", ",", is_complete=True)[-1] == ["3"]
    assert read_records(b'a,b\n1,"2\n', ",", is_complete=False) == [["a", "b"]]
    assert len(read_records(b"1,2\n" * 2000, ",", is_complete=False)) == delimiter.RECORDS


@given(rows=TABLES, sign=st.sampled_from(",;\t|"), quoting=st.sampled_from([0, 1]))
def test_a_table_of_any_texts_is_read_as_it_was_written(
    rows: list[list[str]], sign: str, quoting: Any
) -> None:
    content = written(rows, delimiter=sign, quoting=quoting)
    layout = find_layout(content, is_complete=True, required=sign)
    assert layout is not None
    if not layout.is_wrapped:
        assert layout.to_plain(content) == content
    if quoting == csv.QUOTE_ALL:  # then no other sign is at the same place in each row
        assert find_layout(content, is_complete=True) == Layout(sign)
