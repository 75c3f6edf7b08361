"""What a row is: the one place that knows the columns, the target and the model's features.

`processed` infers the contract at the first run and people edit it; `train` adds what the model
learned and ships it inside the model. The service imports this module, so neither pandas nor
scikit-learn is here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from cairn import formats
from cairn.errors import Allowed, CairnError, format_key, list_problems

Kind = Literal["number", "integer", "boolean", "category", "date"]
Part = Literal["year", "month", "day", "weekday", "hour", "minute"]
Label = Annotated[StrictBool | StrictInt | StrictStr, Allowed("a text, an integer, true or false")]
Category = Annotated[StrictInt | StrictStr, Allowed("a text or an integer")]
Value = StrictBool | StrictInt | float | StrictStr | None
Reason = Literal[
    "constant", "copy", "dropped", "empty", "free text", "identifier", "index", "no type"
]

NUMBERS = ("number", "integer")
# Names of columns without a header: the first of a table is index, the fifth column_5.
NUMBERED = re.compile(r"(?:index|column_(\d+))(?:_\d+)?")
REPEATED = re.compile(r"_(\d+)$")  # of the name of a column whose header another has, too
PADDED = re.compile(r"0\d{1,17}\Z", re.ASCII)
# What a table has where there is no value; Arrow's reader and pandas' agree on most of them.
# PostgreSQL, MySQL and Hive write \N.
MISSING_TEXTS = (
    "", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NAN", "+NaN", "+nan", "-NaN",
    "-nan", "-NAN", "None", "NULL", "Null", "null", "\\N",
)  # fmt: skip
REASONS: dict[Reason, str] = {
    "constant": "it has one value only",
    "copy": "it has the values of another column",
    "dropped": "processed.drop names it",
    "empty": "it has no value",
    "free text": "it holds texts, not categories",
    "identifier": "it names rows",
    "index": "it numbers rows",
    "no type": "its values have no type in common",
}
MISSING = float("nan")
LARGEST = 3.4028235e38  # beyond this a number is infinite to the model, which has float32


class Model(BaseModel):
    """A part of the contract: no unknown keys, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy it without the cached properties, which would be wrong for other fields."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy


