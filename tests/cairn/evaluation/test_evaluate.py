from __future__ import annotations

import numpy as np
import pytest

from cairn.evaluation import evaluate
from cairn.modeling.feature_rows import FeatureRows


def training_rows(number: int) -> FeatureRows:
    classes = np.arange(number)
    return FeatureRows(("a", "b"), np.stack([classes, -classes], 1).astype(np.float32), classes)


def test_all_training_rows_are_scored_where_they_are_few() -> None:
    rows = training_rows(10)
    assert evaluate.sample_training_rows(rows, 0) is rows
    assert evaluate.describe_sample(10, 10) == ""


def test_a_sample_of_many_training_rows_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "TRAINING_ROWS", 7)
    rows = training_rows(1000)
    one, again, other = (evaluate.sample_training_rows(rows, seed) for seed in (1, 1, 2))
    assert len(set(one.classes.tolist())) == 7
    np.testing.assert_array_equal(one.features, rows.features[one.classes])
    np.testing.assert_array_equal(one.classes, again.classes)
    assert one.classes.tolist() != other.classes.tolist()
