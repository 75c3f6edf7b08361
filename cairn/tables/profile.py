"""What is known of each column of a table: profiles of its parts, which add up."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from cairn.contract import LARGEST, MISSING_TEXTS
from cairn.tables.reader import JSON, Unconvertible
from cairn.tables.reader import Part as Rows

Form = Literal["integer", "number", "boolean", "text", "date", "time", "other"]
TEXTS = 100_000  # distinct texts of a column that are counted one by one
NUMBERS = 10_000  # distinct numbers
LONG = 10**14  # whole numbers from here on are codes: float32 would make one of many of them
DELIMITERS = np.frombuffer(b'\n\r,;|\t" :', dtype=np.uint8)
TIMES = pa.timestamp("us")
EXACT = 2**53  # whole numbers up to here are float64's, too


@dataclass(frozen=True)
class Profile:
    """What is known of a column.

    Attributes
    ----------
    forms
        The forms that its values have, in all rows.
    header, unit
        From the table.
    is_index
        Whether the table's own writer made it to number the rows.
    present
        How many good rows have a value.
    counts
        Of texts and labels: value → number of good rows, up to a bit over TEXTS values.
    values
        Of numbers, booleans and dates: the distinct ones, up to a bit over NUMBERS.
    low, high
        Of numbers; None where there is none.
    first, last
        Of whole numbers, the values of the first and the last row.
    is_unique
        Whether each row has a value, and no two the same, as far as this is known.
    step
        By how much a whole number differs from the one before, where that is always the same.
    is_rising
        Whether each whole number is over the one before.
    digest
        Of all values in order: two columns of one digest are the same.
    stripped
        How many texts had blanks around them.
    is_partial
        Whether distinct numbers were counted in the first rows only.
    absent
        Of the target: texts that stand for no value, but for an empty one → in how many rows.
    """

    forms: frozenset[Form] = frozenset()
    header: str | None = None
    unit: str | None = None
    is_index: bool = False
    present: int = 0
    counts: Mapping[Any, int] = field(default_factory=dict)
    values: frozenset[Any] = frozenset()
    low: float | None = None
    high: float | None = None
    first: int | None = None
    last: int | None = None
    is_unique: bool = False
    step: int | None = None
    is_rising: bool = False
    digest: bytes = b""
    stripped: int = 0
    is_partial: bool = False
    absent: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Profile) -> Profile:
        if not self.digest:
            return other
        if not other.digest:
            return self
        is_unique = self.is_unique and other.is_unique and _are_disjoint(self, other)
        gap = None if None in {self.last, other.first} else other.first - self.last  # type: ignore[operator]
        return Profile(
            self.forms | other.forms,
            self.header or other.header,
            self.unit or other.unit,
            self.is_index or other.is_index,
            self.present + other.present,
            _sum(self.counts, other.counts),
            _union(self.values, other.values),
            _end(min, self.low, other.low),
            _end(max, self.high, other.high),
            self.first,
            other.last,
            is_unique,
            self.step if self.step == other.step == gap else None,
            self.is_rising and other.is_rising and gap is not None and gap > 0,
            _digest(self.digest, other.digest),
            self.stripped + other.stripped,
            absent=_sum(self.absent, other.absent),
        )

    @property
    def distinct(self) -> int:
        """How many distinct values are known, of a column of any form."""
        return len(self.counts) or len(self.values)

    @property
    def is_whole(self) -> bool:
        """Whether all numbers are whole ones, those of floats as far as they are known."""
        if self.forms == {"integer"}:
            return True
        return self.forms <= {"integer", "number"} and not any(v % 1 for v in self.values)

    @property
    def is_capped(self) -> bool:
        """Whether there may be more distinct values than are known."""
        return len(self.counts) > TEXTS or len(self.values) > NUMBERS


def _are_disjoint(one: Profile, other: Profile) -> bool:
    """Whether no value of one is in the other, as far as is known; in doubt it is."""
    if one.counts and other.counts:
        return not one.counts.keys() & other.counts.keys()
    if None in {one.low, one.high, other.low, other.high}:
        return False
    if one.high < other.low or other.high < one.low:  # type: ignore[operator]
        return True
    return not one.values & other.values


def _sum(one: Mapping[Any, int], other: Mapping[Any, int]) -> Mapping[Any, int]:
    """Counts added up; beyond TEXTS those of values that are known already."""
    total = Counter(one)
    for value, count in other.items():
        if value in total or len(total) <= TEXTS:
            total[value] += count
    return dict(total)


def _union(one: frozenset[Any], other: frozenset[Any]) -> frozenset[Any]:
    longest = max(one, other, key=len)
    return longest if len(longest) > NUMBERS else one | other


def _end(choose: Any, one: float | None, other: float | None) -> float | None:
    ends = [end for end in (one, other) if end is not None]
    return choose(ends, default=None)  # type: ignore[no-any-return]


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


@dataclass(frozen=True)
class Survey:
    """What is known of rows: how many there are, how many are good, and of those each column.

    A row without a target, or with an infinite number, is not good.
    """

    rows: int = 0
    good: int = 0
    columns: Mapping[str, Profile] = field(default_factory=dict)

    def __add__(self, other: Survey) -> Survey:
        names = [*self.columns, *(name for name in other.columns if name not in self.columns)]
        none = Profile()
        columns = {n: self.columns.get(n, none) + other.columns.get(n, none) for n in names}
        return Survey(self.rows + other.rows, self.good + other.good, columns)


def survey(
    part: Rows,
    target: str,
    texts: Sequence[str] = (),
    apart: Collection[str] = (),
    missing: Sequence[str] | None = None,
) -> Survey:
    """Profile the columns of a part.

    Parameters
    ----------
    target
        The column of the labels.
    texts
        Columns to take for texts, whatever they look like.
    apart
        Columns that the model does not see: any number is good there.
    missing
        Texts that stand for no value; None: those of MISSING_TEXTS in CSV, which has no other way.
    """
    usual = MISSING_TEXTS if part.text else ()
    table = _read(part, texts)
    found = profile(table, target, apart, usual if missing is None else missing)
    if part.form != "csv" or found.columns[target].present == len(table):
        return found
    label = replace(found.columns[target], absent=_absent(part, target))
    return replace(found, columns={**found.columns, target: label})


def profile(
    table: pa.Table,
    target: str,
    apart: Collection[str] = (),
    missing: Sequence[str] = (),
) -> Survey:
    """Profile the columns of rows; parameters as of `survey`."""
    plain = {name: strip(table[name], missing) for name in table.column_names}
    stripped = {name: _count(values, table[name]) for name, values in plain.items()}
    typed = pa.table(plain, schema=table.schema) if plain else table
    good = _good(typed, target, apart)
    kept = typed.filter(good) if not pc.all(good).as_py() else typed
    columns = {
        field.name: _profile(
            typed[field.name], kept[field.name], field,
            is_label=field.name == target, stripped=stripped[field.name],
        )
        for field in typed.schema
    }  # fmt: skip
    return Survey(len(typed), len(kept), columns)


def outline(table: pa.Table) -> Survey:
    """Profile rows that are known to keep a contract: only presence and ends of numbers."""
    columns = {}
    for field_ in table.schema:
        present = _present(table[field_.name])
        form = form_of(present) if len(present) else None
        low, high = _ends(present) if form in {"number", "integer"} else (None, None)
        columns[field_.name] = Profile(
            frozenset({form} if form else ()), present=len(present), low=low, high=high,
            digest=b"unknown",
        )  # fmt: skip
    return Survey(len(table), len(table), columns)


def extended(first: Survey, whole: Survey) -> Survey:
    """What is known of the first rows, with presence and ends of numbers in all of them."""
    columns = {
        name: replace(
            profile, present=whole.columns[name].present, low=whole.columns[name].low,
            high=whole.columns[name].high, is_partial=not profile.counts,
        )
        for name, profile in first.columns.items()
        if name in whole.columns
    }  # fmt: skip
    return Survey(whole.rows, whole.good, columns)


def strip(values: pa.ChunkedArray, missing: Sequence[str]) -> pa.ChunkedArray:
    """Take blanks around texts away, and texts that stand for no value; other values stay."""
    if not types.is_string(values.type):
        return values
    plain = pc.utf8_trim_whitespace(values)
    absent = pc.is_in(plain, pa.array(missing, pa.string()), skip_nulls=True)
    return pc.if_else(absent, None, plain) if pc.any(absent).as_py() else plain


def _count(plain: pa.ChunkedArray, values: pa.ChunkedArray) -> int:
    """How many texts have lost blanks, and are still there."""
    if not types.is_string(values.type) or plain is values:
        return 0
    return int(pc.sum(pc.not_equal(plain, values)).as_py() or 0)


def _absent(part: Rows, name: str) -> dict[str, int]:
    """Texts of a column that stand for no value, but for an empty one → in how many rows."""
    plain = replace(part, dialect=part.dialect._replace(missing=("",)))
    texts = plain.read(dict.fromkeys((each.name for each in part.headings), pa.string()))[name]
    stripped = pc.utf8_trim_whitespace(texts)
    absent = pa.array([text for text in part.dialect.missing if text], pa.string())
    return _counts(stripped.filter(pc.is_in(stripped, absent, skip_nulls=True)))


def _read(part: Rows, texts: Sequence[str]) -> pa.Table:
    try:
        table = part.read(dict.fromkeys(texts, pa.string()))
    except Unconvertible:
        table = _dated(part.loose(), texts)
    table = _codes(part, table, texts) if part.form == "csv" else table
    return _as_texts(table, texts)


def _as_texts(table: pa.Table, texts: Sequence[str]) -> pa.Table:
    """The table with these columns as texts; whole numbers and texts can be."""
    for place, name in enumerate(table.column_names):
        if name in texts and types.is_integer(table[name].type):
            values = table[name].cast(pa.string())
            table = table.set_column(place, table.field(name).with_type(pa.string()), values)
    return table


def _codes(part: Rows, table: pa.Table, texts: Sequence[str]) -> pa.Table:
    """The table with columns of codes as texts: whole numbers that begin with a zero, or 0x."""
    whole = [name for name in table.column_names if types.is_integer(table[name].type)]
    if not whole or not _may_have_codes(part.content):
        return table
    typed = part.read(dict.fromkeys([*texts, *whole], pa.string()))
    for name in whole:
        if pc.any(pc.match_substring_regex(typed[name], r"^\s*[+-]?0[\dxX]")).as_py():
            place = table.column_names.index(name)
            table = table.set_column(place, typed.field(name), typed[name])
    return table


def _may_have_codes(content: bytes | pa.Table) -> bool:
    """Whether a zero with another digit, or an x, behind it begins any field of CSV."""
    assert isinstance(content, bytes)  # noqa: S101 - for the types
    codes = np.frombuffer(content, dtype=np.uint8)
    zeros = np.flatnonzero(codes[:-1] == ord("0"))
    after = codes[zeros + 1]
    zeros = zeros[((after >= ord("0")) & (after <= ord("9"))) | ((after | 32) == ord("x"))]
    before = codes[zeros[zeros > 0] - 1]
    begins = np.isin(before, [*DELIMITERS, ord("+"), ord("-")])
    return bool(begins.any() or (len(zeros) and zeros[0] == 0))


def _dated(table: pa.Table, texts: Sequence[str]) -> pa.Table:
    """The table with columns of which all texts are dates as such, as Arrow's reader has them."""
    for place, name in enumerate(table.column_names):
        if types.is_string(table[name].type) and name not in texts:
            with suppress(pa.ArrowInvalid):
                times = table[name].cast(TIMES)
                table = table.set_column(place, table.field(name).with_type(TIMES), times)
    return table