class Histogram(Model):
    """How a feature is distributed in the training data.

    Attributes
    ----------
    edges
        Inner edges of a number's buckets, float32, ascending, in the column's unit: bucket i
        holds edges[i-1] < x <= edges[i], the first and the last are open. Empty for the other
        kinds, whose buckets are their categories, or false and true.
    counts
        Rows in each bucket; of a category that allows unknown ones, the last is theirs.
    missing
        Rows without a value.
    values
        Of integers that are close together, such as 0 and 1, those that occur, ascending.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int
    values: tuple[int, ...] = ()


class Column(Model):
    """One column of a row.

    Attributes
    ----------
    name, unit
        As in the table's header, `name (unit)`; the name is turned into an identifier.
    header
        The table's header, where it is not the name; a request may use either. Empty where the
        table has none.
    missing
        Whether a value may be missing.
    markers
        Texts of CSV that stand for a missing value, besides those that do in any table.
    format
        How a number or a date is written as a text, see `cairn.formats`; None: as JSON has
        numbers, or an ISO 8601 date.
    minimum, maximum
        Allowed range of a number, in `unit`, both ends included; None: any finite number.
    categories
        Allowed values of a category: texts, or integer codes.
    unknown
        Whether a category may be one that is not listed.
    parts
        What the model takes of a date, one feature each.
    """

    name: str
    kind: Kind
    header: str | None = None
    unit: str | None = None
    missing: bool = False
    markers: tuple[str, ...] = ()
    format: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[Category, ...] = ()
    unknown: bool = False
    parts: tuple[Part, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Refuse what an editor may have left: each key belongs to some kinds."""
        for key, kinds in _BELONGS.items():
            value = getattr(self, key)
            is_set = value is not None and value is not False and value != ()  # 0 is a value
            if is_set and self.kind not in kinds:
                raise ValueError(f"{self.name}: {key} is for the kind {' or '.join(kinds)}")
        for key, kind in (("categories", "category"), ("parts", "date")):
            values = getattr(self, key)
            if self.kind == kind and not values:
                raise ValueError(f"{self.name}: a {kind} needs {key}")
            if len(set(values)) < len(values):
                raise ValueError(f"{self.name}: {key} has a duplicate")
        if len({type(category) for category in self.categories}) > 1:
            raise ValueError(f"{self.name}: categories are all texts, or all integers")
        if self.format is not None:
            formats.check(self.format, is_date=self.kind == "date")
        if None not in (self.minimum, self.maximum) and self.minimum > self.maximum:  # type: ignore[operator]
            raise ValueError(f"{self.name}: minimum {self.minimum:g} is over {self.maximum:g}")
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that the model takes of this column."""
        if self.kind == "date":
            return tuple(f"{self.name}_{part}" for part in self.parts)
        return (self.name,)

    def code(self, value: Category | None) -> float:
        """Return the number of a category in the model: its index; NaN where it is missing.

        One that is not listed gets the index after the last.
        """
        if value is None or value != value:  # noqa: PLR0124 - NaN, as pandas has it
            return MISSING
        return self._codes.get(value, float(len(self.categories)))

    def codes(self, values: Iterable[Category | None]) -> list[float]:
        """Return the number of each of many categories."""
        codes = self._codes
        return [codes[value] if value in codes else self.code(value) for value in values]

    @cached_property
    def padded(self) -> dict[int, str]:
        """Whole number → the category that is the number with zeros before it, as 1099 → 01099.

        pandas reads a column of such codes as numbers.
        """
        texts = [text for text in self.categories if isinstance(text, str) and PADDED.match(text)]
        counts = Counter(map(int, texts))
        return {
            int(text): text
            for text in texts
            if counts[int(text)] == 1 and str(int(text)) not in self.categories
        }

    @cached_property
    def _codes(self) -> dict[Category, float]:
        return {category: float(code) for code, category in enumerate(self.categories)}


_BELONGS: dict[str, tuple[Kind, ...]] = {
    "format": (*NUMBERS, "date"),  # type: ignore[dict-item]
    "minimum": NUMBERS,  # type: ignore[dict-item]
    "maximum": NUMBERS,  # type: ignore[dict-item]
    "categories": ("category",),
    "unknown": ("category",),
    "parts": ("date",),
}


class Feature(Model):
    """One number that the model takes.

    Attributes
    ----------
    name
        The column's, or that and the part of its date, or the one that `stages.engineering` gives.
    column
        The column that it is computed from; None: `stages.engineering` computes it.
    histogram
        Of the training data.
    """

    name: str
    column: str | None = None
    histogram: Histogram | None = None


class Threshold(Model):
    """Of two classes, the one that is predicted where its probability is at least `value`."""

    label: Label
    value: float


class Target(Model):
    """What is predicted.

    Attributes
    ----------
    header
        The table's header, where it is not the name.
    classes
        The labels, with the type that they have in the table, sorted; the model's class i is
        classes[i].
    counts
        Rows of each class in the training data; empty before training.
    rare
        Labels of the table that have too few rows to be classes: their rows are set aside.
    markers
        Texts of CSV that stand for no label, besides those that do in any table.
    threshold
        None: the likeliest class is predicted.
    """

    name: str
    header: str | None = None
    classes: tuple[Label, ...]
    counts: tuple[int, ...] = ()
    rare: tuple[Label, ...] = ()
    markers: tuple[str, ...] = ()
    threshold: Threshold | None = None

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The classes as keys of a JSON object: true is "true"."""
        return tuple(
            label if isinstance(label, str) else json.dumps(label) for label in self.classes
        )

    @property
    def decision(self) -> tuple[int, float] | None:
        """Index of the threshold's class, and its value."""
        if self.threshold is None:
            return None
        return self.classes.index(self.threshold.label), self.threshold.value


class LeftOut(Model):
    """A column of the table that the model does not see; a request may have it.

    Attributes
    ----------
    name, header
        As a column's.
    reason
        Why, see `REASONS`.
    of
        Of a copy: the column that it is a copy of.
    """

    name: str
    header: str | None = None
    reason: Reason
    of: str | None = None


