"""What becomes of each column, and why: decided from its profile, in words for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from cairn import formats
from cairn.contract import NUMBERS as NUMERIC
from cairn.contract import Column, Kind, LeftOut, Part, Reason
from cairn.tables import texts
from cairn.tables.profile import LONG, NUMBERS, TEXTS, Form, Profile

DATE: tuple[Part, ...] = ("year", "month", "day", "weekday")
THOUSAND, GROUP = 1000, 3
PLAIN = "1234.5"  # the format of numbers in JSON
COMPACT = "%Y%m%d"  # dates written as whole numbers
YEARS = range(1900, 2101)  # of such dates
EPOCH_YEARS = range(1990, 2101)  # of seconds or milliseconds since 1970
DAYS = {form: timedelta(days=1) // unit for form, unit in formats.EPOCHS.items()}
FAR = 2050  # a year of two digits from here on may be one of the century before
SHOWN = 3  # values in a reason
LARGE = 10**6  # numbers from here on would have an exponent
LISTED = 20  # characters of a value in a reason
ROWS = 10  # fewer do not show that a column is constant, or names rows
CODE = 5  # digits: unique numbers of so many, all of one length, are identifiers
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
    "other": "lists, objects, times of day, durations or bytes, or of several types",
}
# Headers of columns that name rows, as people and databases write them.
NAMES_ROWS = re.compile(
    r"(?i:(?:.*[\W_])?(?:id|ids|uuid|guid|key|index|idx|rownames?|row|nr|no|num|number|code|serial))"
    r"|.*[a-z](?:Id|ID|Nr|No|Number|Key|Code|Index)"
    r"|(?i:unnamed.*|sno|s\.no\.?)"
)
NAMES_THINGS = re.compile(r"(?i:(?:.*[\W_])?id)|.*[a-z](?:Id|ID)")
# Headers of whole numbers that may be codes, each of which stands in many rows.
NAMES_CODES = re.compile(
    r"(?i:(?:.*[\W_])?(?:id|ids|code|key|nr|no|zip|zip[\W_]?code|post[\W_]?code|postal|plz|fips))"
    r"|.*[a-z](?:Id|ID|Code|Key|Nr|No)"
)
# Headers of columns that hold a time, with the unit of their numbers or without.
IS_TIME = re.compile(
    r"(?i:(?:.*[\W_])?(?:unix)?(?:time|timestamp|date|datetime|ts|epoch|at|on|created|updated)"
    r"(?:[\W_]?(?:s|ms|sec|seconds|millis|utc))?)"
    r"|.*[a-z](?:Time|Timestamp|Date|At|On|Ts|TS)(?:Ms|MS|Utc|UTC)?"
)


@dataclass(frozen=True)
class Options:
    """How params.yaml sets inference.

    Attributes
    ----------
    max_categories
        Most categories of a column.
    keep
        Columns that stay, whatever they look like.
    formats
        Column → how its numbers or dates are written.
    decimal
        What stands before the fraction of a number in the whole table.
    delimiter
        Between two columns: where it is a semicolon, a comma often stands before a fraction.
    mark
        What stands before the fraction in all columns that leave no doubt; None: no column does,
        or they differ.
    """

    max_categories: int
    keep: frozenset[str] = frozenset()
    formats: Mapping[str, str] = field(default_factory=dict)
    decimal: str = "."
    delimiter: str = ","
    mark: str | None = None


class Decision(NamedTuple):
    """What becomes of a column.

    Attributes
    ----------
    name
        The column.
    outcome
        The column of the contract, or a column that is left out; None: a person has to decide.
    why
        What was decided and why, or what has to be decided; empty where the values show it.
    is_loud
        Whether people should know of it beyond the table of columns.
    """

    name: str
    outcome: Column | LeftOut | None
    why: str = ""
    is_loud: bool = False


def decide(name: str, profile: Profile, rows: int, options: Options) -> Decision:
    """Decide what becomes of a column.

    Parameters
    ----------
    rows
        How many good rows the table has.
    """
    if not profile.present:
        return _leave_out(name, profile, "empty", "no row has a value")
    if name in options.formats:
        return _decide_by_format(name, profile, rows, options)
    if profile.forms not in KINDS:
        is_other = profile.forms == {"other"}
        why = f"{'its values are' if is_other else 'it mixes'} {describe_forms(profile.forms)}"
        return _leave_out(name, profile, "no type", why)
    left_out = None if name in options.keep else _decide_left_out(name, profile, rows)
    if left_out:
        return left_out
    of_kind = _decide_texts if KINDS[profile.forms] == "category" else _decide_typed
    return of_kind(name, profile, rows, options)


def find_mark(profiles: Iterable[Profile], delimiter: str) -> str | None:
    """Find what stands before a fraction in all columns that leave no doubt, if that is one.

    12.5 may be twelve thousand five hundred that was written 12.500, but hardly where commas
    separate the columns.
    """
    marks: set[str] = set()
    for profile in profiles:
        if profile.forms == {"text"}:
            marks |= texts.find_decimal_marks(profile.counts)
        elif _has_numbers(profile) and (
            not may_be_thousands(profile)
            or (delimiter != ";" and all(round(v, GROUP - 1) == v for v in profile.values))
        ):
            marks.add(".")
    return marks.pop() if len(marks) == 1 else None


def _has_numbers(profile: Profile) -> bool:
    """Tell whether a column has numbers that the reader took for such, some with a fraction."""
    is_read = bool(profile.forms) and profile.forms <= {"integer", "number"}
    return is_read and any(value % 1 for value in profile.values)


def may_be_thousands(profile: Profile) -> bool:
    """Tell whether the point in all numbers of a column may stand behind thousands: 12.500."""
    return _has_numbers(profile) and not any(
        (value % 1 and not 1 <= abs(value) < THOUSAND) or abs(value) >= THOUSAND
        or round(value, GROUP) != value
        for value in profile.values
    )  # fmt: skip


def describe_forms(forms: Iterable[Form]) -> str:
    """Describe forms as people call them."""
    return ", ".join(sorted(FORMS[form] for form in forms))


def is_code(profile: Profile) -> bool:
    """Tell whether whole numbers are too long to be quantities: 15 digits and more."""
    ends = [abs(end) for end in (profile.low, profile.high) if end is not None]
    return profile.forms == {"integer"} and max(ends, default=0) >= LONG


def _leave_out(
    name: str, profile: Profile, reason: Reason, why: str, of: str | None = None
) -> Decision:
    """Leave out a column."""
    column = LeftOut(name=name, header=find_header(name, profile), reason=reason, of=of)
    return Decision(name, column, f"left out: {why}", is_loud=reason == "no type")


def find_header(name: str, profile: Profile) -> str | None:
    """Find the header where it is not the name."""
    return profile.header if profile.header not in {None, name} else None


def _make_column(name: str, profile: Profile, rows: int, kind: Kind, **more: Any) -> Column:
    """Make a column of the contract."""
    keys = {"unit": profile.unit, "missing": profile.present < rows, **more}
    keys["missing"] |= profile.is_gapped or bool(keys.get("markers"))
    return Column(name=name, header=find_header(name, profile), kind=kind, **keys)


def _decide_left_out(name: str, profile: Profile, rows: int) -> Decision | None:
    """Leave out a column that numbers rows, names them, or is the same in all."""
    if profile.is_index:
        return _leave_out(name, profile, "index", "the program that wrote the table added it")
    if rows < ROWS:
        return None
    if profile.distinct == 1 and profile.present == rows:
        [value] = profile.counts or profile.values
        return _leave_out(name, profile, "constant", f"every row has {shorten(value)}")
    if is_code(profile):
        return _leave_out(name, profile, "identifier", "whole numbers too long to be quantities")
    if profile.forms == {"integer"}:
        return None if _find_date_format(name, profile) else _leave_out_names(name, profile, rows)
    return (
        _leave_out_repeated_names(name, profile, rows) if KINDS[profile.forms] in NUMERIC else None
    )


def _leave_out_names(name: str, profile: Profile, rows: int) -> Decision | None:
    """Leave out whole numbers that name rows."""
    if profile.step == 1:
        ends = f"{profile.first:,} to {profile.last:,}"
        return _leave_out(name, profile, "index", f"it rises by one from row to row, {ends}")
    if not profile.is_unique:
        return _leave_out_repeated_names(name, profile, rows)
    span = profile.high - profile.low + 1  # type: ignore[operator]
    if span == rows:
        return _leave_out(name, profile, "index", "it has each number of its range once")
    digits = {len(str(abs(int(end)))) for end in (profile.low, profile.high) if end is not None}
    is_named = NAMES_ROWS.fullmatch(profile.header or name)
    is_code_like = len(digits) == 1 and min(digits) >= CODE
    if is_named or profile.is_rising or is_code_like or rows * rows >= BIRTHDAYS * span:
        return _leave_out(name, profile, "identifier", "every row has a different whole number")
    return None


def _leave_out_repeated_names(name: str, profile: Profile, rows: int) -> Decision | None:
    """Leave out numbers of customers and the like, each of which stands in some rows."""
    is_named = NAMES_THINGS.fullmatch(profile.header or name)
    many = profile.is_capped or profile.distinct * SPARSE > rows
    if is_named and many and profile.is_whole and profile.distinct > texts.FEW:
        why = f"{count_distinct(profile)} different whole numbers under the header of an identifier"
        return _leave_out(name, profile, "identifier", why)
    return None


def _decide_typed(name: str, profile: Profile, rows: int, options: Options) -> Decision:
    """Decide a column of numbers, booleans or dates."""
    kind = KINDS[profile.forms]
    if kind == "date":
        parts = (*DATE, "hour") if "time" in profile.forms else DATE
        return Decision(name, _make_column(name, profile, rows, kind, parts=parts))
    form = _find_date_format(name, profile) if kind == "integer" else None
    if form:
        has_hours = form in formats.EPOCHS and any(value % DAYS[form] for value in profile.values)
        parts = (*DATE, "hour") if has_hours else DATE
        column = _make_column(name, profile, rows, "date", parts=parts, format=form)
        return Decision(name, column, f"dates written as {form}")
    if kind == "boolean":
        return Decision(name, _make_column(name, profile, rows, kind))
    form = "1234,5" if options.decimal == "," and kind == "number" else None
    why = ""
    is_code = NAMES_CODES.fullmatch(profile.header or name) and profile.distinct > 2  # noqa: PLR2004
    if profile.is_unique and kind == "integer" and rows >= ROWS:
        why = (
            f"every row has a different value; if it identifies rows, add {name} to processed.drop"
        )
    elif is_code and profile.is_whole:
        why = (
            "read as numbers, although the header may be that of a code; if it is one, set kind: "
            f"category in the contract, or add {name} to processed.drop"
        )
    return Decision(name, _make_column(name, profile, rows, kind, format=form), why)


def _find_date_format(name: str, profile: Profile) -> str | None:
    """Find the format in which all whole numbers are dates; None where they are none.

    20240229 is one whatever its header is; seconds since 1970 may be anything else, unless the
    header names a time.
    """
    if profile.low is None or profile.high is None or profile.distinct < 2:  # noqa: PLR2004
        return None
    ends = (profile.low, profile.high)
    if _are_days(map(str, map(int, ends))) and not profile.is_capped:
        return COMPACT if _are_days(map(str, profile.values)) else None
    if not IS_TIME.fullmatch(profile.header or name):
        return None
    for form in formats.EPOCHS:
        times = [formats.read_epoch(end, form) for end in ends]
        if all(time is not None and time.year in EPOCH_YEARS for time in times):
            return form
    return None


def _are_days(values: Iterable[str]) -> bool:
    """Tell whether all texts are dates such as 20240229."""
    days = (formats.read_date(value, COMPACT) for value in values)
    return all(day is not None and day.year in YEARS for day in days)


def _decide_texts(name: str, profile: Profile, rows: int, options: Options) -> Decision:
    """Decide a column of texts: numbers or dates in some format, or categories."""
    counts = profile.counts
    guess = texts.guess_numbers(counts, decimal=options.decimal)
    if guess:
        return _decide_numbers(name, profile, rows, _add_markers(guess, profile), options)
    guess = texts.guess_dates(counts)
    if guess:
        return _decide_dates(name, profile, rows, _add_markers(guess, profile))
    return _decide_categories(name, profile, rows, options)


def _add_markers(guess: texts.Guess, profile: Profile) -> texts.Guess:
    """Add the markers that stand only in rows that nothing is learned from."""
    others = texts.MARKERS & profile.unlearned.keys()
    return guess._replace(markers=tuple(sorted({*guess.markers, *others})))


def _decide_by_format(name: str, profile: Profile, rows: int, options: Options) -> Decision:
    """Decide a column whose format params.yaml has."""
    form = options.formats[name]
    is_date = _is_date_format(form)
    counts = profile.counts or {str(value): 1 for value in profile.values}
    read = texts.guess_dates if is_date else texts.guess_numbers
    guess = read(counts, [form])
    if guess is None:
        values = ", ".join(map(shorten, list(counts)[:SHOWN]))
        return Decision(
            name,
            None,
            f"processed.formats: {name}: the format {form!r} does not read enough of the values, "
            f"which are like {values}; change the format, or remove it",
        )
    guess = _add_markers(guess, profile)
    if is_date:
        return _decide_dates(name, profile, rows, guess)
    return _decide_numbers(name, profile, rows, guess, options)


def _decide_numbers(
    name: str, profile: Profile, rows: int, guess: texts.Guess, options: Options
) -> Decision:
    """Decide a column of numbers that are written as texts."""
    choice = _choose_format(guess, profile.counts, options)
    if choice is None:
        return _ask(name, profile, guess)
    (form,) = choice
    values = {text: formats.read_number(text, form) for text in profile.counts}
    numbers = {value for value in values.values() if value is not None}
    present = profile.present - _count_rows(profile, guess.markers)
    if len(numbers) == 1 and present == rows >= ROWS and name not in options.keep:
        return _leave_out(name, profile, "constant", f"every row has {shorten(numbers.pop())}")
    has_fractions = any(value % 1 for value in numbers) or any(map(_FRACTION.search, values))
    column = _make_column(
        name, profile, rows, "number" if has_fractions else "integer",
        unit=profile.unit or _find_sign(form), missing=present < rows, markers=guess.markers,
        format=form,
    )  # fmt: skip
    return Decision(name, column, _describe_format(profile, guess, form), is_loud=bool(guess.odd))


def _choose_format(
    guess: texts.Guess, counts: Mapping[str, int], options: Options
) -> tuple[str | None] | None:
    """Choose between two readings of numbers such as 20,100; None where a person has to.

    Columns that leave no doubt show what the table writes before a fraction. Without them, a
    table whose columns commas separate has a point there: 20,100 is twenty thousand, and a point
    in front of three digits is one before a fraction unless a currency or a unit says nothing
    either way.
    """
    if len(guess.formats) == 1:
        return (guess.formats[0],)
    by_mark = {_find_mark(form): form for form in guess.formats}
    if options.mark in by_mark:
        return (by_mark[options.mark],)
    if options.delimiter == ";":
        return None
    first = guess.formats[0]
    if _find_mark(first) == "." and not _find_sign(first):
        return (first,)
    is_plain = "." in by_mark and first != by_mark["."]
    return (by_mark["."],) if is_plain and texts.are_thousands(counts) else None


def _find_mark(form: str | None) -> str:
    """Find what stands before a fraction in a format."""
    return formats.parse_number_format(form).decimal if form else "."


_FRACTION = re.compile(r"[.,]\d{1,2}(?!\d)|%")


def _find_sign(form: str | None) -> str | None:
    """Find the currency or unit of a format."""
    parts = formats.parse_number_format(form) if form else None
    return (parts.before or parts.after) if parts else None


def _count_rows(profile: Profile, texts_: Iterable[str]) -> int:
    """Count the rows in which these texts stand."""
    return sum(profile.counts.get(text, 0) for text in texts_)


def _decide_dates(name: str, profile: Profile, rows: int, guess: texts.Guess) -> Decision:
    """Decide a column of dates that are written as texts."""
    form, *others = guess.formats
    if others:
        return _ask(name, profile, guess)
    times = [formats.read_date(text, form) for text in profile.counts]
    has_hours = any((time.hour, time.minute, time.second) != (0, 0, 0) for time in times if time)
    parts = (*DATE, "hour") if has_hours else DATE
    missing = profile.present - _count_rows(profile, guess.markers) < rows
    column = _make_column(
        name, profile, rows, "date", parts=parts, format=form, missing=missing,
        markers=guess.markers,
    )  # fmt: skip
    zoned = (
        "converted to UTC" if any(map(_ZONE.search, list(profile.counts)[: texts.SAMPLE])) else ""
    )
    last = max((time.year for time in times if time), default=0)
    is_far = "%y" in (form or "") and last >= FAR
    far = f", where {last % 100} is {last}: write the year in four digits if that is wrong" * is_far
    why = "; ".join(filter(None, (_describe_format(profile, guess, form) + far, zoned)))
    return Decision(name, column, why, is_loud=bool(guess.odd) or is_far)


_ZONE = re.compile(r":\d\d(?:\.\d+)? ?(?:Z|[+-]\d\d:?\d\d)$")


def _ask(name: str, profile: Profile, guess: texts.Guess) -> Decision:
    """Ask a person which of two readings of a text is the right one."""
    one, other = guess.formats
    is_date = _is_date_format(one or other or "")
    read: Any = formats.read_date if is_date else formats.read_number
    text = next(t for t in profile.counts if read(t, one) != read(t, other))
    edits = " or ".join(
        f"`{name}: {json.dumps(form or PLAIN, ensure_ascii=False)}` "
        f"({text} is {_format_value(value)})"
        for form, value in ((form, read(text, form)) for form in guess.formats)
    )
    return Decision(name, None, f"add to processed.formats: {edits}")


def _is_date_format(form: str) -> bool:
    """Tell a format of dates from one of numbers, which may have a percent sign."""
    return form in formats.EPOCHS or re.search(r"%[A-Za-z]", form) is not None


def _format_value(value: Any) -> str:
    """Format a date or a number for people."""
    return f"{value:%B %-d, %Y}" if isinstance(value, datetime) else f"{value:,}"


def _describe_format(profile: Profile, guess: texts.Guess, form: str | None) -> str:
    """Describe how texts are read."""
    parts = [f"written as {form}"] if form else []
    counts = {text: n for text in guess.markers if (n := profile.counts.get(text))}
    if counts:
        parts.append(describe_missing(counts))
    if guess.odd:
        total = sum(guess.odd.values())
        cells = ", ".join(map(shorten, list(guess.odd)[:SHOWN]))
        parts.append(f"unreadable: {cells}, in {total:,} bad row{'s' if total > 1 else ''}")
    return "; ".join(parts)


def describe_missing(counts: Mapping[str, int]) -> str:
    """Describe which texts stand for no value; text → in how many rows."""
    *_, last = counts.values()
    cells = ", ".join(f"{shorten(text)} in {n:,}" for text, n in counts.items())
    return f"missing: {cells} {'row' if last == 1 else 'rows'}"


def _decide_categories(name: str, profile: Profile, rows: int, options: Options) -> Decision:
    """Decide a column of categories, or of texts that are none."""
    void = tuple(sorted(texts.VOID & {**profile.counts, **profile.unlearned}.keys()))
    counts = {text: n for text, n in profile.counts.items() if text not in void}
    present = profile.present - _count_rows(profile, void)
    is_kept = name in options.keep
    if not counts:
        return _leave_out(name, profile, "empty", f"every row has {shorten(void[0])}")
    if len(counts) == 1 and present == rows >= ROWS and not is_kept:
        return _leave_out(name, profile, "constant", f"every row has {shorten(next(iter(counts)))}")
    listed = sorted(counts, key=lambda text: (-counts[text], text))[: options.max_categories]
    covered = sum(counts[text] for text in listed)
    is_broad = len(counts) <= options.max_categories or (
        covered >= COVERED * present or present >= SPARSE * len(counts)
    )
    is_named = len(counts) > len(listed) and NAMES_THINGS.fullmatch(profile.header or name)
    if not is_kept and (texts.are_names(len(counts), present) or not is_broad or is_named):
        return _leave_out_texts(name, profile, counts, present)
    marked = {text: n for text in void if (n := profile.counts.get(text))}
    whys = [describe_missing(marked)] if marked else []
    if profile.absent:
        remedy = 'if it is a category, set processed.missing: [""]'
        whys.append(f"{describe_missing(profile.absent)}; {remedy}")
    others = _drop_numbers(counts)
    is_number_like = len(counts) > texts.FEW and sum(others.values()) * 2 < present and others
    if is_number_like and not any(map(texts.is_code, counts)):
        whys.append(f"read as categories, although {_describe_mix(others, present)}")
    unlearned = sorted(profile.unlearned.keys() - counts.keys() - {*void})
    is_cut = len(counts) > len(listed)
    has_room = len(listed) + len(unlearned) <= options.max_categories
    if unlearned and not is_cut:
        whys.append(_describe_unlearned(unlearned, has_room=has_room))
        listed += unlearned if has_room else []
    if is_cut:
        whys.append(
            f"keeps the {len(listed):,} most frequent of {count_distinct(profile)} categories "
            f"({covered:,} rows); the others ({present - covered:,} rows) become one unknown group"
        )
    column = _make_column(
        name, profile, rows, "category", categories=tuple(sorted(listed)), markers=void,
        unknown=is_cut or not has_room, missing=present < rows,
    )  # fmt: skip
    return Decision(name, column, "; ".join(whys), is_loud=is_cut or bool(is_number_like))


def _describe_unlearned(values: Sequence[str], *, has_room: bool) -> str:
    """Describe categories of which no row is learned from."""
    one, rows = len(values) == 1, "only in rows without a label"
    what = f"{len(values):,} categor{'y is' if one else 'ies are'} {rows}"
    become = "" if has_room else f" and become{'s' if one else ''} one unknown group"
    return f"{what}{become}, such as {', '.join(map(shorten, values[:SHOWN]))}"


def _leave_out_texts(
    name: str, profile: Profile, counts: Mapping[str, int], present: int
) -> Decision:
    """Leave out texts that are no categories."""
    others = _drop_numbers(counts)
    if others and sum(others.values()) * 2 < present:
        return _leave_out(name, profile, "no type", _describe_mix(others, present))
    why = f"{count_distinct(profile)} different texts in {present:,} rows"
    is_free = texts.are_sentences(counts)
    return _leave_out(name, profile, "free text" if is_free else "identifier", why)


def _drop_numbers(counts: Mapping[str, int]) -> dict[str, int]:
    """Drop texts that are numbers; parameters and result: text → in how many rows."""
    return {text: n for text, n in counts.items() if formats.read_number(text) is None}


def _describe_mix(others: Mapping[str, int], present: int) -> str:
    """Describe how many cells are numbers, and which are not."""
    total = sum(others.values())
    values = ", ".join(map(shorten, sorted(others, key=lambda text: -others[text])[:SHOWN]))
    return f"{present - total:,} cells are numbers and {total:,} are not, such as {values}"


def count_distinct(profile: Profile) -> str:
    """Count the distinct values of a column, as far as they are known."""
    if profile.is_capped:
        return f"over {TEXTS if profile.counts else NUMBERS:,}"
    return f"{profile.distinct:,}{' or more' if profile.is_partial else ''}"


def shorten(value: Any) -> str:
    """Write a value as a reason repeats it."""
    text = format_number(value) if isinstance(value, float) else str(value)
    text = text if len(text) <= LISTED else f"{text[:LISTED]}…"
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text


def format_number(value: float) -> str:
    """Format a number with six digits, or with all those before its point.

    Examples
    --------
    >>> format_number(1484705), format_number(0.12345678), format_number(1e20)
    ('1484705', '0.123457', '1e+20')
    """
    return f"{value:.0f}" if LARGE <= abs(value) < LONG else f"{value:g}"


def find_copies(
    profiles: Mapping[str, Profile], decisions: Mapping[str, Decision]
) -> dict[str, str]:
    """Find columns that have the same values as an earlier one → that one."""
    first: dict[bytes, str] = {}
    copies = {}
    for name, decision in decisions.items():
        digest = profiles[name].digest
        if isinstance(decision.outcome, Column) and digest in first:
            copies[name] = first[digest]
        elif isinstance(decision.outcome, Column):
            first[digest] = name
    return copies


def leave_out_copy(name: str, profile: Profile, of: str) -> Decision:
    """Leave out a column that has the same values as another."""
    return _leave_out(name, profile, "copy", f"every value equals that of {of}", of=of)
