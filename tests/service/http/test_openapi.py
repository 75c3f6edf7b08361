from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from cairn.contract import Column, Contract, Target
from service.http.errors import KINDS, Refused
from service.http.routes import describe_api
from service.inference.example import make_example
from service.inference.rows import Reader
from tests import serving, small

if TYPE_CHECKING:
    from tests.conftest import Project

VERSION = "small:0123456789ab"
MAX_ROWS = 3
CONTRACT = small.fitted().contract
# Names and values that a generator of clients may stumble on.
ODD = Contract(
    columns=(
        Column(name="class", kind="category", categories=("A b", "a-b", "a_b", "", '"')),
        Column(name="名", kind="category", categories=("only",), missing=True),
        Column(name="0", kind="category", categories=("low", "LOW", "None")),
        Column(name="features", kind="number", minimum=-1, maximum=0.5, missing=True),
        Column(name="self", kind="boolean"),
        Column(name="id", kind="integer", minimum=-2, missing=True),
    ),
    target=Target(name="y", classes=("no", "NO", "1")),
)


# All kinds of column, the names and values as odd.
KINDS_OF = Contract(
    columns=(
        Column(name="when", kind="date", parts=("hour", "year"), missing=True),
        Column(name="row", kind="date", parts=("day",), missing=True),
        Column(name="date", kind="date", parts=("weekday", "minute")),
        Column(name="class", kind="category", categories=(-3, 7, 70)),
        Column(name="größe", kind="category", categories=(0,), missing=True),
        Column(name="0", kind="category", categories=(1, 2), unknown=True, missing=True),
        Column(name="self", kind="category", categories=("A b", "", "a-b"), unknown=True),
        Column(name="features", kind="category", categories=("x",), unknown=True, missing=True),
        Column(name="flag", kind="boolean", missing=True),
    ),
    identifier="records",
    target=Target(name="y", classes=(False, True)),
)
ALL = [CONTRACT, small.full().contract, ODD, KINDS_OF]


def make_document(
    contract: Contract = CONTRACT, *, keys: bool = False, metrics_open: bool = True
) -> Any:
    """The document as a client gets it."""
    built = describe_api(
        contract,
        VERSION,
        max_rows=MAX_ROWS,
        max_body_bytes=2**20,
        keys=keys,
        metrics_open=metrics_open,
    )
    return orjson.loads(orjson.dumps(built))


def schema(document: Any, name: str) -> Draft202012Validator:
    """One of the document's schemas, which may refer to the others."""
    return Draft202012Validator(
        {**document, "$ref": f"#/components/schemas/{name}"},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )


def bodies(document: Any) -> dict[str, Any]:
    """The examples of what can be sent."""
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    return {name: one["value"] for name, one in content["application/json"]["examples"].items()}


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def accepted(reader: Reader, body: Any) -> bool:
    try:
        reader.read(orjson.dumps(body))
    except Refused:
        return False
    return True


@pytest.mark.parametrize("contract", [*ALL, small.CONTRACT, small.FULL])
@pytest.mark.parametrize("keys", [False, True])
def test_the_document_is_openapi(contract: Contract, keys: bool) -> None:  # noqa: FBT001
    validate(make_document(contract, keys=keys))


@settings(max_examples=10, deadline=None)
@given(contract=small.contracts())
def test_any_contract_has_a_document(contract: Contract) -> None:
    document = make_document(contract)
    validate(document)
    for name in document["components"]["schemas"]:
        Draft202012Validator.check_schema(document["components"]["schemas"][name])
    assert document == make_document(contract)


def test_every_route_is_described_once() -> None:
    document = make_document()
    assert set(document["paths"]) == {
        "/predict", "/health", "/livez", "/readyz", "/health/live", "/health/ready", "/metrics",
        "/model", "/model/card", "/model/{picture}.png", "/", "/docs", "/docs.json",
    }  # fmt: skip
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_the_server_is_where_the_document_is() -> None:
    assert [server["url"] for server in make_document()["servers"]] == ["./"]


def test_the_version_is_the_model_s() -> None:
    assert make_document()["info"]["version"] == VERSION


@pytest.mark.parametrize("contract", ALL)
def test_each_example_works_when_it_is_sent(contract: Contract) -> None:
    document, reader = make_document(contract), Reader(contract, MAX_ROWS)
    actual = {name: reader.read(orjson.dumps(body)) for name, body in bodies(document).items()}
    row = tuple(make_example(contract).values())
    assert {name: rows.single for name, rows in actual.items()} == {
        "row": True, "list": True, "records": False, "lists": False,
    }  # fmt: skip
    for rows in actual.values():
        assert [tuple(values) for values in rows.values] == [row] * (1 if rows.single else 2)
    for body in bodies(document).values():
        schema(document, "Request").validate(body)


