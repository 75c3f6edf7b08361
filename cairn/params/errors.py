"""Pydantic's problems in params.yaml as one error."""

from __future__ import annotations

import json

from pydantic import BaseModel, ValidationError

from cairn.errors import (
    CairnError,
    Key,
    Problem,
    format_key,
    list_problems,
    report_problems,
    shorten,
)

# Keys of older releases → the section in which they are now.
MOVED: dict[Key, str] = {
    ("train", "cross_validation"): "evaluate",
    ("train", "slices"): "evaluate",
}


def refuse(error: ValidationError, model: type[BaseModel], source: str) -> CairnError:
    """Return the error that lists all problems: source, key, what it is, what is allowed."""
    return report_problems(map(describe, list_problems(error, model)), source)


def describe(problem: Problem) -> str:
    """Describe a problem; of a key that has moved, the edit that moves it."""
    section = MOVED.get(problem.key)
    if problem.kind != "extra_forbidden" or section is None:
        return f"{format_key(problem.key)}: {problem.text}"
    value = shorten(json.dumps(problem.value, default=str))
    return (
        f"{format_key(problem.key)}: this key is in `{section}` now; delete it here and add, at "
        f"the top level of the file, `{section}:` with the line `  {problem.key[-1]}: {value}`"
    )
