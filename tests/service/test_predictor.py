from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.predictor import Predictor
from stages import contract, export, inference
from stages.contract import Contract, Label, Target
from tests import small

VERSION = "small:0123456789ab"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = small.save(tmp_path_factory.mktemp("model") / "small")
    return Predictor(folder, VERSION, {"sha256": "0"})


def test_many_rows_get_what_the_graph_says_of_each(predictor: Predictor) -> None:
    fitted = small.fitted()
    answer = predictor.predict({"records": small.rows()}, "id")
    said = inference.predict(inference.session(fitted.graph), fitted.features)
    assert set(answer) == {
        "predictions", "confidences", "probabilities", "model_version", "request_id",
    }  # fmt: skip
    assert answer["predictions"] == [("no", "yes")[code] for code in said.labels]
    np.testing.assert_array_equal(
        [[row["no"], row["yes"]] for row in answer["probabilities"]], said.probabilities
    )
    np.testing.assert_array_equal(answer["confidences"], said.probabilities.max(axis=1))
    assert (answer["model_version"], answer["request_id"]) == (VERSION, "id")


def test_they_get_what_the_fitted_pipeline_says(predictor: Predictor) -> None:
    fitted = small.fitted()
    answer = predictor.predict({"records": small.rows()}, "id")
    sklearn = export.sklearn_predictions(fitted.pipeline, fitted.features)
    np.testing.assert_allclose(
        [row["yes"] for row in answer["probabilities"]], sklearn.probabilities[:, 1], atol=1e-6
    )


@settings(max_examples=20)
@given(place=st.integers(0, small.ROWS - 1))
def test_one_row_gets_the_same_in_the_singular(predictor: Predictor, place: int) -> None:
    row = small.rows()[place]
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
    terms = small.fitted().terms
    target = Target(name="y", classes=classes)
    contract.write(Contract(columns=terms.columns, target=target), folder / "contract.json")
    predictor = Predictor(folder, VERSION, {})
    answer = predictor.predict({"records": small.rows()}, "id")
    assert {type(label) for label in answer["predictions"]} == {type(classes[0])}
    assert set(answer["predictions"]) == set(classes)
    assert list(answer["probabilities"][0]) == list(target.keys)


def test_a_model_that_cannot_answer_is_never_ready(tmp_path: Path) -> None:
    folder = small.save(tmp_path / "model")
    terms = small.fitted().terms
    narrow = Contract(columns=terms.columns[:4], target=terms.target)
    contract.write(narrow, folder / "contract.json")
    with pytest.raises(Exception, match="features"):
        Predictor(folder, VERSION, {})
