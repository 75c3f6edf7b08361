from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.evaluation.markdown import code, table


def test_a_table_is_one_whatever_is_in_its_cells() -> None:
    lines = table(["a", "b"], [["x|y", "two\nlines"]]).splitlines()
    assert lines == ["| a | b |", "| --- | --- |", "| x\\|y | two lines |"]


def test_numbers_stand_to_the_right() -> None:
    rows = [["one", "+0.5", "–"], ["two", "-0.5", "1 of 2"]]
    rule = table(["name", "change", "rows"], rows).splitlines()[1]
    assert rule == "| --- | ---: | ---: |"


def test_a_table_without_rows_is_one() -> None:
    assert table(["a"], []) == "| a |\n| --- |"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mean_area", "`mean_area`"),
        ("*a* [b](c) # $x$", "`*a* [b](c) # $x$`"),
        ("a|b", "a&#124;b"),
        ("`x`", "&#96;x&#96;"),
        ("<script>", "&#60;script&#62;"),
        ("&lt;", "&#38;lt&#59;"),
        ("C:\\", "C&#58;&#92;"),
        ("two\n# lines\0", "`two # lines`"),
        (" ", "(empty)"),
        (7, "`7`"),
    ],
)
def test_names_are_no_markup(name: object, shown: str) -> None:
    assert code(name) == shown


@given(st.text(max_size=20))
def test_any_name_stays_in_its_cell(name: str) -> None:
    text = table(["name", "rows"], [[code(name), "1"]])
    assert len(text.splitlines()) == 3
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in text.splitlines()] == [3, 3, 3]
    assert "<" not in text
    assert text.count("`") in {0, 2}
