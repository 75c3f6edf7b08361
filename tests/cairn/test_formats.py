# ruff: noqa: DTZ001, DTZ007 - a contract's times have no zone
from __future__ import annotations

import locale
import math
import subprocess
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn import formats
from cairn.formats import EPOCH, LONGEST, read_date, read_epoch, read_number


@pytest.mark.parametrize(
    ("text", "form", "number"),
    [
        ("42", None, 42),
        (" 42\t", None, 42),
        ("-0", None, 0),
        ("+1.50", None, 1.5),
        (".5", None, 0.5),
        ("1.", None, 1),
        ("1e-5", None, 1e-5),
        ("1E5", None, 1e5),
        ("\N{MINUS SIGN}3", None, -3),
        ("\N{FULLWIDTH HYPHEN-MINUS}3", None, -3),
        ("1e999", None, math.inf),
        ("-Infinity", None, -math.inf),
        ("INF", None, math.inf),
        ("9" * 400, None, math.inf),
        ("1,234.5", "1,234.5", 1234.5),
        ("1,234,567", "1,234.5", 1234567),
        ("1234.5", "1,234.5", 1234.5),
        ("-1,234.5", "1,234.5", -1234.5),
        ("1.234,5", "1.234,5", 1234.5),
        ("1234,5", "1.234,5", 1234.5),
        ("1.234", "1.234", 1234),
        ("12,5", "1234,5", 12.5),
        ("1 234,5 €", "1 234,5 €", 1234.5),
        ("1\N{NARROW NO-BREAK SPACE}234,5\N{NO-BREAK SPACE}€", "1 234,5 €", 1234.5),
        ("1 234", "1\N{NO-BREAK SPACE}234", 1234),
        ("1'234.5", "1’234.5", 1234.5),
        ("1’234", "1'234", 1234),
        ("1_234", "1_234", 1234),
        ("$1,234.5", "$1,234.5", 1234.5),
        ("-$ 1,234.5", "$1,234.5", -1234.5),
        ("$-5", "$1,234.5", -5),
        ("5", "$1,234.5", 5),
        ("USD 5", "USD 1234.5", 5),
        ("12.5%", "1234.5%", 12.5),
        ("12.5 %", "1234.5%", 12.5),
        ("12.5", "1234.5 %", 12.5),
        ("(1,234.5)", "(1,234.5)", -1234.5),
        ("( 5 )", "(1234)", -5),
        ("($5)", "($1,234.5)", -5),
        ("1e3", "1,234.5", 1000),
        ("3.569,79-", "1.234,5-", -3569.79),
        ("12 -", "1234.5-", -12),
        ("12", "1234.5-", 12),
        ("-12", "1234.5-", -12),
        ("5,5 €-", "1234,5 €-", -5.5),
    ],
)
def test_a_number_is_read_as_its_column_writes_it(
    text: str, form: str | None, number: float
) -> None:
    assert read_number(text, form) == number


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", None), (" ", None), ("-", None), (".", None), ("e5", None), ("1e", None),
        ("nan", None), ("NA", None), ("7O.1", None), ("0x10", None), ("1_000", None),
        ("1,5", None), ("--1", None), ("+-1", None), ("- 1", None), ("1 2", None), ("1\0", None),
        ("\u0661\u0662", None), ("\uff11", None), ("\u00bd", None), ("\u00b2", None),
        ("true", None), ("(5)", None), ("5%", None), ("$5", None), ("1.2.3", None),
        ("1.5", "1.234"), ("0.123", "1.234"), ("012,345", "1,234.5"),
        ("1,2345", "1,234.5"), ("12,34", "1,234.5"), (",234", "1,234.5"), ("1,,234", "1,234.5"),
        ("1.5,234", "1,234.5"), ("1.5", "1.234,5"), ("1.5", "1234,5"), ("1,234.5", "1.234,5"),
        ("1,2,3", "1234,5"), ("5$", "$1234"), ("$$5", "$1234"), ("-$-5", "$1234"), ("%5", "1234%"),
        ("5%%", "1234%"), ("(5", "(1234)"), ("5)", "(1234)"), ("(-5)", "(1234)"), ("()", "(1234)"),
        ("(($5))", "($1234)"), ("(-$5)", "($1234)"), ("1 234\u20ac5", "1 234 \u20ac"),
        ("1" * (LONGEST + 1), None),
    ],
)  # fmt: skip
def test_what_is_no_number_of_a_format_is_none(text: str, form: str | None) -> None:
    assert read_number(text, form) is None


