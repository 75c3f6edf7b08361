"""`compute`: where the stages run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cairn.errors import Allowed
from cairn.params.base import Name, Section

MEMORY = r"^\d+(\.\d+)? ?[kMGT]i?B$"


class Compute(Section):
    """Where the stages run; those before `train` write the same bytes anywhere."""

    engine: Literal["local", "dask"] = "local"
    scheduler: Name | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    memory: Annotated[
        Annotated[str, Field(pattern=MEMORY)] | None,
        Allowed("an amount of memory, such as 2GiB, or null"),
    ] = None