@pytest.mark.parametrize("contract", ALL)
def test_the_example_of_an_error_is_what_is_answered(contract: Contract) -> None:
    document = make_document(contract)
    responses = document["paths"]["/predict"]["post"]["responses"]
    error = responses["422"]["content"]["application/json"]["example"]
    schema(document, "Error").validate(error)
    assert error["error"] == "the request breaks the contract in 1 place"
    assert [problem["column"] for problem in error["detail"]] == [contract.names[0]]


@settings(max_examples=50, deadline=None)
@given(request=small.requests(), data=st.data())
def test_the_schema_takes_what_the_service_takes(
    request: tuple[Contract, list[dict[str, Any]]], data: st.DataObject
) -> None:
    contract, rows = request
    document, reader = make_document(contract), Reader(contract, MAX_ROWS)
    column = data.draw(st.sampled_from(contract.columns))
    # A list may make another shape of a row; JSON Schema's patterns know no calendar.
    wrong = data.draw(
        small.wrong(column).filter(
            lambda value: not isinstance(value, list | dict) and value not in small.NO_DAYS
        )
    )
    broken = [{**rows[0], column.name: wrong}, *rows[1:]]
    for right, given_rows in ((True, rows), (False, broken)):
        lists = [[row[name] for name in contract.names] for row in given_rows]
        shapes: list[Any] = [{"records": given_rows}, {"features": lists}, given_rows[0]]
        for body in [*shapes, {"features": lists[0]}]:
            assert accepted(reader, body) is right
            assert schema(document, "Request").is_valid(body) is right


# No fraction as small as 1e-10 is among them: pydantic takes it for rounding, JSON Schema does not.
VALUES = (
    st.none()
    | st.booleans()
    | small.WHOLE
    | st.sampled_from([0.5, -1.0, 3.0, 1e39, -1e300, "", "only", "low", "a_b", "x"])
)
# No float that is whole: JSON Schema takes 3.0 for 3. No time: `format: date` has none.
OTHERS = (
    st.none()
    | st.booleans()
    | small.CODES
    | st.sampled_from([0.5, 1e-9, -3, 7, 70, "", "x", "2024-02-29", "2024-02-29T", "2024-2-29"])
)


