"""`features`: how the rows are split."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cairn.params.base import Section, Seed


class Features(Section):
    """How the rows are split into train and test."""

    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Seed = 42
