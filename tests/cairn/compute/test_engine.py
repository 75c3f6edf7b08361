from __future__ import annotations

import os
import time
from collections.abc import Iterator
from threading import get_ident

import pytest

from cairn.compute.engine import open_engine
from cairn.params.compute import Compute

LOCAL = Compute(engine="local", scheduler=None, workers=None, memory=None)


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.05 / (item + 1))
        return item * item

    with open_engine(LOCAL) as engine:
        assert list(engine.map(slow_first, range(20))) == [item * item for item in range(20)]
        assert list(engine.map(slow_first, [])) == []


def test_functions_run_beside_the_one_who_asks() -> None:
    with open_engine(LOCAL) as engine:
        assert get_ident() not in set(engine.map(lambda _: get_ident(), range(9)))


def test_only_a_few_items_are_taken_ahead() -> None:
    values: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            values.append(item)
            yield item

    most = (os.cpu_count() or 1) + 1
    with open_engine(LOCAL) as engine:
        for done, item in enumerate(engine.map(lambda item: item, items()), start=1):
            assert item == done - 1
            assert len(values) <= done + most


def test_an_error_of_the_function_or_of_an_item_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError

    with open_engine(LOCAL) as engine:
        with pytest.raises(ZeroDivisionError):
            list(engine.map(lambda item: 1 // item, [1, 0, 1]))
        with pytest.raises(KeyError):
            list(engine.map(lambda item: item, items()))
