"""From the body of a request to rows that keep the contract, or to every reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import jiter
from pydantic import (
    AfterValidator,
    ConfigDict,
    FailFast,
    Field,
    PlainValidator,
    StrictBool,
    StrictStr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from cairn.contract import LARGEST, NUMBERS, Category, Column, Contract
from cairn.formats import EPOCHS
from service.http.errors import Problem, Refused
from service.inference import json_errors, lenient
from service.inference.column_names import Names, Plan
from service.inference.lenient import DATE
from service.inference.problems import LISTED, Problems, refusal, short, whole_row
from service.inference.shapes import Shaped, read_shape
from service.process.settings import MAX_ROWS

SOME_VALUES = 10_000
# What the answer, the log and the table hold of a whole number that is a name or a code.
WHOLE = (-(2**63), 2**63 - 1)
SECONDS = 19  # of a date and time, in characters
DATES = (
    "a date YYYY-MM-DD, or with a time YYYY-MM-DDTHH:MM[:SS[.fraction]] and a zone or none, or "
    "milliseconds since 1970"
)
# The same for JSON Schema, which has no word for a date and time without a zone.
DATE_FORM = (
    "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?)?$"
)
IDENTIFIER = "a text, a whole number of 64 bits, or null"

Row = dict[str, Any]
Suggest = Callable[[str], str | None]


class Rows(NamedTuple):
    """The rows of a request.

    Attributes
    ----------
    values
        One sequence a row, in the order of the contract's columns; None where a value is missing.
    single
        Whether the request asked for one row as such, not for a list of one.
    identifiers
        What names each row, None where nothing does; None where no row has a name.
    """

    values: list[Sequence[Any]]
    single: bool
    identifiers: list[Category | None] | None = None


class Reader:
    """Reads requests by a contract, with a pydantic model made of it once.

    A request is held to the contract as it came. Where that fails, its keys and values are read
    as pandas, `json.dumps` or a CSV reader write them, and held to it once more.

    Parameters
    ----------
    contract
        The contract of the model that is served.
    max_rows
        Most rows that one request may have.
    """

    def __init__(self, contract: Contract, max_rows: int = MAX_ROWS) -> None:
        self.contract = contract
        self.max_rows = max_rows
        self.names = Names(contract)
        self._allowed = allowed_values(contract)
        self._wanted = f"an object with a value for each of {', '.join(self.names.columns)}"
        # Twice what the rows need, and some for short ones: to parse more would hold up the rest.
        self._most = 2 * max_rows * (len(self.names.headers) + 1) + SOME_VALUES
        row: Any = row_type(contract)
        rows: Any = list[row]
        lists: Any = list[list_type(contract)]  # type: ignore[misc]
        self._row: TypeAdapter[Row] = TypeAdapter(row)
        self._rows: TypeAdapter[list[Row]] = TypeAdapter(Annotated[rows, FailFast()])
        self._lists: TypeAdapter[list[Sequence[Any]]] = TypeAdapter(Annotated[lists, FailFast()])
        self._columns = [lenient.column_reader(column, contract) for column in contract.columns]
        self._values = {
            column.name: lenient.value_reader(column, contract) for column in contract.columns
        }
        if contract.identifier:
            self._values[contract.identifier] = lenient.exact
        watched = [lenient.watch(column, contract) for column in contract.columns]
        self._watched = [(place, is_other) for place, is_other in enumerate(watched) if is_other]

    def read(self, body: bytes) -> Rows:
        """Parse the body of a request.

        Raises
        ------
        Refused
            400 where it is no JSON or has a key twice, 413 where it has too many values or rows,
            422 with each problem where it breaks the contract.
        """
        if body.count(b",") > self._most:
            raise Refused(413, f"over {self._most:,} values; send fewer rows at once")
        try:
            content = jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True)
        except ValueError as error:
            content = json_errors.reread(body, error, self.names, self.max_rows)
        return self.check(content)

    def check(self, content: Any) -> Rows:
        """Hold the parsed body to the contract; raises Refused (413, 422) as `read` does."""
        shaped = rows, single, listed = read_shape(content, self.names, self.max_rows)
        try:
            if listed:
                values = self._lists.validator.validate_python(rows)
                return self._unless_other(Rows(values, single)) or self._lenient(shaped)
            objects = self._rows.validate_python(rows)
        except ValidationError:
            return self._lenient(shaped)
        names, identifier = self.contract.names, self.contract.identifier
        values = [tuple(map(row.get, names)) for row in objects]
        found = None if identifier is None else _named([row.get(identifier) for row in objects])
        return self._unless_other(Rows(values, single, found)) or self._lenient(shaped)

    def _unless_other(self, rows: Rows) -> Rows | None:
        """The rows; None where a value that is right as it came may stand for another one."""
        for place, is_other in self._watched:
            for row in rows.values:  # `any` would take longer, of one row
                if is_other(row[place]):
                    return None
        return rows

    def _lenient(self, shaped: Shaped) -> Rows:
        """The rows, with keys and values turned into the contract's own."""
        rows, single, listed = shaped
        if listed:
            if any(
                not isinstance(row, list) or len(row) != len(self.contract.names) for row in rows
            ):
                raise refusal(map(self._misfits, range(len(rows)), rows))
            values, identifiers = rows, None
        elif found := self._ordered(rows):
            values, identifiers = found
        else:
            raise self._refusal(rows, repeat(None), listed=False)
        columns = zip(*values, strict=True)
        converted = [read(column) for read, column in zip(self._columns, columns, strict=True)]
        own = list(zip(*converted, strict=True))
        try:
            checked = self._lists.validator.validate_python(own)
            if identifiers:
                list(map(identified, identifiers))
        except (ValidationError, PydanticCustomError):
            raise self._refusal(rows, own, listed=listed) from None
        return Rows(checked, single, identifiers)

    def _ordered(
        self, rows: list[Any]
    ) -> tuple[list[Sequence[Any]], list[Category | None] | None] | None:
        """The values of each row in the columns' order, and the identifiers; None: some lack."""
        plan_of = self.names.planner()
        values, identifiers = list[Sequence[Any]](), list[Category | None]()
        for row in rows:
            if not isinstance(row, dict) or self._has_too_many(row):
                return None
            plan = plan_of(row)
            if not plan.is_good:
                return None
            given = [*row.values(), None]
            values.append(plan.values(given))
            name = plan.places.get(self.contract.identifier or "", -1)
            identifiers.append(lenient.exact(given[name]))
        return values, _named(identifiers)

    def _has_too_many(self, row: Row) -> bool:
        """Whether a row has so many columns that to describe each would take seconds."""
        return len(row) > len(self.names.headers) + LISTED

    def _misfits(self, place: int, row: Any) -> Problems:
        """What is wrong with the shape of one row that came as a list: one thing, or nothing."""
        headers = self.names.columns
        wanted = f"a list of {len(headers)} values: {', '.join(headers)}"
        if not isinstance(row, list):
            return whole_row(place, "wrong type", short(row), wanted)
        if len(row) != len(headers):
            if row and self._has_names(row):
                return _names_problem(place, row)
            return whole_row(place, "wrong number of values", len(row), wanted)
        return Problems(0, [])

    def _refusal(
        self, rows: Iterable[Any], own: Iterable[Sequence[Any] | None], *, listed: bool
    ) -> Refused:
        """What is wrong with rows that do not keep the contract, in whatever way they are read.

        Parameters
        ----------
        own
            The values of each row, converted, in the columns' order; None: they are not.
        """
        pairs = enumerate(zip(rows, own, strict=False))
        if listed:
            plan = self.names.plan(self.contract.names)
            return refusal(self._listed_problems(at, *pair, plan) for at, pair in pairs)
        plan_of, suggest = self.names.planner(), self.names.suggestions()
        return refusal(self._object_problems(at, *pair, plan_of, suggest) for at, pair in pairs)

    def _listed_problems(
        self, place: int, row: list[Any], own: Sequence[Any] | None, plan: Plan
    ) -> Problems:
        """What is wrong with one row that came as a list, named by the table's headers."""
        if self._has_names(row):
            return _names_problem(place, row)
        return self._problems(place, row, self.names.columns, plan, own)

    def _object_problems(
        self,
        place: int,
        row: Any,
        own: Sequence[Any] | None,
        plan_of: Callable[[Row], Plan],
        suggest: Suggest,
    ) -> Problems:
        """What is wrong with one row that came as an object, named as it names its columns."""
        if not isinstance(row, dict):
            if isinstance(row, str) and self.names.resolve(row):
                return _names_problem(place, row)
            return whole_row(place, "wrong type", short(row), self._wanted)
        if self._has_too_many(row):
            return whole_row(place, "too many columns", len(row), self._wanted)
        plan = plan_of(row)
        found = self._problems(place, list(row.values()), list(row), plan, own)
        return Problems(
            found.number + len(plan.unknown) + len(plan.twice),
            chain(
                found.described,
                (self._unknown(place, key, row[key], suggest) for key in plan.unknown),
                (_twice(place, key, row[key], first) for key, first in plan.twice.items()),
            ),
        )

    def _problems(
        self,
        place: int,
        given: Sequence[Any],
        shown: Sequence[str],
        plan: Plan,
        own: Sequence[Any] | None,
    ) -> Problems:
        """What is wrong with the values of one row, whose keys are shown so."""
        known = {} if own is None else dict(zip(self.contract.names, own, strict=True))
        values = {
            name: known[name] if name in known else self._values[name](given[at])
            for name, at in plan.places.items()
        }
        try:
            self._row.validate_python(values)
        except ValidationError as error:
            came = {name: (shown[at], given[at]) for name, at in plan.places.items()}
            return Problems(error.error_count(), self._described(place, error, came))
        return Problems(0, [])

    def _described(
        self, place: int, error: ValidationError, came: dict[str, tuple[str, Any]]
    ) -> Iterator[Problem]:
        """Pydantic's errors in a row, in the service's words.

        To describe each of a long request would take seconds.

        Parameters
        ----------
        came
            Name of a column → its key in the request, and the value there.
        """
        for found in error.errors(include_url=False, include_context=False):
            name = str(found["loc"][0])
            key, got = came.get(name, (self.names.headers[name], None))
            problem = _WORDS.get(found["type"], "wrong type")
            if name in came and found["input"] is None:
                problem = "missing value"
            yield Problem(
                row=place,
                column=short(key),
                problem=problem,
                got=short(got),
                allowed=self._allowed[name],
            )

    def _unknown(self, place: int, key: str, got: Any, suggest: Suggest) -> Problem:
        close = suggest(key)
        return Problem(
            row=place,
            column=short(key),
            problem=f"unknown column, perhaps {short(close)!r}" if close else "unknown column",
            got=short(got),
            allowed=[self.names.headers[name] for name in self._allowed],
        )

    def _has_names(self, row: Sequence[Any]) -> bool:
        """Whether a row has names of columns where its values should be."""
        return all(isinstance(value, str) and self.names.resolve(value) for value in row)