@pytest.mark.parametrize(
    "form",
    ["", "1", "234", "1,234,5", "1.234.5", "1-234", "(1234", "1234)", "+1234", "1234.50", "nothing",
     "1,234.5 dollars", "x" * 99],
)  # fmt: skip
def test_what_is_no_example_of_a_number_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r"format: got .* allowed: the number 1234.5"):
        formats.check(form, is_date=False)


@st.composite
def number_formats(draw: st.DrawFn) -> str:
    """Any format of a number."""
    thousands = draw(st.sampled_from(["", ",", ".", " ", "'", "_", "\u202f"]))
    decimal = draw(st.sampled_from(["", ".", ","]).filter(lambda one: one != thousands or not one))
    before, after = draw(st.tuples(*[st.sampled_from(["", "$", "€", "%", "CHF", "kr"])] * 2))
    blank = draw(st.sampled_from(["", " "]))
    result = f"1{thousands}234{decimal and decimal + '5'}"
    result = (before and before + blank) + result + (after and blank + after)
    return f"({result})" if draw(st.booleans()) else result


def written(number: float, form: str) -> str:
    """A number of hundredths as a table with that format writes it."""
    parsed = formats.parse_number_format(form)
    integer, _, fraction = f"{abs(number):,.2f}".partition(".")
    text = integer.replace(",", parsed.thousands or "") + parsed.decimal + fraction
    text = (parsed.before or "") + text + (parsed.after or "")
    if number >= 0:
        return text
    return f"({text})" if parsed.has_parentheses else f"-{text}"


@given(number=st.integers(-(10**12), 10**12), form=number_formats())
def test_each_number_that_a_format_writes_is_read_again(number: int, form: str) -> None:
    assert read_number(written(number / 100, form), form) == number / 100


@given(number=st.floats(allow_nan=False))
def test_each_number_of_json_is_read_again(number: float) -> None:
    assert read_number(repr(number)) == number


@given(text=st.text() | st.text("0123456789.,-+eE()$% \u00a0'_"), form=st.none() | number_formats())
def test_any_text_is_a_number_or_none(text: str, form: str | None) -> None:
    result = read_number(text, form)
    assert result is None or not math.isnan(result)
    if form is None and result is not None:
        assert float(text.translate(formats.MINUS)) == result


