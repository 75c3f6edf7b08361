"""params.yaml as frozen, strict, typed models: one block per stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML  # what DVC reads the file with
from ruamel.yaml.error import YAMLError

from stages.console import CairnError

PATH = Path("params.yaml")

SHA256 = r"^[0-9a-f]{64}$"
NAME = r"^[a-z][a-z0-9_-]{0,62}$"
ESTIMATOR = r"^sklearn(\.\w+)+$"
_PATTERNS = {
    SHA256: "64 hex digits in lower case, or null",
    NAME: "a letter, then up to 62 lower-case letters, digits, `_`, `-`",
    ESTIMATOR: "the dotted name of a scikit-learn classifier: sklearn.…",
}

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Name = Annotated[str, Field(min_length=1)]


class Block(BaseModel):
    """A block that takes no other keys, no other types, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Raw(Block):
    """Where the table comes from."""

    source: Name
    sha256: Annotated[str, Field(pattern=SHA256)] | None


class Processed(Block):
    """What the columns are and what becomes of a bad row."""

    target: Name
    drop: list[Name]
    bad_rows: Literal["fail", "set_aside"]
    max_categories: Annotated[int, Field(ge=2, le=1000)]


class Features(Block):
    """How the rows are split."""

    test_size: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class Train(Block):
    """What is fitted and under which name it is kept."""

    name: Annotated[str, Field(pattern=NAME)]
    estimator: Annotated[str, Field(pattern=ESTIMATOR)]
    arguments: dict[str, Any]
    scale: bool
    seed: Seed


class Params(Block):
    """The whole file."""

    raw: Raw
    processed: Processed
    features: Features
    train: Train


def load(path: Path = PATH) -> Params:
    """Read and check the whole file.

    Raises
    ------
    CairnError
        For each wrong key or value: the key, what came, what is allowed.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CairnError(f"{path}: no such file; run from the top of the repository") from None
    except UnicodeDecodeError as error:
        raise CairnError(f"{path}: not UTF-8 text (byte {error.start}: {error.reason})") from None
    except YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f"line {place.line + 1}: " if place else ""
        reason = getattr(error, "problem", None) or str(error)
        raise CairnError(f"{path}: {line}not YAML: {reason.splitlines()[0]}") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        problems = [_problem(dict(problem)) for problem in error.errors()]
        raise CairnError("\n       ".join(f"{path}: {text}" for text in problems)) from None


def _problem(problem: dict[str, Any]) -> str:
    """One of pydantic's problems as: key, what came, what is allowed."""
    *parents, last = problem["loc"] or ("the file",)
    key = ".".join(map(str, (*parents, last)))
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed here: {', '.join(_keys(parents))}"
    if problem["type"] == "missing":
        return f"{key}: missing; add it"
    return f"{key}: got {problem['input']!r}; allowed: {_allowed(problem)}"


def _allowed(problem: dict[str, Any]) -> str:
    """What would have been right, in plain words."""
    if problem["type"] == "string_pattern_mismatch":
        return _PATTERNS[problem["ctx"]["pattern"]]
    if problem["type"] == "bool_type":
        return "true or false"
    return str(problem["msg"]).removeprefix("Input should be ").removeprefix("String should ")


def _keys(parents: list[str | int]) -> list[str]:
    """The keys that the block at `parents` takes."""
    block: type[BaseModel] = Params
    for parent in parents:
        block = block.model_fields[str(parent)].annotation  # type: ignore[assignment]
    return list(block.model_fields)
