from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cairn import inference
from cairn.contract import Column, Contract, Label, Target, Threshold, write_contract
from cairn.errors import CairnError
from cairn.export.onnx import sklearn_predictions, to_onnx
from cairn.modeling.histograms import describe_rows
from service.inference.predictor import Predictor
from stages import engineering
from tests import small
from tests.service import complete as full
from tests.small import ENGINEERING

VERSION = "small:0123456789ab"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = small.save(tmp_path_factory.mktemp("model") / "small")
    return Predictor(folder, VERSION, {"sha256": "0"})


NUMBERS = Contract(
    columns=(
        Column(name="width", kind="number", minimum=-9, maximum=9),
        Column(name="count", kind="integer", missing=True),
        Column(name="flag", kind="boolean"),
    ),
    target=Target(name="kind", classes=("no", "yes")),
)


def fit_numbers() -> small.Fitted:
    """Fit a model whose columns are numbers, and true or false."""
    rows = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    classes = (rows.sum(axis=1) > 0).astype(np.int64)
    rows[:, 2] = rows[:, 2] > 0
    pipeline = make_pipeline(SimpleImputer(), LogisticRegression()).fit(rows, classes)
    contract = describe_rows(NUMBERS, rows, classes)
    return small.Fitted(pipeline, to_onnx(pipeline, 3), contract, rows, classes)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(small.save(tmp_path_factory.mktemp("x") / "model", fit_numbers()), VERSION, {})


@settings(deadline=None)
@given(
    row=st.tuples(st.floats(-9, 9), st.integers(-5, 10**9), st.booleans()),
    form=st.sampled_from(['{"features":%s}', ' {"features" : [%s]}', '{"features":[\n%s] }']),
)
def test_a_row_that_is_answered_at_once_gets_what_the_usual_way_says(
    numbers: Predictor, row: tuple[float, int, bool], form: str
) -> None:
    body = (form % json.dumps(row)).encode()
    answer = numbers.answer_clear(body, b"some-id")
    assert answer is not None
    rows, features = numbers.read(body)
    predictions = numbers.run(features)
    assert answer[1] == numbers.encode_answer(predictions, rows, "some-id")
    clear = answer[0]
    assert clear.features == features.tobytes()
    assert clear.label == predictions.labels[0]
    assert clear.confidence == predictions.confidences[0]


@pytest.mark.parametrize(
    "body",
    [
        b'{"features": [10, 1, true]}', b'{"features": [1, 1.5, true]}', b'{"features": [1, 1]}',
        b'{"features": [1, null, true]}', b'{"features": [[1, 1, true], [1, 1, true]]}',
        b'{"features": [1, 1, true], "features": [1, 1, true]}', b"[[1, 1, true]]", b"[]", b"",
        b'{"features": [1, 1, true], "x": 1}', b'{"features": [1, 1, true]', b'{"features": 1}',
        b'{"width": 1, "count": 1, "flag": true}', b'{"features": [[[1, 1, true]]]}', b"\xff[",
    ],
)  # fmt: skip
def test_other_bodies_take_the_usual_way(numbers: Predictor, body: bytes) -> None:
    assert numbers.answer_clear(body, b"id") is None


def test_a_tie_takes_the_usual_way(numbers: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"features": [1, 1, true]}'
    assert numbers.answer_clear(body, b"id")
    monkeypatch.setattr(inference, "TIE", 1.0)
    assert numbers.answer_clear(body, b"id") is None


def test_a_model_with_a_threshold_takes_the_usual_way(tmp_path: Path) -> None:
    fitted = fit_numbers()
    target = fitted.contract.target.model_copy(
        update={"threshold": Threshold(label="yes", value=0.9)}
    )
    contract = fitted.contract.model_copy(update={"target": target})
    folder = small.save(tmp_path / "model", fitted._replace(contract=contract))
    body = b'{"features": [1, 1, true]}'
    assert Predictor(folder, VERSION, {}).answer_clear(body, b"id") is None


def test_features_are_read_without_values_where_nobody_needs_those(tmp_path: Path) -> None:
    columns = (Column(name="a", kind="number"), Column(name="b", kind="integer"))
    contract = Contract(columns=columns, target=NUMBERS.target)
    rows = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    classes = (rows.sum(axis=1) > 0).astype(np.int64)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, classes)
    fitted = small.Fitted(pipeline, to_onnx(pipeline, 2), contract, rows, classes)
    reading = Predictor(small.save(tmp_path / "model", fitted), VERSION, {})
    body = b'{"features": [[1.5, 2], [0.1, 4]]}'
    kept, features = reading.read(body)
    assert kept.values == [(1.5, 2.0), (0.1, 4.0)]
    rest, same = reading.read(body, keep_values=False)
    assert same.tobytes() == features.tobytes()
    predictions = reading.run(features)
    assert reading.encode_answer(predictions, rest, "id") == reading.encode_answer(
        predictions, kept, "id"
    )


def test_many_rows_get_what_the_graph_says_of_each(predictor: Predictor) -> None:
    fitted = small.fitted()
    answer = predictor.predict({"records": small.rows()}, "id")
    predictions = inference.predict(inference.open_session(fitted.graph), fitted.features)
    assert set(answer) == {
        "predictions", "confidences", "probabilities", "model_version", "request_id",
    }  # fmt: skip
    assert answer["predictions"] == [("no", "yes")[code] for code in predictions.labels]
    np.testing.assert_array_equal(
        np.array([[row["no"], row["yes"]] for row in answer["probabilities"]], np.float32),
        predictions.probabilities,
    )
    np.testing.assert_array_equal(
        np.array(answer["confidences"], np.float32), predictions.probabilities.max(axis=1)
    )
    assert (answer["model_version"], answer["request_id"]) == (VERSION, "id")


