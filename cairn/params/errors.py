"""Pydantic's problems in params.yaml as one error."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from cairn.errors import CairnError, format_key, list_problems, report_problems


def refuse(error: ValidationError, model: type[BaseModel], source: str) -> CairnError:
    """Return the error that lists all problems: source, key, what it is, what is allowed."""
    problems = list_problems(error, model)
    return report_problems((f"{format_key(each.key)}: {each.text}" for each in problems), source)
