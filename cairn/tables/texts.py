"""What the texts of a column are: numbers or dates in some form, categories, or names of rows."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import islice, product
from types import MappingProxyType
from typing import NamedTuple

from cairn import formats
from cairn.contract import MISSING_TEXTS

Counts = Mapping[str, int]
Read = Callable[[str, str | None], object]

MOSTLY = 0.9  # a column is of numbers, or dates, if so many of its cells are
FEW = 20  # numbers: a column of so few may be of categories, such as 0, 1, 2, 3+
LOOKED = 200  # texts that tell which formats come into question
TRIED = 5  # texts of which one at least has to look as a format
# Cells of spreadsheets and databases that are no value, in a column of texts too.
VOID = frozenset({
    "?", "??", "???", "#DIV/0!", "#N/A N/A", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!",
    "(null)", "(blank)",
})  # fmt: skip
# What people type where they have no number and no date.
MARKERS = VOID | frozenset(MISSING_TEXTS) | frozenset({
    "-", "--", "---", ".", "..", "...", "*", "**", "/", "#", "n.a.",
    "0000-00-00", "0000-00-00 00:00:00",
    "N.A.", "na", "Na", "n/d", "N/D", "nd", "ND", "none", "NONE", "nil", "Nil", "NIL", "unknown",
    "Unknown", "UNKNOWN", "missing", "Missing", "MISSING", "not available", "Not Available",
    "\N{EN DASH}", "\N{EM DASH}", "\N{HORIZONTAL ELLIPSIS}",
})  # fmt: skip
CURRENCIES = frozenset({
    "USD", "EUR", "GBP", "CHF", "JPY", "CNY", "INR", "BRL", "CAD", "AUD", "SEK", "NOK", "DKK",
    "PLN", "CZK", "RUB", "MXN", "ZAR", "KRW", "TRY", "Rs", "Rs.", "R$", "US$", "kr", "Fr.", "zł",
    "円", "元", "원",
})  # fmt: skip
UNITS = frozenset({
    "%", "\N{PER MILLE SIGN}", "\N{DEGREE SIGN}", "kg", "g", "mg", "lb", "lbs", "oz", "km", "mi",
    "m", "cm", "mm", "ft", "in", "l", "ml", "h", "hrs", "min", "s", "ms", "kB", "MB", "GB", "TB",
    "W", "kW", "kWh", "V", "Hz", "MHz", "GHz", "mph", "km/h", "hp", "bhp", "cc", "CC", "kmpl",
    "mpg", "ppm", "px",
})  # fmt: skip
CODE = re.compile(r"[+-]?(?:0\d+|[1-9]\d{14,})", re.ASCII)  # 07030, numbers of cards
PARTS = re.compile(
    r"\(?[+-]?\s*([^\d\s.,()+-]{0,4}\.?)\s*[+-]?[\d.,'\s_’]+?(\s*)([^\d\s.,()+-]{0,4})\)?"
)
GROUPS = re.compile(r"(?<!\d)[1-9]\d{0,2}[,.]\d{3}(?!\d)")  # 20,100: 20100 or 20.1
# What stands between thousands, and before a fraction.
WRITTEN = (
    ("", "."), ("", ","), (",", "."), (".", ","), (" ", "."), (" ", ","), ("'", "."), ("_", "."),
)  # fmt: skip
DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y",
    "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%d-%b-%Y", "%d-%b-%y",
    "%d %b %Y", "%d %B %Y", "%d-%B-%Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y",
    "%Y-%b-%d", "%a %d %b %Y", "%a, %d %b %Y", "%A, %B %d, %Y", "%d/%b/%Y",
    "%Y年%m月%d日", "%Y년 %m월 %d일",
)  # fmt: skip
CLOCKS = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f")
HOURS = (
    *(clock + zone for clock, zone in product(CLOCKS, ("", "%z", " %z"))),
    "%I:%M:%S %p", "%I:%M %p", "%I:%M%p",
)  # fmt: skip
OTHER_DATES = (
    "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%Y%m%d%H%M%S", "%m/%Y", "%Y-%m", "%Y/%m",
    "%m-%Y", "%b-%Y", "%b %Y", "%B %Y", "%B-%Y", "%Y年%m月",
)  # fmt: skip
DATES = (
    *DAYS,
    *(f"{day}{apart}{hour}" for day, apart, hour in product(DAYS, (" ", "T", ", "), HOURS)),
    *OTHER_DATES,
)
# What the codes of a format look like: far faster than to try each of them with strptime.
LOOKS = {
    "%Y": r"\d{4}", "%f": r"\d{1,9}", "%p": "[AaPp][Mm]", "%z": r"(Z|[+-]\d\d:?\d\d)",
    "%b": r"[^\W\d]{3,4}", "%B": r"[^\W\d]{3,}", "%a": r"[^\W\d]{3}", "%A": r"[^\W\d]{6,}",
}  # fmt: skip
NUMERALS = r"\d{1,2}"
DATE_LENGTHS = range(6, 41)
DIGITS = 3  # that a date has at least
WORDS, LETTERS = 3, 40  # of a sentence, at least one of the two
SMALL = 10  # distinct texts that may be categories, however few rows have each


class Guess(NamedTuple):
    """What texts are read as.

    Attributes
    ----------
    formats
        Those that read as many of the texts as any other; the first is the simplest. None: as
        JSON has numbers, or an ISO date. A second one reads other values of the same texts.
    markers
        Texts that stand for a missing value.
    odd
        Other texts that are not read → in how many rows: those rows are bad.
    """

    formats: tuple[str | None, ...]
    markers: tuple[str, ...] = ()
    odd: Counts = MappingProxyType({})


def guess_numbers(
    counts: Counts, forms: Iterable[str | None] | None = None, decimal: str = "."
) -> Guess | None:
    """Guess the format of numbers; None where the texts are none.

    Parameters
    ----------
    counts
        Text → in how many rows.
    forms
        The formats that come into question; None: all.
    decimal
        What stands before a fraction in all of the table; "." leaves it open.
    """
    likely = {text: n for text, n in counts.items() if text not in MARKERS}
    if not likely or any(is_code(text) for text in likely):
        return None
    found = _best(likely, forms or _number_formats(likely, decimal), formats.read_number)
    if not found:
        return None
    # A point stands before a fraction, unless params.yaml says otherwise.
    others = () if found[0] is None else _different(likely, found, formats.read_number)
    return _guess(counts, (found[0], *others), formats.read_number)


def guess_dates(counts: Counts, forms: Iterable[str | None] | None = None) -> Guess | None:
    """Guess the format of dates; None where the texts are none. Parameters as of numbers."""
    likely = {text: n for text, n in counts.items() if text not in MARKERS}
    if not likely or not _look_like_dates(likely):
        return None
    candidates = tuple(forms or (None, *filter(_looks_of(list(likely)[:TRIED]), DATES)))
    if len(likely) > LOOKED:  # to read all of them in each way would take seconds
        looked = dict(islice(likely.items(), LOOKED))
        candidates = _best(looked, candidates, formats.read_date)
    found = _best(likely, candidates, formats.read_date)
    if not found:
        return None
    return _guess(
        counts, (found[0], *_different(likely, found, formats.read_date)), formats.read_date
    )


def is_code(text: str) -> bool:
    """Whether a text is digits behind a zero, or more of them than a quantity has."""
    return bool(CODE.fullmatch(text))


def _best(counts: Counts, forms: Iterable[str | None], read: Read) -> tuple[str | None, ...]:
    """The formats that read most of the texts, if they read nearly all of them."""
    scores = {form: _share(counts, form, read) for form in forms}
    best = max(scores.values(), default=0.0)
    return tuple(form for form, share in scores.items() if share == best >= MOSTLY)


def _share(counts: Counts, form: str | None, read: Read) -> float:
    """In which share of the rows a text is read."""
    total = sum(n for text, n in counts.items() if read(text, form) is not None)
    return total / sum(counts.values())


def _different(counts: Counts, found: tuple[str | None, ...], read: Read) -> tuple[str | None, ...]:
    """Of formats that read as much, one that reads other values than the first."""
    first, *others = found
    values = [read(text, first) for text in counts]
    return tuple(f for f in others if [read(text, f) for text in counts] != values)[:1]


def _number_formats(counts: Counts, point: str) -> list[str | None]:
    """The formats that come into question, the simplest first."""
    looked = [PARTS.fullmatch(text) for text in islice(counts, LOOKED)]
    before = _commonest(match[1] for match in looked if match and _is_currency(match[1]))
    after = _commonest(
        match[3] for match in looked if match and _is_unit(match[3], is_apart=bool(match[2]))
    )
    blank = " " if after and any(f" {after}" in text for text in islice(counts, LOOKED)) else ""
    has_brackets = any(text.startswith("(") for text in counts)
    plain = "(1234.5)" if has_brackets else None
    found: list[str | None] = [plain] if point == "." else []
    for thousands, decimal in WRITTEN:
        if point == "," != decimal:
            continue
        text = f"{before}1{thousands}234{decimal}5{blank}{after}"
        found.append(f"({text})" if has_brackets else text)
    return [form for form in dict.fromkeys(found) if form != "1234.5"]


def _commonest(signs: Iterable[str]) -> str:
    """The currency or unit that stands at most of the texts; nothing where none does."""
    found = Counter(signs)
    return found.most_common(1)[0][0] if found else ""


def _is_currency(text: str) -> bool:
    return text in CURRENCIES or (len(text) == 1 and unicodedata.category(text) == "Sc")


def _is_unit(text: str, *, is_apart: bool) -> bool:
    """Whether a text behind a number is a unit or a currency: any short word behind a blank."""
    return _is_currency(text) or text in UNITS or (is_apart and text.isalpha())


def are_thousands(counts: Counts) -> bool:
    """Whether numbers such as 20,100 are whole ones: of many all have three digits."""
    return sum(bool(GROUPS.search(text)) for text in counts) >= FEW


def _guess(counts: Counts, found: tuple[str | None, ...], read: Read) -> Guess | None:
    """Part the texts that are not read into markers and odd ones.

    None where other texts stand again and again beside few values: those are categories.
    """
    odd = {text: n for text, n in counts.items() if read(text, found[0]) is None}
    repeated = {text for text, n in odd.items() if text in MARKERS or n > 1}
    if repeated - MARKERS and len(counts) - len(odd) <= FEW:
        return None
    left = {text: n for text, n in odd.items() if text not in repeated}
    return Guess(found, tuple(sorted(repeated)), left)


def _looks_of(texts: list[str]) -> Callable[[str], bool]:
    """Whether any of the texts looks as a format of dates does."""
    return lambda form: any(_pattern(form).fullmatch(text) for text in texts)


@cache
def _pattern(form: str) -> re.Pattern[str]:
    """What texts of a format of dates look like."""
    literal, *codes = re.split(r"(?=%)", form)
    looks = (LOOKS.get(code[:2], NUMERALS) + re.escape(code[2:]) for code in codes)
    return re.compile(re.escape(literal) + "".join(looks))


def _look_like_dates(counts: Counts) -> bool:
    """Whether most texts have digits and no more than a date may have."""
    looked = list(islice(counts, LOOKED))
    fits = [
        text
        for text in looked
        if len(text) in DATE_LENGTHS and sum(map(str.isdigit, text)) >= DIGITS
    ]
    return len(fits) >= MOSTLY * len(looked)


def are_names(distinct: int, present: int) -> bool:
    """Whether texts name rows, or say something of each: most of them stand in one row."""
    return distinct > SMALL and distinct > present / 2


def are_sentences(texts: Iterable[str]) -> bool:
    """Whether texts are written for people: three words and more, or long."""
    looked = list(islice(texts, LOOKED))
    words = sum(len(text.split()) for text in looked)
    return words >= WORDS * len(looked) or sum(map(len, looked)) >= LETTERS * len(looked)
