from __future__ import annotations

import numpy as np
import pytest

from cairn.evaluation import evaluate


def test_all_training_rows_are_scored_where_they_are_few() -> None:
    assert evaluate.draw_training_rows(10, 0) is None
    assert evaluate.describe_sample(10, 10) == ""


def test_a_sample_of_many_training_rows_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "TRAINING_ROWS", 7)
    one, again, other = (evaluate.draw_training_rows(1000, seed) for seed in (1, 1, 2))
    assert one is not None
    assert one.tolist() == sorted(set(one.tolist()))
    assert len(one) == 7
    np.testing.assert_array_equal(one, again)
    assert other is not None
    assert one.tolist() != other.tolist()