def any_json(contract: Contract, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON that may be a request, of these values."""
    parts = st.lists(values | st.lists(values, max_size=9), max_size=9)
    row = st.fixed_dictionaries({}, optional=dict.fromkeys([*contract.names, *SHAPED, "z"], values))
    good = st.fixed_dictionaries(
        {column.name: small.values(column) for column in contract.columns},
        optional={contract.identifier: small.IDENTIFIERS} if contract.identifier else {},
    )
    return (
        values | row | good
        | good.map(lambda actual: {"features": [actual[name] for name in contract.names]})
        | st.fixed_dictionaries(
            {}, optional={"features": parts | values, "records": st.lists(row | good, max_size=4)}
        )
    )  # fmt: skip


SHAPED = ("features", "records")


@pytest.mark.parametrize(("contract", "values"), [(ODD, VALUES), (KINDS_OF, OTHERS)])
def test_the_service_takes_all_that_the_schema_does(
    contract: Contract, values: st.SearchStrategy[Any]
) -> None:
    reader, request = Reader(contract, MAX_ROWS), schema(make_document(contract), "Request")
    actual = Counter[bool]()

    @settings(max_examples=200, deadline=None)
    @given(body=any_json(contract, values))
    def agree(body: Any) -> None:
        actual[accepted(reader, body)] += 1
        assert accepted(reader, body) or not request.is_valid(body)

    agree()
    while min(actual[True], actual[False]) <= 10 and actual.total() < 4000:
        agree()  # a rare draw is almost all of one kind
    assert min(actual[True], actual[False]) > 10


def test_a_header_is_the_title_of_its_column() -> None:
    contract = Contract(
        columns=(
            Column(name="emp_var_rate", header="emp.var.rate", kind="number"),
            Column(name="age", kind="number"),
        ),
        identifier="id",
        identifier_header="Customer Id",
        target=Target(name="y", header="Subscribed?", classes=("no", "yes")),
    )
    document = make_document(contract)
    row = document["components"]["schemas"]["Row"]["properties"]
    titles = {name: schema.get("title") for name, schema in row.items()}
    assert titles == {"emp_var_rate": "emp.var.rate", "age": None, "id": "Customer Id"}
    assert "Subscribed?" in document["info"]["summary"]
    text = document["paths"]["/predict"]["post"]["description"]
    assert "under the table's header" in text
    assert "send null" in text


def test_each_kind_of_column_has_its_schema() -> None:
    row = make_document(KINDS_OF)["components"]["schemas"]["Row"]
    actual = row["properties"]
    assert "pattern" in actual["date"]
    assert "format" not in actual["date"]
    assert actual["row"]["anyOf"] == [{"type": "string", "format": "date"}, {"type": "null"}]
    assert (actual["class"]["type"], actual["class"]["enum"]) == ("integer", [-3, 7, 70])
    assert (actual["self"]["type"], actual["self"]["examples"]) == ("string", ["A b", "", "a-b"])
    assert "enum" not in actual["self"]
    assert actual["self"]["description"] == "any text"
    assert actual["0"]["anyOf"][0]["examples"] == [1, 2]
    assert row["required"] == ["date", "class", "self"]


def test_the_identifier_is_in_rows_by_name_and_in_answers() -> None:
    schemas = make_document(KINDS_OF)["components"]["schemas"]
    assert "records" in schemas["Row"]["properties"]
    assert len(schemas["Values"]["prefixItems"]) == len(KINDS_OF.columns)
    for name, key in ("Prediction", "identifier"), ("Predictions", "identifiers"):
        assert key in schemas[name]["properties"]
        assert key not in schemas[name]["required"]
    without = make_document(ODD)["components"]["schemas"]
    assert not {"identifier", "identifiers"} & {
        key for name in ("Prediction", "Predictions") for key in without[name]["properties"]
    }


def test_a_column_s_words_say_its_range_and_unit() -> None:
    columns = make_document()["components"]["schemas"]["Row"]["properties"]
    assert columns["area"]["description"] == "a number (float32); unit: cm2"
    assert columns["count"]["type"] == "integer"
    assert columns["colour"]["description"] == "a category, or null"
    ranged = make_document(ODD)["components"]["schemas"]["Row"]["properties"]["features"]
    assert ranged["description"] == "a number (float32) at least -1 and at most 0.5, or null"


@pytest.mark.parametrize(
    ("classes", "label"),
    [
        ((0, 1), {"type": "integer", "enum": [0, 1]}),
        ((False, True), {"type": "boolean"}),
        (("a", "b"), {"type": "string", "enum": ["a", "b"]}),
    ],
)
def test_a_label_keeps_its_type(classes: tuple[Any, ...], label: Any) -> None:
    document = make_document(
        CONTRACT.model_copy(update={"target": Target(name="y", classes=classes)})
    )
    actual = document["components"]["schemas"]["Label"]
    assert actual == {**label, "description": "A class of `y`."}
    for one in classes:
        assert schema(document, "Label").is_valid(one)
    fractions = dict.fromkeys(Target(name="y", classes=classes).keys, 0.5)
    assert schema(document, "Probabilities").is_valid(fractions)
    assert not schema(document, "Probabilities").is_valid({**fractions, "z": 0.0})
    assert not schema(document, "Probabilities").is_valid({classes[0]: 1.0})


def test_every_error_of_predict_has_the_body_of_all_errors() -> None:
    responses = make_document(keys=True)["paths"]["/predict"]["post"]["responses"]
    elsewhere = {404, 405, 499}  # another path, another method, nobody there to be answered
    assert {int(status) for status in responses} - {200} == set(KINDS) - elsewhere
    for status, response in responses.items():
        ref = response["content"]["application/json"]["schema"].get("$ref", "")
        assert ref == ("" if status == "200" else "#/components/schemas/Error")
        assert "Retry-After" in response["headers"] or status not in {"429", "503"}
    assert "1,048,576 bytes" in responses["413"]["description"]
    assert "3 rows" in responses["413"]["description"]


LOCKED = {"/predict", "/model", "/model/card", "/model/{picture}.png", "/docs.json"}


@pytest.mark.parametrize(
    ("how", "secured"),
    [
        ({}, set()),
        ({"metrics_open": False}, set()),
        ({"keys": True}, LOCKED),
        ({"keys": True, "metrics_open": False}, {*LOCKED, "/metrics"}),
    ],
)
def test_a_key_is_asked_for_where_keys_are_on(how: dict[str, Any], secured: set[str]) -> None:
    document = make_document(**how)
    actual = list(operations(document))
    assert {path for path, operation in actual if "security" in operation} == secured
    assert {path for path, operation in actual if "401" in operation["responses"]} == secured
    assert ("securitySchemes" in document["components"]) is bool(secured)


def test_a_request_id_that_is_replaced_breaks_no_schema() -> None:
    parameters = make_document()["paths"]["/predict"]["post"]["parameters"]
    (schema,) = [each["schema"] for each in parameters if each["name"] == "X-Request-ID"]
    assert schema == {"type": "string"}


def generated(document: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Generate a client; returns its package's name, which can be imported."""
    path, package = folder / "docs.json", f"client_{folder.name}"
    path.write_bytes(document)
    # This generator knows bytes by one name only.
    config = folder / "generator.json"
    config.write_text('{"content_type_overrides": {"image/png": "application/octet-stream"}}')
    command = [
        str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--meta", "none",
        "--fail-on-warning", "--path", str(path), "--output-path", str(folder / package),
        "--config", str(config),
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, timeout=600)
    monkeypatch.syspath_prepend(folder)
    return package


def part(package: str, name: str) -> Any:
    return importlib.import_module(f"{package}.{name}")


@pytest.mark.slow
@pytest.mark.parametrize("contract", ALL)
def test_a_client_can_be_generated_of_odd_names_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contract: Contract
) -> None:
    document = make_document(contract, keys=True)
    package = generated(orjson.dumps(document), tmp_path, monkeypatch)
    models = part(package, "models")
    shapes = {"row": "Row", "list": "RowList", "records": "Rows", "lists": "RowLists"}
    for name, body in bodies(document).items():
        assert getattr(models, shapes[name]).from_dict(body).to_dict() == body
    for column in contract.columns:
        dates = ["2024-02-29"] if column.kind == "date" else []
        for value in (*column.categories, *[None] * column.missing, *dates):
            row = {**make_example(contract), column.name: value}
            assert models.Row.from_dict(row).to_dict() == row
    for description in ["C-1", 7, None] if contract.identifier else []:
        row = {**make_example(contract), str(contract.identifier): description}
        assert models.Row.from_dict(row).to_dict() == row


