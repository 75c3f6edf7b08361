"""Formats of numbers and dates that are written as texts: read alike offline and in a request.

A number's format is an example of it, made of these parts in this order, all optional except the
digits: `(` for negative numbers in parentheses; a currency or another sign before; `1,234` where
thousands are separated (by a comma, point, blank, apostrophe or underscore), or `1234`; `.5` or
`,5` for the decimal separator; a sign after; `-` where the minus stands behind, as SAP writes it.
Examples are `$1,234.5`, `1.234,5 €`, `1234.5%`, `(1,234.5)` and `1.234,5-`. A date's format is
that of `strptime`, with English names of months and days whatever the locale of the process is, or
one of `EPOCHS`.

Each text takes time in proportion to its length, and one over `LONGEST` characters is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import NamedTuple

LONGEST = 1000  # characters of a number or a date
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a contract's times have no zone
EPOCHS = {"epoch s": timedelta(seconds=1), "epoch ms": timedelta(milliseconds=1)}
MINUS = str.maketrans("\N{MINUS SIGN}\N{EN DASH}\N{FULLWIDTH HYPHEN-MINUS}", "---")
# Blanks of several widths, and apostrophes, all of them seen between thousands.
BLANKS = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
APART = f",._{BLANKS}{APOSTROPHES}"
SIGNS = rf"[^\d\s.,()+\-_{APOSTROPHES}{''.join(map(chr, MINUS))}]{{1,4}}"
ABBREVIATION = rf"{SIGNS}\.?"  # Rs. and Fr.
EXAMPLE = re.compile(
    rf"(?P<negative>\()?(?P<before>{ABBREVIATION})?[{BLANKS}]?"
    rf"1(?P<thousands>[{APART}])?234(?:(?P<decimal>[.,])5)?"
    rf"[{BLANKS}]?(?P<after>{SIGNS})?\)?(?P<behind>-)?"
)
# JSON's form of a number, and what people type besides: +1, .5, 1., inf.
NUMBER = re.compile(
    r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)", re.ASCII | re.IGNORECASE
)
ZONE = r"(?:Z|UTC|[+-]\d\d(?::?[0-5]\d)?)"
ISO = re.compile(
    r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)"
    r"(?:[T ](?P<H>\d\d):(?P<M>\d\d)(?::(?P<S>\d\d)(?:[.,]\d{1,9})?)?"
    rf"(?:[ ]?(?P<z>{ZONE}))?)?",
    re.ASCII,
)
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SHORT = 3  # letters of a name's short form
MONTH_NUMBERS = {name[:SHORT]: number for number, name in enumerate(MONTHS, start=1)}
# strptime's codes that formats may have: digits as people write them, with or without a zero.
DIGITS = {"Y": r"\d{4}", "y": r"\d\d", "f": r"\d{1,9}", "j": r"\d{1,3}"} | dict.fromkeys(
    "dmHIMS", r"\d{1,2}"
)
# The same where nothing separates them from other digits.
WIDTHS = {"Y": r"\d{4}", "f": r"\d{1,9}", "j": r"\d{3}"} | dict.fromkeys("ydmHIMS", r"\d\d")
WORDS = {
    "a": "|".join(name[:SHORT] for name in DAYS),
    "A": "|".join(DAYS),
    "b": "|".join([*MONTH_NUMBERS, "sept"]),
    "B": "|".join(MONTHS),
    "p": "am|pm",
    "z": ZONE,
}
MILLISECONDS = 10**10  # since 1970: such a number has more digits than a day
ONLY_DIGITS = re.compile(r"(%[YymdjHMS])+")  # a format that has nothing else
DAY = re.compile(r"(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")
CODE = re.compile(r"%(.?)|\s+|[^%\s]+", re.DOTALL)
# Years of two digits are read as strptime does: 69 is 1969, 68 is 2068.
CENTURY, PIVOT = 100, 69
NOON = 12


class NumberFormat(NamedTuple):
    """The parts of an example of a number; None where it has none."""

    before: str | None
    after: str | None
    thousands: str | None
    decimal: str
    has_parentheses: bool
    has_minus_behind: bool


def check(text: str, *, is_date: bool) -> None:
    """Raise a ValueError where a text is no format."""
    if not is_date:
        parse_number_format(text)
    elif text not in EPOCHS:
        parse_date_format(text)


@cache
def parse_number_format(text: str) -> NumberFormat:
    """Parse an example of a number.

    Raises
    ------
    ValueError
        Where the text is no such example.

    Examples
    --------
    >>> parse_number_format("$1,234.5")[:4]
    ('$', None, ',', '.')
    """
    match = EXAMPLE.fullmatch(text)
    if (
        match is None
        or match["thousands"] == (match["decimal"] or "no")
        or bool(match["negative"]) != text.endswith(")")
        or (match["negative"] and match["behind"])
    ):
        raise ValueError(
            f"format: got {text!r}; allowed: the number 1234.5 as the table writes it, such as "
            "'1,234.5', '1.234,5 €', '$1,234.5', '1234.5%', '(1,234.5)' or '1234.5-'"
        )
    decimal = match["decimal"] or ("," if match["thousands"] == "." else ".")
    return NumberFormat(
        match["before"], match["after"], match["thousands"], decimal, bool(match["negative"]),
        bool(match["behind"]),
    )  # fmt: skip


def read_number(text: str, form: str | None = None) -> float | None:
    """Read a number from a text, which may have blanks around it or a Unicode minus.

    Parameters
    ----------
    form
        The format of the column; a text without its signs and separators is read, too.

    Returns
    -------
    float or None
        None where it is no number of that format. It may be infinite.

    Examples
    --------
    >>> read_number("(1,234.5)", "(1,234.5)"), read_number(" 7 "), read_number("7O.1")
    (-1234.5, 7.0, None)
    """
    if len(text) > LONGEST:
        return None
    text = text.strip()
    if not text.isascii():
        text = text.translate(MINUS)
    plain = _plain_text(text, parse_number_format(form)) if form else text
    return float(plain) if plain is not None and NUMBER.fullmatch(plain) else None


def _plain_text(text: str, form: NumberFormat) -> str | None:
    """Reduce a text to digits and a point; None where it does not have the format."""
    sign, text = _split_sign(text, form)
    if form.after:
        text = text.removesuffix(form.after).rstrip()
    joined = _join_thousands(text, form.thousands, form.decimal) if form.thousands else text
    if joined is None or (form.decimal == "," and "." in joined):
        return None
    text = joined.replace(form.decimal, ".")
    return None if sign and text[:1] in {"+", "-"} else sign + text


def _split_sign(text: str, form: NumberFormat) -> tuple[str, str]:
    """Split a text into plus or minus and the rest, without the currency before the number."""
    sign = ""
    if form.has_parentheses and text.startswith("(") and text.endswith(")"):
        sign, text = "-", text[1:-1].strip()
    if form.has_minus_behind and text.endswith("-"):
        sign, text = "-", text[:-1].rstrip()
    if form.before:
        start, before, rest = text.partition(form.before)
        if before and start.strip() in {"", "+", "-"}:
            sign, text = sign + start.strip(), rest.lstrip()
    return sign, text


def _join_thousands(text: str, thousands: str, decimal: str) -> str | None:
    """Remove the separators of thousands; None where one stands elsewhere."""
    alike = (kind for kind in (BLANKS, APOSTROPHES) if thousands in kind)
    apart = next(alike, thousands)
    if not any(one in text for one in apart):
        return text
    match = _compile_groups(apart, decimal).fullmatch(text)
    if match is None:
        return None
    return re.sub(f"[{apart}]", "", match[1]) + (match[2] or "")


@cache
def _compile_groups(apart: str, decimal: str) -> re.Pattern[str]:
    """Compile the pattern of a number with separated thousands; India's 12,34,567, too."""
    indian = r"|[+-]?[1-9]\d?(?:,\d{2})+,\d{3}" if apart == "," else ""
    return re.compile(
        rf"([+-]?[1-9]\d{{0,2}}(?:[{apart}]\d{{3}})+{indian})({re.escape(decimal)}\d*)?", re.ASCII
    )


