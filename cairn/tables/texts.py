"""The texts of a column: numbers or dates in some format, categories, or names of rows."""

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

MOSTLY = 0.9  # a column is of numbers or of dates if such a fraction of its cells is
FEW = 20  # numbers: a column with so few may be of categories, such as 0, 1, 2, 3+
SAMPLE = 200  # texts that show which formats are candidates
TRIED = 5  # texts of which one at least must look like a format
# Cells of spreadsheets and databases that hold no value, in a column of texts too.
VOID = frozenset({
    "?", "??", "???", "#DIV/0!", "#N/A N/A", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!",
    "(null)", "(blank)",
})  # fmt: skip
# What people type where they have no number or date.
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
BRACKETS = re.compile(r"\(.*\d.*\)", re.DOTALL)
MINUS_BEHIND = re.compile(r"\d\s?-$")  # as SAP writes negative numbers
SEPARATED = re.compile(r"\d[\d.,'\N{RIGHT SINGLE QUOTATION MARK}\s]*")  # the digits of a number
GROUPS = re.compile(r"(?<!\d)[1-9]\d{0,2}[,.]\d{3}(?!\d)")  # 20,100: 20100 or 20.1
# What stands between thousands, and before a fraction.
WRITTEN = (
    ("", "."), ("", ","), (",", "."), (".", ","), (" ", "."), (" ", ","), ("'", "."), ("_", "."),
)  # fmt: skip
DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y",
    "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%d-%b-%Y", "%d-%b-%y",
    "%d %b %Y", "%d %B %Y", "%d-%B-%Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y",
    "%Y-%b-%d", "%a %d %b %Y", "%a, %d %b %Y", "%A, %B %d, %Y", "%d/%b/%Y", "%d %b %y", "%B %d %Y",
    "%d. %b %Y", "%A, %d %B %Y", "%d%b%Y", "%d%b%y",
    "%Y年%m月%d日", "%Y년 %m월 %d일",
)  # fmt: skip
CLOCKS = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f")
HOURS = (
    *(clock + zone for clock, zone in product(CLOCKS, ("", "%z", " %z"))),
    "%I:%M:%S %p", "%I:%M %p", "%I:%M%p",
)  # fmt: skip
OTHER_DATES = (
    "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S GMT",
    "%d/%b/%Y:%H:%M:%S %z", "%Y%m%d%H%M%S", "%m/%Y", "%Y-%m", "%Y/%m", "%m-%Y", "%b-%Y",
    "%b %Y", "%B %Y", "%B-%Y", "%Y年%m月",
)  # fmt: skip
DATES = (
    *DAYS,
    *(f"{day}{apart}{hour}" for day, apart, hour in product(DAYS, (" ", "T", ", "), HOURS)),
    *OTHER_DATES,
)
# What the codes of a format look like: far faster than trying strptime with each format.
LOOKS = {
    "%Y": r"\d{4}", "%f": r"\d{1,9}", "%p": "[AaPp][Mm]", "%z": r"(Z|[+-]\d\d:?\d\d)",
    "%b": r"[^\W\d]{3,4}", "%B": r"[^\W\d]{3,}", "%a": r"[^\W\d]{3}", "%A": r"[^\W\d]{6,}",
}  # fmt: skip
NUMERALS = r"\d{1,2}"
DATE_LENGTHS = range(6, 41)
DIGITS = 3  # that a date has at least
WORDS, LETTERS = 3, 40  # of a sentence, at least one of the two
GROUP = 3  # digits of thousands
SMALL = 10  # distinct texts that may be categories, however few rows have each


class Guess(NamedTuple):
    """The formats of some texts.

    Attributes
    ----------
    formats
        Those that read as many of the texts as any other; the first is the simplest. None: as
        JSON has numbers, or an ISO date. A second one reads other values from the same texts.
    markers
        Texts that stand for a missing value.
    odd
        Other texts that no format reads → in how many rows: those rows are bad.
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
        The candidate formats; None: all.
    decimal
        What stands before a fraction in the whole table; "." leaves it open.
    """
    likely = {text: n for text, n in counts.items() if text not in MARKERS}
    if not likely or any(is_code(text) for text in likely):
        return None
    best = _find_best(likely, forms or _list_number_formats(likely, decimal), formats.read_number)
    if not best:
        return None
    others = _find_different(likely, best, formats.read_number)
    return _make_guess(counts, (best[0], *others), formats.read_number)