def _twice(place: int, key: str, got: Any, first: str) -> Problem:
    """Two keys of a row that name the same column."""
    return Problem(
        row=place,
        column=short(key),
        problem="the same column twice",
        got=short(got),
        allowed=f"{short(first)!r} or {short(key)!r}, not both",
    )


def _names_problem(place: int, row: Any) -> Problems:
    """What a client makes of a DataFrame that it does not know."""
    wanted = (
        "values; send a DataFrame as frame.to_json(orient='records'), and by BentoML's client as "
        "predict(dataframe=frame), a dictionary as predict(records=dictionary)"
    )
    return whole_row(place, "names of columns, not values", short(row), wanted)


def _named(identifiers: list[Category | None]) -> list[Category | None] | None:
    """What names each row; None where nothing names any."""
    return None if identifiers.count(None) == len(identifiers) else identifiers


_WORDS = {
    "missing": "missing column",
    "finite_number": "not a finite number",
    "greater_than_equal": "out of range",
    "less_than_equal": "out of range",
    "literal_error": "unknown category",
    "date": "not a date",
    "multiple_of": "not a whole number",
}


def row_type(contract: Contract) -> Any:
    """A row as pydantic checks it: strictly, with no columns beside the contract's."""
    fields = {
        column.name: NotRequired[value_type(column)] if column.missing else value_type(column)
        for column in contract.columns
    }
    if contract.identifier:
        fields[contract.identifier] = NotRequired[IDENTIFIED]
    return with_config(ConfigDict(extra="forbid", strict=True))(TypedDict("Row", fields))  # type: ignore[operator]


