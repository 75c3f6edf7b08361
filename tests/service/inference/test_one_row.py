from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from cairn import inference
from cairn import onnx_runtime as ort
from service.inference.one_row import OneRow, has_known_types
from tests import small


@pytest.fixture(scope="module", params=[small.fitted, small.full], ids=["fitted", "full"])
def model(request: pytest.FixtureRequest) -> tuple[small.Fitted, ort.InferenceSession]:
    fitted: small.Fitted = request.param()
    return fitted, inference.open_session(fitted.graph)


def test_a_row_gets_what_the_session_returns(
    model: tuple[small.Fitted, ort.InferenceSession],
) -> None:
    fitted, session = model
    assert has_known_types(session)
    one_row = OneRow(session, fitted.features.shape[1], 2)
    results = [one_row.run(row[np.newaxis]) for row in fitted.features]
    for row, (labels, probabilities) in zip(fitted.features, results, strict=True):
        expected = session.run(None, {"features": row[np.newaxis]})
        for actual, each in zip((labels, probabilities), expected, strict=True):
            assert actual.dtype == each.dtype
            assert actual.tobytes() == each.tobytes()
            assert actual.shape == each.shape


def test_threads_do_not_share_memory(model: tuple[small.Fitted, ort.InferenceSession]) -> None:
    fitted, session = model
    one_row = OneRow(session, fitted.features.shape[1], 2)
    expected = session.run(None, {"features": fitted.features})[1]
    start = Barrier(4)

    def run(offset: int) -> bool:
        start.wait()
        return all(
            one_row.run(fitted.features[index][np.newaxis])[1].tobytes()
            == session.run(None, {"features": fitted.features[index][np.newaxis]})[1].tobytes()
            for index in np.roll(np.arange(len(expected)), offset).repeat(5)
        )

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(run, range(0, 80, 20)))