def guess_dates(counts: Counts, forms: Iterable[str | None] | None = None) -> Guess | None:
    """Guess the format of dates; None where the texts are none. Parameters as of numbers."""
    likely = {text: n for text, n in counts.items() if text not in MARKERS}
    if not likely or not _look_like_dates(likely):
        return None
    candidates = tuple(forms or (None, *filter(_make_filter(list(likely)[:TRIED]), DATES)))
    if len(likely) > SAMPLE:  # reading all of them with each format would take seconds
        sample = dict(islice(likely.items(), SAMPLE))
        candidates = _find_best(sample, candidates, formats.read_date)
    best = _find_best(likely, candidates, formats.read_date)
    if not best:
        return None
    others = _find_different(likely, best, formats.read_date)
    return _make_guess(counts, (best[0], *others), formats.read_date)


def is_code(text: str) -> bool:
    """Tell whether a text is digits behind a zero, or has more digits than a quantity."""
    return bool(CODE.fullmatch(text))


def _find_best(counts: Counts, forms: Iterable[str | None], read: Read) -> tuple[str | None, ...]:
    """Find the formats that read most of the texts, if they read nearly all of them."""
    scores = {form: _measure(counts, form, read) for form in forms}
    best = max(scores.values(), default=0.0)
    return tuple(form for form, score in scores.items() if score == best >= MOSTLY)


def _measure(counts: Counts, form: str | None, read: Read) -> float:
    """Measure the fraction of the rows whose text a format reads."""
    total = sum(n for text, n in counts.items() if read(text, form) is not None)
    return total / sum(counts.values())


def _find_different(
    counts: Counts, best: tuple[str | None, ...], read: Read
) -> tuple[str | None, ...]:
    """Find, among formats that read as many texts, one that reads other values than the first."""
    first, *others = best
    values = [read(text, first) for text in counts]
    return tuple(f for f in others if [read(text, f) for text in counts] != values)[:1]


def _list_number_formats(counts: Counts, point: str) -> list[str | None]:
    """List the candidate formats, the simplest first."""
    matches = [PARTS.fullmatch(text) for text in islice(counts, SAMPLE)]
    before = _find_commonest(match[1] for match in matches if match and _is_currency(match[1]))
    after = _find_commonest(
        match[3] for match in matches if match and _is_unit(match[3], is_apart=bool(match[2]))
    )
    blank = " " if after and any(f" {after}" in text for text in islice(counts, SAMPLE)) else ""
    has_brackets = any(map(BRACKETS.fullmatch, counts))
    has_minus_behind = not has_brackets and any(map(MINUS_BEHIND.search, counts))
    plain = "(1234.5)" if has_brackets else "1234.5-" if has_minus_behind else None
    forms: list[str | None] = [plain] if point == "." else []
    for thousands, decimal in WRITTEN:
        if point == "," != decimal:
            continue
        text = f"{before}1{thousands}234{decimal}5{blank}{after}"
        forms.append(f"({text})" if has_brackets else f"{text}-" if has_minus_behind else text)
    return [form for form in dict.fromkeys(forms) if form != "1234.5"]


def _find_commonest(signs: Iterable[str]) -> str:
    """Find the most frequent currency or unit; empty where there is none."""
    counts = Counter(signs)
    return counts.most_common(1)[0][0] if counts else ""


def _is_currency(text: str) -> bool:
    return text in CURRENCIES or (len(text) == 1 and unicodedata.category(text) == "Sc")


def _is_unit(text: str, *, is_apart: bool) -> bool:
    """Tell whether a text behind a number is a unit or a currency; a word behind a blank is one."""
    return _is_currency(text) or text in UNITS or (is_apart and text.isalpha())


