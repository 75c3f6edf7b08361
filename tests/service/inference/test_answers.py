from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.contract import Contract, Label, Target
from cairn.inference import Predictions
from service.http.errors import Refused
from service.inference import answers
from service.inference.answers import Answers
from service.inference.request_rows import RequestRows
from tests import small

CLASSES: tuple[tuple[Label, ...], ...] = (
    (0, 1), (False, True), ("no", "yes"), ("50%", 'a"b\\', "é", "%b", "}{"), (-1, 0, 7),
)  # fmt: skip
FLOATS = st.floats(0, 1, width=32) | st.sampled_from((1e-10, 5e-39, 0.1, 1.0, 0.0))


def write_as_object(
    contract: Contract, predictions: Predictions, rows: RequestRows, sent: bytes | None
) -> bytes:
    """Write an answer in the plain way."""
    target = contract.target
    labels = [target.classes[code] for code in predictions.labels]
    confidences = list(predictions.confidences)
    probabilities = [dict(zip(target.keys, row, strict=True)) for row in predictions.probabilities]
    fields: dict[str, Any] = {
        "prediction": labels, "confidence": confidences, "probabilities": probabilities
    }  # fmt: skip
    if rows.single:
        content = {key: value[0] for key, value in fields.items()}
    else:
        content = dict(
            zip(("predictions", "confidences", "probabilities"), fields.values(), strict=True)
        )
    content |= {"model_version": "50%:b", "request_id": "id"}
    if rows.identifiers:
        key = "identifier" if rows.single else "identifiers"
        content[key] = rows.identifiers[0] if rows.single else rows.identifiers
    if sent is not None:
        content["input"] = orjson.Fragment(sent)
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


@given(data=st.data(), piece=st.sampled_from((1, 3, 2000)), dtype=st.sampled_from("fd"))
def test_the_bytes_are_those_of_the_answer_as_an_object(
    data: st.DataObject, piece: int, dtype: str
) -> None:
    classes = data.draw(st.sampled_from(CLASSES))
    contract = small.CONTRACT.model_copy(update={"target": Target(name="y", classes=classes)})
    single = data.draw(st.booleans())
    count = 1 if single else data.draw(st.integers(1, 9))
    row = st.lists(FLOATS, min_size=len(classes), max_size=len(classes))
    probabilities = np.array(data.draw(st.lists(row, min_size=count, max_size=count)), dtype)
    labels = probabilities.argmax(axis=1)
    names = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text()
    identifiers = data.draw(st.none() | st.lists(names, min_size=count, max_size=count))
    rows = RequestRows([], single, identifiers)
    sent = data.draw(st.sampled_from((None, b'{"a": [1]}')))
    predictions = Predictions(labels, probabilities)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "PIECE", piece)
        actual = Answers(contract, "50%:b").encode(predictions, rows, "id", sent)
    assert actual == write_as_object(contract, predictions, rows, sent)


@pytest.mark.parametrize("rows", [RequestRows([], single=True), RequestRows([], single=False)])
def test_a_row_without_a_number_has_no_answer(rows: RequestRows) -> None:
    predictions = Predictions(np.array([1]), np.full((1, 2), np.nan, np.float32))
    with pytest.raises(Refused) as refused:
        Answers(small.CONTRACT, "v").encode(predictions, rows, "id")
    (problem,) = refused.value.detail
    assert (refused.value.status, problem.row, problem.problem) == (422, 0, "no answer")
