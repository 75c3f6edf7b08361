"""The service's interface as an OpenAPI document, made from the contract of the model."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from cairn.contract import Column, Contract
from cairn.paths import PICTURES
from service.http.errors import Problem, Refused
from service.inference.example import example
from service.inference.rows import IDENTIFIER_SCHEMA, Reader, Row, allowed, row_type

Json = dict[str, Any]

SCHEMAS = "#/components/schemas/"
ERRORS = {
    400: "The body is not JSON, or names a column twice.",
    401: "The request has none of the keys that the service knows.",
    404: "The model has none.",
    408: "The body did not come in time.",
    413: "The body is over {max_body_bytes:,} bytes, or has over {max_rows:,} rows.",
    415: "The content type is not `application/json`.",
    422: "The request breaks the contract; `detail` lists each problem, all of them at once.",
    429: "Too many requests are in work; try again after `Retry-After`.",
    500: "A bug of the service; its log has more under the same request ID.",
    503: "The service is not ready, or shuts down; another may answer.",
    504: "The answer did not come in time; send fewer rows at once.",
}
# Generators make a name in code of each value in an enum; only of these will no two be the same
# but for their case.
NAMEABLE = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")


def document(  # noqa: PLR0913
    contract: Contract,
    version: str,
    *,
    max_rows: int,
    max_body_bytes: int,
    keys: bool = False,
    metrics_open: bool = True,
) -> Json:
    """The OpenAPI document of a service.

    It is OpenAPI 3.1, whose schemas are JSON Schema: 3.0 can neither say the order of the values
    in a row nor null.

    Parameters
    ----------
    contract, version
        The contract of the model that is served, with the histograms of its training data, and
        the model's tag.
    max_rows, max_body_bytes
        The most of each that one request may have.
    keys, metrics_open
        Whether requests need a key, and whether `/metrics` does without one all the same.

    Returns
    -------
    dict
        What `GET /docs.json` answers; the same arguments give the same document.
    """
    limits = {"max_rows": max_rows, "max_body_bytes": max_body_bytes}
    secured: Json = {"security": [{"bearer": []}, {"key": []}]} if keys else {}
    watched = {} if metrics_open else secured
    return {
        "openapi": "3.1.0",
        "info": _info(contract, version),
        # Relative to this document, so that a prefix which a proxy adds stays in front.
        "servers": [{"url": "./", "description": "this service"}],
        "paths": {
            "/predict": {"post": _predict(contract, limits, keys=keys) | secured},
            "/model": {"get": _model(keys=keys) | secured},
            "/model/card": {"get": _card(keys=keys) | secured},
            "/model/{picture}.png": {"get": _picture(keys=keys) | secured},
            "/health": {"get": _health()},
            **{path: {"get": _probe(path)} for path in PROBES},
            "/metrics": {"get": _metrics(keys=bool(watched)) | watched},
            "/": {"get": _page()},
            "/docs": {"get": _docs()},
            "/docs.json": {"get": _docs_json()},
        },
        "components": {
            "schemas": _schemas(contract, max_rows),
            "headers": {"RequestId": {"schema": TEXT, "description": REQUEST_ID}},
            **({"securitySchemes": SECURITY} if keys else {}),
        },
    }


REQUEST_ID = "The request's ID: the one that came, else one of the service's own."
PROBES = {
    "/livez": "alive",
    "/readyz": "ready",
    "/health/live": "alive",
    "/health/ready": "ready",
}
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def _info(contract: Contract, version: str) -> Json:
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
            "that there is to tell apart. A path that is not listed here gets 404, another method "
            "405."
        ),
    }


# Paths


def _predict(contract: Contract, limits: Json, *, keys: bool) -> Json:
    statuses = [status for status in ERRORS if status != 404 and (status != 401 or keys)]  # noqa: PLR2004
    answers: Json = {"oneOf": [_ref("Prediction"), _ref("Predictions")]}
    return {
        "operationId": "predict",
        "tags": ["predictions"],
        "summary": "Predict the class of one row, or of many",
        "description": (
            "A row is an object with a value for each column, or `features`: a list of the values "
            f"in the order of the columns. Many rows, up to {limits['max_rows']:,}, are `records`: "
            "a list of such objects, or `features`: a list of such lists. Many rows get their "
            "answers as lists, in the same order, a single one too if it came in a list."
            + _naming(contract)
            + LENIENT
        ),
        "parameters": [ECHO, GIVEN_ID],
        "requestBody": {
            "required": True,
            "content": _json(_ref("Request"), examples=_bodies(contract)),
        },
        "responses": {
            "200": {
                "description": "One row gets `Prediction`, many get `Predictions`.",
                "headers": IDENTIFIED,
                "content": _json(answers),
            },
            **{str(status): _error(status, limits) for status in statuses},
            "422": _error(422, limits, example=_refusal(contract, limits["max_rows"])),
        },
    }


def _naming(contract: Contract) -> str:
    """What the identifier is for, in words; nothing where there is none."""
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
    "description": "An ID for the answer and the log; one that is not as this is replaced.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
}
IDENTIFIED: Json = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
RETRIED: Json = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}


def _model(*, keys: bool) -> Json:
    return _get(
        "model",
        "The model: where it comes from, and its contract",
        _ok("The chain back to code and data, and the contract.", _json(_ref("Model"))),
        keys=keys,
    )


def _card(*, keys: bool) -> Json:
    card = {"text/markdown": {"schema": TEXT}}
    found = {"200": {"description": "Markdown.", "content": card}, "404": _error(404, {})}
    return _get("model_card", "The model card: what the model is, and how good", found, keys=keys)


def _picture(*, keys: bool) -> Json:
    stems: Json = {"enum": list(PICTURES), **TEXT}
    place = {"name": "picture", "in": "path", "required": True, "schema": stems}
    found = {"200": {"description": "PNG.", "content": {"image/png": {}}}, "404": _error(404, {})}
    told = _get("model_picture", "A picture of how good the model is", found, keys=keys)
    return {**told, "parameters": [place]}


def _health() -> Json:
    return _get(
        "health",
        "The service is up, and with which model",
        _ok("The service is up.", _json(_ref("Health"))),
    )


def _probe(path: str) -> Json:
    state = PROBES[path]
    status = _object(f"That the service is {state}.", {"status": {"enum": [state], **TEXT}})
    found = _ok(f"The service is {state}.", _json(status))
    if state == "ready":
        found["503"] = _error(503, {})
    return _get(path.strip("/").replace("/", "_"), f"Whether the service is {state}", found)


def _metrics(*, keys: bool) -> Json:
    text = {"text/plain": {"schema": TEXT}}
    found = {"200": {"description": "Metrics in Prometheus' text format.", "content": text}}
    return _get("metrics", "Metrics", found, keys=keys)


def _page() -> Json:
    page = {"text/html": {"schema": TEXT}}
    found = {"200": {"description": "A page for people.", "content": page}}
    return _get("page", "The model, its scores, a form to try it, and its traffic", found)


def _docs() -> Json:
    page = {"text/html": {"schema": TEXT}}
    found = {"200": {"description": "A page for people.", "content": page}}
    return _get("docs", "This document as a page", found)


def _docs_json() -> Json:
    found = {"200": {"description": "OpenAPI.", "content": _json({"type": "object"})}}
    return _get("docs_json", "This document", found)


def _get(name: str, summary: str, responses: Json, *, keys: bool = False) -> Json:
    if keys:
        responses = {**responses, "401": _error(401, {})}
    return {"operationId": name, "tags": ["service"], "summary": summary, "responses": responses}


def _ok(description: str, content: Json) -> Json:
    return {"200": {"description": description, "headers": IDENTIFIED, "content": content}}


def _error(status: int, limits: Json, **more: Any) -> Json:
    """A response that has the body of all errors."""
    waits = RETRIED if status in {429, 503} else {}
    return {
        "description": ERRORS[status].format_map(limits),
        "headers": {**IDENTIFIED, **waits},
        "content": _json(_ref("Error"), **more),
    }


def _json(schema: Json, **more: Any) -> Json:
    return {"application/json": {"schema": schema, **more}}


def _ref(name: str) -> Json:
    return {"$ref": SCHEMAS + name}


# Examples


def _bodies(contract: Contract) -> Json:
    """Each shape of a request, with a row from the middle of the training data."""
    row = example(contract)
    values = list(row.values())
    return {
        "row": {"summary": "one row by name", "value": row},
        "list": {"summary": "one row by order", "value": {"features": values}},
        "records": {"summary": "rows by name", "value": {"records": [row, row]}},
        "lists": {"summary": "rows by order", "value": {"features": [values, values]}},
    }


def _refusal(contract: Contract, max_rows: int) -> Json:
    """What a row with one wrong value gets."""
    column = contract.columns[0]
    wrong: Row = {column.name: "maybe" if column.kind == "boolean" else True}
    try:
        Reader(contract, max_rows).check({**example(contract), **wrong})
    except Refused as refused:
        found = refused
    return {"error": found.error, "detail": [problem.model_dump() for problem in found.detail]}


# Schemas


def _schemas(contract: Contract, max_rows: int) -> Json:
    """Every schema, by name."""
    return {
        "Request": {"oneOf": [_ref(name) for name in ("Row", "RowList", "Rows", "RowLists")]},
        **_requests(contract, max_rows),
        **_answers(contract),
        "Error": _object(
            "Why a request is refused.",
            {
                "error": TEXT | {"description": "One sentence."},
                "detail": {"type": "array", "items": _ref("Problem")},
            },
        ),
        "Health": _object(
            "That the service is up, and with which model.",
            {"status": {"enum": ["healthy"], **TEXT}, "model_version": VERSION},
        ),
        "Model": _object(
            "The model's tag, its contract, the chain back to code and data, and how it is run.",
            {
                "model_version": VERSION,
                "contract": _ref("Contract"),
                "example": _ref("Row"),
                **_shown(),
            },
            additionalProperties=True,
        ),
        **_models(),
    }


def _shown() -> Json:
    """What the model has for people."""
    return {
        "evaluation": {
            "type": ["object", "null"],
            "description": "Scores with intervals of 95 %; null where the model has none.",
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
SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}


def _requests(contract: Contract, max_rows: int) -> Json:
    """The four shapes of a request, and what they are made of."""
    columns, values = contract.columns, _values(contract)
    many = {"type": "array", "minItems": 1, "maxItems": max_rows}
    return {
        "Row": _object(
            "One row: a value for each column.",
            {
                column.name: values[column.name] | _title(column.header) | _note(column)
                for column in columns
            }
            | _identifier(contract),
            optional={column.name for column in columns if column.missing}
            | set(_identifier(contract)),
        ),
        "Values": {
            "type": "array",
            "description": f"One row in the order of the columns: {', '.join(contract.names)}.",
            "prefixItems": list(values.values()),
            "minItems": len(columns),
            "maxItems": len(columns),
        },
        "RowList": _object("One row by the order of its values.", {"features": _ref("Values")}),
        "Rows": _object("Many rows.", {"records": {**many, "items": _ref("Row")}}),
        "RowLists": _object(
            "Many rows by the order of their values.",
            {"features": {**many, "items": _ref("Values")}},
        ),
    }


def _identifier(contract: Contract) -> Json:
    """The identifier of a row, under its name, if there is one."""
    if not contract.identifier:
        return {}
    note = "What names the row: the model does not see it, the answer repeats it."
    schema = IDENTIFIER_SCHEMA | _title(contract.identifier_header) | {"description": note}
    return {contract.identifier: schema}


def _title(header: str | None) -> Json:
    """What the table calls a column, where that is not its name."""
    return {"title": header} if header else {}


def _answers(contract: Contract) -> Json:
    """What one row gets, and what many get."""
    more = {
        "model_version": VERSION,
        "request_id": TEXT | {"description": REQUEST_ID},
        "input": {"description": "With `echo`: the body of the request as it came."},
    }
    keys = contract.target.keys
    one = {
        "prediction": _ref("Label"),
        "confidence": SHARE | {"description": "The prediction's probability."},
        "probabilities": _ref("Probabilities"),
    }
    many = {
        "predictions": {"type": "array", "items": _ref("Label")},
        "confidences": {"type": "array", "items": SHARE},
        "probabilities": {"type": "array", "items": _ref("Probabilities")},
    }
    one, many = one | more, many | more
    if contract.identifier:
        one["identifier"], many["identifiers"] = NAMES["identifier"], NAMES["identifiers"]
    return {
        "Label": _label(contract) | {"description": f"A class of `{contract.target.name}`."},
        # By name each class would be an attribute of a generated client, hard to go through.
        "Probabilities": {
            "type": "object",
            "description": "Each class's probability.",
            "propertyNames": {"enum": list(keys)},
            "additionalProperties": SHARE,
            "minProperties": len(keys),
        },
        "Prediction": _object("The answer to one row.", one, optional=OPTIONAL),
        "Predictions": _object("The answer to many rows.", many, optional=OPTIONAL),
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


def _label(contract: Contract) -> Json:
    """A class, in its own type."""
    kind: Any = Literal[contract.target.classes]
    schema = _plain(TypeAdapter(kind).json_schema())
    if schema.get("type") == "boolean":
        del schema["enum"]  # says no more, and generators have none of booleans
    return schema


def _values(contract: Contract) -> dict[str, Json]:
    """Each column's value, as `service.inference.rows` checks it."""
    schema = TypeAdapter(row_type(contract)).json_schema(schema_generator=_Untitled)
    return {name: _plain(schema["properties"][name]) for name in contract.names}


