"""Profiles of the columns of a table: those of its parts add up."""

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

from cairn.contract import LARGEST
from cairn.tables.missing import MissingRule, list_missing_texts
from cairn.tables.part import JSON, Part, Unconvertible

Form = Literal["integer", "number", "boolean", "text", "date", "time", "other"]
TEXTS = 100_000  # distinct texts of a column that are counted one by one
NUMBERS = 10_000  # distinct numbers
LONG = 10**14  # whole numbers from here on are codes: float32 would make many of them equal
DELIMITERS = np.frombuffer(b'\n\r,;|\t" :', dtype=np.uint8)
TIMES = pa.timestamp("us")
EXACT = 2**53  # float64 holds every whole number up to here


@dataclass(frozen=True)
class Profile:
    """The values of a column, summarized.

    Attributes
    ----------
    forms
        The forms that its values have, in all rows.
    header, unit
        From the table.
    is_index
        Whether the program that wrote the table added the column to number the rows.
    present
        How many good rows have a value.
    counts
        Of texts and labels: value → number of good rows, up to a bit over TEXTS values.
    values
        Of numbers, booleans and dates: the distinct ones, up to a bit over NUMBERS.
    low, high
        The range of numbers; None where there is none.
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
    is_partial
        Whether distinct numbers were counted in the first rows only.
    absent
        Of the target, and of texts: those that stand for no value, except the empty one → in how
        many rows.
    unlearned
        Texts in rows without a label → in how many of them, up to a bit over TEXTS texts.
    is_gapped
        Whether a row without a label has no value.
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
    is_partial: bool = False
    absent: Mapping[str, int] = field(default_factory=dict)
    unlearned: Mapping[str, int] = field(default_factory=dict)
    is_gapped: bool = False

    def __add__(self, other: Profile) -> Profile:
        if not self.digest:
            return other
        if not other.digest:
            return self
        is_unique = self.is_unique and other.is_unique and _are_disjoint(self, other)
        gap = None if None in {self.last, other.first} else other.first - self.last  # type: ignore[operator]
        return Profile(
            self.forms | other.forms,
            other.header if self.header is None else self.header,
            self.unit or other.unit,
            self.is_index or other.is_index,
            self.present + other.present,
            _add_counts(self.counts, other.counts),
            _unite(self.values, other.values),
            _choose_end(min, self.low, other.low),
            _choose_end(max, self.high, other.high),
            self.first,
            other.last,
            is_unique,
            self.step if self.step == other.step == gap else None,
            self.is_rising and other.is_rising and gap is not None and gap > 0,
            _digest(self.digest, other.digest),
            absent=_add_counts(self.absent, other.absent),
            unlearned=_add_counts(self.unlearned, other.unlearned),
            is_gapped=self.is_gapped or other.is_gapped,
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
    """Tell whether no value of one is certainly in the other."""
    if one.counts and other.counts:
        return not one.counts.keys() & other.counts.keys()
    if None in {one.low, one.high, other.low, other.high}:
        return False
    if one.high < other.low or other.high < one.low:  # type: ignore[operator]
        return True
    return not one.values & other.values


def _add_counts(one: Mapping[Any, int], other: Mapping[Any, int]) -> Mapping[Any, int]:
    """Add counts up; beyond TEXTS values, only those of values that are known already."""
    total = Counter(one)
    for value, count in other.items():
        if value in total or len(total) <= TEXTS:
            total[value] += count
    return dict(total)


def _unite(one: frozenset[Any], other: frozenset[Any]) -> frozenset[Any]:
    longest = max(one, other, key=len)
    return longest if len(longest) > NUMBERS else one | other


def _choose_end(choose: Any, one: float | None, other: float | None) -> float | None:
    ends = [end for end in (one, other) if end is not None]
    return choose(ends, default=None)  # type: ignore[no-any-return]


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


@dataclass(frozen=True)
class Survey:
    """The rows of a table: how many there are, how many are good, and a profile of each column.

    A row without a label, or with an infinite number, is not good.
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
    part: Part,
    target: str,
    texts: Sequence[str] = (),
    unused: Collection[str] = (),
    missing: Sequence[str] | None = None,
) -> Survey:
    """Profile the columns of a part.

    Parameters
    ----------
    target
        The column of the labels.
    texts
        Columns to read as texts, whatever they look like.
    unused
        Columns that the model does not see: any number is good there.
    missing
        Texts that stand for no value; None: the usual ones.
    """
    table = _read(part, texts)
    rule = MissingRule(list_missing_texts(missing, is_csv=part.is_text))
    result = profile_columns(table, target, unused, rule)
    gapped = [
        name
        for name, column in result.columns.items()
        if column.present < result.rows and (name == target or column.forms == {"text"})
    ]
    if part.form != "csv" or not gapped:
        return result
    counts = _count_absent(part, gapped)
    columns = {name: replace(result.columns[name], absent=counts[name]) for name in gapped}
    return replace(result, columns={**result.columns, **columns})