@pytest.mark.slow
@pytest.mark.parametrize("which", ["project", "complete"])
def test_a_generated_client_works(
    which: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    project: Project = request.getfixturevalue(which)
    with (serving.shared if which == "project" else serving.served)(project) as http:
        body = http.get("/docs.json").content
        document = orjson.loads(body)
        package = generated(body, tmp_path, monkeypatch)
        kind = part(package, "client").Client
        with kind(base_url=str(http.base_url)) as client:
            check_predictions(package, client, document)
            check_refusal(package, client, document)
            check_service(package, client, document)
            if which == "complete":
                check_identifiers(package, client, document)
        for path, name in (("/health", "Health"), ("/model", "Model")):
            schema(document, name).validate(http.get(path).json())
        for name, sent in bodies(document).items():
            expected = "Prediction" if name in {"row", "list"} else "Predictions"
            schema(document, expected).validate(http.post("/predict", json=sent).json())


def check_predictions(package: str, client: Any, document: Any) -> None:
    models, predict = part(package, "models"), part(package, "api.predictions.predict")
    sent = bodies(document)
    for row in (models.Row.from_dict(sent["row"]), models.RowList.from_dict(sent["list"])):
        one = predict.sync(client=client, body=row, x_request_id="mine", echo=True)
        assert isinstance(one, models.Prediction)
        assert (one.model_version, one.request_id) == (document["info"]["version"], "mine")
        assert one.input_ == row.to_dict()
        assert one.confidence == one.probabilities[str(one.prediction.value)]
    for rows in (models.Rows.from_dict(sent["records"]), models.RowLists.from_dict(sent["lists"])):
        many = predict.sync(client=client, body=rows)
        assert isinstance(many, models.Predictions)
        assert many.predictions == [one.prediction] * 2
        # A model's last bit may depend on how many rows it is given.
        assert many.confidences == pytest.approx([one.confidence] * 2, abs=1e-6)


def check_identifiers(package: str, client: Any, document: Any) -> None:
    models, predict = part(package, "models"), part(package, "api.predictions.predict")
    row = bodies(document)["row"]
    named = [{**row, "customer": name} for name in ("C-1", 7)]
    for one in named:
        answer = predict.sync(client=client, body=models.Row.from_dict(one))
        assert answer.identifier == one["customer"]
    body = models.Rows.from_dict({"records": [*named, row]})
    assert predict.sync(client=client, body=body).identifiers == ["C-1", 7, None]
    without = predict.sync(client=client, body=models.Row.from_dict(row))
    assert "identifier" not in without.to_dict()


def check_refusal(package: str, client: Any, document: Any) -> None:
    models, predict = part(package, "models"), part(package, "api.predictions.predict")
    row = bodies(document)["row"]
    column = next(iter(row))
    wrong = models.Row.from_dict({**row, column: "n/a"})
    answer = predict.sync_detailed(client=client, body=wrong)
    assert (answer.status_code, type(answer.parsed)) == (422, models.Error)
    assert [(one.row, one.column) for one in answer.parsed.detail] == [(0, column)]


def check_service(package: str, client: Any, document: Any) -> None:
    names = ("health", "health_ready", "model", "readyz")
    actual = {name: part(package, f"api.service.{name}").sync(client=client) for name in names}
    assert {actual[probe].status.value for probe in ("readyz", "health_ready")} == {"ready"}
    assert actual["health"].model_version == document["info"]["version"]
    columns = [column.name for column in actual["model"].contract.columns]
    assert columns == list(bodies(document)["row"])
