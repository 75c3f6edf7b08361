from __future__ import annotations

import doctest

import numpy as np
from numpy.typing import NDArray

from stages import engineering


def test_the_example_of_the_docstring_is_right() -> None:
    result = doctest.testmod(engineering)
    assert result.attempted > 3
    assert not result.failed


def test_there_are_no_more_features_until_somebody_writes_them() -> None:
    values: NDArray[np.float32] = np.ones(3, dtype=np.float32)
    assert not engineering.engineer({"a": values})
