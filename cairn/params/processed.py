"""`processed`: how the table is read, and what happens to a bad row."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cairn.errors import Allowed
from cairn.params.base import Name, Section

DELIMITER = r"^[\t -!#-\-/:-@\[-`{-~]$"


def normalize_encoding(name: str) -> str:
    """Return Python's own name of an encoding; raise a ValueError where it has none."""
    try:
        "a".encode(name)  # of texts: base64 is none
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise ValueError("an encoding that Python knows, such as utf-8, cp1252, utf-16") from None


class Processed(Section):
    """What the columns are, and what happens to a bad row."""

    target: Name = Field(examples=["churned"])
    identifier: Name | None = None
    drop: list[Name] = []
    keep: list[Name] = []
    formats: dict[Name, Name] = {}
    missing: list[str] | None = None
    encoding: Annotated[str, AfterValidator(normalize_encoding)] = "utf-8"
    delimiter: Annotated[
        Annotated[str, Field(pattern=DELIMITER)] | None,
        Allowed(
            "one ASCII character that is no letter, digit, quote or period, such as ; or \\t, "
            "or null"
        ),
    ] = None
    header: Annotated[
        Literal["auto", "first", "none"] | Annotated[list[Name], Field(min_length=1)],
        Allowed("'auto', 'first', 'none' or a list of names"),
    ] = "auto"
    decimal: Literal[".", ","] = "."
    bad_rows: Literal["fail", "set_aside"] = "set_aside"
    max_bad_rows: Annotated[float, Field(ge=0, le=1)] = 0.1
    min_class_rows: Annotated[int, Field(ge=1, le=1000)] = 5
    duplicates: Literal["keep", "set_aside", "fail"] = "keep"
    max_categories: Annotated[int, Field(ge=2, le=1000)] = 100
