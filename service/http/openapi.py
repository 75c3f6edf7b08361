"""The service's interface as an OpenAPI document, made from the contract of the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from cairn.contract import Column, Contract
from cairn.paths import PICTURES
from service.http.errors import Problem, Refused
from service.inference.example import make_example
from service.inference.rows import IDENTIFIER_SCHEMA, Reader, Row, describe_allowed, make_row_type

Json = dict[str, Any]

SCHEMAS = "#/components/schemas/"
ERRORS = {
    400: "The body is not JSON or does not have its content encoding, or names a column twice.",
    401: "The request has none of the keys that the service knows.",
    404: "The model has none.",
    408: "The body did not come in time.",
    413: "The body, unpacked, is over {max_body_bytes:,} bytes, or has over {max_rows:,} rows.",
    415: "The content type is not `application/json`, or the encoding is no gzip and no zstd.",
    422: "The request breaks the contract; `detail` lists each problem, all of them at once.",
    429: "Too many requests are in work; try again after `Retry-After`.",
    500: "A bug of the service; its log has more under the same request ID.",
    503: "The service is not ready, or shuts down; another may answer.",
    504: "The answer did not come in time; send fewer rows at once.",
}
# Generators make a name in code of each value in an enum; only of these will no two be the same
# but for their case.
NAMEABLE = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")


class Limits(NamedTuple):
    """The most of each that one request may have."""

    max_rows: int
    max_body_bytes: int


class Subject(NamedTuple):
    """What an operation is described from.

    Attributes
    ----------
    path
        The operation's.
    contract
        The contract of the model that is served.
    limits
        Of one request.
    is_keyed
        Whether it asks for a key.
    """

    path: str
    contract: Contract
    limits: Limits
    is_keyed: bool


Describe = Callable[[Subject], Json]


class Entry(NamedTuple):
    """An operation of the document.

    Attributes
    ----------
    path, method
        Where it is; the method in lower case.
    describe
        Makes its description.
    is_keyed
        Whether it asks for a key.
    """

    path: str
    method: str
    describe: Describe
    is_keyed: bool


def make_document(
    contract: Contract, version: str, entries: Iterable[Entry], limits: Limits, *, has_keys: bool
) -> Json:
    """Make the OpenAPI document of a service; `service.http.routes` has the entries.

    It is OpenAPI 3.1, whose schemas are JSON Schema: 3.0 can neither say the order of the values
    in a row nor null.
    """
    paths: Json = {}
    for entry in entries:
        subject = Subject(entry.path, contract, limits, entry.is_keyed)
        secured: Json = {"security": [{"bearer": []}, {"key": []}]} if entry.is_keyed else {}
        paths.setdefault(entry.path, {})[entry.method] = entry.describe(subject) | secured
    return {
        "openapi": "3.1.0",
        "info": _describe_info(contract, version),
        # Relative to this document, so that a prefix which a proxy adds stays in front.
        "servers": [{"url": "./", "description": "this service"}],
        "paths": paths,
        "components": {
            "schemas": _make_schemas(contract, limits.max_rows),
            "headers": {"RequestId": {"schema": TEXT, "description": REQUEST_ID}},
            **({"securitySchemes": SECURITY} if has_keys else {}),
        },
    }


REQUEST_ID = "The request's ID: the one that came, else one of the service's own."
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def _describe_info(contract: Contract, version: str) -> Json:
    target, columns = contract.target, len(contract.columns)
    name = target.header or target.name
    return {
        "title": "Cairn",
        "version": version,
        "summary": f"Predicts {name}, one of {len(target.classes)} classes.",
        "description": (
            f"Predicts `{name}` from {columns} columns, with the model "
            f"`{version}`. `GET /model` says where it comes from.\n\n"
            "Every error has the same body: one sentence in `error`, and in `detail` each problem "
            "that there is to tell apart. A path that is not listed here gets 404, with a slash "
            "too many 308, and another method 405. `OPTIONS` lists the methods in `Allow`."
        ),
    }


# Paths


def describe_predict(subject: Subject) -> Json:
    """Describe POST /predict."""
    contract, limits = subject.contract, subject.limits
    left_out = {404} if subject.is_keyed else {401, 404}
    statuses = [status for status in ERRORS if status not in left_out]
    answers: Json = {"oneOf": [_refer("Prediction"), _refer("Predictions")]}
    return {
        "operationId": "predict",
        "tags": ["predictions"],
        "summary": "Predict the class of one row, or of many",
        "description": (
            "A row is an object with a value for each column, or `features`: a list of the values "
            f"in the order of the columns. Many rows, up to {limits.max_rows:,}, are `records`: "
            "a list of such objects, or `features`: a list of such lists. Many rows get their "
            "answers as lists, in the same order, a single one too if it came in a list."
            + _describe_identifier(contract)
            + LENIENT
        ),
        "parameters": [ECHO, GIVEN_ID],
        "requestBody": {
            "required": True,
            "description": "JSON; packed with `Content-Encoding: gzip` or `zstd`, too.",
            "content": _make_content(_refer("Request"), examples=_make_examples(contract)),
        },
        "responses": {
            "200": {
                "description": "One row gets `Prediction`, many get `Predictions`.",
                "headers": ID_HEADER,
                "content": _make_content(answers),
            },
            **{str(status): _respond_error(status, limits) for status in statuses},
            "422": _respond_error(
                422, limits, example=_make_refusal_example(contract, limits.max_rows)
            ),
        },
    }


def _describe_identifier(contract: Contract) -> str:
    """Say what the identifier is for; nothing where there is none."""
    if not contract.identifier:
        return ""
    return (
        f" A row by name may have an identifier, `{contract.identifier}`, which the model does not "
        "see and the answer repeats."
    )


LENIENT = (
    "\n\nThe schemas say what the service works with. It takes a table's own rows, too, as pandas, "
    "`json.dumps` or a CSV reader write them: a column under the table's header, which is the "
    "`title` of its schema; a number, a date, a code or true and false as a text, as the table "
    "writes it; an empty text, or another that the contract has for it, where a value may be "
    "missing; milliseconds since 1970 for a date. The target and columns that the model does not "
    "use are ignored. Rows may come as `frame.to_json()` gives them, with the orient `records`, "
    "`split`, `columns` or `values`. NaN is no JSON: send null."
)
ECHO: Json = {
    "name": "echo",
    "in": "query",
    "description": "`true`: the answer has the request as `input`.",
    "schema": {"type": "boolean", "default": False},
}
GIVEN_ID: Json = {
    "name": "X-Request-ID",
    "in": "header",
    # No pattern: what is not kept is no error.
    "description": "An ID for the answer and the log, kept if it has 1 to 128 letters of "
    "`A-Za-z0-9._:-`; any other is replaced.",
    "schema": {"type": "string"},
}
ID_HEADER: Json = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
RETRY_HEADER: Json = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}
}


def describe_model(subject: Subject) -> Json:
    """Describe GET /model."""
    return _describe_get(
        "model",
        "The model: where it comes from, and its contract",
        _respond_ok(
            "The chain back to code and data, and the contract.", _make_content(_refer("Model"))
        ),
        subject,
    )


def describe_card(subject: Subject) -> Json:
    """Describe GET /model/card."""
    card = {"text/markdown": {"schema": TEXT}}
    responses = {
        "200": {"description": "Markdown.", "content": card},
        "404": _respond_error(404, subject.limits),
    }
    return _describe_get(
        "model_card", "The model card: what the model is, and how good", responses, subject
    )


def describe_picture(subject: Subject) -> Json:
    """Describe GET of a picture of the model."""
    stems: Json = {"enum": list(PICTURES), **TEXT}
    parameter = {"name": "picture", "in": "path", "required": True, "schema": stems}
    responses = {
        "200": {"description": "PNG.", "content": {"image/png": {}}},
        "404": _respond_error(404, subject.limits),
    }
    operation = _describe_get(
        "model_picture", "A picture of how good the model is", responses, subject
    )
    return {**operation, "parameters": [parameter]}


def describe_health(subject: Subject) -> Json:
    """Describe GET /health."""
    return _describe_get(
        "health",
        "The service is up, and with which model",
        _respond_ok("The service is up.", _make_content(_refer("Health"))),
        subject,
    )


def describe_live(subject: Subject) -> Json:
    """Describe GET /livez."""
    return _describe_probe("alive", subject, {})


def describe_ready(subject: Subject) -> Json:
    """Describe GET /readyz."""
    return _describe_probe("ready", subject, {"503": _respond_error(503, subject.limits)})


def _describe_probe(state: str, subject: Subject, errors: Json) -> Json:
    status = _make_object(f"That the service is {state}.", {"status": {"enum": [state], **TEXT}})
    responses = _respond_ok(f"The service is {state}.", _make_content(status)) | errors
    name = subject.path.strip("/").replace("/", "_")
    return _describe_get(name, f"Whether the service is {state}", responses, subject)


def describe_metrics(subject: Subject) -> Json:
    """Describe GET /metrics."""
    text = {"text/plain": {"schema": TEXT}}
    responses = {"200": {"description": "Metrics in Prometheus' text format.", "content": text}}
    return _describe_get("metrics", "Metrics", responses, subject)


def describe_page(subject: Subject) -> Json:
    """Describe GET /."""
    summary = "The model, its scores, a form to try it, and its traffic"
    return _describe_get("page", summary, _respond_page(), subject)


def describe_docs(subject: Subject) -> Json:
    """Describe GET /docs."""
    return _describe_get("docs", "This document as a page", _respond_page(), subject)


def describe_docs_json(subject: Subject) -> Json:
    """Describe GET /docs.json."""
    responses = {"200": {"description": "OpenAPI.", "content": _make_content({"type": "object"})}}
    return _describe_get("docs_json", "This document", responses, subject)


def _respond_page() -> Json:
    page = {"text/html": {"schema": TEXT}}
    return {"200": {"description": "A page for people.", "content": page}}


def _describe_get(name: str, summary: str, responses: Json, subject: Subject) -> Json:
    if subject.is_keyed:
        responses = {**responses, "401": _respond_error(401, subject.limits)}
    return {"operationId": name, "tags": ["service"], "summary": summary, "responses": responses}


def _respond_ok(description: str, content: Json) -> Json:
    return {"200": {"description": description, "headers": ID_HEADER, "content": content}}


def _respond_error(status: int, limits: Limits, **more: Any) -> Json:
    """Describe a response that has the body of all errors."""
    waits = RETRY_HEADER if status in {429, 503} else {}
    return {
        "description": ERRORS[status].format_map(limits._asdict()),
        "headers": {**ID_HEADER, **waits},
        "content": _make_content(_refer("Error"), **more),
    }


def _make_content(schema: Json, **more: Any) -> Json:
    return {"application/json": {"schema": schema, **more}}


def _refer(name: str) -> Json:
    return {"$ref": SCHEMAS + name}


# Examples


def _make_examples(contract: Contract) -> Json:
    """Return each shape of a request, with a row from the middle of the training data."""
    row = make_example(contract)
    values = list(row.values())
    return {
        "row": {"summary": "one row by name", "value": row},
        "list": {"summary": "one row by order", "value": {"features": values}},
        "records": {"summary": "rows by name", "value": {"records": [row, row]}},
        "lists": {"summary": "rows by order", "value": {"features": [values, values]}},
    }


def _make_refusal_example(contract: Contract, max_rows: int) -> Json:
    """Return the answer to a row with one wrong value."""
    column = contract.columns[0]
    wrong: Row = {column.name: "maybe" if column.kind == "boolean" else True}
    try:
        Reader(contract, max_rows).check({**make_example(contract), **wrong})
    except Refused as refused:
        refusal = refused
    detail = [problem.model_dump() for problem in refusal.detail]
    return {"error": refusal.error, "detail": detail}


# Schemas


def _make_schemas(contract: Contract, max_rows: int) -> Json:
    """Return every schema, by name."""
    return {
        "Request": {"oneOf": [_refer(name) for name in ("Row", "RowList", "Rows", "RowLists")]},
        **_describe_requests(contract, max_rows),
        **_describe_answers(contract),
        "Error": _make_object(
            "Why a request is refused.",
            {
                "error": TEXT | {"description": "One sentence."},
                "detail": {"type": "array", "items": _refer("Problem")},
            },
        ),
        "Health": _make_object(
            "That the service is up, and with which model.",
            {"status": {"enum": ["healthy"], **TEXT}, "model_version": VERSION},
        ),
        "Model": _make_object(
            "The model's tag, its contract, the chain back to code and data, and how it is run.",
            {
                "model_version": VERSION,
                "contract": _refer("Contract"),
                "example": _refer("Row"),
                **_describe_artifacts(),
            },
            additionalProperties=True,
        ),
        **_describe_models(),
    }


def _describe_artifacts() -> Json:
    """Describe the evaluation, the card and the pictures of a model."""
    return {
        "evaluation": {
            "type": ["object", "null"],
            "description": "Scores with intervals of 95%; null where the model has none.",
        },
        "card": {"type": "boolean", "description": "Whether there is a model card."},
        "pictures": {
            "type": "array",
            "description": "The pictures that there are.",
            "items": {"enum": list(PICTURES), **TEXT},
        },
    }


TEXT: Json = {"type": "string"}
VERSION: Json = TEXT | {"description": "The model's tag."}
PROBABILITY: Json = {"type": "number", "minimum": 0, "maximum": 1}


def _describe_requests(contract: Contract, max_rows: int) -> Json:
    """Describe the four shapes of a request, and what they are made of."""
    columns, values = contract.columns, _make_value_schemas(contract)
    many = {"type": "array", "minItems": 1, "maxItems": max_rows}
    return {
        "Row": _make_object(
            "One row: a value for each column.",
            {
                column.name: values[column.name]
                | _make_title(column.header)
                | _describe_column(column)
                for column in columns
            }
            | _make_identifier_schema(contract),
            optional={column.name for column in columns if column.missing}
            | set(_make_identifier_schema(contract)),
        ),
        "Values": {
            "type": "array",
            "description": f"One row in the order of the columns: {', '.join(contract.names)}.",
            "prefixItems": list(values.values()),
            "minItems": len(columns),
            "maxItems": len(columns),
        },
        "RowList": _make_object(
            "One row by the order of its values.", {"features": _refer("Values")}
        ),
        "Rows": _make_object("Many rows.", {"records": {**many, "items": _refer("Row")}}),
        "RowLists": _make_object(
            "Many rows by the order of their values.",
            {"features": {**many, "items": _refer("Values")}},
        ),
    }


def _make_identifier_schema(contract: Contract) -> Json:
    """Return the schema of a row's identifier under its name, if there is one."""
    if not contract.identifier:
        return {}
    note = "What names the row: the model does not see it, the answer repeats it."
    schema = IDENTIFIER_SCHEMA | _make_title(contract.identifier_header) | {"description": note}
    return {contract.identifier: schema}


