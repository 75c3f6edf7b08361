from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn import formats
from cairn.tables import texts

FORTY = [f"{index / 7:.2f}" for index in range(1, 41)]


@pytest.mark.parametrize(
    ("cells", "form", "markers", "odd"),
    [
        (["1", "2.5"], None, (), {}),
        ([*FORTY, "?"], None, ("?",), {}),
        ([*FORTY, "-", "-", "n.a."], None, ("-", "n.a."), {}),
        ([*FORTY, "7O.1"], None, (), {"7O.1": 1}),
        ([*FORTY, "none given", "none given"], None, ("none given",), {}),
        (["20,100", "950", "3,200,100"], "1,234.5", (), {}),
        (["1,5", "20,25", "3,123"], "1234,5", (), {}),
        (["0,125", "0,250"], "1234,5", (), {}),
        (["1.234,50 €", "20,00 €"], "1.234,5 €", (), {}),
        (["$1,234.50", "$20", "-$3"], "$1,234.5", (), {}),
        (["CHF 1'234.50", "CHF 20"], "CHF1'234.5", (), {}),
        (["45%", "4.5%"], "1234.5%", (), {}),
        (["174 mg", "2.5 mg"], "1234.5 mg", (), {}),
        (["140lbs", "95lbs"], "1234.5lbs", (), {}),
        (["Rs. 60,036.50", "Rs. 950"], "Rs.1,234.5", (), {}),
        (["₹95,64,925", "₹7,592", "₹950"], "₹1,234.5", (), {}),
        (["55,231円", "744円", "1,068,189円"], "1,234.5円", (), {}),
        (["(12)", "34", "1,200", "5,000,000"], "(1,234.5)", (), {}),
        (["1 234,5", "2 000 000,5"], "1 234,5", (), {}),
        (["\N{MINUS SIGN}5", "6", "7.5"], None, (), {}),
    ],
)
def test_numbers_are_known_in_the_form_that_they_are_written_in(
    cells: list[str], form: str | None, markers: tuple[str, ...], odd: dict[str, int]
) -> None:
    assert texts.guess_numbers(Counter(cells)) == ((form,), markers, odd)


@pytest.mark.parametrize(
    "cells",
    [
        ["A11", "A12"],
        ["07030", "10001"],
        ["0x1F", "0x2A"],
        ["4377896311435095", "7"],
        ["0"] * 50 + ["1"] * 30 + ["2"] * 20 + ["3+"] * 8,
        ["1", "two", "3"],
        ["10:30", "11:00"],
        ["?", "-"],
        ["1.2.3", "1.2.4"],
        ["5 to 9", "10 to 14"],
        ["12a", "14a"],
        ["1 red", "2 blue", "3 green"],
        ["120xx", "007xx"],
    ],
)
def test_codes_and_groups_are_no_numbers(cells: list[str]) -> None:
    assert texts.guess_numbers(Counter(cells)) is None


def test_a_comma_may_part_thousands_or_a_fraction() -> None:
    guess = texts.guess_numbers(Counter(["20,100", "950"]))
    assert guess is not None
    assert {formats.read_number("20,100", form) for form in guess.formats} == {20100.0, 20.1}
    assert not texts.are_thousands(Counter(["20,100", "950"]))
    assert texts.are_thousands(Counter(f"{n},100" for n in range(1, 31)))


def test_a_decimal_comma_of_the_whole_table_leaves_no_doubt() -> None:
    guess = texts.guess_numbers(Counter(["20,100", "950", "?"]), decimal=",")
    assert guess is not None
    assert guess.formats == ("1234,5",)


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["11.05.2023", "25.12.2022"], "%d.%m.%Y"),
        (["2016/01/01 00:47:36"], "%Y/%m/%d %H:%M:%S"),
        (["01-JAN-2020", "31-DEC-2020"], "%d-%b-%Y"),
        (["January 5, 2020", "March 15, 2021"], "%B %d, %Y"),
        (["1/2/2015 1:05 PM", "12/31/2015 11:05 AM"], "%m/%d/%Y %I:%M %p"),
        (["2016-01-01T00:00:00Z", "2016-01-02T00:00:00+02:00"], None),
        (["25/12/22", "01/02/23"], "%d/%m/%y"),
        (["Dec-2015", "Jan-1990"], "%b-%Y"),
        (["March 2015", "June 1990"], "%B %Y"),
        (["2019年10月10日", "2020年1月2日"], "%Y年%m月%d日"),
        (["01JAN2020", "31DEC2020"], "%d%b%Y"),
        (["5 Jan 20", "31 Dec 20"], "%d %b %y"),
        (["January 5 2020", "March 15 2021"], "%B %d %Y"),
        (["5. Jan 2020", "31. Dec 2020"], "%d. %b %Y"),
        (["Sunday, 5 January 2020"], "%A, %d %B %Y"),
        (["Sun, 05 Jan 2020 05:30:00 GMT"], "%a, %d %b %Y %H:%M:%S GMT"),
        (["05/Jan/2020:05:30:00 +0000"], "%d/%b/%Y:%H:%M:%S %z"),
        (["Mon Jan 04 10:00:00 2021"], "%a %b %d %H:%M:%S %Y"),
    ],
)
def test_dates_are_known_in_the_form_that_they_are_written_in(
    cells: list[str], form: str | None
) -> None:
    assert texts.guess_dates(Counter(cells)) == ((form,), (), {})


