"""What becomes of each column: what its profile suggests, and why, in words for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from cairn import formats
from cairn.contract import NUMBERS as NUMERIC
from cairn.contract import Column, Kind, LeftOut, Part, Reason
from cairn.tables import texts
from cairn.tables.profile import LONG, NUMBERS, TEXTS, Form, Profile

DATE: tuple[Part, ...] = ("year", "month", "day", "weekday")
COMPACT = "%Y%m%d"  # dates written as whole numbers
YEARS = range(1900, 2101)  # of such dates
EPOCH_YEARS = range(1990, 2101)  # of seconds, or milliseconds, since 1970
DAYS = {form: timedelta(days=1) // unit for form, unit in formats.EPOCHS.items()}
FAR = 2050  # a year of two digits from here on may be one of the century before
SHOWN = 3  # values in a reason
FIGURES = 10**6  # numbers from here on would have an exponent
LISTED = 20  # characters of a value in a reason
ROWS = 10  # fewer do not show that a column says nothing, or names rows
CODE = 5  # digits: numbers of so many, all of one length and each in one row, are names
BIRTHDAYS = 6.0  # n² over the range: random numbers are all different with a chance under 5 %
SPARSE = 10  # rows a category: more of them are categories, however many there are
COVERED = 0.5  # of the rows, by the categories that stay
KINDS: dict[frozenset[Form], Kind] = {
    frozenset({"integer"}): "integer",
    frozenset({"number"}): "number",
    frozenset({"integer", "number"}): "number",
    frozenset({"boolean"}): "boolean",
    frozenset({"text"}): "category",
    frozenset({"date"}): "date",
    frozenset({"time"}): "date",
    frozenset({"date", "time"}): "date",
}
FORMS: dict[Form, str] = {
    "integer": "whole numbers",
    "number": "numbers",
    "boolean": "booleans",
    "text": "texts",
    "date": "dates",
    "time": "dates with a time",
    "other": "values of another type, or of several",
}
# Headers of columns that name rows, as people and databases write them.
NAMES_ROWS = re.compile(
    r"(?i:(?:.*[\W_])?(?:id|ids|uuid|guid|key|index|idx|rownames?|row|nr|no|num|number|code|serial))"
    r"|.*[a-z](?:Id|ID|Nr|No|Number|Key|Code|Index)"
    r"|(?i:unnamed.*|sno|s\.no\.?)"
)
# Headers of columns that hold a moment, with the unit of their numbers or without.
SAYS_TIME = re.compile(
    r"(?i:(?:.*[\W_])?(?:unix)?(?:time|timestamp|date|datetime|ts|epoch|at|on|created|updated)"
    r"(?:[\W_]?(?:s|ms|sec|seconds|millis|utc))?)"
    r"|.*[a-z](?:Time|Timestamp|Date|At|On|Ts|TS)(?:Ms|MS|Utc|UTC)?"
)


@dataclass(frozen=True)
class Knobs:
    """What params.yaml says of inference.

    Attributes
    ----------
    max_categories
        Most categories of a column.
    keep
        Columns that stay, whatever they look like.
    formats
        Column → how its numbers or dates are written.
    decimal
        What a number has before its fraction in all of the table.
    """

    max_categories: int
    keep: frozenset[str] = frozenset()
    formats: Mapping[str, str] = field(default_factory=dict)
    decimal: str = "."


class Decision(NamedTuple):
    """What becomes of a column.

    Attributes
    ----------
    name
        The column.
    outcome
        The column of the contract, or that it is left out; None: a person has to decide.
    why
        What was decided and why, or what is to be decided; empty where the values say it.
    is_loud
        Whether people should know of it beyond the table of columns.
    """

    name: str
    outcome: Column | LeftOut | None
    why: str = ""
    is_loud: bool = False


def decide(name: str, profile: Profile, rows: int, knobs: Knobs) -> Decision:
    """Decide what becomes of a column.

    Parameters
    ----------
    rows
        How many good rows the table has.
    """
    if not profile.present:
        return _leave(name, profile, "empty", "no row has a value")
    if name in knobs.formats:
        return _by_format(name, profile, rows, knobs)
    if profile.forms not in KINDS:
        return _leave(name, profile, "no type", f"it has {described(profile.forms)}")
    left = None if name in knobs.keep else _left_out(name, profile, rows)
    if left:
        return left
    decide_ = _text if KINDS[profile.forms] == "category" else _typed
    return decide_(name, profile, rows, knobs)


def described(forms: Iterable[Form]) -> str:
    """Forms as people call them."""
    return ", ".join(sorted(FORMS[form] for form in forms))


def is_code(profile: Profile) -> bool:
    """Whether whole numbers are too long to be quantities: 15 digits and more."""
    ends = [abs(end) for end in (profile.low, profile.high) if end is not None]
    return profile.forms == {"integer"} and max(ends, default=0) >= LONG


def _leave(
    name: str, profile: Profile, reason: Reason, why: str, of: str | None = None
) -> Decision:
    left = LeftOut(name=name, header=header(name, profile), reason=reason, of=of)
    return Decision(name, left, f"left out: {why}", is_loud=reason == "no type")


def header(name: str, profile: Profile) -> str | None:
    """The header where it is not the name."""
    return profile.header if profile.header not in {None, name} else None


def _column(name: str, profile: Profile, rows: int, kind: Kind, **more: Any) -> Column:
    """A column of the contract."""
    keys = {"unit": profile.unit, "missing": profile.present < rows, **more}
    return Column(name=name, header=header(name, profile), kind=kind, **keys)


def _left_out(name: str, profile: Profile, rows: int) -> Decision | None:
    """Leave out a column that numbers rows, names them, or is the same in all."""
    if profile.is_index:
        return _leave(name, profile, "index", "the program that wrote the table made it")
    if rows < ROWS:
        return None
    if profile.distinct == 1 and profile.present == rows:
        [value] = profile.counts or profile.values
        return _leave(name, profile, "constant", f"every row has {shown(value)}")
    if is_code(profile):
        return _leave(name, profile, "identifier", "whole numbers too long to be quantities")
    if profile.forms == {"integer"}:
        return None if _whole_date_format(name, profile) else _number_names(name, profile, rows)
    return _repeated_names(name, profile, rows) if KINDS[profile.forms] in NUMERIC else None


def _number_names(name: str, profile: Profile, rows: int) -> Decision | None:
    """Leave out whole numbers that name rows."""
    if profile.step == 1:
        ends = f"{profile.first:,} to {profile.last:,}"
        return _leave(name, profile, "index", f"it rises by one from row to row, {ends}")
    if not profile.is_unique:
        return _repeated_names(name, profile, rows)
    span = profile.high - profile.low + 1  # type: ignore[operator]
    if span == rows:
        return _leave(name, profile, "index", "it has each number once, without a gap")
    digits = {len(str(abs(int(end)))) for end in (profile.low, profile.high) if end is not None}
    is_named = NAMES_ROWS.fullmatch(profile.header or name)
    is_code_like = len(digits) == 1 and min(digits) >= CODE
    if is_named or profile.is_rising or is_code_like or rows * rows >= BIRTHDAYS * span:
        return _leave(name, profile, "identifier", "every row has another whole number")
    return None


def _repeated_names(name: str, profile: Profile, rows: int) -> Decision | None:
    """Leave out numbers of customers and the like, which stand in some rows each."""
    is_named = re.fullmatch(r"(?i:(?:.*[\W_])?id)|.*[a-z](?:Id|ID)", profile.header or name)
    many = profile.is_capped or profile.distinct * SPARSE > rows
    if is_named and many and profile.is_whole and profile.distinct > texts.FEW:
        why = f"{count(profile)} different whole numbers under this header name things"
        return _leave(name, profile, "identifier", why)
    return None


def _typed(name: str, profile: Profile, rows: int, knobs: Knobs) -> Decision:
    """A column of numbers, booleans or dates."""
    kind = KINDS[profile.forms]
    if kind == "date":
        parts = (*DATE, "hour") if "time" in profile.forms else DATE
        return Decision(name, _column(name, profile, rows, kind, parts=parts))
    form = _whole_date_format(name, profile) if kind == "integer" else None
    if form:
        has_hours = form in formats.EPOCHS and any(value % DAYS[form] for value in profile.values)
        parts = (*DATE, "hour") if has_hours else DATE
        column = _column(name, profile, rows, "date", parts=parts, format=form)
        return Decision(name, column, f"dates written as {form}")
    if kind == "boolean":
        return Decision(name, _column(name, profile, rows, kind))
    form = "1234,5" if knobs.decimal == "," and kind == "number" else None
    why = ""
    if profile.is_unique and kind == "integer" and rows >= ROWS:
        why = f"every row has another value; if it names rows, add {name} to processed.drop"
    return Decision(name, _column(name, profile, rows, kind, format=form), why)


def _whole_date_format(name: str, profile: Profile) -> str | None:
    """How whole numbers are dates, all of them; None where they are none.

    20240229 is one whatever its header; seconds since 1970 may be anything else, unless the
    header says that they are a time.
    """
    if profile.low is None or profile.high is None or profile.distinct < 2:  # noqa: PLR2004
        return None
    ends = (profile.low, profile.high)
    if _are_days(map(str, map(int, ends))) and not profile.is_capped:
        return COMPACT if _are_days(map(str, profile.values)) else None
    if not SAYS_TIME.fullmatch(profile.header or name):
        return None
    for form in formats.EPOCHS:
        times = [formats.read_epoch(end, form) for end in ends]
        if all(time is not None and time.year in EPOCH_YEARS for time in times):
            return form
    return None


def _are_days(values: Iterable[str]) -> bool:
    """Whether texts are dates such as 20240229, all of them."""
    days = (formats.read_date(value, COMPACT) for value in values)
    return all(day is not None and day.year in YEARS for day in days)


def _text(name: str, profile: Profile, rows: int, knobs: Knobs) -> Decision:
    """A column of texts: numbers or dates in some form, or categories."""
    counts = profile.counts
    guess = texts.guess_numbers(counts, decimal=knobs.decimal)
    if guess:
        return _numbers(name, profile, rows, guess, knobs)
    guess = texts.guess_dates(counts)
    if guess:
        return _dates(name, profile, rows, guess)
    return _categories(name, profile, rows, knobs)


def _by_format(name: str, profile: Profile, rows: int, knobs: Knobs) -> Decision:
    """A column whose format params.yaml gives."""
    form = knobs.formats[name]
    is_date = "%" in form.rstrip("%") or form in formats.EPOCHS
    counts = profile.counts or {str(value): 1 for value in profile.values}
    read = texts.guess_dates if is_date else texts.guess_numbers
    guess = read(counts, [form])
    if guess is None:
        values = ", ".join(map(shown, list(counts)[:SHOWN]))
        return Decision(
            name,
            None,
            f"processed.formats: {name}: {form!r} reads too few values, such as {values}",
        )
    if is_date:
        return _dates(name, profile, rows, guess)
    return _numbers(name, profile, rows, guess, knobs)


def _numbers(name: str, profile: Profile, rows: int, guess: texts.Guess, knobs: Knobs) -> Decision:
    """A column of numbers that are written as texts."""
    form, *others = guess.formats
    if others and texts.are_thousands(profile.counts):
        form = others[0]
    elif others:
        return _doubt(name, profile, guess)
    values = {text: formats.read_number(text, form) for text in profile.counts}
    numbers = {value for value in values.values() if value is not None}
    present = profile.present - _rows(profile, guess.markers)
    if len(numbers) == 1 and present == rows >= ROWS and name not in knobs.keep:
        return _leave(name, profile, "constant", f"every row has {shown(numbers.pop())}")
    has_fractions = any(value % 1 for value in numbers) or any(map(_FRACTION.search, values))
    column = _column(
        name, profile, rows, "number" if has_fractions else "integer",
        unit=profile.unit or _sign(form), missing=present < rows, markers=guess.markers,
        format=form,
    )  # fmt: skip
    return Decision(name, column, _reading(profile, guess, form), is_loud=bool(guess.odd))


_FRACTION = re.compile(r"[.,]\d{1,2}(?!\d)|%")


def _sign(form: str | None) -> str | None:
    """The currency or unit of a format."""
    parts = formats.parse_number_format(form) if form else None
    return (parts.before or parts.after) if parts else None


def _rows(profile: Profile, found: Iterable[str]) -> int:
    """In how many rows these texts stand."""
    return sum(profile.counts.get(text, 0) for text in found)


def _dates(name: str, profile: Profile, rows: int, guess: texts.Guess) -> Decision:
    """A column of dates that are written as texts."""
    form, *others = guess.formats
    if others:
        return _doubt(name, profile, guess)
    times = [formats.read_date(text, form) for text in profile.counts]
    has_hours = any((time.hour, time.minute, time.second) != (0, 0, 0) for time in times if time)
    parts = (*DATE, "hour") if has_hours else DATE
    missing = profile.present - _rows(profile, guess.markers) < rows
    column = _column(
        name, profile, rows, "date", parts=parts, format=form, missing=missing,
        markers=guess.markers,
    )  # fmt: skip
    zoned = (
        "converted to UTC" if any(map(_ZONE.search, list(profile.counts)[: texts.LOOKED])) else ""
    )
    last = max((time.year for time in times if time), default=0)
    is_far = "%y" in (form or "") and last >= FAR
    far = f", where {last % 100} is {last}: write the year in four digits if that is wrong" * is_far
    why = "; ".join(filter(None, (_reading(profile, guess, form) + far, zoned)))
    return Decision(name, column, why, is_loud=bool(guess.odd) or is_far)


_ZONE = re.compile(r":\d\d(?:\.\d+)? ?(?:Z|[+-]\d\d:?\d\d)$")


def _doubt(name: str, profile: Profile, guess: texts.Guess) -> Decision:
    """Two readings of one text, of which a person knows the right one."""
    one, other = guess.formats
    is_date = "%" in (one or "").rstrip("%")
    read: Any = formats.read_date if is_date else formats.read_number
    text = next(t for t in profile.counts if read(t, one) != read(t, other))
    edits = " or ".join(
        f"`{name}: {json.dumps(form, ensure_ascii=False)}` ({text} is {_day(read(text, form))})"
        for form in guess.formats
    )
    return Decision(name, None, f"add to processed.formats: {edits}")


def _day(value: Any) -> str:
    return f"{value:%B %-d, %Y}" if isinstance(value, datetime) else f"{value:,}"


def _reading(profile: Profile, guess: texts.Guess, form: str | None) -> str:
    """What texts are read as, in words."""
    parts = [f"written as {form}"] if form else []
    if guess.markers:
        cells = ", ".join(f"{shown(text)} in {profile.counts[text]:,}" for text in guess.markers)
        parts.append(f"missing: {cells} rows")
    if guess.odd:
        total = sum(guess.odd.values())
        cells = ", ".join(map(shown, list(guess.odd)[:SHOWN]))
        parts.append(f"not read: {cells}, in {total:,} bad row{'s' if total > 1 else ''}")
    return "; ".join(parts)


def _categories(name: str, profile: Profile, rows: int, knobs: Knobs) -> Decision:
    """A column of categories, or of texts that are none."""
    void = tuple(sorted(texts.VOID & profile.counts.keys()))
    counts = {text: n for text, n in profile.counts.items() if text not in void}
    present = profile.present - _rows(profile, void)
    kept = name in knobs.keep
    if not counts:
        return _leave(name, profile, "empty", f"every row has {shown(void[0])}")
    if len(counts) == 1 and present == rows >= ROWS and not kept:
        return _leave(name, profile, "constant", f"every row has {shown(next(iter(counts)))}")
    listed = sorted(counts, key=lambda text: (-counts[text], text))[: knobs.max_categories]
    covered = sum(counts[text] for text in listed)
    is_broad = len(counts) <= knobs.max_categories or (
        covered >= COVERED * present or present >= SPARSE * len(counts)
    )
    if not kept and (texts.are_names(len(counts), present) or not is_broad):
        return _texts(name, profile, counts, present)
    whys = [f"missing: {', '.join(map(shown, void))} in {_rows(profile, void):,} rows"] * bool(void)
    others = _no_numbers(counts)
    is_number_like = len(counts) > texts.FEW and sum(others.values()) * 2 < present and others
    if is_number_like and not any(map(texts.is_code, counts)):
        whys.append(f"categories, though {_shares(others, present)}")
    is_cut = len(counts) > len(listed)
    if is_cut:
        whys.append(
            f"the {len(listed):,} most frequent of {count(profile)} categories stay, {covered:,} "
            f"rows; the others, {present - covered:,} rows, are one unknown group"
        )
    column = _column(
        name, profile, rows, "category", categories=tuple(sorted(listed)), unknown=is_cut,
        missing=present < rows, markers=void,
    )  # fmt: skip
    return Decision(name, column, "; ".join(whys), is_loud=is_cut or bool(is_number_like))


def _texts(name: str, profile: Profile, counts: Mapping[str, int], present: int) -> Decision:
    """Leave out texts that are no categories."""
    others = _no_numbers(counts)
    if others and sum(others.values()) * 2 < present:
        return _leave(name, profile, "no type", _shares(others, present))
    why = f"{count(profile)} different texts in {present:,} rows"
    is_free = texts.are_sentences(counts)
    return _leave(name, profile, "free text" if is_free else "identifier", why)


def _no_numbers(counts: Mapping[str, int]) -> dict[str, int]:
    """Texts that are no numbers → in how many rows."""
    return {text: n for text, n in counts.items() if formats.read_number(text) is None}


def _shares(others: Mapping[str, int], present: int) -> str:
    """How many cells are numbers, and which are not."""
    total = sum(others.values())
    values = ", ".join(map(shown, sorted(others, key=lambda text: -others[text])[:SHOWN]))
    return f"{present - total:,} cells are numbers and {total:,} are not, such as {values}"


def count(profile: Profile) -> str:
    """How many distinct values a column has, as far as they were counted."""
    if profile.is_capped:
        return f"over {TEXTS if profile.counts else NUMBERS:,}"
    return f"{profile.distinct:,}{' or more' if profile.is_partial else ''}"


def shown(value: Any) -> str:
    """A value as a reason repeats it."""
    text = figure(value) if isinstance(value, float) else str(value)
    text = text if len(text) <= LISTED else f"{text[:LISTED]}…"
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text


def figure(value: float) -> str:
    """A number in six digits, or in all those before its point.

    Examples
    --------
    >>> figure(1484705), figure(0.12345678), figure(1e20)
    ('1484705', '0.123457', '1e+20')
    """
    return f"{value:.0f}" if FIGURES <= abs(value) < LONG else f"{value:g}"


def copies(profiles: Mapping[str, Profile], decisions: Mapping[str, Decision]) -> dict[str, str]:
    """Columns that have the same values as one before them → that one."""
    first: dict[bytes, str] = {}
    found = {}
    for name, decision in decisions.items():
        digest = profiles[name].digest
        if isinstance(decision.outcome, Column) and digest in first:
            found[name] = first[digest]
        elif isinstance(decision.outcome, Column):
            first[digest] = name
    return found


def leave_copy(name: str, profile: Profile, of: str) -> Decision:
    """Leave out a column that has the same values as another."""
    return _leave(name, profile, "copy", f"every value is that of {of}", of=of)
