"""From the body of a request to rows that keep the contract, or to every reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Annotated, Any, Literal, NotRequired

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
from service.inference.column_names import KeyMapping, Names
from service.inference.lenient import DATE
from service.inference.parsing import (
    COMMA,
    MAX_VALUES,
    Limits,
    TooWide,
    count_byte,
    parse_json,
)
from service.inference.problems import LISTED, Problems, describe_row, make_refusal, shorten
from service.inference.request_rows import RequestRows, list_identifiers
from service.inference.shapes import Shaped, read_shape
from service.inference.typed import INT64, SECONDS, TypedReader, is_typed
from service.process.settings import MAX_ROWS

SOME_VALUES = 10_000
CHECKED_ROWS = 250  # rows that are checked by one call
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
        self._allowed = describe_all_allowed(contract)
        columns = self.names.columns
        self._list = f"a list of {len(columns)} values: {', '.join(columns)}"
        self._shape = f"an object with a value for each of {', '.join(columns)}"
        # Twice what the rows need, and some for short ones: to parse more would hold up the rest.
        self._most = 2 * max_rows * (len(self.names.headers) + 1) + SOME_VALUES
        self._limits = Limits(len(self.names.headers) + LISTED, max_rows)
        row: Any = make_row_type(contract)
        rows: Any = list[row]
        lists: Any = list[make_list_type(contract)]  # type: ignore[misc]
        self._row: TypeAdapter[Row] = TypeAdapter(row)
        self._rows: TypeAdapter[list[Row]] = TypeAdapter(Annotated[rows, FailFast()])
        self._lists: TypeAdapter[list[Sequence[Any]]] = TypeAdapter(Annotated[lists, FailFast()])
        self._columns = [
            lenient.make_column_reader(column, contract) for column in contract.columns
        ]
        self._values = {
            column.name: lenient.make_value_reader(column, contract) for column in contract.columns
        }
        if contract.identifier:
            self._values[contract.identifier] = lenient.convert_integral
        watched = [lenient.make_watch(column, contract) for column in contract.columns]
        self._watched = [(index, is_other) for index, is_other in enumerate(watched) if is_other]
        self.typed = TypedReader(contract, max_rows) if is_typed(contract) else None

    def read(self, body: bytes) -> RequestRows:
        """Parse the body of a request.

        Raises
        ------
        Refused
            400 where it is no JSON or has a key twice, 413 where it has too many values or rows,
            422 with each problem where it breaks the contract.
        """
        rows = self.read_typed(body)
        return self.explain(body) if rows is None else rows

    def read_typed(self, body: bytes) -> RequestRows | None:
        """Parse a body that keeps the contract as it came; None where it may not."""
        return self.typed.read(body) if self.typed else None

    def explain(self, body: bytes) -> RequestRows:
        """Parse a body that does not keep the contract as it came; raises Refused as `read` does.

        It takes several times as long, and finds the same rows where `read` does.
        """
        if count_byte(body, COMMA) > self._most:
            raise Refused(413, f"over {self._most:,} values; send fewer rows at once")
        try:
            try:
                content = parse_json(body, self._limits)
            except ValueError as error:
                content = json_errors.parse_again(body, error, self.names, self._limits)
        except TooWide as wide:
            raise self._refuse_width(wide) from None
        return self.check(content)

    def _refuse_width(self, wide: TooWide) -> Refused:
        """Refuse a long body one element of which has so many values that it is no row."""
        if wide.kind == "{":
            problems = describe_row(wide.index, "too many columns", wide.number, self._shape)
        elif wide.kind == "[":
            problems = self._describe_count(wide.index, wide.number)
        else:
            error = f"row {wide.index} has over {MAX_VALUES:,} values; send one for each column"
            return Refused(413, error)
        return make_refusal([problems])

    def check(self, content: Any) -> RequestRows:
        """Hold the parsed body to the contract; raises Refused (413, 422) as `read` does."""
        shaped = rows, single, listed = read_shape(content, self.names, self.max_rows)
        try:
            if listed:
                values = self._check_lists(rows)
                checked = self._check_watched(RequestRows(values, single))
                return checked or self._read_lenient(shaped)
            objects = _check_in_pieces(self._rows.validate_python, rows)
        except ValidationError:
            return self._read_lenient(shaped)
        names, identifier = self.contract.names, self.contract.identifier
        values = [tuple(map(row.get, names)) for row in objects]
        identifiers = (
            None
            if identifier is None
            else list_identifiers([row.get(identifier) for row in objects])
        )
        checked = self._check_watched(RequestRows(values, single, identifiers))
        return checked or self._read_lenient(shaped)

    def _check_lists(self, rows: list[Any]) -> list[Sequence[Any]]:
        """Hold rows that are lists to the contract; raises pydantic's error."""
        return _check_in_pieces(self._lists.validator.validate_python, rows)

    def _check_watched(self, rows: RequestRows) -> RequestRows | None:
        """Return the rows; None where a value that is valid as it came may stand for another."""
        for index, is_other in self._watched:
            for row in rows.values:  # `any` would take longer, of one row
                if is_other(row[index]):
                    return None
        return rows

    def _read_lenient(self, shaped: Shaped) -> RequestRows:
        """Return the rows, with keys and values turned into the contract's own."""
        rows, single, listed = shaped
        if listed:
            if any(
                not isinstance(row, list) or len(row) != len(self.contract.names) for row in rows
            ):
                raise make_refusal(map(self._describe_misfit, range(len(rows)), rows))
            values, identifiers = rows, None
        elif ordered := self._order_values(rows):
            values, identifiers = ordered
        else:
            raise self._make_refusal(rows, repeat(None), listed=False)
        columns = zip(*values, strict=True)
        converted = [read(column) for read, column in zip(self._columns, columns, strict=True)]
        # One by one: a call that makes them all would keep the event loop from running.
        own = [row for row in zip(*converted, strict=True)]  # noqa: C416
        try:
            checked = self._check_lists(own)
            if identifiers:
                list(map(check_identifier, identifiers))
        except (ValidationError, PydanticCustomError):
            raise self._make_refusal(rows, own, listed=listed) from None
        return RequestRows(checked, single, identifiers)

    def _order_values(
        self, rows: list[Any]
    ) -> tuple[list[Sequence[Any]], list[Category | None] | None] | None:
        """Return each row's values in the columns' order, and the identifiers; None: some lack."""
        map_keys = self.names.make_mapper()
        values, identifiers = list[Sequence[Any]](), list[Category | None]()
        for row in rows:
            if not isinstance(row, dict) or self._has_too_many(row):
                return None
            mapping = map_keys(row)
            if not mapping.is_complete:
                return None
            sent = [*row.values(), None]
            values.append(mapping.values(sent))
            position = mapping.positions.get(self.contract.identifier or "", -1)
            identifiers.append(lenient.convert_integral(sent[position]))
        return values, list_identifiers(identifiers)

    def _has_too_many(self, row: Row) -> bool:
        """Tell whether a row has so many columns that to describe each would take seconds."""
        return len(row) > len(self.names.headers) + LISTED

    def _describe_misfit(self, index: int, row: Any) -> Problems:
        """Describe the wrong shape of one row that came as a list; nothing where it is right."""
        if not isinstance(row, list):
            return describe_row(index, "wrong type", shorten(row), self._list)
        if len(row) != len(self.names.columns):
            if row and self._has_names(row):
                return _describe_names(index, row)
            return self._describe_count(index, len(row))
        return Problems(0, [])

    def _describe_count(self, index: int, number: int) -> Problems:
        """Describe a row that came as a list with too many values or too few."""
        return describe_row(index, "wrong number of values", number, self._list)

    def _make_refusal(
        self, rows: Iterable[Any], own: Iterable[Sequence[Any] | None], *, listed: bool
    ) -> Refused:
        """Describe what is wrong with rows that break the contract, however they are read.

        Parameters
        ----------
        own
            The values of each row, converted, in the columns' order; None: they are not.
        """
        pairs = enumerate(zip(rows, own, strict=False))
        if listed:
            mapping = self.names.map_keys(self.contract.names)
            return make_refusal(
                self._find_list_problems(index, *pair, mapping) for index, pair in pairs
            )
        map_keys, suggest = self.names.make_mapper(), self.names.make_suggest()
        return make_refusal(
            self._find_object_problems(index, *pair, map_keys, suggest) for index, pair in pairs
        )

    def _find_list_problems(
        self, index: int, row: list[Any], own: Sequence[Any] | None, mapping: KeyMapping
    ) -> Problems:
        """Find what is wrong with a row that came as a list, named by the table's headers."""
        if self._has_names(row):
            return _describe_names(index, row)
        return self._find_problems(index, row, self.names.columns, mapping, own)

    def _find_object_problems(
        self,
        index: int,
        row: Any,
        own: Sequence[Any] | None,
        map_keys: Callable[[Row], KeyMapping],
        suggest: Suggest,
    ) -> Problems:
        """Find what is wrong with a row that came as an object, named by its own keys."""
        if not isinstance(row, dict):
            if isinstance(row, str) and self.names.resolve(row):
                return _describe_names(index, row)
            return describe_row(index, "wrong type", shorten(row), self._shape)
        if self._has_too_many(row):
            return describe_row(index, "too many columns", len(row), self._shape)
        mapping = map_keys(row)
        problems = self._find_problems(index, list(row.values()), list(row), mapping, own)
        return Problems(
            problems.number + len(mapping.unknown) + len(mapping.duplicates),
            chain(
                problems.described,
                (self._describe_unknown(index, key, row[key], suggest) for key in mapping.unknown),
                (
                    _describe_duplicate(index, key, row[key], first)
                    for key, first in mapping.duplicates.items()
                ),
            ),
        )

    def _find_problems(
        self,
        index: int,
        sent: Sequence[Any],
        keys: Sequence[str],
        mapping: KeyMapping,
        own: Sequence[Any] | None,
    ) -> Problems:
        """Find what is wrong with the values of one row, sent under these keys."""
        converted = {} if own is None else dict(zip(self.contract.names, own, strict=True))
        values = {
            name: converted[name] if name in converted else self._values[name](sent[position])
            for name, position in mapping.positions.items()
        }
        try:
            self._row.validate_python(values)
        except ValidationError as error:
            items = {
                name: (keys[position], sent[position])
                for name, position in mapping.positions.items()
            }
            return Problems(error.error_count(), self._describe_errors(index, error, items))
        return Problems(0, [])

    def _describe_errors(
        self, index: int, error: ValidationError, items: dict[str, tuple[str, Any]]
    ) -> Iterator[Problem]:
        """Describe pydantic's errors in a row in the service's words, as they are asked for.

        To describe each of a long request would take seconds.

        Parameters
        ----------
        items
            Name of a column → its key in the request, and the value there.
        """
        for detail in error.errors(include_url=False, include_context=False):
            name = str(detail["loc"][0])
            key, got = items.get(name, (self.names.headers[name], None))
            problem = _WORDS.get(detail["type"], "wrong type")
            if name in items and detail["input"] is None:
                problem = "missing value"
            yield Problem(
                row=index,
                column=shorten(key),
                problem=problem,
                got=shorten(got),
                allowed=self._allowed[name],
            )

    def _describe_unknown(self, index: int, key: str, got: Any, suggest: Suggest) -> Problem:
        close = suggest(key)
        return Problem(
            row=index,
            column=shorten(key),
            problem=f"unknown column, perhaps {shorten(close)!r}" if close else "unknown column",
            got=shorten(got),
            allowed=[self.names.headers[name] for name in self._allowed],
        )

    def _has_names(self, row: Sequence[Any]) -> bool:
        """Tell whether a row has names of columns where its values should be."""
        return all(isinstance(value, str) and self.names.resolve(value) for value in row)


