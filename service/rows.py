"""From the body of a request to rows that keep the contract, or to every reason why not."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
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

from service.errors import Problem, Refused
from service.settings import MAX_ROWS
from stages.contract import LARGEST, Category, Column, Contract

SHAPES = (
    'an object with a value for each column, {"records": [such objects]}, '
    '{"features": [values in the order of the columns]} or {"features": [[…], …]}'
)
LISTED = 100
SHAPED = {"features", "records"}
LONGEST = 100
SOME_VALUES = 10_000
# Beyond these JSON has no float, and no whole number, that every reader takes.
MOST = sys.float_info.max
LONG = 2**53
# What the answer, the log and the table hold of a whole number that is a name or a code.
WHOLE = (-(2**63), 2**63 - 1)
# The calendar says the rest. NumPy takes the same texts, and years that no table has.
DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?"
)
SECONDS = 19  # of a date and time, in characters
DATES = "a date YYYY-MM-DD, or with a time YYYY-MM-DDTHH:MM[:SS[.fraction]], no zone"
# The same for JSON Schema, which has no word for a date and time without a zone.
DATE_FORM = (
    "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?)?$"
)
IDENTIFIER = "a text, a whole number of 64 bits, or null"

Row = dict[str, Any]


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


class Problems(NamedTuple):
    """What is wrong with one row: the number of places, and each of them, described on demand."""

    number: int
    described: Iterable[Problem]


class Reader:
    """Reads requests by a contract, with a pydantic model made of it once.

    Parameters
    ----------
    terms
        The contract of the model that is served.
    max_rows
        Most rows that one request may have.
    """

    def __init__(self, terms: Contract, max_rows: int = MAX_ROWS) -> None:
        self.terms = terms
        self.max_rows = max_rows
        self._allowed = allowed_values(terms)
        # Twice what the rows need, and some for short ones: to parse more would hold up the rest.
        self._most = 2 * max_rows * (len(self._allowed) + 1) + SOME_VALUES
        row: Any = row_type(terms)
        rows: Any = list[row]
        lists: Any = list[list_type(terms)]  # type: ignore[misc]
        self._row: TypeAdapter[Row] = TypeAdapter(row)
        self._rows: TypeAdapter[list[Row]] = TypeAdapter(Annotated[rows, FailFast()])
        self._lists: TypeAdapter[list[Sequence[Any]]] = TypeAdapter(Annotated[lists, FailFast()])

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
            raise Refused(400, f"the body is not JSON: {error}") from None
        return self.check(content)

    def check(self, content: Any) -> Rows:
        """Hold the parsed body to the contract; raises Refused (413, 422) as `read` does."""
        rows, single, listed = self._shape(content)
        try:
            if listed:
                return Rows(self._lists.validator.validate_python(rows), single)
            objects = self._rows.validate_python(rows)
        except ValidationError:
            named = self._named(rows) if listed else rows
            raise refusal(self._problems(place, row) for place, row in enumerate(named)) from None
        names, identifier = self.terms.names, self.terms.identifier
        values: list[Sequence[Any]] = [tuple(map(row.get, names)) for row in objects]
        if identifier is None:
            return Rows(values, single)
        found = [row.get(identifier) for row in objects]
        return Rows(values, single, None if found.count(None) == len(found) else found)

    def _shape(self, content: Any) -> tuple[list[Any], bool, bool]:
        """The rows, whether it is one as such, and whether rows are lists, not objects."""
        if not isinstance(content, dict):
            raise _refused("wrong shape", short(content), SHAPES)
        if content.keys() == SHAPED and not SHAPED & set(self.terms.names):
            raise _refused("wrong shape", "features and records at once", SHAPES)
        [key] = content if len(content) == 1 else [None]
        values = content[key] if key in SHAPED else None
        if not isinstance(values, list):
            return [content], True, False
        listed = key == "features"
        single = listed and not (values and isinstance(values[0], list))
        rows = [values] if single else values
        if not rows:
            raise _refused("no rows", [], "at least one row")
        if len(rows) > self.max_rows:
            raise Refused(413, f"{len(rows):,} rows; send at most {self.max_rows:,} at once")
        return rows, single, listed

    def _named(self, rows: list[Any]) -> list[Row]:
        """Rows given by the order of their values, as objects."""
        names = self.terms.names
        if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
            raise refusal(self._misfits(place, row) for place, row in enumerate(rows))
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _misfits(self, place: int, row: Any) -> Problems:
        """What is wrong with the shape of one row that came as a list: one thing, or nothing."""
        names = self.terms.names
        wanted = f"a list of {len(names)} values: {', '.join(names)}"
        if not isinstance(row, list):
            return Problems(1, [_row_problem(place, "wrong type", short(row), wanted)])
        if len(row) != len(names):
            return Problems(1, [_row_problem(place, "wrong number of values", len(row), wanted)])
        return Problems(0, [])

    def _problems(self, place: int, row: Any) -> Problems:
        """What is wrong with one row."""
        wanted = f"an object with a value for each of {', '.join(self.terms.names)}"
        if isinstance(row, dict) and len(row) > len(self.terms.names) + LISTED:
            # To describe each of them would take seconds.
            return Problems(1, [_row_problem(place, "too many columns", len(row), wanted)])
        try:
            self._row.validate_python(row)
        except ValidationError as error:
            if not isinstance(row, dict):
                return Problems(1, [_row_problem(place, "wrong type", short(row), wanted)])
            return Problems(error.error_count(), self._described(place, error))
        return Problems(0, [])

    def _described(self, place: int, error: ValidationError) -> Iterator[Problem]:
        """Pydantic's errors in a row; to describe each of a long request would take seconds."""
        for found in error.errors(include_url=False, include_context=False):
            yield self._problem(place, dict(found))

    def _problem(self, place: int, found: dict[str, Any]) -> Problem:
        """One of pydantic's errors in a row, in the service's words."""
        name = str(found["loc"][0])
        got = None if found["type"] == "missing" else short(found["input"])
        if name in self._allowed:
            problem, wanted = _WORDS.get(found["type"], "wrong type"), self._allowed[name]
        else:
            problem, wanted = "unknown column", list(self._allowed)
        return Problem(row=place, column=short(name), problem=problem, got=got, allowed=wanted)