def test_day_or_month_first_may_be_in_doubt() -> None:
    guess = texts.guess_dates(Counter(["01/02/2020", "03/04/2021"]))
    assert guess is not None
    assert guess.formats == ("%d/%m/%Y", "%m/%d/%Y")


@settings(max_examples=50, deadline=None)
@given(
    form=st.sampled_from([form for form in texts.DAYS if "%y" not in form]),
    days=st.lists(st.dates(date(1950, 1, 1), date(2060, 1, 1)), min_size=1, max_size=30),
)
def test_any_date_is_read_back_as_itself_or_in_doubt(form: str, days: list[date]) -> None:
    cells = {f"{day:{form}}": day for day in days}
    guess = texts.guess_dates(Counter(list(cells)))
    if form == "%Y%m%d" and guess is None:
        return  # whole numbers, which are no texts in a table
    assert guess is not None
    for text, day in cells.items():
        readings = [formats.read_date(text, result) for result in guess.formats]
        assert day in [reading.date() for reading in readings if reading]


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30),
    thousands=st.sampled_from([",", ".", " ", "'"]),
)
def test_thousands_never_become_thousandths(values: list[int], thousands: str) -> None:
    cells = {f"{value:,}".replace(",", thousands): value for value in values}
    guess = texts.guess_numbers(Counter(list(cells)))
    assert guess is not None
    form = guess.formats[0]
    if len(guess.formats) == 1 and not (thousands == "." and form is None):
        assert [formats.read_number(text, form) for text in cells] == list(cells.values())


def test_names_and_sentences_are_no_categories() -> None:
    assert texts.are_names(400, 500)
    assert not texts.are_names(9, 10)
    assert not texts.are_names(100, 5000)
    assert texts.are_sentences(["this is what he said", "and she answered"])
    assert not texts.are_sentences(["C85", "B42"])


def test_a_format_that_is_none_is_refused() -> None:
    for text, is_date in (("12", False), ("soon", True), ("%q", True), ("1,234,5", False)):
        with pytest.raises(ValueError, match="format: got"):
            formats.check(text, is_date=is_date)


def test_the_zero_date_of_mysql_is_no_value() -> None:
    guess = texts.guess_dates(Counter(["2020-01-02", "2020-01-03", *["0000-00-00"] * 9]))
    assert guess == ((None,), ("0000-00-00",), {})


def test_epochs_are_dates() -> None:
    day = formats.read_date("1462060800000", "epoch ms")
    assert day is not None
    assert day.date() == date(2016, 5, 1)
    assert formats.read_epoch(86_400_000) == formats.EPOCH + timedelta(days=1)
    assert formats.read_epoch(1e300) is None


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["3.569,79-", "2.374,82", "12,00-"], "1.234,5-"),
        (["5-", "7", "1.5-"], "1234.5-"),
        (["1,234.50-", "7.25"], "1,234.5-"),
    ],
)
def test_a_minus_may_stand_behind_a_number(cells: list[str], form: str) -> None:
    assert texts.guess_numbers(Counter(cells)) == ((form,), (), {})


@pytest.mark.parametrize(
    ("cells", "marks"),
    [
        (["12,5", "3"], [","]),
        (["1.234,56 €", "20,100 €"], [","]),
        (["1,234.5"], ["."]),
        (["1.234.567", "1.234"], [","]),
        (["0,123"], [","]),
        (["20,100", "20.100"], []),
        (["1,5", "1.5"], [",", "."]),
        (["11.05.2023"], []),
        (["10.0.0.1"], []),
        (["53.78, 9.78"], []),
        (["red", "1,5"], []),
        (["?", "1,5"], [","]),
    ],
)
def test_what_stands_before_a_fraction_is_known_where_it_is_certain(
    cells: list[str], marks: list[str]
) -> None:
    assert sorted(texts.find_decimal_marks(Counter(cells))) == marks