def _check_in_pieces(check: Callable[[list[Any]], list[Any]], rows: list[Any]) -> list[Any]:
    """Check rows, some at a time: a call of pydantic's holds up all other threads."""
    if len(rows) <= CHECKED_ROWS:
        return check(rows)
    checked = list[Any]()
    for start in range(0, len(rows), CHECKED_ROWS):
        checked += check(rows[start : start + CHECKED_ROWS])
    return checked


def _describe_duplicate(index: int, key: str, got: Any, first: str) -> Problem:
    """Describe two keys of a row that name the same column."""
    return Problem(
        row=index,
        column=shorten(key),
        problem="the same column twice",
        got=shorten(got),
        allowed=f"{shorten(first)!r} or {shorten(key)!r}, not both",
    )


def _describe_names(index: int, row: Any) -> Problems:
    """Describe a row of names: what a client makes of a DataFrame that it does not know."""
    allowed = (
        "values; send a DataFrame as frame.to_json(orient='records'), and by BentoML's client as "
        "predict(dataframe=frame), a dictionary as predict(records=dictionary)"
    )
    return describe_row(index, "names of columns, not values", shorten(row), allowed)


_WORDS = {
    "missing": "missing column",
    "finite_number": "not a finite number",
    "greater_than_equal": "out of range",
    "less_than_equal": "out of range",
    "literal_error": "unknown category",
    "date": "not a date",
    "multiple_of": "not a whole number",
}