class Contract(Model):
    """The columns in the order in which a request has them, and the target.

    Attributes
    ----------
    identifier
        The column that names a row: the model does not see it, an answer repeats it.
    identifier_header
        The table's header of that, where it is not the name.
    left_out
        Columns of the table that the model does not see.
    strip
        Whether blanks around a text belong to the writing and not to the value.
    missing
        Texts of CSV that stand for a missing value in any column; None: those of `MISSING_TEXTS`.
    features
        What the model takes, in order; empty before training.
    engineering
        SHA-256 of `stages/engineering.py`, hex, where the model uses features that it computes.
    example
        A training row, as a request has it: one value for each column; empty: none is shown.
    """

    target: Target
    identifier: str | None = None
    identifier_header: str | None = None
    strip: bool = True
    missing: tuple[str, ...] | None = None
    columns: tuple[Column, ...]
    left_out: tuple[LeftOut, ...] = ()
    features: tuple[Feature, ...] = ()
    engineering: str | None = None
    example: tuple[Value, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        """Refuse two columns, or features, of one name."""
        others = [self.target.name, *([self.identifier] if self.identifier else [])]
        names = [*self.names, *others, *(column.name for column in self.left_out)]
        features = [name for column in self.columns for name in column.features]
        for group in (names, [*features, self.target.name]):
            twice = next((name for index, name in enumerate(group) if name in group[:index]), None)
            if twice is not None:
                raise ValueError(f"{twice!r} appears twice")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def headers(self) -> dict[str, str]:
        """Each name of the table: of columns, target, identifier, left out ones → its header.

        A name of which another column has the header is shown as it is.
        """
        headers, first = self._headers(), dict[str, str]()
        for name in sorted(headers, key=len):  # x before x_2
            first.setdefault(headers[name], name)
        return {n: header if first[header] == n else n for n, header in headers.items()}

    @property
    def _of_table(self) -> tuple[Column | Target | LeftOut, ...]:
        """All columns of the table, except the identifier."""
        return (*self.columns, self.target, *self.left_out)

    def _headers(self) -> dict[str, str]:
        """Map each name of the table to its column's header, which may occur twice."""
        headers = {part.name: part.header or part.name for part in self._of_table}
        if self.identifier is None:
            return headers
        return {**headers, self.identifier: self.identifier_header or self.identifier}

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Each header of the table → its name, where they differ and no other has that name.

        The second of two headers x is x.1, too, as pandas has it, and a column without a header
        has the `Unnamed: 0` of pandas. Of several, a CSV reader keeps the last under an empty key.
        """
        names = {header: name for name, header in self.headers.items()}
        numbers = {name: NUMBERED.fullmatch(name) for name in self._nameless}
        positions = {name: int(match[1] or 1) - 1 for name, match in numbers.items() if match}
        for name in sorted(self._nameless, key=lambda name: -positions.get(name, 0)):
            names.setdefault("", name)
            if name in positions:
                names.setdefault(f"Unnamed: {positions[name]}", name)
        for name, header in self._headers().items():
            number = REPEATED.search(name)
            if header != self.headers[name] and number:
                names.setdefault(f"{header}.{int(number[1]) - 1}", name)
        return {
            header: name
            for header, name in names.items()
            if header != name and header not in self.headers
        }

    @property
    def _nameless(self) -> tuple[str, ...]:
        """The names of columns whose header is empty."""
        names = tuple(part.name for part in self._of_table if part.header == "")
        is_identifier = self.identifier and self.identifier_header == ""
        return (*names, self.identifier) if self.identifier and is_identifier else names

    @cached_property
    def ignored(self) -> frozenset[str]:
        """Names that a request may have and the model does not use: the target, left out ones."""
        return frozenset({self.target.name, *(column.name for column in self.left_out)})

    @cached_property
    def own(self) -> tuple[Feature, ...]:
        """The features that the columns themselves give, in order, without histograms."""
        return tuple(
            Feature(name=name, column=column.name)
            for column in self.columns
            for name in column.features
        )

    @cached_property
    def inputs(self) -> tuple[Feature, ...]:
        """The features that the model takes; before training those that the columns give."""
        return self.features or self.own

    @cached_property
    def plain(self) -> bool:
        """Whether each column is the number that the model takes."""
        return not any(column.kind in {"category", "date"} for column in self.columns)

    def column(self, name: str) -> Column:
        """Return the column of this name; raise a KeyError where there is none."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}


def read_contract(path: Path) -> Contract:
    """Read the contract of a model from its JSON file.

    Keys that were added since that model was trained have their defaults.

    Raises
    ------
    CairnError
        Where it has a key, or lacks one, that this release of Cairn cannot do without.
    """
    try:
        return Contract.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = list_problems(error, Contract)[0]
        raise CairnError(
            f"{path}: {format_key(problem.key)}: {problem.text}; another release of Cairn trained "
            "this model: use the code of its commit, or train it again with `dvc repro`"
        ) from None


def write_contract(contract: Contract, path: Path) -> None:
    """Write a contract as JSON that a person can read and git can compare."""
    path.write_text(contract.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")


def to_plain(contract: Contract) -> dict[str, Any]:
    """Convert a contract to plain lists and dictionaries, without the keys that have defaults."""
    return contract.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