def _good(table: pa.Table, target: str, apart: Collection[str]) -> pa.Array:
    """Which rows have a target and no number beyond float32."""
    good = pa.array(np.ones(len(table), dtype=bool))
    for name in table.column_names:
        values = table[name]
        if name == target:
            good = pc.and_(good, pc.invert(pc.is_null(values, nan_is_null=True)))
        elif types.is_floating(values.type) and name not in apart:
            beyond = pc.greater(pc.abs(values), LARGEST)
            good = pc.and_(good, pc.invert(pc.fill_null(beyond, fill_value=False)))
    return good


def _profile(
    values: pa.ChunkedArray, good: pa.ChunkedArray, column: pa.Field, *, is_label: bool,
    stripped: int,
) -> Profile:  # fmt: skip
    """Profile a column: its form from all rows, the rest from good ones."""
    metadata = column.metadata or {}
    header = metadata.get(b"header", b"").decode() or None
    unit = metadata.get(b"unit", b"").decode() or None
    is_index = b"index" in metadata
    present = _present(values)
    if not len(present):
        empty = _digest(len(values).to_bytes(8, "big"))
        return Profile(header=header, unit=unit, is_index=is_index, digest=empty)
    form = form_of(present)
    kept = present if good is values else _present(good)
    is_counted = form == "text" or (is_label and form != "other")
    low, high = _ends(kept) if form in {"number", "integer"} else (None, None)
    counts = _counts(kept) if is_counted else {}
    distinct = frozenset() if form in {"text", "other"} else _distinct(kept)
    whole = _order(kept) if form == "integer" and len(kept) == len(good) else {}
    if form == "text":
        whole = {"is_unique": len(counts) == len(kept) == len(good)}
    return Profile(
        frozenset({form}), header, unit, is_index, len(kept), counts, distinct, low, high,
        digest=_digest_of(column.name, values), stripped=stripped, **whole,
    )  # fmt: skip


