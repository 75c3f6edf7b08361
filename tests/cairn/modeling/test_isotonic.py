from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from cairn.modeling import isotonic

ROWS = st.lists(
    st.tuples(st.floats(-1e3, 1e3, width=32), st.integers(0, 1)), min_size=2, max_size=60
)


def fitted(rows: list[tuple[float, int]]) -> IsotonicRegression:
    scores, truth = zip(*rows, strict=True)
    return IsotonicRegression(out_of_bounds="clip").fit(np.array(scores), np.array(truth))


@given(ROWS)
def test_it_rises_slowly_and_is_never_sure(rows: list[tuple[float, int]]) -> None:
    plain = fitted(rows)
    width = isotonic.measure_window(plain.X_thresholds_)
    result = isotonic.smooth(plain)
    x, y = result.X_thresholds_, result.y_thresholds_
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) >= 0).all()
    assert 0 < y[0] <= y[-1] < 1
    if width > 1e-6:
        assert (np.diff(y) <= np.diff(x) / width + 1e-6).all()


def test_a_step_becomes_a_slope_and_the_rest_stays() -> None:
    result = isotonic.smooth(fitted([(-8, 0), (-2, 0), (2, 0), (2.0001, 1), (8, 1)]))
    width = isotonic.measure_window(np.array([-8, 2, 2.0001, 8]))
    points = [-9, 0, 2 - width / 2, 2.00005, 2.0001 + width / 2, 7, 99]
    low, high = isotonic.LOWEST, 1 - isotonic.LOWEST
    assert result.predict(points).tolist() == pytest.approx([low, low, low, 0.5, high, high, high])


@given(ROWS)
def test_it_says_what_its_points_say_and_stays_level_beyond_them(
    rows: list[tuple[float, int]],
) -> None:
    result = isotonic.smooth(fitted(rows))
    x, y = result.X_thresholds_, result.y_thresholds_
    points = np.concatenate([x, (x[1:] + x[:-1]) / 2, [x[0] - 5, x[-1] + 5]])
    np.testing.assert_allclose(result.predict(points), np.interp(points, x, y), atol=1e-12)


def test_what_was_fitted_stays_as_it_is() -> None:
    plain = fitted([(0, 0), (1, 1), (1.0001, 0), (2, 1)])
    before = plain.predict([0.5, 1.5]).tolist()
    isotonic.smooth(plain)
    assert plain.predict([0.5, 1.5]).tolist() == before


def test_what_is_rare_stays_so() -> None:
    assert isotonic.clip_inside(np.array([0, 0.0004, 0.5])).tolist() == [0.0002, 0.0004, 0.5]
    assert isotonic.clip_inside(np.array([0.0, 1])).tolist() == [
        isotonic.LOWEST,
        1 - isotonic.LOWEST,
    ]


def test_one_level_is_one_point() -> None:
    result = isotonic.smooth(fitted([(0, 1), (1, 0)]))
    assert result.predict([-9, 0.5, 9]).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("seed", range(3))
def test_it_fits_other_rows_better_than_steps_do(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(scale=2, size=2000)
    truth = (random.random(2000) < 1 / (1 + np.exp(-scores))).astype(int)
    steps = IsotonicRegression(out_of_bounds="clip").fit(scores[:1000], truth[:1000])
    slopes = isotonic.smooth(steps)
    others = scores[1000:]
    assert log_loss(truth[1000:], slopes.predict(others)) < log_loss(
        truth[1000:], steps.predict(others)
    )