def profile_columns(
    table: pa.Table, target: str, unused: Collection[str], rule: MissingRule
) -> Survey:
    """Profile the columns of rows; parameters as of `survey`."""
    plain = {name: rule.clean(table[name]) for name in table.column_names}
    typed = pa.table(plain, schema=table.schema) if plain else table
    is_finite, has_label = _is_finite(typed, {target, *unused}), _has_label(typed, target)
    is_good = pc.and_(is_finite, has_label)
    kept = typed.filter(is_good) if not pc.all(is_good).as_py() else typed
    columns = {
        field.name: _profile(
            typed[field.name], kept[field.name], field, is_label=field.name == target
        )
        for field in typed.schema
    }
    if len(kept) < len(typed):
        rest = typed.filter(pc.and_not(is_finite, has_label))
        columns = {name: _add_rest(column, rest[name]) for name, column in columns.items()}
    return Survey(len(typed), len(kept), columns)


def _add_rest(profile: Profile, values: pa.ChunkedArray) -> Profile:
    """Add what rows without a label have in a column, since a request may have it as well."""
    present = _drop_missing(values)
    unlearned = _count_values(present) if types.is_string(values.type) else {}
    return replace(profile, unlearned=unlearned, is_gapped=len(present) < len(values))


def outline(table: pa.Table) -> Survey:
    """Profile rows that keep a contract: only how many values there are, and their range."""
    columns = {}
    for field_ in table.schema:
        present = _drop_missing(table[field_.name])
        form = form_of(present) if len(present) else None
        low, high = _find_ends(present) if form in {"number", "integer"} else (None, None)
        columns[field_.name] = Profile(
            frozenset({form} if form else ()), present=len(present), low=low, high=high,
            digest=b"unknown",
        )  # fmt: skip
    return Survey(len(table), len(table), columns)


def extend(first: Survey, all_rows: Survey) -> Survey:
    """Extend a survey of the first rows by the outline of all of them."""
    if first.rows == all_rows.rows:
        return first
    columns = {
        name: replace(
            profile, present=all_rows.columns[name].present, low=all_rows.columns[name].low,
            high=all_rows.columns[name].high, is_partial=not profile.counts,
        )
        for name, profile in first.columns.items()
        if name in all_rows.columns
    }  # fmt: skip
    return Survey(all_rows.rows, all_rows.good, columns)