def _present(values: pa.ChunkedArray) -> pa.ChunkedArray:
    missing = pc.is_null(values, nan_is_null=True)
    return values.filter(pc.invert(missing)) if pc.any(missing).as_py() else values


def _ends(values: pa.ChunkedArray) -> tuple[float | None, float | None]:
    ends = pc.min_max(values).as_py()
    return ends["min"], ends["max"]


def _counts(values: pa.ChunkedArray) -> dict[Any, int]:
    counts = pc.value_counts(values)
    return {item["values"]: item["counts"] for item in counts.slice(0, TEXTS + 1).to_pylist()}


def _distinct(values: pa.ChunkedArray) -> frozenset[Any]:
    """The first distinct values; of many rows only as many are looked at as are needed for that."""
    unique = pc.unique(values.slice(0, 2 * NUMBERS))
    if len(unique) <= NUMBERS and len(values) > 2 * NUMBERS and not types.is_floating(values.type):
        unique = pc.unique(values)
    return frozenset(unique.slice(0, NUMBERS + 1).to_pylist())


def _order(values: pa.ChunkedArray) -> dict[str, Any]:
    """How the whole numbers of a column go on from row to row."""
    numbers: NDArray[np.int64] = values.to_numpy()
    if not len(numbers):
        return {}
    steps = np.diff(numbers[: len(numbers)])
    is_rising = bool((steps > 0).all())
    same = len(steps) and bool((steps == steps[0]).all())
    return {
        "first": int(numbers[0]),
        "last": int(numbers[-1]),
        "is_unique": is_rising or len(pc.unique(values)) == len(numbers),
        "is_rising": is_rising,
        "step": int(steps[0]) if same else None,
    }