def test_they_get_what_the_fitted_pipeline_says(predictor: Predictor) -> None:
    fitted = small.fitted()
    answer = predictor.predict({"records": small.rows()}, "id")
    sklearn = sklearn_predictions(fitted.pipeline, fitted.features)
    np.testing.assert_allclose(
        [row["yes"] for row in answer["probabilities"]], sklearn.probabilities[:, 1], atol=1e-6
    )


@settings(max_examples=20, deadline=None)
@given(index=st.integers(0, small.ROWS - 1))
def test_one_row_gets_the_same_in_the_singular(predictor: Predictor, index: int) -> None:
    row = small.rows()[index]
    many = predictor.predict({"records": [row]}, "id")
    one = predictor.predict(row, "id")
    assert one == {
        "prediction": many["predictions"][0],
        "confidence": many["confidences"][0],
        "probabilities": many["probabilities"][0],
        "model_version": VERSION,
        "request_id": "id",
    }


def test_a_value_left_out_is_a_value_missing(predictor: Predictor) -> None:
    row = {name: value for name, value in small.rows()[0].items() if value is not None}
    assert set(row) == {"area", "count"}
    full = predictor.predict(small.rows()[0], "id")
    assert predictor.predict(row, "id") == full


@pytest.mark.parametrize("classes", [(False, True), (-1, 7), ("0", "1")])
def test_labels_keep_their_type_and_probabilities_have_keys_of_json(
    classes: tuple[Label, ...], tmp_path: Path
) -> None:
    folder = small.save(tmp_path / "model")
    contract = small.fitted().contract
    target = Target(name="y", classes=classes)
    write_contract(Contract(columns=contract.columns, target=target), folder / "contract.json")
    predictor = Predictor(folder, VERSION, {})
    answer = predictor.predict({"records": small.rows()}, "id")
    assert {type(label) for label in answer["predictions"]} == {type(classes[0])}
    assert set(answer["predictions"]) == set(classes)
    assert list(answer["probabilities"][0]) == list(target.keys)


def test_a_model_that_cannot_answer_is_never_ready(tmp_path: Path) -> None:
    folder = small.save(tmp_path / "model")
    contract = small.fitted().contract
    narrow = Contract(columns=contract.columns[:4], target=contract.target)
    write_contract(narrow, folder / "contract.json")
    with pytest.raises(Exception, match="features"):
        Predictor(folder, VERSION, {})


def test_an_answer_repeats_the_identifiers_that_the_request_has() -> None:
    one, row = full.predictor(), full.ROW
    assert one.predict({**row, "customer": "C-1"}, "id")["identifier"] == "C-1"
    assert one.predict({"customer": 0, **row}, "id")["identifier"] == 0
    many = one.predict({"records": [{**row, "customer": ""}, row]}, "id")
    assert many["identifiers"] == ["", None]
    assert "identifier" not in many


def test_without_an_identifier_an_answer_has_none() -> None:
    row = full.ROW
    for content in (row, {"records": [row, row]}, {"features": list(row.values())}):
        assert not {"identifier", "identifiers"} & full.predictor().predict(content, "id").keys()


def test_the_identifier_changes_no_prediction() -> None:
    plain = full.predictor().predict(full.ROW, "id")
    named = full.predictor().predict({**full.ROW, "customer": 7}, "id")
    assert named == {**plain, "identifier": 7}


def test_dates_codes_and_unknown_categories_get_what_the_fitted_pipeline_says() -> None:
    fitted = small.full()
    answer = full.predictor().predict({"records": small.full_rows()}, "id")
    sklearn = sklearn_predictions(fitted.pipeline, fitted.features)
    np.testing.assert_allclose(
        [row["yes"] for row in answer["probabilities"]], sklearn.probabilities[:, 1], atol=1e-6
    )


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_row_that_the_contract_allows_gets_an_answer(data: st.DataObject) -> None:
    row = {column.name: data.draw(small.values(column)) for column in small.FULL.columns}
    answer = full.predictor().predict(row, "id")
    assert answer["prediction"] in {"no", "yes"}


def test_features_of_one_s_own_are_made_of_each_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: dict[str, Any] = {}
    exec(full.ENGINEERING, model)  # noqa: S102, it is ours
    monkeypatch.setattr(engineering, "engineer", model["engineer"])
    fitted = full.engineered()
    own = fitted.contract.model_copy(update={"engineering": ENGINEERING.sha256})
    folder = small.save(tmp_path / "model", fitted._replace(contract=own))
    actual = Predictor(folder, VERSION, {})
    _, rows = actual.read(orjson.dumps({"records": small.full_rows()}))
    np.testing.assert_array_equal(rows, fitted.features)
    monkeypatch.undo()
    with pytest.raises(Exception, match="features"):
        Predictor(folder, VERSION, {})


def test_a_model_of_another_engineering_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = small.save(tmp_path / "model", full.engineered())
    with pytest.raises(CairnError, match=r"another stages/engineering\.py; use the code") as error:
        Predictor(folder, VERSION, {})
    assert "\n" not in str(error.value)


def test_a_contract_of_another_form_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = small.save(tmp_path / "model")
    content = json.loads((folder / "contract.json").read_text())
    content["columns"][2]["histogram"] = {"edges": [], "counts": [1], "missing": 0}
    (folder / "contract.json").write_text(json.dumps(content))
    with pytest.raises(
        CairnError, match=r"columns\.2\.histogram: unknown key; .*: use the"
    ) as error:
        Predictor(folder, VERSION, {})
    assert "\n" not in str(error.value)