def _count_absent(part: Part, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the texts of columns that stand for no value, except empty ones."""
    plain = replace(part, dialect=part.dialect._replace(missing=("",)))
    table = plain.read(dict.fromkeys((each.name for each in part.headings), pa.string()))
    absent = pa.array([text for text in part.dialect.missing if text], pa.string())
    stripped = {name: pc.utf8_trim_whitespace(table[name]) for name in names}
    return {
        name: _count_values(texts.filter(pc.is_in(texts, absent, skip_nulls=True)))
        for name, texts in stripped.items()
    }


def _read(part: Part, texts: Sequence[str]) -> pa.Table:
    """Read a part, these columns as texts."""
    try:
        table = part.read(dict.fromkeys(texts, pa.string()))
    except Unconvertible:
        table = _convert_dates(part.read_loosely(), texts)
    table = _keep_codes(part, table, texts) if part.form == "csv" else table
    return _convert_to_texts(table, texts)


def _convert_to_texts(table: pa.Table, texts: Sequence[str]) -> pa.Table:
    """Convert these columns to texts, where they are whole numbers."""
    for index, name in enumerate(table.column_names):
        if name in texts and types.is_integer(table[name].type):
            values = table[name].cast(pa.string())
            table = table.set_column(index, table.field(name).with_type(pa.string()), values)
    return table


def _keep_codes(part: Part, table: pa.Table, texts: Sequence[str]) -> pa.Table:
    """Keep columns of codes as texts: whole numbers that begin with a zero, or 0x."""
    integers = [name for name in table.column_names if types.is_integer(table[name].type)]
    if not integers or not _may_have_codes(part.content):
        return table
    typed = part.read(dict.fromkeys([*texts, *integers], pa.string()))
    for name in integers:
        if pc.any(pc.match_substring_regex(typed[name], r"^\s*[+-]?0[\dxX]")).as_py():
            index = table.column_names.index(name)
            table = table.set_column(index, typed.field(name), typed[name])
    return table


def _may_have_codes(content: bytes | pa.Table) -> bool:
    """Tell whether any field of CSV may begin with a zero before another digit or an x."""
    assert isinstance(content, bytes)  # noqa: S101 - for the types
    codes = np.frombuffer(content, dtype=np.uint8)
    zeros = np.flatnonzero(codes[:-1] == ord("0"))
    after = codes[zeros + 1]
    zeros = zeros[((after >= ord("0")) & (after <= ord("9"))) | ((after | 32) == ord("x"))]
    before = codes[zeros[zeros > 0] - 1]
    is_start = np.isin(before, [*DELIMITERS, ord("+"), ord("-")])
    return bool(is_start.any() or (len(zeros) and zeros[0] == 0))


def _convert_dates(table: pa.Table, texts: Sequence[str]) -> pa.Table:
    """Convert columns whose texts are all dates, as Arrow's reader does."""
    for index, name in enumerate(table.column_names):
        if types.is_string(table[name].type) and name not in texts:
            with suppress(pa.ArrowInvalid):
                times = table[name].cast(TIMES)
                table = table.set_column(index, table.field(name).with_type(TIMES), times)
    return table


def _has_label(table: pa.Table, target: str) -> pa.ChunkedArray | pa.Array:
    """Tell which rows have a label; of JSON lines, a part may have the key in none of its rows."""
    if target not in table.column_names:
        return pa.array(np.zeros(len(table), dtype=bool))
    return pc.invert(pc.is_null(table[target], nan_is_null=True))


def _is_finite(table: pa.Table, unused: Collection[str]) -> pa.Array:
    """Tell which rows have no number beyond float32 in a column that is used."""
    is_finite = pa.array(np.ones(len(table), dtype=bool))
    for name in table.column_names:
        values = table[name]
        if types.is_floating(values.type) and name not in unused:
            is_beyond = pc.greater(pc.abs(values), LARGEST)
            is_finite = pc.and_(is_finite, pc.invert(pc.fill_null(is_beyond, fill_value=False)))
    return is_finite


def _profile(
    values: pa.ChunkedArray, good: pa.ChunkedArray, column: pa.Field, *, is_label: bool
) -> Profile:
    """Profile a column: its form from all rows, the rest from good ones."""
    metadata = column.metadata or {}
    header = metadata[b"header"].decode() if b"header" in metadata else None
    header = "" if header is not None and not header.strip() else header
    unit = metadata.get(b"unit", b"").decode() or None
    is_index = b"index" in metadata
    present = _drop_missing(values)
    if not len(present):
        empty = _digest(len(values).to_bytes(8, "big"))
        return Profile(header=header, unit=unit, is_index=is_index, digest=empty)
    form = form_of(present)
    kept = present if good is values else _drop_missing(good)
    is_counted = form == "text" or (is_label and form != "other")
    low, high = _find_ends(kept) if form in {"number", "integer"} else (None, None)
    counts = _count_values(kept) if is_counted else {}
    distinct = frozenset() if form in {"text", "other"} else _list_distinct(kept)
    order = _describe_order(kept) if form == "integer" and len(kept) == len(good) else {}
    if form == "text":
        order = {"is_unique": len(counts) == len(kept) == len(good)}
    return Profile(
        frozenset({form}), header, unit, is_index, len(kept), counts, distinct, low, high,
        digest=_digest_values(column.name, values), **order,
    )  # fmt: skip


def _drop_missing(values: pa.ChunkedArray) -> pa.ChunkedArray:
    is_missing = pc.is_null(values, nan_is_null=True)
    return values.filter(pc.invert(is_missing)) if pc.any(is_missing).as_py() else values


def _find_ends(values: pa.ChunkedArray) -> tuple[float | None, float | None]:
    ends = pc.min_max(values).as_py()
    return ends["min"], ends["max"]


def _count_values(values: pa.ChunkedArray) -> dict[Any, int]:
    counts = pc.value_counts(values)
    return {item["values"]: item["counts"] for item in counts.slice(0, TEXTS + 1).to_pylist()}


def _list_distinct(values: pa.ChunkedArray) -> frozenset[Any]:
    """List the first distinct values, looking at no more rows than that takes."""
    unique = pc.unique(values.slice(0, 2 * NUMBERS))
    if len(unique) <= NUMBERS and len(values) > 2 * NUMBERS and not types.is_floating(values.type):
        unique = pc.unique(values)
    return frozenset(unique.slice(0, NUMBERS + 1).to_pylist())


def _describe_order(values: pa.ChunkedArray) -> dict[str, Any]:
    """Describe how the whole numbers of a column change from row to row."""
    numbers: NDArray[np.int64] = values.to_numpy()
    if not len(numbers):
        return {}
    steps = np.diff(numbers[: len(numbers)])
    is_rising = bool((steps > 0).all())
    is_even = len(steps) and bool((steps == steps[0]).all())
    return {
        "first": int(numbers[0]),
        "last": int(numbers[-1]),
        "is_unique": is_rising or len(pc.unique(values)) == len(numbers),
        "is_rising": is_rising,
        "step": int(steps[0]) if is_even else None,
    }


def _digest_values(name: str, values: pa.ChunkedArray) -> bytes:
    """Digest a column's values in order, whatever type their numbers have."""
    if types.is_string(values.type) or types.is_boolean(values.type):
        encoded = values.combine_chunks().dictionary_encode()
        indices = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        texts = "\0".join(map(str, encoded.dictionary.slice(0, TEXTS).to_pylist()))
        return _digest(indices.astype(np.int32).tobytes(), texts.encode(errors="replace"))
    if types.is_integer(values.type) or types.is_floating(values.type):
        return _digest(_to_floats(values).tobytes())
    if types.is_date(values.type) or types.is_timestamp(values.type):
        times = pc.fill_null(values.cast(TIMES, safe=False).cast(pa.int64()), -1)
        return _digest(b"time", np.ascontiguousarray(times.to_numpy()).tobytes())
    return _digest(name.encode())  # equal to no other column's


def _to_floats(values: pa.ChunkedArray) -> NDArray[Any]:
    """Convert numbers to float64, so that 1 equals 1.0, except codes that this would round."""
    if types.is_integer(values.type):
        ends = [abs(end) for end in _find_ends(values) if end is not None]
        if max(ends, default=0) > EXACT:
            return np.ascontiguousarray(pc.fill_null(values, 0).to_numpy())
    return np.ascontiguousarray(values.cast(pa.float64(), safe=False).to_numpy())


def form_of(values: pa.ChunkedArray) -> Form:
    """Tell the form that values of a type have."""
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