@pytest.mark.parametrize(
    ("text", "form", "date"),
    [
        ("2024-02-29", None, datetime(2024, 2, 29)),
        (" 2024-02-29 ", None, datetime(2024, 2, 29)),
        ("2024-02-29T13:45", None, datetime(2024, 2, 29, 13, 45)),
        ("2024-02-29 13:45:06", None, datetime(2024, 2, 29, 13, 45, 6)),
        ("2024-02-29 13:45:06.999999999", None, datetime(2024, 2, 29, 13, 45, 6)),
        ("2024-02-29 13:45:06,5", None, datetime(2024, 2, 29, 13, 45, 6)),
        ("2016-01-01T00:00:00.000Z", None, datetime(2016, 1, 1)),
        ("2016-01-01 00:00:00 UTC", None, datetime(2016, 1, 1)),
        ("2016-01-01 00:00:00+02", None, datetime(2015, 12, 31, 22)),
        ("2016-01-01T00:00:00-0530", None, datetime(2016, 1, 1, 5, 30)),
        ("2016-01-01 00:00 +05:30", None, datetime(2015, 12, 31, 18, 30)),
        ("0001-01-01", None, datetime(1, 1, 1)),
        ("9999-12-31T23:59:59", None, datetime(9999, 12, 31, 23, 59, 59)),
        ("11.05.2023", "%d.%m.%Y", datetime(2023, 5, 11)),
        ("1.5.2023", "%d.%m.%Y", datetime(2023, 5, 1)),
        ("2023-05-11", "%d.%m.%Y", datetime(2023, 5, 11)),
        ("5/11/23", "%m/%d/%y", datetime(2023, 5, 11)),
        ("5/11/68", "%m/%d/%y", datetime(2068, 5, 11)),
        ("5/11/69", "%m/%d/%y", datetime(1969, 5, 11)),
        ("2016/01/01 00:47:36", "%Y/%m/%d %H:%M:%S", datetime(2016, 1, 1, 0, 47, 36)),
        ("01-JAN-2020", "%d-%b-%Y", datetime(2020, 1, 1)),
        ("1 sept 2020", "%d %b %Y", datetime(2020, 9, 1)),
        ("May  4, 2021", "%B %d, %Y", datetime(2021, 5, 4)),
        ("Tuesday, 4 December 2021", "%A, %d %B %Y", datetime(2021, 12, 4)),
        ("Sat Dec  4 09:05:00 +0200 2021", "%a %b %d %H:%M:%S %z %Y", datetime(2021, 12, 4, 7, 5)),
        ("12/31/2021 12:05 AM", "%m/%d/%Y %I:%M %p", datetime(2021, 12, 31, 0, 5)),
        ("12/31/2021 12:05 pm", "%m/%d/%Y %I:%M %p", datetime(2021, 12, 31, 12, 5)),
        ("12/31/2021 1:05 PM", "%m/%d/%Y %I:%M %p", datetime(2021, 12, 31, 13, 5)),
        ("20240229", "%Y%m%d", datetime(2024, 2, 29)),
        ("240229134506", "%y%m%d%H%M%S", datetime(2024, 2, 29, 13, 45, 6)),
        ("2024060", "%Y%j", datetime(2024, 2, 29)),
        ("2024-7", "%Y-%m", datetime(2024, 7, 1)),
        ("2021", "%Y", datetime(2021, 1, 1)),
        ("12h 2021-01-02 100%", "%Hh %Y-%m-%d 100%%", datetime(2021, 1, 2, 12)),
        ("2021-01-02 03:04:05.25", "%Y-%m-%d %H:%M:%S.%f", datetime(2021, 1, 2, 3, 4, 5)),
        ("1704067200", "epoch s", datetime(2024, 1, 1)),
        ("-0.5", "epoch s", datetime(1969, 12, 31, 23, 59, 59)),
        ("1704067200000", "epoch ms", datetime(2024, 1, 1)),
        ("1.7040672e12", "epoch ms", datetime(2024, 1, 1)),
        ("2024-01-01", "epoch ms", datetime(2024, 1, 1)),
    ],
)
def test_a_date_is_read_as_its_column_writes_it(
    text: str, form: str | None, date: datetime
) -> None:
    assert read_date(text, form) == date


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", None), ("today", None), ("2024", None), ("2024-02", None), ("20240229", None),
        ("2024-2-29", None), ("0000-01-01", None), ("10000-01-01", None), ("-2024-01-01", None),
        ("2024-02-30", None), ("2023-02-29", None), ("1900-02-29", None), ("2024-13-01", None),
        ("2024-02-29T24:00", None), ("2024-02-29T24:00:00", None), ("2016-12-31T23:59:60", None),
        ("2024-02-29T10:60", None), ("2024-02-29T", None), ("2024-02-29T10", None),
        ("2024-02-29T10:00:00.", None), ("2024-02-29T10:00:00.1234567890", None),
        ("2024-02-29Z", None), ("2024-02-29t10:00", None), ("2024-02-29T10:00z", None),
        ("2024-02-29T10:00+24:00", None), ("2024-02-29T10:00+05:60", None),
        ("2024-02-29T10:00+5", None), ("2024-02-29T10:00 CET", None), ("2024-W09-4", None),
        ("0001-01-01T00:00+00:01", None), ("9999-12-31T23:59-00:01", None), ("NaT", None),
        ("\u0662\u0660\u0662\u0664-\u0660\u0662-\u0662\u0669", None), ("2024-02-29\0", None),
        ("11.5.23", "%d.%m.%Y"), ("31.02.2023", "%d.%m.%Y"), ("011.05.2023", "%d.%m.%Y"),
        ("\u0661\u0661.05.2023", "%d.%m.%Y"), ("2024060 ", "%Y%m%d"), ("2024366", "%Y%j "),
        ("2023366", "%Y%j"), ("2023000", "%Y%j"), ("13:00 PM 2020", "%I:%M %p %Y"),
        ("0:00 AM 2020", "%I:%M %p %Y"), ("1 Mai 2020", "%d %B %Y"), ("1 janv. 2020", "%d %b %Y"),
        ("24:00 2020", "%H:%M %Y"), ("23:59:60 2020", "%H:%M:%S %Y"), ("0000", "%Y"),
        ("1e300", "epoch s"), ("nan", "epoch s"), ("inf", "epoch ms"), ("x", "epoch ms"),
        ("1" * (LONGEST + 1), "epoch ms"), (" " * LONGEST + "2024-01-01", None),
    ],
)  # fmt: skip
def test_what_is_no_date_of_a_format_is_none(text: str, form: str | None) -> None:
    assert read_date(text, form) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, 10**400, -(10**400), 253402300800000])
