"""Errors that a user can fix, and pydantic's problems in the words of the file that holds them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic.fields import FieldInfo

MAX_SHOWN = 200  # characters of a key or a value that a message repeats
MAPPINGS = (dict, Mapping)
SEQUENCES = (list, tuple, set, frozenset)
# Problems of keys, and not of values.
KEY_PROBLEMS = {"missing", "extra_forbidden"}
# What pydantic reports of a default that depends on another field, where that one is wrong.
CONSEQUENCES = {"default_factory_not_called"}
# Problems whose words say more than the annotation: a validator of ours raised it; infinity.
OWN_WORDS = {"value_error", "finite_number"}
# The end of a location where the key of a dictionary is what is wrong, and not its value.
OF_KEY = "[key]"
# Pydantic's words → those of somebody who edits a file.
PHRASES = (
    (re.compile(r"^\w+ should (be )?"), ""),
    (re.compile(r"^have at least (\d+) (character|item).*"), r"\1 or more \2s"),
    (re.compile(r"^have at most (\d+) (character|item).*"), r"\1 or fewer \2s"),
    (re.compile(r", unable to (parse|interpret) .*"), ""),
    (re.compile(r"^a valid (dictionary|mapping)\b.*"), "a mapping"),
    (re.compile(r"^a valid (tuple|list)\b"), "a list"),
    (re.compile(r"^a valid string\b"), "a text"),
    (re.compile(r"^a valid boolean\b"), "true or false"),
    (re.compile(r"^a valid integer\b"), "a whole number"),
    (re.compile(r"^a valid (?=number)"), "a "),
)
NUMBERS = {int: "a whole number", float: "a number"}
# The ends of a range: the attributes of an annotation's notes, and words.
ENDS = {"ge": "at least", "gt": "over", "le": "at most", "lt": "under"}

Key: TypeAlias = tuple[str | int, ...]


class CairnError(Exception):
    """Something the user can fix; its text says what is wrong and what to do next."""


class Unfit(CairnError):
    """The rows are not what an estimator takes; other rows may be."""


@dataclass(frozen=True)
class Allowed:
    """Says in an annotation what its values may be, where pydantic's own words do not help.

    Examples
    --------
    >>> Delimiter = Annotated[str, Allowed("one character, such as ;")]
    """

    text: str


class Problem(NamedTuple):
    """One thing that is wrong in a document.

    Attributes
    ----------
    key
        Where it is: names and list positions from the top, as the document has them.
    kind
        Pydantic's name of the problem, such as `missing`.
    value
        What is there; of a missing key what should have it.
    allowed
        What may be there, or what to do.
    """

    key: Key
    kind: str
    value: Any
    allowed: str

    @property
    def text(self) -> str:
        """What is wrong and what is allowed, without the key; the value cut where it is long."""
        if self.kind in KEY_PROBLEMS:
            return self.allowed
        return f"got {shorten(repr(self.value))}; allowed: {self.allowed}"


def list_problems(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """List what pydantic found wrong in a document that `model` describes, each problem once."""
    details = (detail for detail in error.errors() if detail["type"] not in CONSEQUENCES)
    problems = [_translate(detail, model) for detail in details]
    # Each member of a union has a problem of its own, and all of them have one text.
    return list({(each.key, each.text): each for each in reversed(problems)}.values())[::-1]


def format_key(key: Key, document: str = "the file") -> str:
    """Format a key with dots, on one line and cut where it is long; `document` for the top."""
    text = ".".join(map(str, key))
    return shorten(text if text.isprintable() else repr(text)) or document


def find_allowed(model: type[BaseModel], key: Key) -> str | None:
    """Return what an annotation says that the value at a key may be; None where it does not."""
    return _follow(model, key).allowed


def report_problems(lines: Iterable[str], source: str) -> CairnError:
    """Return the error that lists problems, one a line, each after the name of its source."""
    return CairnError("\n       ".join(dict.fromkeys(f"{source}: {line}" for line in lines)))


def _translate(detail: Any, model: type[BaseModel]) -> Problem:
    """Translate one of pydantic's problems."""
    path = _follow(model, detail["loc"])
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return Problem(
            path.key, kind, value, f"unknown key; allowed here: {_list_keys(path.owner)}"
        )
    if kind == "missing":
        return Problem(path.key, kind, value, f"missing; add it{_example(path)}")
    allowed = (kind not in OWN_WORDS and path.allowed) or _describe(detail, path.kind)
    return Problem(path.key, kind, value, allowed)


