"""`evaluate`: how the model is scored, besides the scores on the test rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cairn.params.base import Name, Section, StrictModel


class CrossValidation(StrictModel):
    """How often the training rows are split to see how the scores vary."""

    folds: Annotated[int, Field(ge=2, le=20)] = 5
    repeats: Annotated[int, Field(ge=0, le=100)] = 3
    most_rows: Annotated[int, Field(ge=0)] = 20_000


class Evaluate(Section):
    """How the model is scored, besides the scores on the test rows."""

    cross_validation: CrossValidation = CrossValidation()
    slices: list[Name] = []