def make_row_type(contract: Contract) -> Any:
    """Make the type of a row: strict, with no columns beside the contract's."""
    fields = {
        column.name: NotRequired[make_value_type(column)]
        if column.missing
        else make_value_type(column)
        for column in contract.columns
    }
    if contract.identifier:
        fields[contract.identifier] = NotRequired[Identifier]
    return with_config(ConfigDict(extra="forbid", strict=True))(TypedDict("Row", fields))  # type: ignore[operator]


def make_list_type(contract: Contract) -> Any:
    """Make the type of a row that is a list of values in order: as strict."""
    values = tuple(make_value_type(column) for column in contract.columns)
    return tuple[values]  # type: ignore[valid-type]


def make_value_type(column: Column) -> Any:
    """Make the type of a column's value."""
    kind: Any = StrictBool
    if column.kind == "category":
        kind = make_category_type(column)
    elif column.kind == "date":
        kind = Annotated[
            StrictStr, AfterValidator(check_date), Field(json_schema_extra=date_schema(column))
        ]
    elif column.kind != "boolean":
        lowest = -LARGEST if column.minimum is None else column.minimum
        highest = LARGEST if column.maximum is None else column.maximum
        kind = Annotated[float, Field(strict=True, ge=lowest, le=highest, allow_inf_nan=False)]
    if column.kind == "integer":
        kind = Annotated[
            kind, Field(json_schema_extra={"multipleOf": 1}), AfterValidator(check_integer)
        ]
    return kind | None if column.missing else kind


