"""What the models of params.yaml share: the strict base, common types, reading the file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field

from cairn.errors import Allowed
from cairn.yaml_text import read_yaml

PATH = Path("params.yaml")
ADVICE = "run from the top of the repository"
# Checks the keys of every stage. Imported by this name when a stage runs, and not by an `import`
# statement: it decides whether a stage runs, and never what a stage writes, so that it is no dep
# of any. tests/test_dag.py allows this one import and no other of its kind.
WHOLE_FILE = "cairn.params.file"

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Name = Annotated[str, Field(min_length=1)]
Label = Annotated[bool | int | str, Allowed("a label of the target: text, integer, true or false")]


class StrictModel(BaseModel):
    """A mapping of params.yaml: no unknown keys, no converted types, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class Section(StrictModel):
    """What stands below one of the top-level keys of params.yaml."""

    @classmethod
    def key(cls) -> str:
        """Return that key: the class's name in lower case."""
        return cls.__name__.lower()


First = TypeVar("First", bound=Section)
Second = TypeVar("Second", bound=Section)
Third = TypeVar("Third", bound=Section)


@overload
def read_params(first: type[First], /, *, path: Path = PATH) -> First: ...
@overload
def read_params(
    first: type[First], second: type[Second], /, *, path: Path = PATH
) -> tuple[First, Second]: ...
@overload
def read_params(
    first: type[First], second: type[Second], third: type[Third], /, *, path: Path = PATH
) -> tuple[First, Second, Third]: ...
def read_params(*sections: type[Section], path: Path = PATH) -> Any:
    """Check the whole of params.yaml, and return the sections that are asked for.

    Raises
    ------
    CairnError
        For each wrong key or value, of any section: the key, what it is, what is allowed. A typo
        in `train` is an error before `raw` fetches for ten minutes.
    """
    content = read_yaml(path, ADVICE)
    import_module(WHOLE_FILE).check_params(content, str(path))
    values = [section.model_validate(content.get(section.key()) or {}) for section in sections]
    return values[0] if len(values) == 1 else tuple(values)