@cache
def parse_date_format(text: str) -> re.Pattern[str]:
    """Turn a format of `strptime` into a pattern, a group for each of its codes.

    Raises
    ------
    ValueError
        Where it has another code, one code twice, or no year.

    Examples
    --------
    >>> parse_date_format("%d-%b-%Y").fullmatch("01-JAN-2020").groupdict()
    {'d': '01', 'b': 'JAN', 'Y': '2020'}
    """
    parts = list(CODE.finditer(text))
    codes = [part[1] for part in parts if part[1] not in {None, "%"}]
    known = DIGITS.keys() | WORDS.keys()
    if (
        not set(codes) <= known
        or len(set(codes)) < len(codes)
        or len({"Y", "y"}.intersection(codes)) != 1
        or ("I" in codes) != ("p" in codes)
        or ("j" in codes and not set(codes).isdisjoint("mdbB"))
        or len(text) > LONGEST
    ):
        raise ValueError(
            f"format: got {text!r}; allowed: a format of strptime such as '%d.%m.%Y', with a year, "
            f"no code twice, and of the codes {' '.join(f'%{code}' for code in sorted(known))}; or "
            f"{', '.join(map(repr, EPOCHS))}"
        )
    return re.compile(
        "".join(_write_pattern(parts, index) for index in range(len(parts))),
        re.ASCII | re.IGNORECASE,
    )


