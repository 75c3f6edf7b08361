"""How a table writes numbers and dates as texts: read alike offline and in a request.

A number's format is an example of it, made of these parts in this order, each of them optional
but the digits: `(` for negative numbers in parentheses, a currency or another sign before,
`1,234` where thousands are set apart (by a comma, point, blank, apostrophe or underscore) or
`1234`, `.5` or `,5` for what stands before the fraction, a sign after. So `$1,234.5`, `1.234,5 €`,
`1234.5%`, `(1,234.5)`. A date's format is `strptime`'s, or one of `EPOCHS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a contract's times have no zone
EPOCHS = {"epoch s": 1.0, "epoch ms": 1e-3}
MINUS = str.maketrans("\N{MINUS SIGN}\N{EN DASH}\N{FULLWIDTH HYPHEN-MINUS}", "---")
# Blanks of several widths, all of them seen between thousands.
BLANKS = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
APART = f",.'_{BLANKS}\N{RIGHT SINGLE QUOTATION MARK}"
SIGNS = r"[^\d\s.,()+\-'_]{1,4}"
EXAMPLE = re.compile(
    rf"(?P<negative>\()?(?P<before>{SIGNS})?(?P<space>[ ])?"
    rf"1(?P<thousands>[{APART}])?234(?:(?P<decimal>[.,])5)?"
    rf"[ ]?(?P<after>{SIGNS})?\)?"
)
# JSON's form of a number, and what people type besides: +1, .5, 1., inf.
PLAIN = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i:inf(?:inity)?)"
NUMBER = re.compile(rf"([+-]?)({PLAIN})")
ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:[.,]\d{1,9})?)?[ ]?(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
CODES = "aAbBdHIjmMpSyYzf%"  # of strptime, that formats may have


class NumberFormat(NamedTuple):
    """What an example of a number says: None where it says nothing."""

    before: str | None
    after: str | None
    thousands: str | None
    decimal: str
    has_parentheses: bool


def check(text: str, *, is_date: bool) -> None:
    """Raise a ValueError where a format is none."""
    if not is_date:
        parse_number_format(text)
    elif text not in EPOCHS and (
        not re.search(r"%[dj]|%[yY]", text) or set(re.findall(r"%(.)", text)) - set(CODES)
    ):
        raise ValueError(
            f"format: got {text!r}; allowed: a date as strptime has it, such as '%d.%m.%Y', or "
            + ", ".join(map(repr, EPOCHS))
        )


@cache
def parse_number_format(text: str) -> NumberFormat:
    """Parse an example of a number.

    Raises
    ------
    ValueError
        Where it is none.

    Examples
    --------
    >>> parse_number_format("$1,234.5")
    NumberFormat(before='$', after=None, thousands=',', decimal='.', has_parentheses=False)
    """
    match = EXAMPLE.fullmatch(text)
    if match is None or match["thousands"] == (match["decimal"] or "no"):
        raise ValueError(
            f"format: got {text!r}; allowed: 1234.5 as the table writes it, such as '1,234.5', "
            "'1.234,5 €', '$1,234.5', '1234.5%' or '(1,234.5)'"
        )
    decimal = match["decimal"] or ("," if match["thousands"] == "." else ".")
    return NumberFormat(
        match["before"], match["after"], match["thousands"], decimal, bool(match["negative"])
    )


def read_number(text: str, form: str | None = None) -> float | None:
    """Read a number from a text; blanks around it, and a Unicode minus, are no obstacle.

    Parameters
    ----------
    form
        The format of the column; a text without its signs and thousands is read, too.

    Returns
    -------
    float or None
        None where it is no number of that format. It may be infinite.

    Examples
    --------
    >>> read_number("(1,234.5)", "(1,234.5)"), read_number(" 7 "), read_number("7O.1")
    (-1234.5, 7.0, None)
    """
    found = _plain_text(text.strip().translate(MINUS), parse_number_format(form) if form else None)
    match = NUMBER.fullmatch(found) if found is not None and found.isascii() else None
    return float(found) if match and found is not None else None


def _plain_text(text: str, form: NumberFormat | None) -> str | None:
    """The text with a point and nothing else; None where the format does not allow it."""
    if form is None:
        return text
    sign = ""
    if form.has_parentheses and text.startswith("(") and text.endswith(")"):
        sign, text = "-", text[1:-1].strip()
    if form.before:
        match = re.fullmatch(rf"([+-]?)\s*{re.escape(form.before)}\s*(.*)", text)
        sign, text = (sign + match[1], match[2]) if match else (sign, text)
    text = text.removesuffix(form.after or "").rstrip()
    if form.thousands and form.thousands in text:
        text = _joined(text, form)
        if not text:
            return None
    if form.decimal == ",":
        if "." in text:
            return None
        text = text.replace(",", ".")
    return None if sign and text[:1] in {"+", "-"} else sign + text


def _joined(text: str, form: NumberFormat) -> str:
    """The text without what sets thousands apart; empty where that stands elsewhere."""
    thousands = form.thousands or ""
    apart = f"[{BLANKS}]" if thousands in BLANKS else re.escape(thousands)
    match = re.fullmatch(
        rf"([+-]?[1-9]\d{{0,2}}(?:{apart}\d{{3}})+)({re.escape(form.decimal)}\d*)?", text
    )
    return re.sub(apart, "", match[1]) + (match[2] or "") if match else ""


def read_date(text: str, form: str | None = None) -> datetime | None:
    """Read a date, or a date and time, to the second; one with a zone is given in UTC.

    Parameters
    ----------
    form
        The format of the column; ISO 8601 is read, too.

    Examples
    --------
    >>> read_date("11.05.2023", "%d.%m.%Y"), read_date("2023-05-11T01:00+02:00")
    (datetime.datetime(2023, 5, 11, 0, 0), datetime.datetime(2023, 5, 10, 23, 0))
    """
    text = text.strip()
    if form in EPOCHS:
        number = read_number(text)
        return read_epoch(number, form) if number is not None else _read_iso(text)
    return (_read_format(text, form) if form else None) or _read_iso(text)


def read_epoch(value: float, form: str | None = "epoch ms") -> datetime | None:
    """Read a number of seconds or milliseconds since 1970, UTC; milliseconds as pandas has them."""
    try:
        return (EPOCH + timedelta(seconds=value * EPOCHS.get(form or "", 1e-3))).replace(
            microsecond=0
        )
    except (OverflowError, ValueError):
        return None


def _read_iso(text: str) -> datetime | None:
    match = ISO.fullmatch(text)
    if match is None:
        return None
    day, minute, second, zone = match.groups()
    return _without_zone(
        lambda: datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}{zone or ''}")
    )


def _read_format(text: str, form: str) -> datetime | None:
    return _without_zone(lambda: datetime.strptime(text, form))  # noqa: DTZ007 - some have none


def _without_zone(read: Callable[[], datetime]) -> datetime | None:
    """What is read, in UTC if it has a zone; None where there is no such day or hour."""
    try:
        time = read()
        time = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):
        return None
    return time.replace(microsecond=0)
