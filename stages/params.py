"""params.yaml as frozen, strict, typed models: one block per stage."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML  # what DVC reads the file with
from ruamel.yaml.error import YAMLError

from stages.console import CairnError

PATH = Path("params.yaml")

SHA256 = r"^[0-9a-f]{64}$"
NAME = r"^[a-z][a-z0-9_-]{0,62}$"
ESTIMATOR = r"^(sklearn|lightgbm)(\.\w+)+$"
MEMORY = r"^\d+(\.\d+)? ?[kMGT]i?B$"
DELIMITER = r"^[\t -!#-\-/:-@\[-`{-~]$"
_PATTERNS = {
    DELIMITER: "one sign of ASCII, no letter, digit, quote or point, such as ; or \\t, or null",
    SHA256: "64 hex digits in lower case, or null",
    NAME: "a letter, then up to 62 lower-case letters, digits, `_`, `-`",
    ESTIMATOR: "the dotted name of a classifier of scikit-learn or LightGBM: sklearn.…, lightgbm.…",
    MEMORY: "an amount of memory, such as 2GiB, or null",
}


def _known(encoding: str) -> str:
    """The encoding under Python's own name."""
    try:
        "a".encode(encoding)  # one of texts: base64 is none
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise ValueError("an encoding that Python knows, such as utf-8, cp1252, utf-16") from None


Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Name = Annotated[str, Field(min_length=1)]


class Block(BaseModel):
    """A block that takes no other keys, no other types, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Raw(Block):
    """Where the table comes from."""

    source: Name
    query: Name | None = None
    sha256: Annotated[str, Field(pattern=SHA256)] | None


class Processed(Block):
    """What the columns are and what becomes of a bad row."""

    target: Name
    identifier: Name | None
    drop: list[Name]
    encoding: Annotated[str, AfterValidator(_known)]
    delimiter: Annotated[str, Field(pattern=DELIMITER)] | None
    decimal: Literal[".", ","]
    bad_rows: Literal["fail", "set_aside"]
    duplicates: Literal["keep", "set_aside", "fail"]
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
    search: dict[str, list[Any]]
    scale: bool | Literal["auto"]
    encode: Literal["auto", "one_hot", "ordinal"]
    rare: Annotated[float, Field(ge=0, lt=1)]
    seed: Seed


class Compute(Block):
    """Where it runs; what comes out of the stages before `train` is the same."""

    engine: Literal["local", "dask"]
    scheduler: Name | None
    workers: Annotated[int, Field(ge=1)] | None
    memory: Annotated[str, Field(pattern=MEMORY)] | None


class Params(Block):
    """The whole file."""

    raw: Raw
    processed: Processed
    features: Features
    train: Train
    compute: Compute


def load(path: Path = PATH) -> Params:
    """Read and check the whole file.

    Raises
    ------
    CairnError
        For each wrong key or value: the key, what came, what is allowed.
    """
    try:
        return Params.model_validate(content(path, "run from the top of the repository"))
    except ValidationError as error:
        problems = [_problem(dict(problem)) for problem in error.errors()]
        found = dict.fromkeys(f"{path}: {text}" for text in problems)
        raise CairnError("\n       ".join(found)) from None


def content(path: Path, advice: str) -> Any:
    """What a YAML file holds; a CairnError, with the line, where it is none or is not there."""
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CairnError(f"{path}: no such file; {advice}") from None
    except UnicodeDecodeError as error:
        raise CairnError(f"{path}: not UTF-8 text (byte {error.start}: {error.reason})") from None
    except YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f"line {place.line + 1}: " if place else ""
        reason = getattr(error, "problem", None) or str(error)
        raise CairnError(f"{path}: {line}not YAML: {reason.splitlines()[0]}") from None


def _problem(problem: dict[str, Any]) -> str:
    """One of pydantic's problems as: key, what came, what is allowed."""
    if problem["loc"][:2] == ("train", "scale"):
        return f"train.scale: got {problem['input']!r}; allowed: true, false or 'auto'"
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
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return str(problem["msg"]).removeprefix("Input should be ").removeprefix("String should ")


def _keys(parents: list[str | int]) -> list[str]:
    """The keys that the block at `parents` takes."""
    block: type[BaseModel] = Params
    for parent in parents:
        block = block.model_fields[str(parent)].annotation  # type: ignore[assignment]
    return list(block.model_fields)
