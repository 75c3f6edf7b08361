from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from cairn.errors import (
    Allowed,
    CairnError,
    Problem,
    find_allowed,
    format_key,
    list_problems,
    report_problems,
)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Fixed(Strict):
    rule: Literal["value"]
    value: float = Field(alias="number")


class Best(Strict):
    rule: Literal["best"]


def tag(value: Any) -> str:
    return "list" if isinstance(value, list) else "best"


class Document(Strict):
    name: str = Field(examples=["ann"], min_length=2)
    count: Annotated[int, Field(ge=1)] | None = None
    share: float = Field(0.5, gt=0, le=1000, allow_inf_nan=False)
    flag: Annotated[bool | Literal["auto"], Allowed("true, false or 'auto'")] = "auto"
    rule: Annotated[Fixed | Best, Field(discriminator="rule")] | None = None
    either: Annotated[
        Annotated[list[int], Tag("list")] | Annotated[Best, Tag("best")], Discriminator(tag)
    ] = []
    rules: dict[Literal["a"], Best] = {}
    words: tuple[Annotated[str | int, Allowed("a word or its number")], ...] = ()


def problems(**content: Any) -> list[Problem]:
    with pytest.raises(ValidationError) as error:
        Document.model_validate({"name": "ann", **content})
    return list_problems(error.value, Document)


@pytest.mark.parametrize(
    ("content", "key", "text"),
    [
        ({"name": "a"}, "name", "got 'a'; allowed: 2 or more characters"),
        ({"name": 5}, "name", "got 5; allowed: a text"),
        ({"count": 0}, "count", "got 0; allowed: a whole number, at least 1"),
        ({"count": "x"}, "count", "got 'x'; allowed: a whole number, at least 1"),
        ({"share": 1001.0}, "share", "got 1001.0; allowed: a number, over 0, at most 1,000"),
        ({"share": float("inf")}, "share", "got inf; allowed: a finite number"),
        ({"flag": 3}, "flag", "got 3; allowed: true, false or 'auto'"),
        ({"rule": {"rule": "value"}}, "rule.number", "missing; add it"),
        ({"rule": {"rule": "best", "x": 1}}, "rule.x", "unknown key; allowed here: rule"),
        (
            {"rule": {"rule": "value", "number": "x"}},
            "rule.number",
            "got 'x'; allowed: a number",
        ),
        ({"rule": 5}, "rule", "got 5; allowed: a mapping"),
        ({"either": [1, "x"]}, "either.1", "got 'x'; allowed: a whole number"),
        ({"either": {"rule": 1}}, "either.rule", "got 1; allowed: 'best'"),
        ({"rules": {"b": {"rule": "best"}}}, "rules.b", "got 'b'; allowed: 'a'"),
        ({"rules": {"a": 5}}, "rules.a", "got 5; allowed: a mapping with the keys rule"),
        ({"rules": 5}, "rules", "got 5; allowed: a mapping"),
        ({"words": ("x", 1.5)}, "words.1", "got 1.5; allowed: a word or its number"),
        ({"words": 5}, "words", "got 5; allowed: a list"),
        ({"colour": 1}, "colour", "unknown key; allowed here: name, count, share, flag, rule,"),
        ({"name": ["x" * 300]}, "name", f"got ['{'x' * 198}…; allowed: a text"),
    ],
)
def test_a_problem_is_one_key_as_the_document_has_it_and_what_is_allowed(
    content: dict[str, Any], key: str, text: str
) -> None:
    (problem,) = problems(**content)
    assert format_key(problem.key) == key
    assert problem.text.startswith(text)


def test_a_missing_key_comes_with_an_example() -> None:
    with pytest.raises(ValidationError) as error:
        Document.model_validate({})
    (problem,) = list_problems(error.value, Document)
    assert (problem.kind, problem.text) == ("missing", "missing; add it, such as `name: ann`")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("count",), "a whole number, at least 1"),
        (("share",), "a number, over 0, at most 1,000"),
        (("words", 0), "a word or its number"),
        (("name",), None),
        (("colour",), None),
    ],
)
def test_what_is_allowed_is_known_without_a_problem(
    key: tuple[str | int, ...], text: str | None
) -> None:
    assert find_allowed(Document, key) == text


def test_each_problem_is_listed_once() -> None:
    lines = problems(words=(1.5,), count=0)
    assert [format_key(problem.key) for problem in lines] == ["count", "words.0"]


@pytest.mark.parametrize(
    ("key", "text"),
    [((), "the file"), (("a", 0, "b"), "a.0.b"), (("a\nb",), r"'a\nb'"), (("x" * 300,), "x" * 200)],
)
def test_a_key_is_one_short_line(key: tuple[str | int, ...], text: str) -> None:
    assert format_key(key).removesuffix("…") == text


def test_the_problems_of_a_file_are_one_error_with_its_name_in_each_line() -> None:
    error = report_problems(["a: missing", "b: wrong", "a: missing"], "f.yaml")
    assert isinstance(error, CairnError)
    assert [line.strip() for line in str(error).splitlines()] == [
        "f.yaml: a: missing",
        "f.yaml: b: wrong",
    ]
