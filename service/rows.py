"""From the body of a request to rows that keep the contract, or to every reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from service.errors import Problem, Refused
from stages.contract import Column, Contract

SHAPES = (
    'an object with a value for each column, {"records": [such objects]}, '
    '{"features": [values in the order of the columns]} or {"features": [[…], …]}'
)
LISTED = 100
LONGEST = 100
# Beyond float32 a number is infinite to the model.
LARGEST = 3.4028235e38

Row = dict[str, Any]


class Rows(NamedTuple):
    """The rows of a request, and whether it asked for one as such, not for a list of one."""

    rows: list[Row]
    single: bool


class Reader:
    """Reads requests by a contract, with a pydantic model made of it once.

    Parameters
    ----------
    terms
        The contract of the model that is served.
    """

    def __init__(self, terms: Contract) -> None:
        self.terms = terms
        self.schema: TypeAdapter[list[Row]] = TypeAdapter(list[row_type(terms)])  # type: ignore[arg-type, misc]

    def read(self, body: bytes) -> Rows:
        """Parse the body of a request.

        Raises
        ------
        Refused
            400 where it is no JSON; 422 with each problem where it breaks the contract.
        """
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Refused(400, f"the body is not JSON: {error}") from None
        return self.check(content)

    def check(self, content: Any) -> Rows:
        """Hold the parsed body to the contract; raises Refused (422) as `read` does."""
        rows, single = self._shape(content)
        try:
            return Rows(self.schema.validate_python(rows), single)
        except ValidationError as error:
            problems = [self._problem(dict(found)) for found in error.errors(include_url=False)]
            raise refusal(problems) from None

    def _shape(self, content: Any) -> tuple[list[Any], bool]:
        """The rows as objects, whichever of the four shapes they came in."""
        if not isinstance(content, dict):
            raise refusal([_whole("wrong shape", type(content).__name__, SHAPES)])
        keys = set(content)
        if keys == {"features"} and isinstance(content["features"], list):
            values = content["features"]
            single = not (values and isinstance(values[0], list))
            return self._named([values] if single else values), single
        if keys == {"records"} and isinstance(content["records"], list):
            if not content["records"]:
                raise refusal([_whole("no rows", [], "at least one row")])
            return content["records"], False
        return [content], True

    def _named(self, rows: Sequence[Any]) -> list[Row]:
        """Rows given by the order of their values, as objects."""
        names = self.terms.names
        allowed = f"a list of {len(names)} values: {', '.join(names)}"
        problems = [
            Problem(row=place, column=None, problem=problem, got=got, allowed=allowed)
            for place, row in enumerate(rows)
            for problem, got in _misfit(row, len(names))
        ]
        if problems:
            raise refusal(problems)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _problem(self, found: dict[str, Any]) -> Problem:
        """One of pydantic's errors in the service's words."""
        row, *rest = found["loc"]
        if not rest:
            return Problem(
                row=row, column=None, problem="wrong type", got=short(found["input"]),
                allowed="an object with a value for each column",
            )  # fmt: skip
        name = str(rest[0])
        column = next((column for column in self.terms.columns if column.name == name), None)
        if column is None:
            return Problem(
                row=row, column=name, problem="unknown column", got=short(found["input"]),
                allowed=list(self.terms.names),
            )  # fmt: skip
        if found["type"] == "missing":
            return Problem(
                row=row, column=name, problem="missing column", got=None, allowed=allowed(column)
            )
        return Problem(
            row=row, column=name, problem=_WORDS.get(found["type"], "wrong type"),
            got=short(found["input"]), allowed=allowed(column),
        )  # fmt: skip


_WORDS = {
    "finite_number": "not a finite number",
    "greater_than_equal": "out of range",
    "less_than_equal": "out of range",
    "literal_error": "unknown category",
    "multiple_of": "not a whole number",
}


def row_type(terms: Contract) -> Any:
    """A row as pydantic checks it: strictly, with no columns beside the contract's."""
    fields = {
        column.name: NotRequired[value_type(column)] if column.missing else value_type(column)
        for column in terms.columns
    }
    return with_config(ConfigDict(extra="forbid", strict=True))(TypedDict("Row", fields))  # type: ignore[operator]


def value_type(column: Column) -> Any:
    """A column's value as pydantic checks it."""
    kind: Any = bool
    if column.kind == "category":
        kind = Literal[column.categories]
    elif column.kind != "boolean":
        lowest = -LARGEST if column.minimum is None else column.minimum
        highest = LARGEST if column.maximum is None else column.maximum
        whole = 1 if column.kind == "integer" else None
        kind = Annotated[
            float, Field(ge=lowest, le=highest, multiple_of=whole, allow_inf_nan=False)
        ]
    return kind | None if column.missing else kind


def allowed(column: Column) -> Any:
    """What a column takes, in words or as a list."""
    if column.kind == "category":
        values: Any = list(column.categories)
        return [*values, None] if column.missing else values
    words = {
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


def refusal(problems: list[Problem]) -> Refused:
    """A 422 of these problems, of which the first LISTED are named."""
    count = len(problems)
    sentence = f"the request breaks the contract in {count} place{'s' if count > 1 else ''}"
    if count > LISTED:
        sentence += f", of which the first {LISTED} are listed"
    return Refused(422, sentence, problems[:LISTED])


def short(value: Any) -> Any:
    """A value as an answer may repeat it: cut where it is long."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _misfit(row: Any, width: int) -> list[tuple[str, Any]]:
    """What is wrong with one row that came as a list; nothing, or one problem and what came."""
    if not isinstance(row, list):
        return [("wrong type", short(row))]
    if len(row) != width:
        return [("wrong number of values", len(row))]
    return []


def _whole(problem: str, got: Any, allowed: Any) -> Problem:
    return Problem(row=None, column=None, problem=problem, got=got, allowed=allowed)
