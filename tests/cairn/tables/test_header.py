from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.tables import header

HEADERS = st.text(max_size=6) | st.sampled_from(
    ["", " ", "x", "X", "x_2", "x (m)", "x (cm)", "x_m", "index", "column_2", "%", "日本 (語)"]
)


def names(*headers: str) -> list[str]:
    return [heading.name for heading in header.headings(headers)]


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("sepal length (cm)", "sepal_length", "cm"),
        ("mean radius", "mean_radius", None),
        (" od280/od315_of wines ", "od280_od315_of_wines", None),
        ("größe (µm)", "größe", "µm"),
        ("gro\u0308ße", "größe", None),
        ("f(x) (m/s)", "f_x", "m/s"),
        ("avg(age)", "avg_age", None),
        ("area(m2)", "area_m2", None),
        ("line\nbreak (m)", "line_break", "m"),
        ("(cm)", "cm", None),
        ("a()", "a", None),
        ("$ price", "price", None),
        ("a.b", "a_b", None),
        ("emp-var-rate", "emp_var_rate", None),
        ("日本 (語)", "日本", "語"),
        ("2019", "2019", None),
        ("1st class", "1st_class", None),
        ("%", "percent_sign", None),
        ("#", "number_sign", None),
        ("% (of all)", "percent_sign", "of all"),
        ("", "", None),
        ("\ufeff \n", "", None),
        ("----------", "", None),
    ],
)
def test_a_title_is_a_name_and_a_unit(text: str, name: str, unit: str | None) -> None:
    assert header.title(text) == (name, unit)


@given(text=st.text())
def test_a_name_is_an_identifier_and_its_own_name(text: str) -> None:
    name, _ = header.title(text)
    assert all(sign == "_" or sign.isalnum() for sign in name)
    assert not name.startswith("_")
    assert header.title(name) == (name, None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (("x", "x", "y"), ["x", "x_2", "y"]),
        (("x", "x", "x_2", "x"), ["x", "x_3", "x_2", "x_4"]),
        (("a b", "a_b", "a-b"), ["a_b", "a_b_2", "a_b_3"]),
        (("x", "X"), ["x", "X"]),
        (("avg(age)", "avg(income)"), ["avg_age", "avg_income"]),
        (("t (C)", "t (F)"), ["t_C", "t_F"]),
        (("t (C)", "t (C)"), ["t_C", "t_C_2"]),
        (("t (C)", "t"), ["t_C", "t"]),
        (("t (C)", "t (F)", "t_C"), ["t_C", "t_F", "t_C_2"]),
        (("", "a"), ["index", "a"]),
        (("", "index"), ["index_2", "index"]),
        (("a", "", " "), ["a", "column_2", "column_3"]),
        (("a", "", "column_2"), ["a", "column_2_2", "column_2"]),
        (("%", "#", "a"), ["percent_sign", "number_sign", "a"]),
    ],
)
def test_every_column_of_a_file_has_a_name_of_its_own(
    headers: tuple[str, ...], expected: list[str]
) -> None:
    assert names(*headers) == expected


@given(headers=st.lists(HEADERS, max_size=8))
def test_any_headers_become_names(headers: list[str]) -> None:
    headings = header.headings(tuple(headers))
    assert [heading.header for heading in headings] == headers
    assert len({heading.name for heading in headings}) == len(headers)
    for heading in headings:
        assert heading.name
        assert heading.name == header.title(heading.name).name


def test_many_headers_of_one_name_are_named() -> None:
    assert names(*["x"] * 5000)[-1] == "x_5000"


@pytest.mark.parametrize("first", ["", " ", "Unnamed: 0", "Unnamed: 0.1", "__index_level_0__"])
def test_the_column_in_front_that_numbers_the_rows_is_known_by_its_header(first: str) -> None:
    one, other = header.headings((first, "a"))
    assert one.metadata == {"header": first, "index": "1"}
    assert other.metadata == {"header": "a"}
    assert not any(heading.is_index for heading in header.headings(("a", first)))


def test_a_unit_is_kept_with_the_header() -> None:
    [heading] = header.headings(("bill length (mm)",))
    assert heading.metadata == {"header": "bill length (mm)", "unit": "mm"}


def test_the_notes_list_each_name_that_differs_from_its_header() -> None:
    headings = header.headings(("", "x", "x", "t (C)", "t (F)", "avg(age)", ""))
    assert header.describe_names(headings) == (
        "headers without a name: column 1 is index, column 7 is column_7",
        "headers that differ only in the unit: 't (C)' is t_C, 't (F)' is t_F",
        "repeated headers: 'x' is x_2",
    )
    assert header.describe_names(header.headings(("x",) * 9))[0].endswith("'x' is x_6, and 3 more")
    assert header.describe_names(header.headings(("a", "b (m)", "$ c"))) == ()
