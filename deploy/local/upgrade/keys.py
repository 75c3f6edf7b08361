"""Keys of a YAML text renamed or moved, with every comment and blank where it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from deploy.local.upgrade.errors import UpgradeError

ANY = "*"  # in a path: each item of a list, each key of a mapping
STEP = 2  # blanks by which Cairn's own files indent


class Entry(NamedTuple):
    """A key in a text, and its value."""

    key: ScalarNode
    value: Node
    parent: MappingNode


def rename_key(text: str, path: Sequence[str], name: str) -> str:
    r"""Rename a key, wherever the path leads.

    Parameters
    ----------
    path
        Keys from the top, the old name last.
    name
        The new one. Where a mapping has it already, its old key stays.

    Raises
    ------
    UpgradeError
        Where the text is no YAML.

    Examples
    --------
    >>> rename_key("a:\n  - {old: 1}  # why\n", ["a", "*", "old"], "new")
    'a:\n  - {new: 1}  # why\n'
    """
    for entry in reversed(list(_find(_compose(text), path))):
        if name not in _names(entry.parent):
            start, end = entry.key.start_mark.index, entry.key.end_mark.index
            text = text[:start] + name + text[end:]
    return text


def move_key(text: str, path: Sequence[str], target: Sequence[str]) -> str:
    r"""Move a key into another mapping, with its value and the comments above it.

    Parameters
    ----------
    path, target
        Keys from the top: where it is, and where it will be, its new name last.

    Raises
    ------
    UpgradeError
        Where the text is no YAML, or the key or its new mapping is written as `{…}`.

    Examples
    --------
    >>> print(move_key("a:\n  # Why.\n  x: 1\n  y: 2\nb:\n  z: 3\n", ["a", "x"], ["b", "x"]))
    a:
      y: 2
    b:
      z: 3
      # Why.
      x: 1
    <BLANKLINE>
    """
    entry = next(_find(_compose(text), path), None)
    if entry is None or next(_find(_compose(text), target), None):
        return text
    text = rename_key(text, path, target[-1])
    entry = next(_find(_compose(text), [*path[:-1], target[-1]]))
    parent = next(_find(_compose(text), target[:-1]), None)
    if entry.parent.flow_style or (parent and not _is_block(parent.value)):
        raise UpgradeError(
            f"{'.'.join(path)} is {'.'.join(target)} now; move it by hand, for it or its new place "
            "is written as {…}"
        )
    lines = text.splitlines(keepends=True)
    first, last = _extent(lines, entry)
    item = lines[first:last]
    rest = "".join(lines[:first] + lines[last:])
    return _insert(_drop_empty(rest, path[:-1]), item, entry.key.start_mark.column, target[:-1])


def has_key(text: str, path: Sequence[str]) -> bool:
    """Tell whether a path leads to a key."""
    return next(_find(_compose(text), path), None) is not None


def list_keys(text: str, depth: int = 2) -> list[str]:
    """List the keys of a text down to a depth, as `train.seed`."""
    root = _compose(text)
    patterns = ([ANY] * levels for levels in range(1, depth + 1))
    return [name for pattern in patterns for name in _dotted(root, pattern)]


def _dotted(node: Node | None, path: Sequence[str], above: str = "") -> Iterator[str]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            name = f"{above}{key.value}"
            if len(path) == 1:
                yield name
            else:
                yield from _dotted(value, path[1:], f"{name}.")


def _compose(text: str) -> Node | None:
    """Parse a text into nodes that know where they stand in it."""
    try:
        node: Node | None = YAML(typ="rt", pure=True).compose(text)
    except YAMLError as error:
        raise UpgradeError(f"not YAML: {' '.join(str(error).split())}") from None
    return node


def _find(node: Node | None, path: Sequence[str]) -> Iterator[Entry]:
    """Find the keys that a path leads to, in the order of the text; an empty one leads to none."""
    if not path:
        return
    head, *rest = path
    if isinstance(node, SequenceNode) and head == ANY:
        for item in node.value:
            yield from _find(item, rest)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            if head in {ANY, key.value}:
                yield from _find(value, rest) if rest else [Entry(key, value, node)]


def _names(node: MappingNode) -> set[str]:
    return {key.value for key, _ in node.value}


def _is_block(node: Node) -> bool:
    """Tell whether a value is a mapping with a line for each key."""
    return isinstance(node, MappingNode) and not node.flow_style and bool(node.value)


def _extent(lines: Sequence[str], entry: Entry) -> tuple[int, int]:
    """Return the lines of a key: from the comments above it to the end of its value."""
    column, line = entry.key.start_mark.column, entry.key.start_mark.line
    first = line
    while first and _is_comment(lines[first - 1]) and _indent(lines[first - 1]) == column:
        first -= 1
    last = line + 1
    while last < len(lines) and _belongs(lines[last], column):
        last += 1
    while _is_comment(lines[last - 1]) and _indent(lines[last - 1]) <= column:
        last -= 1  # it is about the next key
    while last - 1 > line and not lines[last - 1].strip():
        last -= 1
    return first, last


def _belongs(line: str, column: int) -> bool:
    """Tell whether a line may be part of the value of a key at a column."""
    blank = not line.strip() or _is_comment(line)
    return blank or _indent(line) > column or line[column:].startswith("- ")


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _drop_empty(text: str, path: Sequence[str]) -> str:
    """Drop a key that has lost its last one."""
    entry = next(_find(_compose(text), path), None)
    if entry is None or _is_block(entry.value):
        return text
    lines = text.splitlines(keepends=True)
    first, last = _extent(lines, entry)
    return "".join(lines[:first] + lines[last:])


def _insert(text: str, item: Sequence[str], column: int, path: Sequence[str]) -> str:
    """Insert lines that begin at a column as the last of a mapping, which is added if need be."""
    lines = [
        line if line.endswith("\n") else f"{line}\n" for line in text.splitlines(keepends=True)
    ]
    parent = next(_find(_compose(text), path), None)
    if path and parent is None:
        heading = [f"{' ' * STEP * (len(path) - 1)}{path[-1]}:\n"]
        if not path[:-1]:
            heading = ["\n", *heading]  # as between the sections that there are
        added = [*heading, *_shift(item, STEP * len(path) - column)]
        return _insert(text, added, STEP * (len(path) - 1), path[:-1])
    if parent is None:
        return "".join([*lines, *(["\n"] if column else []), *_shift(item, -column)])
    _, last = _extent(lines, parent)
    inner = parent.value.value[0][0].start_mark.column
    return "".join([*lines[:last], *_shift(item, inner - column), *lines[last:]])


def _shift(lines: Sequence[str], blanks: int) -> list[str]:
    """Indent lines by more blanks, or by fewer."""
    return [
        line if not line.strip() else " " * (_indent(line) + blanks) + line.lstrip(" ")
        for line in lines
    ]
