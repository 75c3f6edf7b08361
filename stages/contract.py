"""What a row is: the one place that knows the columns, and the model's answer to them.

Made by `processed`, completed by `train` with the histograms of what the model saw, shipped
inside the model. The service imports this module, so neither pandas nor scikit-learn is here.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, StrictBool, StrictInt, StrictStr

Kind = Literal["number", "integer", "boolean", "category"]
Label = StrictBool | StrictInt | StrictStr


class Model(BaseModel):
    """A part of the contract: nothing unknown in it, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Histogram(Model):
    """How a column is distributed in the training data.

    Attributes
    ----------
    edges
        Inner edges of a number's buckets, float32, ascending, in the column's unit: bucket i
        holds edges[i-1] < x <= edges[i], the first and the last are open. Empty for the other
        kinds, whose buckets are their categories, or false and true.
    counts
        Rows in each bucket.
    missing
        Rows without a value.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int


class Column(Model):
    """One column of a row.

    Attributes
    ----------
    name, unit
        As in the table's header, `name (unit)`; the name made an identifier.
    minimum, maximum
        Allowed range of a number, in `unit`, both ends included; None: any finite number.
    categories
        Allowed values of a category, sorted; empty for the other kinds.
    missing
        Whether a value may be missing.
    """

    name: str
    kind: Kind
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    missing: bool = False
    histogram: Histogram | None = None


class Target(Model):
    """What is predicted.

    Attributes
    ----------
    classes
        The labels, with the type that they have in the table, sorted; the model's class i is
        classes[i].
    counts
        Rows of each class in the training data; empty before training.
    """

    name: str
    classes: tuple[Label, ...]
    counts: tuple[int, ...] = ()

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The classes as keys of a JSON object: true is "true"."""
        return tuple(
            label if isinstance(label, str) else json.dumps(label) for label in self.classes
        )


class Contract(Model):
    """The columns in the order in which the model takes them, and the target."""

    columns: tuple[Column, ...]
    target: Target

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def codes(self) -> dict[int, dict[str, float]]:
        """Place of a column of categories → the number of each in the model: its own place."""
        return {
            place: {category: float(code) for code, category in enumerate(column.categories)}
            for place, column in enumerate(self.columns)
            if column.kind == "category"
        }


def read(path: Path) -> Contract:
    """Read a contract from its JSON file."""
    return Contract.model_validate_json(path.read_bytes())


def write(contract: Contract, path: Path) -> None:
    """Write a contract as JSON that a person can read and git can compare."""
    path.write_text(contract.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")
