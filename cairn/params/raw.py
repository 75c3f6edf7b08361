"""`raw`: where the table comes from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cairn.errors import Allowed
from cairn.params.base import Name, Section

SHA256 = r"^[0-9a-f]{64}$"


class Raw(Section):
    """Where the table comes from."""

    source: Name = Field(examples=["customers.csv"])
    query: Name | None = None
    sha256: Annotated[
        Annotated[str, Field(pattern=SHA256)] | None,
        Allowed("64 hex digits in lower case, or null"),
    ] = None