def _write_pattern(parts: list[re.Match[str]], index: int) -> str:
    """Write the pattern of one part of a format: a code, blanks, or other characters.

    Digits next to other digits have a fixed length; without it `%m%d` could be read in two ways.
    """
    part = parts[index]
    if part[1] is None:
        return r"\s+" if part[0].isspace() else re.escape(part[0])
    if part[1] == "%":
        return "%"
    beside = (parts[near][1] for near in (index - 1, index + 1) if 0 <= near < len(parts))
    digits = WIDTHS if any(code in DIGITS for code in beside) else DIGITS
    return f"(?P<{part[1]}>{digits.get(part[1]) or WORDS[part[1]]})"


def read_date(text: str, form: str | None = None) -> datetime | None:
    """Read a date, or a date and time, to the second; convert one with a zone to UTC.

    Parameters
    ----------
    form
        The format of the column; ISO 8601 is read, too.

    Returns
    -------
    datetime or None
        Without a zone, in the years 1 to 9999; None where there is no such day, hour or second,
        as 24:00 or a leap second.

    Examples
    --------
    >>> read_date("11.05.2023", "%d.%m.%Y"), read_date("2023-05-11T01:00+02:00")
    (datetime.datetime(2023, 5, 11, 0, 0), datetime.datetime(2023, 5, 10, 23, 0))
    """
    if len(text) > LONGEST:
        return None
    text = text.strip()
    if form in EPOCHS:
        number = read_number(text)
        return _read(ISO, text) if number is None else read_epoch(number, form)
    return (_read(parse_date_format(form), text) if form else None) or _read(ISO, text)


def read_epoch(value: float, form: str | None = "epoch ms") -> datetime | None:
    """Read a number of seconds or milliseconds since 1970, UTC."""
    try:
        return (EPOCH + value * EPOCHS.get(form or "", EPOCHS["epoch ms"])).replace(microsecond=0)
    except (OverflowError, ValueError):
        return None


def read_date_of_number(value: float, form: str | None) -> datetime | None:
    """Read a date that is a number: by its digits if the format has only digits, or milliseconds.

    A day has eight digits, and pandas' milliseconds have more.

    Examples
    --------
    >>> read_date_of_number(20240229, "%Y%m%d"), read_date_of_number(1462060800000, None)
    (datetime.datetime(2024, 2, 29, 0, 0), datetime.datetime(2016, 5, 1, 0, 0))
    >>> read_date_of_number(1462060800000, "%Y%m%d")
    datetime.datetime(2016, 5, 1, 0, 0)
    """
    if form in EPOCHS:
        return read_epoch(value, form)
    is_whole = isinstance(value, float) and value.is_integer()
    digits = str(int(value) if is_whole else value)
    if form and ONLY_DIGITS.fullmatch(form):
        is_time = form == "%Y%m%d" and abs(value) >= MILLISECONDS
        return read_epoch(value) if is_time else read_date(digits, form)
    # 20240229 is hardly meant to be five hours of 1970.
    return None if DAY.fullmatch(digits) else read_epoch(value)


def _read(pattern: re.Pattern[str], text: str) -> datetime | None:
    """Read a date by a pattern whose groups are codes of strptime."""
    match = pattern.fullmatch(text)
    if match is None:
        return None
    fields = {code: value for code, value in match.groupdict().items() if value is not None}
    try:
        zone = _read_zone(fields["z"]) if "z" in fields else UTC
        time = datetime(
            _read_year(fields),
            _read_month(fields),
            int(fields.get("d", 1)),
            _read_hour(fields),
            int(fields.get("M", 0)),
            int(fields.get("S", 0)),
            tzinfo=zone,
        )
        if "j" in fields:
            time = _set_day_of_year(time, int(fields["j"]))
        return (time if zone is UTC else time.astimezone(UTC)).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _read_year(fields: Mapping[str, str]) -> int:
    """Read the year."""
    if "Y" in fields:
        return int(fields["Y"])
    year = int(fields["y"])
    return year + (19 if year >= PIVOT else 20) * CENTURY


def _read_month(fields: Mapping[str, str]) -> int:
    name = fields.get("b") or fields.get("B")
    return MONTH_NUMBERS[name[:SHORT].lower()] if name else int(fields.get("m", 1))


def _read_hour(fields: Mapping[str, str]) -> int:
    """Read the hour; raise a ValueError where a clock of twelve hours does not have it."""
    if "I" not in fields:
        return int(fields.get("H", 0))
    hour = int(fields["I"])
    if not 1 <= hour <= NOON:
        raise ValueError(f"{hour} o'clock")
    return hour % NOON + (NOON if fields["p"].lower() == "pm" else 0)


def _set_day_of_year(time: datetime, day: int) -> datetime:
    """Set the day of the year; raise a ValueError where the year is shorter."""
    other = time + timedelta(days=day - 1)
    if day < 1 or other.year != time.year:
        raise ValueError(f"no day {day} in {time.year}")
    return other


def _read_zone(text: str) -> timezone:
    """Read the zone of an offset; raise a ValueError where it is a day or more."""
    if text.upper() in {"Z", "UTC"}:
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:] if len(text) > SHORT else 0)
    away = timedelta(hours=hours, minutes=minutes)
    return timezone(-away if text[0] == "-" else away)
