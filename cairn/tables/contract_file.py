"""The contract as people read, edit and commit it: data/processed/contract.yaml."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any
from unicodedata import is_normalized

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from cairn import params
from cairn.console import CairnError
from cairn.contract import LARGEST, Contract, to_plain

WIDTH = 100
CLASSES = "two or more, all texts, all whole numbers or all booleans, none of them twice"
ADVICE = "run `dvc repro`, which makes one"
HEAD = """\
# What a row is. Made from the table by the first `dvc repro`, yours from then on: edit it, commit
# it. Every later table is held to it; without this file the next `dvc repro` makes a new one.
#   kind        number, integer, boolean, category (texts, or whole numbers as codes) or date
#   header      the table's own name of the column, which requests may use as well
#   missing     true: a value may be missing
#   markers     texts that stand for a missing value, beside the usual ones
#   format      how numbers or dates are written, such as "1.234,5 €" or "%d.%m.%Y"
#   minimum, maximum   of a number; any finite one where there is none
#   unknown     true: a category may be one that is not listed
#   parts       of a date, what the model takes: year, month, day, weekday, hour, minute
#   left_out    columns that the model does not see, and why; processed.keep in params.yaml brings
#               one back when the contract is made anew
"""


def read(path: Path) -> Contract:
    """Read a contract.

    Raises
    ------
    CairnError
        For each wrong key or value: which, and what is wrong with it.
    """
    found = params.content(path, ADVICE)
    try:
        contract = Contract.model_validate(found)
    except ValidationError as error:
        problems = [_problem(found, dict(problem)) for problem in error.errors()]
    else:
        problems = _unusable(contract)
    if problems:
        raise CairnError("\n       ".join(f"{path}: {text}" for text in dict.fromkeys(problems)))
    return contract


def _unusable(contract: Contract) -> list[str]:
    """What is well-formed and still no contract of a table."""
    classes = contract.target.classes
    named = [column.name for column in contract.columns if not _is_name(column.name)]
    endless = [
        f"column {column.name}: {key}: got {end}; allowed: a number within float32"
        for column in contract.columns
        for key, end in (("minimum", column.minimum), ("maximum", column.maximum))
        if end is not None and not abs(end) <= LARGEST
    ]
    texts = [
        f"column {column.name}: categories: got {text!r}; allowed: texts that UTF-8 has"
        for column in contract.columns
        for text in column.categories
        if not _is_text(text)
    ]
    return [
        *texts,
        *([] if contract.columns else ["columns: got none; allowed: one or more"]),
        *(f"column {name}: allowed in a name: letters, digits and _" for name in named),
        *endless,
        *([] if _tells(classes) else [f"target: classes: got {list(classes)}; allowed: {CLASSES}"]),
    ]


def _is_name(text: str) -> bool:
    """Whether a name is one that a header can become."""
    return bool(re.fullmatch(r"\w+", text)) and is_normalized("NFC", text)


def _is_text(value: int | str) -> bool:
    """Whether a category can be written, as half a character cannot."""
    return isinstance(value, int) or not re.search("[\ud800-\udfff]", value)


def _tells(classes: tuple[Any, ...]) -> bool:
    """Whether classes are two or more of one type, none of them twice."""
    return len(set(classes)) == len(classes) > 1 and len(set(map(type, classes))) == 1


def _problem(found: Any, problem: dict[str, Any]) -> str:
    """One of pydantic's problems as: column or key, what came, what is allowed."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    place = ": ".join(_place(found, list(problem["loc"]))) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key; take it out, or see what its top says"
    if problem["type"] == "missing":
        return f"{place}: missing; add it"
    if {*problem["loc"]} & _UNION:
        return f"{place}: got {problem['input']!r}; allowed: texts, whole numbers, booleans"
    allowed = str(problem["msg"]).removeprefix("Input should be ")
    allowed = re.sub(r"a valid dictionary or instance of \w+", "a mapping", allowed)
    allowed = allowed.replace("a valid tuple", "a list")
    return f"{place}: got {problem['input']!r}; allowed: {allowed}"


# What pydantic calls the members of unions, of which each has a problem of its own.
_UNION = {"bool", "int", "str"}


def _place(found: Any, loc: list[Any]) -> list[str]:
    """The column by name, and the key in it."""
    keys = [key for key in loc if key not in _UNION]
    if keys[:1] == ["columns"] and len(keys) > 1:
        column = found["columns"][keys[1]]
        name = column.get("name") if isinstance(column, dict) else None
        keys = [f"column {name or keys[1] + 1}", *keys[2:]]
    return [str(key) for key in keys]


def write(contract: Contract, path: Path) -> None:
    """Write a contract, one line a column."""
    file = io.StringIO()
    yaml = YAML()
    yaml.width = WIDTH
    yaml.dump(_lines(to_plain(contract)), file)
    path.write_text(HEAD + file.getvalue(), encoding="utf-8")


def _lines(content: dict[str, Any]) -> CommentedMap:
    """The contract with its target and each column in one line."""
    return CommentedMap(
        {
            name: _flow(value)
            if isinstance(value, dict)
            else CommentedSeq([_flow(column) for column in value])
            if isinstance(value, list)
            else value
            for name, value in content.items()
        }
    )


def _flow(part: dict[str, Any]) -> CommentedMap:
    """A mapping that is written as {key: value, …}, labels and categories in quotes."""
    found = CommentedMap({key: _quoted(key, value) for key, value in part.items()})
    found.fa.set_flow_style()
    return found


def _quoted(key: str, value: Any) -> Any:
    """Labels and categories in quotes where they are texts: others' YAML takes no for false."""
    if key == "format":
        return DoubleQuotedScalarString(value)
    if key not in {"classes", "categories", "rare", "markers", "missing"} or value is True:
        return value
    return [DoubleQuotedScalarString(v) if isinstance(v, str) else v for v in value]