def list_type(contract: Contract) -> Any:
    """A row given by the order of its values, as pydantic checks it: as strictly."""
    values = tuple(value_type(column) for column in contract.columns)
    return tuple[values]  # type: ignore[valid-type]


def value_type(column: Column) -> Any:
    """A column's value as pydantic checks it."""
    kind: Any = StrictBool
    if column.kind == "category":
        kind = category_type(column)
    elif column.kind == "date":
        kind = Annotated[StrictStr, AfterValidator(dated), Field(json_schema_extra=form(column))]
    elif column.kind != "boolean":
        lowest = -LARGEST if column.minimum is None else column.minimum
        highest = LARGEST if column.maximum is None else column.maximum
        kind = Annotated[float, Field(strict=True, ge=lowest, le=highest, allow_inf_nan=False)]
    if column.kind == "integer":
        kind = Annotated[kind, Field(json_schema_extra={"multipleOf": 1}), AfterValidator(whole)]
    return kind | None if column.missing else kind


def whole(value: float) -> float:
    """The value if it is a whole number; pydantic's own check takes 1e-17 for one."""
    if value % 1:
        raise PydanticCustomError("multiple_of", "not a whole number")
    return value


def category_type(column: Column) -> Any:
    """A category as pydantic checks it: a text, or a whole number that is not written 3.0."""
    listed: list[Any] = list(column.categories)
    if has_texts(column):
        known: Any = Literal[column.categories]
        return Annotated[StrictStr, Field(examples=listed)] if column.unknown else known
    if column.unknown:
        lowest, highest = WHOLE
        return Annotated[int, Field(strict=True, ge=lowest, le=highest, examples=listed)]
    # Literal would take true for 1.
    checked = AfterValidator(known_code(column))
    return Annotated[int, Field(strict=True, json_schema_extra={"enum": listed}), checked]


