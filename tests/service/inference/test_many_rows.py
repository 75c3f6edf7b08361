from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from cairn.contract import Column, Contract, Target
from cairn.export.onnx import to_onnx
from cairn.inference import Predictions
from service.inference import lists, many_rows
from service.inference.many_rows import AnsweredRows, ManyRows
from service.inference.predictor import Predictor
from service.inference.runner import Cost
from service.process.settings import MAX_ROWS
from tests import small

ROW = st.tuples(st.floats(-9, 9), st.integers(-5, 10**9))
FORMS = st.sampled_from(['{"features":%s}', ' {"features" : %s }', "%s"])
RECORDS = st.sampled_from(['{"records":%s}', ' {"records" : %s }', "%s"])


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    columns = (
        Column(name="width", kind="number", minimum=-9, maximum=9),
        Column(name="count", kind="integer"),
    )
    contract = Contract(columns=columns, target=Target(name="kind", classes=("no", "yes")))
    rows = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    classes = (rows.sum(axis=1) > 0).astype(np.int64)
    model = make_pipeline(LogisticRegression()).fit(rows, classes)
    fitted = small.Fitted(model, to_onnx(model, 2), contract, rows, classes)
    return Predictor(small.save(tmp_path_factory.mktemp("x") / "model", fitted), "small:0", {})


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have short pieces, each a step of its own."""
    monkeypatch.setattr(many_rows, "STEP", 0.0)
    monkeypatch.setattr(lists, "PIECE", 64)


def take_steps(predictor: Predictor, body: bytes) -> tuple[int, AnsweredRows | None]:
    """Take all steps; return after how many there was an answer, and that."""
    steps = predictor.answer_many(body, b"some-id")
    assert steps is not None
    number = 1
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return number, end.value
        number += 1


@pytest.mark.usefixtures("often")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=60), form=FORMS)
def test_the_answer_is_that_of_the_usual_way(
    predictor: Predictor, rows: list[tuple[float, int]], form: str
) -> None:
    check_like_the_usual(predictor, (form % json.dumps(rows)).encode(), len(rows))


@pytest.mark.usefixtures("often")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=60), form=RECORDS)
def test_so_is_the_answer_to_records(
    predictor: Predictor, rows: list[tuple[float, int]], form: str
) -> None:
    records = [{"count": count, "width": width} for width, count in rows]
    check_like_the_usual(predictor, (form % json.dumps(records)).encode(), len(rows))


def check_like_the_usual(predictor: Predictor, body: bytes, count: int) -> None:
    """Check that the steps and the usual way have the same features and the same answer."""
    _, answer = take_steps(predictor, body)
    assert answer is not None
    request_rows, features = predictor.read(body)
    usual = predictor.encode_answer(predictor.run(features), request_rows, "some-id")
    if count > 1:
        assert answer.body == usual
    np.testing.assert_array_equal(np.concatenate([some.features for some in answer.rows]), features)


def test_a_short_body_takes_one_step(predictor: Predictor) -> None:
    number, answer = take_steps(predictor, b"[[1, 2], [3, 4]]")
    assert number == 1
    assert answer is not None


@pytest.mark.usefixtures("often")
def test_others_have_their_turn_while_a_long_body_is_read(predictor: Predictor) -> None:
    number, answer = take_steps(predictor, json.dumps([[1.5, 2]] * 100).encode())
    assert number > 10
    assert answer is not None


def test_others_have_their_turn_while_the_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_rows, "STEP", 0.0)
    runs: list[int] = []

    def run(features: NDArray[np.float32], _: Any) -> Predictions:
        runs.append(len(features))
        return Predictions(np.zeros(len(features), np.int64), np.ones((len(features), 1)))

    class Matrix:
        def read_pieces(self, _: bytes) -> list[NDArray[np.float32]]:
            return [np.zeros((40, 1), np.float32)]

    class Texts:
        def write_rows(self, predictions: Predictions) -> int:
            return len(predictions.labels)

        def join(self, texts: list[int], _: bytes) -> bytes:
            return b"%d" % sum(texts)

    matrix, texts = (part() for part in (Matrix, Texts))
    steps = ManyRows(matrix, run, texts, Cost(1.0, 1.0)).answer(b"", b"")  # type: ignore[arg-type]
    seen = [list(runs) for _ in steps]
    fewest = many_rows.FEWEST
    assert seen == [[], [fewest], [fewest, fewest]]
    assert runs == [fewest, fewest, 40 - 2 * fewest]


@pytest.mark.parametrize(
    "body",
    [
        b"[[1, 2], [3, 4, 5]]", b"[[1, 2], [3]]", b"[[10, 2]]", b"[[1, 2.5]]", b"[[1, null]]",
        b'[[1, "2"]]', b"[[1, [2]], [3, 4]]", b"[[1, 2], 3]", b"[]", b"", b"[[1, 2]", b"\xff[[",
        b'{"features": [1, 2]}', b'{"features": [[1, 2]], "features": [[1, 2]]}',
        b'{"width": 1, "count": 2}', b'{"features": [{"width": 1, "count": 2}]}',
        b'{"records": [[1, 2]]}', b'{"records": []}', b'{"records": {"width": 1, "count": 2}}',
        b'[{"width": 1}]', b'[{"width": 1, "count": 2, "other": 3}]',
        b'[{"width": 1, "count": 2, "count": 3}]', b'[{"width": 10, "count": 2}]',
        b'[{"width": 1, "count": "2"}]', b'[{"width": 1, "count": 2}, [1, 2]]',
        b'[{"width": 1, "count": 2}', b'{"records": [{"width": 1, "count": 2}], "records": []}',
    ],
)  # fmt: skip
def test_other_bodies_take_the_usual_way(predictor: Predictor, body: bytes) -> None:
    assert take_steps(predictor, body) == (1, None)


@pytest.mark.usefixtures("often")
def test_a_fault_in_the_last_row_is_for_the_usual_way(predictor: Predictor) -> None:
    rows = [*[[1.5, 2]] * 100, [1.5, 2.5]]
    for body in (rows, [dict(zip(("width", "count"), row, strict=True)) for row in rows]):
        number, answer = take_steps(predictor, json.dumps(body).encode())
        assert number > 10
        assert answer is None


@pytest.mark.usefixtures("often")
def test_more_rows_than_are_allowed_are_for_the_usual_way(predictor: Predictor) -> None:
    for row in ("[1, 2]", '{"width": 1, "count": 2}'):
        _, answer = take_steps(predictor, f"[{', '.join([row] * (MAX_ROWS + 1))}]".encode())
        assert answer is None


def test_rows_with_identifiers_are_for_the_usual_way(tmp_path: Path) -> None:
    contract = Contract(
        columns=(Column(name="a", kind="number"),),
        target=Target(name="y", classes=(0, 1)),
        identifier="id",
    )
    predictor = Predictor(save_one_column(tmp_path, contract), "small:0", {})
    assert take_steps(predictor, b'[{"a": 1, "id": 7}, {"a": 2}]') == (1, None)
    assert take_steps(predictor, b'[{"a": 1}, {"a": 2}]')[1] is not None


def test_a_contract_with_texts_takes_the_usual_way(tmp_path: Path) -> None:
    folder = small.save(tmp_path / "model", small.fitted())
    assert Predictor(folder, "small:0", {}).answer_many(b"[[1]]", b"id") is None


def test_rows_without_a_number_for_an_answer_are_for_the_usual_way(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = predictor._many_rows
    assert many is not None

    def run(features: NDArray[np.float32], _: Any) -> Predictions:
        return Predictions(np.zeros(len(features), np.int64), np.full((len(features), 2), np.nan))

    monkeypatch.setattr(many, "_run", run)
    assert take_steps(predictor, b"[[1, 2], [3, 4]]") == (1, None)


def test_a_model_on_several_threads_takes_all_rows_at_once(tmp_path: Path) -> None:
    contract = Contract(
        columns=(Column(name="a", kind="number"),), target=Target(name="y", classes=(0, 1))
    )
    folder = save_one_column(tmp_path, contract)
    assert Predictor(folder, "small:0", {}, threads=1).answer_many(b"[[1]]", b"id") is not None
    assert Predictor(folder, "small:0", {}, threads=2).answer_many(b"[[1]]", b"id") is None


def save_one_column(folder: Path, contract: Contract) -> Path:
    """Save a model of one column."""
    model = make_pipeline(LogisticRegression()).fit([[0.0], [1.0]], [0, 1])
    features = np.array([[0], [1]], np.float32)
    fitted = small.Fitted(model, to_onnx(model, 1), contract, features, np.array([0, 1]))
    return small.save(folder / "model", fitted)