def _make_title(header: str | None) -> Json:
    """Return what the table calls a column, where that is not its name."""
    return {"title": header} if header else {}


def _describe_answers(contract: Contract) -> Json:
    """Describe the answers to one row and to many."""
    more = {
        "model_version": VERSION,
        "request_id": TEXT | {"description": REQUEST_ID},
        "input": {"description": "With `echo`: the body of the request as it came."},
    }
    keys = contract.target.keys
    one = {
        "prediction": _refer("Label"),
        "confidence": PROBABILITY | {"description": "The prediction's probability."},
        "probabilities": _refer("Probabilities"),
    }
    many = {
        "predictions": {"type": "array", "items": _refer("Label")},
        "confidences": {"type": "array", "items": PROBABILITY},
        "probabilities": {"type": "array", "items": _refer("Probabilities")},
    }
    one, many = one | more, many | more
    if contract.identifier:
        one["identifier"], many["identifiers"] = NAMES["identifier"], NAMES["identifiers"]
    return {
        "Label": _make_label_schema(contract)
        | {"description": f"A class of `{contract.target.name}`."},
        # By name each class would be an attribute of a generated client, hard to go through.
        "Probabilities": {
            "type": "object",
            "description": "Each class's probability.",
            "propertyNames": {"enum": list(keys)},
            "additionalProperties": PROBABILITY,
            "minProperties": len(keys),
        },
        "Prediction": _make_object("The answer to one row.", one, optional=OPTIONAL),
        "Predictions": _make_object("The answer to many rows.", many, optional=OPTIONAL),
    }