def _plain(schema: Json) -> Json:
    """A value's schema as pydantic has it, in the words that generators of clients understand."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_plain(part) for part in schema["anyOf"]]}
    plain = {name: said for name, said in schema.items() if name not in {"const", "multipleOf"}}
    if "multipleOf" in schema:
        plain["type"] = "integer"
    if "const" in schema:
        plain["enum"] = [schema["const"]]
    return plain | _names(plain.get("enum", []))


def _names(values: list[Any]) -> Json:
    """Names in code for the values of an enum, where those that generators make may be the same."""
    texts = [value for value in values if isinstance(value, str)]
    names = {value.upper() for value in texts if NAMEABLE.fullmatch(value)}
    if len(names) == len(texts):
        return {}
    return {"x-enum-varnames": [f"VALUE_{place}" for place in range(len(values))]}


def _note(column: Column) -> Json:
    """What a column takes, in words."""
    words = allowed(column)
    text = words if isinstance(words, str) else "a category" + ", or null" * column.missing
    return {"description": text + (f"; unit: {column.unit}" if column.unit else "")}


def _object(
    description: str, properties: Json, *, optional: set[str] | None = None, **more: Any
) -> Json:
    """An object with these properties and, unless it says otherwise, no more."""
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


def _models() -> Json:
    """The schemas of what pydantic models describe already, by name."""
    _, found = models_json_schema(
        [(Problem, "serialization"), (Contract, "serialization")],
        ref_template=SCHEMAS + "{model}",
        schema_generator=_Untitled,
    )
    return {name: _brief(schema) for name, schema in sorted(found["$defs"].items())}


def _brief(schema: Json) -> Json:
    """A model's schema with its docstring's first line alone: the rest is no Markdown."""
    return {**schema, "description": schema["description"].partition("\n")[0]}