def find_decimal_marks(counts: Counts) -> frozenset[str]:
    """Find what stands before a fraction in numbers that can be read in one way only.

    >>> sorted(find_decimal_marks({"1.234,5 €": 1, "20,100 €": 1}))
    [',']
    >>> sorted(find_decimal_marks({"20,100": 1})), sorted(find_decimal_marks({"11.05.2023": 1}))
    ([], [])
    """
    likely = [text for text in islice(counts, SAMPLE) if text not in MARKERS]
    digits = [SEPARATED.findall(text) for text in likely]
    numbers = [groups[0].strip() for groups in digits if len(groups) == 1]
    marks = [_find_decimal_mark(number) for number in numbers]
    if len(marks) - marks.count("?") < MOSTLY * len(likely):
        return frozenset()
    return frozenset(marks) - {"", "?"}


def _find_decimal_mark(number: str) -> str:
    """Find a number's mark: `,` or `.`; empty where that is in doubt, `?` where it is no number."""
    signs = [sign for sign in number if sign in ",."]
    if not signs:
        return ""
    whole, _, fraction = number.rpartition(signs[-1])
    if len(set(signs)) > 1:
        return signs[-1] if signs.count(signs[-1]) == 1 else "?"
    if len(signs) == 1:
        is_group = (
            len(fraction) == GROUP and whole.isdigit() and 0 < len(whole.lstrip("0")) <= GROUP
        )
        return "" if is_group else signs[0]
    groups = number.split(signs[0])
    return {",": ".", ".": ","}[signs[0]] if all(len(g) == GROUP for g in groups[1:]) else "?"


def are_thousands(counts: Counts) -> bool:
    """Tell whether numbers such as 20,100 are whole ones: many have three digits behind a comma."""
    return sum(bool(GROUPS.search(text)) for text in counts) >= FEW


def _make_guess(counts: Counts, forms: tuple[str | None, ...], read: Read) -> Guess | None:
    """Sort the texts that no format reads into markers and odd ones.

    None where few values stand beside other texts that are repeated: those are categories.
    """
    odd = {text: n for text, n in counts.items() if read(text, forms[0]) is None}
    repeated = {text for text, n in odd.items() if text in MARKERS or n > 1}
    if repeated - MARKERS and len(counts) - len(odd) <= FEW:
        return None
    rest = {text: n for text, n in odd.items() if text not in repeated}
    return Guess(forms, tuple(sorted(repeated)), rest)


def _make_filter(texts: list[str]) -> Callable[[str], bool]:
    """Make the function that tells whether any of the texts looks like a format of dates."""
    return lambda form: any(_compile(form).fullmatch(text) for text in texts)


@cache
def _compile(form: str) -> re.Pattern[str]:
    """Compile a format of dates to a pattern that its texts match."""
    literal, *codes = re.split(r"(?=%)", form)
    looks = (LOOKS.get(code[:2], NUMERALS) + re.escape(code[2:]) for code in codes)
    return re.compile(re.escape(literal) + "".join(looks))


def _look_like_dates(counts: Counts) -> bool:
    """Tell whether most texts have digits, and no more characters than a date may have."""
    sample = list(islice(counts, SAMPLE))
    fits = [
        text
        for text in sample
        if len(text) in DATE_LENGTHS and sum(map(str.isdigit, text)) >= DIGITS
    ]
    return len(fits) >= MOSTLY * len(sample)


def are_names(distinct: int, present: int) -> bool:
    """Tell whether texts name or describe rows: most of them stand in one row."""
    return distinct > SMALL and distinct > present / 2


def are_sentences(texts: Iterable[str]) -> bool:
    """Tell whether texts are written for people: three words and more, or long."""
    sample = list(islice(texts, SAMPLE))
    words = sum(len(text.split()) for text in sample)
    return words >= WORDS * len(sample) or sum(map(len, sample)) >= LETTERS * len(sample)