def _describe(detail: Any, kind: Any) -> str:
    """Describe what pydantic wants, where the annotation does not say it."""
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])
    if detail["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        keys = _list_keys(kind)
        return f"a mapping with the keys {keys}" if keys else "a mapping"
    text = str(detail["msg"])
    for pattern, phrase in PHRASES:
        text = pattern.sub(phrase, text)
    return text


def _example(path: _Path) -> str:
    """Say what a missing key could be, where its field has an example."""
    examples = path.field.examples if path.field else None
    return f", such as `{path.key[-1]}: {examples[0]}`" if examples else ""


def shorten(text: str) -> str:
    """Cut a text where it is long."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


class _Path(NamedTuple):
    """Where one of pydantic's locations leads in a model.

    Attributes
    ----------
    key
        The parts that the document has: pydantic also names the members of unions.
    kind
        The type there, None where it is not known.
    owner
        The model that has the last key.
    field
        The field there, if it is one.
    allowed
        What its annotation says that it may be.
    """

    key: Key = ()
    kind: Any = None
    owner: type[BaseModel] | None = None
    field: FieldInfo | None = None
    allowed: str | None = None


def _follow(model: type[BaseModel], location: Key) -> _Path:
    """Follow a location from the top of a model."""
    path = _Path(kind=model)
    for part in location:
        path = _step(path, part)
    return path


def _step(path: _Path, part: str | int) -> _Path:
    """Go one part further."""
    kind, _ = _unwrap(path.kind)
    if part == OF_KEY:
        return path
    if _is_model(kind):
        field = _fields(kind).get(str(part))
        annotation = Annotated[field.annotation, *field.metadata, None] if field else None
        return _at(path.key, part, annotation)._replace(owner=kind, field=field)
    if get_origin(kind) in (Union, UnionType):
        return path._replace(kind=_member(kind, part))  # its name stands in no document
    arguments = get_args(kind)
    if get_origin(kind) in MAPPINGS:
        return _at(path.key, part, arguments[1])
    if get_origin(kind) in SEQUENCES:
        return _at(path.key, part, arguments[0])
    return _Path((*path.key, part))


def _at(key: Key, part: str | int, annotation: Any) -> _Path:
    kind, allowed = _unwrap(annotation)
    return _Path((*key, part), kind, allowed=allowed)


def _unwrap(annotation: Any) -> tuple[Any, str | None]:
    """Take the type out of `Annotated` and `| None`, and with it what it says is allowed."""
    notes = _notes(annotation)
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    allowed = next((note.text for note in notes if isinstance(note, Allowed)), None)
    if kind in NUMBERS:
        allowed = allowed or NUMBERS[kind] + _describe_ends(notes)
    if get_origin(kind) in (Union, UnionType):
        members = [member for member in get_args(kind) if member is not type(None)]
        if len(members) == 1:
            inner, inner_allowed = _unwrap(members[0])
            return inner, allowed or inner_allowed
    return kind, allowed


def _describe_ends(notes: Iterable[Any]) -> str:
    """Describe the ends of a range, after a comma each."""
    ends = [
        f", {words} {end:,.15g}"
        for name, words in ENDS.items()
        for note in notes
        if (end := getattr(note, name, None)) is not None
    ]
    return "".join(ends)


def _notes(annotation: Any) -> tuple[Any, ...]:
    """List the notes of an annotation; those of a field in it are its own."""
    notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return tuple(
        part
        for note in notes
        for part in (note.metadata if isinstance(note, FieldInfo) else [note])
    )


def _member(union: Any, tag: str | int) -> Any:
    """Find the member of a union by the name that pydantic has for it; None if there is none."""
    return next((member for member in get_args(union) if str(tag) in _tags(member)), None)


def _tags(member: Any) -> Iterator[str]:
    """List what pydantic may call a member of a union."""
    yield from (note.tag for note in _notes(member) if isinstance(note, Tag))
    kind, _ = _unwrap(member)
    if _is_model(kind):
        yield kind.__name__
        for field in kind.model_fields.values():
            if get_origin(field.annotation) is Literal:
                yield from map(str, get_args(field.annotation))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Map the keys of a model, as documents have them, to its fields."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _list_keys(model: Any) -> str:
    """List the keys that a model takes; nothing for what is no model."""
    return ", ".join(_fields(model)) if _is_model(model) else ""