OPTIONAL = {"identifier", "identifiers", "input"}
NAMES: Json = {
    "identifier": {
        "anyOf": [{"type": "string"}, {"type": "integer", "format": "int64"}],
        "description": "The row's identifier, where the request has one.",
    },
    "identifiers": {
        "type": "array",
        "items": IDENTIFIER_SCHEMA,
        "description": "Each row's identifier, where the request has any.",
    },
}


def _make_label_schema(contract: Contract) -> Json:
    """Return the schema of a class, in its own type."""
    kind: Any = Literal[contract.target.classes]
    schema = _simplify(TypeAdapter(kind).json_schema())
    if schema.get("type") == "boolean":
        del schema["enum"]  # says no more, and generators have none of booleans
    return schema


def _make_value_schemas(contract: Contract) -> dict[str, Json]:
    """Return the schema of each column's value, as `service.inference.rows` checks it."""
    schema = TypeAdapter(make_row_type(contract)).json_schema(schema_generator=_Untitled)
    return {name: _simplify(schema["properties"][name]) for name in contract.names}


def _simplify(schema: Json) -> Json:
    """Rewrite pydantic's schema of a value in words that generators of clients understand."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_simplify(part) for part in schema["anyOf"]]}
    plain = {name: value for name, value in schema.items() if name not in {"const", "multipleOf"}}
    if "multipleOf" in schema:
        plain["type"] = "integer"
    if "const" in schema:
        plain["enum"] = [schema["const"]]
    return plain | _name_values(plain.get("enum", []))


def _name_values(values: list[Any]) -> Json:
    """Names in code for the values of an enum, where those that generators make may be the same."""
    texts = [value for value in values if isinstance(value, str)]
    names = {value.upper() for value in texts if NAMEABLE.fullmatch(value)}
    if len(names) == len(texts):
        return {}
    return {"x-enum-varnames": [f"VALUE_{index}" for index in range(len(values))]}


def _describe_column(column: Column) -> Json:
    """Describe in words what a column takes."""
    words = describe_allowed(column)
    text = words if isinstance(words, str) else "a category" + ", or null" * column.missing
    return {"description": text + (f"; unit: {column.unit}" if column.unit else "")}


def _make_object(
    description: str, properties: Json, *, optional: set[str] | None = None, **more: Any
) -> Json:
    """Return the schema of an object with these properties and, by default, no others."""
    left_out = optional or set()
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": [name for name in properties if name not in left_out],
        "additionalProperties": False,
        **more,
    }


class _Untitled(GenerateJsonSchema):
    """pydantic's JSON Schema without titles that say what the names say."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _describe_models() -> Json:
    """Return the schemas of what pydantic models describe already, by name."""
    _, schemas = models_json_schema(
        [(Problem, "serialization"), (Contract, "serialization")],
        ref_template=SCHEMAS + "{model}",
        schema_generator=_Untitled,
    )
    return {name: _shorten_description(schema) for name, schema in sorted(schemas["$defs"].items())}


def _shorten_description(schema: Json) -> Json:
    """Cut a description to the docstring's first line: the rest is no Markdown."""
    return {**schema, "description": schema["description"].partition("\n")[0]}
