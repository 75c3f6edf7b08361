from __future__ import annotations

import resource

import numpy as np
import pytest

from service.process.memory import count_private, limit_growth

MIB = 2**20


def test_what_goes_beyond_the_limit_fails_and_nothing_else() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with limit_growth(256 * MIB):
        assert len(np.ones(128 * MIB, np.uint8)) == 128 * MIB
        with pytest.raises(MemoryError):
            np.ones(512 * MIB, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert len(np.empty(512 * MIB, np.uint8)) == 512 * MIB


def test_a_limit_that_there_is_stays() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    own = count_private() + 200 * MIB
    resource.setrlimit(resource.RLIMIT_DATA, (own, hard))
    try:
        with limit_growth(2**50):
            assert resource.getrlimit(resource.RLIMIT_DATA) == (own, hard)
        assert resource.getrlimit(resource.RLIMIT_DATA) == (own, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
