# ruff: noqa: PD011 - no frames
"""BentoML's own client, as it encodes what its users have by the service's schema."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cairn.contract import Column, Contract, Target
from service.bento.client import ARGUMENTS, SCHEMA
from service.http.errors import Refused
from service.inference.rows import Reader

CONTRACT = Contract(
    columns=(
        Column(name="a", kind="number"),
        Column(name="b_c", header="b.c", kind="number", missing=True),
        Column(name="colour", kind="category", categories=("7", "blue"), missing=True),
    ),
    target=Target(name="y", classes=(0, 1)),
)
READER = Reader(CONTRACT)
NUMBERS = Reader(CONTRACT.model_copy(update={"columns": CONTRACT.columns[:2]}))
OBJECTS = [{"a": 1, "b.c": 2.5, "colour": "blue"}, {"a": 2, "b.c": None, "colour": None}]
FRAME = pd.DataFrame({"colour": ["blue", "7"], "b.c": [2.5, 1], "y": [0, 1], "a": [1, 2]})


@cache
def encoder() -> Any:
    """What the client encodes its arguments with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydantic, about BentoML's own models
        return import_module("_bentoml_impl.serde").JSONSerde()


def sent(**arguments: Any) -> bytes:
    """The body that the client sends for these arguments."""
    schema = {"type": "object", "properties": ARGUMENTS}
    return b"".join(bytes(part) for part in encoder().serialize(arguments, schema).data)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ({"features": [[1, 2.5, "blue"], [2, None, None]]}, [(1, 2.5, "blue"), (2, None, None)]),
        ({"features": (1, None, "7")}, [(1, None, "7")]),
        ({"records": OBJECTS}, [(1, 2.5, "blue"), (2, None, None)]),
        ({"records": OBJECTS[1]}, [(2, None, None)]),
        ({"records": FRAME.to_dict("records")}, [(1, 2.5, "blue"), (2, 1, "7")]),
        ({"records": FRAME.to_dict("list")}, [(1, 2.5, "blue"), (2, 1, "7")]),
        ({"dataframe": FRAME}, [(1, 2.5, "blue"), (2, 1, "7")]),
        ({"dataframe": OBJECTS[:1]}, [(1, 2.5, "blue")]),
        ({"features": FRAME[["a", "b.c", "colour"]].to_numpy()}, [(1, 2.5, "blue"), (2, 1, "7")]),
    ],
)
def test_what_the_client_sends_is_read(arguments: dict[str, Any], values: list[Any]) -> None:
    assert READER.read(sent(**arguments)).values == values


@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "object"])
def test_an_array_of_two_dimensions_is_rows(kind: str) -> None:
    array = np.array([[1, 2], [3, 4]], dtype=kind)
    assert NUMBERS.read(sent(features=array)).values == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    "arguments",
    [{"features": FRAME}, {"features": FRAME[["a", "b.c", "colour"]]}, {"features": OBJECTS[0]}],
)
def test_names_where_values_should_be_are_reported_with_what_to_send(arguments: Any) -> None:
    with pytest.raises(Refused) as error:
        READER.read(sent(**arguments))
    (one,) = error.value.detail
    assert one.problem == "names of columns, not values"
    assert "predict(dataframe=frame)" in one.allowed


def test_nan_in_an_array_is_reported() -> None:
    with pytest.raises(Refused) as error:
        NUMBERS.read(sent(features=np.array([[1, np.nan]])))
    assert "row 0, column 'b.c': NaN is not JSON; send null" in error.value.error


def test_all_but_the_arguments_is_what_bentoml_says_of_the_service() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        expected = import_module("service.service").service.schema()
    [route] = expected["routes"]
    assert {*route["input"]["properties"]} == {"features", "records"}
    route["input"]["properties"] = ARGUMENTS
    assert expected == SCHEMA