def test_what_is_no_time_since_1970_is_none(value: float) -> None:
    assert read_epoch(value) is None


def test_names_of_months_are_english_in_every_locale_of_this_machine() -> None:
    names = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True)
    before = locale.setlocale(locale.LC_ALL)
    try:
        for name in names.stdout.split():
            locale.setlocale(locale.LC_ALL, name)
            assert read_date("01-DEC-2020", "%d-%b-%Y") == datetime(2020, 12, 1)
            assert read_number("1,234.5", "1,234.5") == 1234.5
    finally:
        locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize(
    "form",
    ["", "nothing", "%d.%m", "%H:%M", "%Y-%m-%d %", "%Q %Y", "%Y %y", "%Y %Y", "%Y %I", "%Y %p",
     "%Y %j %m", "%c", "epoch", "epoch us", "%Y" + "x" * LONGEST],
)  # fmt: skip
def test_what_is_no_format_of_a_date_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r"format: got .* allowed: a format of strptime"):
        formats.check(form, is_date=True)


SPLIT = st.sampled_from(["-", "/", ".", " "])
TIMES = st.sampled_from(["", " %H:%M", "T%H:%M:%S", " %I:%M:%S %p", " %H:%M:%S.%f", " %H:%M %z"])


@st.composite
def date_formats(draw: st.DrawFn) -> str:
    """Any format of a day, with a time or without one."""
    year = draw(st.sampled_from(["%Y", "%y"]))
    day = draw(st.permutations(["%d", draw(st.sampled_from(["%m", "%b", "%B"])), year]))
    return draw(SPLIT).join(day) + draw(TIMES)


@given(
    date=st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)), form=date_formats(),
    minutes=st.integers(-1439, 1439),
)  # fmt: skip
def test_each_date_that_strftime_writes_is_read_again(
    date: datetime, form: str, minutes: int
) -> None:
    local = date.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    again = datetime.strptime(local.strftime(form), form)  # what is left of it
    wanted = again.astimezone(UTC).replace(tzinfo=None) if again.tzinfo else again
    assert read_date(local.strftime(form), form) == wanted.replace(microsecond=0)


@given(date=st.datetimes(), zone=st.timezones() | st.none())
def test_each_iso_date_is_read_again(date: datetime, zone: object) -> None:
    local = date.replace(tzinfo=zone, microsecond=0)  # type: ignore[arg-type]
    offset = local.utcoffset() or timedelta()
    text = local.isoformat()
    try:
        wanted = date.replace(microsecond=0) - offset
    except OverflowError:
        assert read_date(text) is None
    else:
        # Old zones have offsets of seconds, which no table has.
        assert read_date(text) == (None if offset.seconds % 60 else wanted)


@given(date=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)))
def test_each_time_since_1970_is_read_again(date: datetime) -> None:
    milliseconds = (date - EPOCH) // timedelta(milliseconds=1)
    assert read_epoch(milliseconds) == date.replace(microsecond=0)
    assert read_date(str(milliseconds), "epoch ms") == date.replace(microsecond=0)


@given(
    text=st.text() | st.text("0123456789-/.: TZ+JANUARY"),
    form=st.none() | date_formats() | st.sampled_from(sorted(formats.EPOCHS)),
)
def test_any_text_is_a_date_or_none(text: str, form: str | None) -> None:
    result = read_date(text, form)
    assert result is None or (result.tzinfo is None and not result.microsecond)


@pytest.mark.parametrize("form", [None, "$1,234.5", "1 234,5 €", "(1,234.5)"])
def test_no_text_takes_longer_than_its_length(form: str | None) -> None:
    """Quadratic, each of these would take minutes; over `LONGEST` none is looked at."""
    for text in ("1" * 10**6 + "x", " " * 10**6 + "x", "1,234" * 10**6, "$" * 10**6):
        assert read_number(text, form) is None
        assert read_date(text, "%d %b %Y") is None