_WORDS = {
    "missing": "missing column",
    "finite_number": "not a finite number",
    "greater_than_equal": "out of range",
    "less_than_equal": "out of range",
    "literal_error": "unknown category",
    "date": "not a date",
    "multiple_of": "not a whole number",
}


def row_type(terms: Contract) -> Any:
    """A row as pydantic checks it: strictly, with no columns beside the contract's."""
    fields = {
        column.name: NotRequired[value_type(column)] if column.missing else value_type(column)
        for column in terms.columns
    }
    if terms.identifier:
        fields[terms.identifier] = NotRequired[IDENTIFIED]
    return with_config(ConfigDict(extra="forbid", strict=True))(TypedDict("Row", fields))  # type: ignore[operator]


def list_type(terms: Contract) -> Any:
    """A row given by the order of its values, as pydantic checks it: as strictly."""
    values = tuple(value_type(column) for column in terms.columns)
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


def allowed_values(terms: Contract) -> dict[str, Any]:
    """What each column takes, that of the identifier too, as an answer says it."""
    found = {column.name: allowed(column) for column in terms.columns}
    return {**found, terms.identifier: IDENTIFIER} if terms.identifier else found


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
    return f"{text}, or null" if column.missing else text


def refusal(rows: Iterable[Problems]) -> Refused:
    """A 422 of what is wrong with each row: all of it counted, the first LISTED described."""
    count, listed = 0, list[Problem]()
    for problems in rows:
        count += problems.number
        if len(listed) < LISTED:
            listed += islice(problems.described, LISTED - len(listed))
    sentence = f"the request breaks the contract in {count:,} place{'s' if count > 1 else ''}"
    if count > LISTED:
        sentence += f", of which the first {LISTED} are listed"
    return Refused(422, sentence, listed)


def short(value: Any) -> Any:
    """A value as an answer may repeat it: a long text is cut, a list or an object is not shown."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]}…"
    if isinstance(value, int | float) and not -MOST <= value <= MOST:
        return "a number beyond float64"
    return float(value) if isinstance(value, int) and abs(value) > LONG else value


def _row_problem(place: int, problem: str, got: Any, wanted: str) -> Problem:
    return Problem(row=place, column=None, problem=problem, got=got, allowed=wanted)


def _refused(problem: str, got: Any, wanted: str) -> Refused:
    """A 422 of one problem with the request as a whole."""
    whole = Problem(row=None, column=None, problem=problem, got=got, allowed=wanted)
    return refusal([Problems(1, [whole])])
