"""The contract as people read, edit and commit it: data/processed/contract.yaml."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import is_normalized

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from cairn.contract import LARGEST, Contract, to_plain
from cairn.errors import Key, Problem, list_problems, report_problems
from cairn.yaml_text import read_yaml

WIDTH = 100
CLASSES = "two or more, all texts, all integers or all booleans, none of them twice"
ADVICE = "run `dvc repro`, which writes one"
HEAD = """\
# What a row is. The first `dvc repro` infers this file from the table; from then on it is yours:
# edit it and commit it. Every later table is checked against it. If you delete it, the next
# `dvc repro` infers a new one.
#   kind        number, integer, boolean, category (texts, or integer codes) or date
#   header      the column's name in the table, which requests may use as well
#   missing     true: a value may be missing
#   markers     texts that stand for a missing value, besides the usual ones
#   format      how numbers or dates are written, such as "1.234,5 €" or "%d.%m.%Y"
#   minimum, maximum   the range of a number; without them any finite number is allowed
#   unknown     true: categories that are not listed are allowed
#   parts       what the model uses of a date: year, month, day, weekday, hour, minute
#   left_out    columns that the model does not use, and why; to bring one back, add it to
#               processed.keep in params.yaml and delete this file
"""


def read(path: Path) -> Contract:
    """Read a contract.

    Raises
    ------
    CairnError
        For each wrong key or value: which it is, and what is wrong with it.
    """
    content = read_yaml(path, ADVICE)
    try:
        contract = Contract.model_validate(content)
    except ValidationError as error:
        problems = [_describe(content, problem) for problem in list_problems(error, Contract)]
    else:
        problems = _list_unusable(contract)
    if problems:
        raise report_problems(problems, str(path))
    return contract


def _list_unusable(contract: Contract) -> list[str]:
    """List what is well-formed, and still cannot be in the contract of a table."""
    classes = contract.target.classes
    bad_names = [column.name for column in contract.columns if not _is_name(column.name)]
    infinite = [
        f"column {column.name}: {key}: got {end}; allowed: a number within float32"
        for column in contract.columns
        for key, end in (("minimum", column.minimum), ("maximum", column.maximum))
        if end is not None and not abs(end) <= LARGEST
    ]
    texts = [
        f"column {column.name}: categories: got {text!r}; allowed: texts that UTF-8 can encode"
        for column in contract.columns
        for text in column.categories
        if not _is_text(text)
    ]
    return [
        *texts,
        *([] if contract.columns else ["columns: got none; allowed: one or more"]),
        *(f"column {name}: allowed in a name: letters, digits and _" for name in bad_names),
        *infinite,
        *(
            []
            if _are_distinct(classes)
            else [f"target: classes: got {list(classes)}; allowed: {CLASSES}"]
        ),
    ]


def _is_name(text: str) -> bool:
    """Tell whether a name is one that a header can become."""
    return bool(re.fullmatch(r"\w+", text)) and is_normalized("NFC", text)


def _is_text(value: int | str) -> bool:
    """Tell whether a category can be written, as half a surrogate pair cannot."""
    return isinstance(value, int) or not re.search("[\ud800-\udfff]", value)


def _are_distinct(classes: tuple[Any, ...]) -> bool:
    """Tell whether classes are two or more of one type, none of them twice."""
    return len(set(classes)) == len(classes) > 1 and len(set(map(type, classes))) == 1


def _describe(content: Any, problem: Problem) -> str:
    """Describe a problem of pydantic's: the column by its name, the key in it, what is wrong."""
    if problem.kind == "value_error":
        return problem.allowed  # it names the column
    parts = [*_name_column(content, problem.key)]
    return f"{': '.join(parts) or 'the file'}: {problem.text}"


def _name_column(content: Any, key: Key) -> Iterator[str]:
    """Name the column that a key is of, and then the parts of the key within it."""
    if key[:1] == ("columns",) and len(key) > 1:
        position = int(key[1])
        column = content["columns"][position]
        name = column.get("name") if isinstance(column, dict) else None
        yield f"column {name or position + 1}"
        key = key[2:]
    yield from map(str, key)


def write(contract: Contract, path: Path) -> None:
    """Write a contract, one line a column."""
    file = io.StringIO()
    yaml = YAML()
    yaml.width = WIDTH
    yaml.dump(_lines(to_plain(contract)), file)
    path.write_text(HEAD + file.getvalue(), encoding="utf-8")


def _lines(content: dict[str, Any]) -> CommentedMap:
    """Lay out the contract with its target and each column on one line."""
    return CommentedMap({name: _lay_out(name, value) for name, value in content.items()})


def _lay_out(name: str, value: Any) -> Any:
    """Lay out a part of the contract: the target, the columns, a list of texts, or a value."""
    if isinstance(value, dict):
        return _flow(value)
    if not isinstance(value, list):
        return value
    if all(isinstance(item, dict) for item in value):
        return CommentedSeq(map(_flow, value))
    texts = CommentedSeq(_quote(name, value))
    texts.fa.set_flow_style()
    return texts


def _flow(part: dict[str, Any]) -> CommentedMap:
    """Lay out a mapping as {key: value, …}, labels and categories in quotes."""
    mapping = CommentedMap({key: _quote(key, value) for key, value in part.items()})
    mapping.fa.set_flow_style()
    return mapping


def _quote(key: str, value: Any) -> Any:
    """Quote labels and categories that are texts: YAML 1.1 reads no as false."""
    if key == "format":
        return DoubleQuotedScalarString(value)
    if key not in {"classes", "categories", "rare", "markers", "missing"} or value is True:
        return value
    return [DoubleQuotedScalarString(v) if isinstance(v, str) else v for v in value]