def known_code(column: Column) -> Callable[[int], int]:
    """A check that a whole number is one of a column's categories."""
    known = frozenset(column.categories)

    def check(value: int) -> int:
        if value not in known:
            raise PydanticCustomError("literal_error", "not one of the categories")
        return value

    return check


def dated(value: str) -> str:
    """A date that is one, in the years 1 to 9999."""
    if DATE.fullmatch(value):
        try:
            datetime.fromisoformat(value[:SECONDS])
        except ValueError:
            pass
        else:
            return value
    raise PydanticCustomError("date", "not a date")


def form(column: Column) -> Row:
    """How JSON Schema says a date: with what the model takes of it, a time or none."""
    return {"pattern": DATE_FORM} if timed(column) else {"format": "date"}


def timed(column: Column) -> bool:
    """Whether the model takes more of a date than the day."""
    return not {"hour", "minute"}.isdisjoint(column.parts)


def identified(value: Any) -> Any:
    """What may name a row."""
    if value is None or isinstance(value, str):
        return value
    if type(value) is not int:
        raise PydanticCustomError("identifier", "neither text nor whole number")
    lowest, highest = WHOLE
    if not lowest <= value <= highest:
        raise PydanticCustomError("less_than_equal", "over 64 bits")
    return value


IDENTIFIER_SCHEMA = {
    "anyOf": [{"type": "string"}, {"type": "integer", "format": "int64"}, {"type": "null"}]
}
# One check and not a union of types, which would have a problem for each of them.
IDENTIFIED: Any = Annotated[Any, PlainValidator(identified), WithJsonSchema(IDENTIFIER_SCHEMA)]


def has_texts(column: Column) -> bool:
    """Whether a column's categories are texts, not codes."""
    return any(isinstance(category, str) for category in column.categories)


def allowed_values(contract: Contract) -> dict[str, Any]:
    """What each column takes, that of the identifier too, as an answer says it."""
    found = {column.name: allowed(column) for column in contract.columns}
    return {**found, contract.identifier: IDENTIFIER} if contract.identifier else found


def allowed(column: Column) -> Any:
    """What a column takes, in words or as a list."""
    if column.kind == "category" and not column.unknown:
        values: Any = list(column.categories)
        return [*values, None] if column.missing else values
    words = {
        "category": "any text" if has_texts(column) else "any whole number of 64 bits",
        "date": DATES,
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number (float32)",
    }
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", column.minimum), ("at most", column.maximum))
        if bound is not None
    ]
    text = " ".join([words[column.kind], " and ".join(bounds)]).strip()
    if column.format:
        text += f", or a text as {_example(column)!r}"
    return f"{text}, or null" if column.missing else text


def _example(column: Column) -> str:
    """How the table writes a number, or a date, that one knows."""
    if column.kind in NUMBERS or column.format in EPOCHS:
        return str(column.format)
    return datetime(2024, 12, 31, 23, 59, 58, tzinfo=UTC).strftime(str(column.format))
