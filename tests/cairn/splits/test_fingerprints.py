from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings

from cairn import transform
from cairn.contract import Column, Contract
from cairn.splits import fingerprints
from tests import small
from tests.small import ENGINEERING


def column_of(column: Column, values: list[Any]) -> pa.Array:
    """Values as data/processed has them."""
    if column.kind == "category":
        return pa.array(values, type=pa.array(column.categories).type)
    if column.kind == "boolean":
        return pa.array(values, type=pa.bool_())
    if column.kind == "date":
        return pa.array(np.array(values, dtype="datetime64[s]"))
    return pa.array(np.array(values, dtype=np.float32), from_pandas=True)


@settings(max_examples=50, deadline=None)
@given(request=small.requests())
def test_rows_are_hashed_by_the_features_that_the_model_takes(
    request: tuple[Contract, list[dict[str, Any]]],
) -> None:
    contract, rows = request
    lists = [[row[name] for row in rows] for name in contract.names]
    typed = [
        column_of(column, values) for column, values in zip(contract.columns, lists, strict=True)
    ]
    numbers = list(fingerprints.to_numbers(pa.table(typed, names=list(contract.names)), contract))
    wanted = transform.to_matrix(list(zip(*lists, strict=True)), contract, ENGINEERING)
    np.testing.assert_array_equal(np.column_stack(numbers), wanted)