def _digest_of(name: str, values: pa.ChunkedArray) -> bytes:
    """A digest of a column's values in order, whatever type their numbers have."""
    if types.is_string(values.type) or types.is_boolean(values.type):
        encoded = values.combine_chunks().dictionary_encode()
        indices = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        texts = "\0".join(map(str, encoded.dictionary.slice(0, TEXTS).to_pylist()))
        return _digest(indices.astype(np.int32).tobytes(), texts.encode(errors="replace"))
    if types.is_integer(values.type) or types.is_floating(values.type):
        return _digest(_as_floats(values).tobytes())
    if types.is_date(values.type) or types.is_timestamp(values.type):
        times = pc.fill_null(values.cast(TIMES, safe=False).cast(pa.int64()), -1)
        return _digest(b"time", np.ascontiguousarray(times.to_numpy()).tobytes())
    return _digest(name.encode())  # is compared with nothing


def _as_floats(values: pa.ChunkedArray) -> NDArray[Any]:
    """Numbers as float64, so that 1 and 1.0 are the same, but for codes that this would round."""
    if types.is_integer(values.type):
        ends = [abs(end) for end in _ends(values) if end is not None]
        if max(ends, default=0) > EXACT:
            return np.ascontiguousarray(pc.fill_null(values, 0).to_numpy())
    return np.ascontiguousarray(values.cast(pa.float64(), safe=False).to_numpy())


def form_of(values: pa.ChunkedArray) -> Form:
    """The form that values of a type have."""
    kind = values.type
    if types.is_timestamp(kind):
        return "date" if pc.all(pc.equal(pc.floor_temporal(values), values)).as_py() else "time"
    if kind == JSON:
        return "other"
    return next((form for form, matches in _FORMS.items() if matches(kind)), "other")


_FORMS: dict[Form, Callable[[pa.DataType], bool]] = {
    "integer": types.is_integer,
    "number": types.is_floating,
    "boolean": types.is_boolean,
    "text": types.is_string,
    "date": types.is_date,
}