def check_integer(value: float) -> float:
    """Return the value if it is an integer; pydantic's own check takes 1e-17 for one."""
    if value % 1:
        raise PydanticCustomError("multiple_of", "not a whole number")
    return value


def make_category_type(column: Column) -> Any:
    """Make the type of a category: a text, or an integer that is not written 3.0."""
    listed: list[Any] = list(column.categories)
    if has_texts(column):
        known: Any = Literal[column.categories]
        return Annotated[StrictStr, Field(examples=listed)] if column.unknown else known
    if column.unknown:
        lowest, highest = INT64
        return Annotated[int, Field(strict=True, ge=lowest, le=highest, examples=listed)]
    # Literal would take true for 1.
    checked = AfterValidator(make_code_check(column))
    return Annotated[int, Field(strict=True, json_schema_extra={"enum": listed}), checked]


def make_code_check(column: Column) -> Callable[[int], int]:
    """Make a check that an integer is one of a column's categories."""
    known = frozenset(column.categories)

    def check(value: int) -> int:
        if value not in known:
            raise PydanticCustomError("literal_error", "not one of the categories")
        return value

    return check


def check_date(value: str) -> str:
    """Return the value if it is a date of the years 1 to 9999."""
    if DATE.fullmatch(value):
        try:
            datetime.fromisoformat(value[:SECONDS])
        except ValueError:
            pass
        else:
            return value
    raise PydanticCustomError("date", "not a date")


def date_schema(column: Column) -> Row:
    """Return how JSON Schema says a date: with what the model takes of it, a time or none."""
    return {"pattern": DATE_FORM} if has_time(column) else {"format": "date"}


def has_time(column: Column) -> bool:
    """Tell whether the model takes more of a date than the day."""
    return not {"hour", "minute"}.isdisjoint(column.parts)


def check_identifier(value: Any) -> Any:
    """Return the value if it may name a row."""
    if value is None or isinstance(value, str):
        return value
    if type(value) is not int:
        raise PydanticCustomError("identifier", "neither text nor whole number")
    lowest, highest = INT64
    if not lowest <= value <= highest:
        raise PydanticCustomError("less_than_equal", "over 64 bits")
    return value


IDENTIFIER_SCHEMA = {
    "anyOf": [{"type": "string"}, {"type": "integer", "format": "int64"}, {"type": "null"}]
}
# One check and not a union of types, which would have a problem for each of them.
Identifier: Any = Annotated[
    Any, PlainValidator(check_identifier), WithJsonSchema(IDENTIFIER_SCHEMA)
]


def has_texts(column: Column) -> bool:
    """Tell whether a column's categories are texts, not codes."""
    return any(isinstance(category, str) for category in column.categories)


def describe_all_allowed(contract: Contract) -> dict[str, Any]:
    """Describe what each column takes, and the identifier, as an answer has it."""
    columns = {column.name: describe_allowed(column) for column in contract.columns}
    return {**columns, contract.identifier: IDENTIFIER} if contract.identifier else columns


def describe_allowed(column: Column) -> Any:
    """Describe what a column takes, in words or as a list."""
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
        text += f", or a text like {_format_example(column)!r}"
    return f"{text}, or null" if column.missing else text


def _format_example(column: Column) -> str:
    """Write a number, or a date, as the table does."""
    if column.kind in NUMBERS or column.format in EPOCHS:
        return str(column.format)
    return datetime(2024, 12, 31, 23, 59, 58, tzinfo=UTC).strftime(str(column.format))
