from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.utils import serialize
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.errors import CairnError
from cairn.yaml_text import MAX_DEPTH, format_yaml, parse_yaml, read_yaml
from tests.conftest import ROOT

TEXTS = """\
numbers: [1e-5, 1E5, 1_000, 0x1f, 0o17, 017, .5, 1., +1e3]
texts: [Yes, yes, no, No, on, Off, y, n, 12:30:00, 1:20]
others: [true, False, ~, null, 2024-02-29, .inf]
"""
# What is written by somebody else's PyYAML is read by that; what keeps comments writes by itself.
OTHERS = {
    "service/bento/store.py", "service/bento/version.py", "cairn/releases/bento_store.py",
    "bench/image.py", "cairn/tables/contract_file.py", "deploy/local/upgrade/__main__.py",
    "deploy/local/upgrade/keys.py",
}  # fmt: skip
WORDS = st.sampled_from(["1e-5", "Yes", "no", "on", "~", "012", "0o7", "12:30", "- a", "<<", "é ✓"])
NUMBERS = st.integers() | st.floats(allow_nan=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec="ascii")) | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab") | WORDS, inner)
)


def test_numbers_and_texts_are_those_of_yaml_1_2() -> None:
    content = parse_yaml(TEXTS, "params.yaml")
    assert content["numbers"] == [1e-5, 1e5, 1000, 31, 15, 17, 0.5, 1.0, 1000.0]
    assert all(type(text) is str for text in content["texts"])
    assert content["others"][:4] == [True, False, None, None]


def test_dvc_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXTS)
    assert read_yaml(path, "") == serialize.load_yaml(path)


@settings(max_examples=20)
@given(content=st.dictionaries(WORDS, VALUES))
def test_what_is_written_is_read_back_the_same(content: dict[str, Any]) -> None:
    text = format_yaml(content)
    assert repr(parse_yaml(text, "params.yaml")) == repr(content)


@pytest.mark.parametrize(
    ("begin", "end", "depth"),
    [("[", "]", MAX_DEPTH + 1), ("[", "]", 1000), ("{a: ", "}", 200), ("- ", "", 1000)],
)
def test_what_is_nested_too_deep_is_one_line(begin: str, end: str, depth: int) -> None:
    with pytest.raises(CairnError) as error:
        parse_yaml(f"{begin * depth}1{end * depth}", "params.yaml")
    assert str(error.value) == (
        "params.yaml: lists and mappings are nested more than 32 deep; allowed: 32"
    )


def test_a_list_that_holds_itself_is_nested_too_deep() -> None:
    with pytest.raises(CairnError, match="more than 32 deep"):
        parse_yaml("a: &a [*a, *a]", "params.yaml")


def test_as_deep_as_allowed_is_read() -> None:
    assert parse_yaml(f"{'[' * MAX_DEPTH}{']' * MAX_DEPTH}", "params.yaml")


@pytest.mark.parametrize(
    "text", ["2024-13-45", "!!int x", "!!bool maybe", '"\\U00FFFFFF"', "[", "*b"]
)
def test_what_is_no_yaml_is_one_line(text: str) -> None:
    with pytest.raises(CairnError, match=r"^params\.yaml: .*not YAML: ") as error:
        parse_yaml(f"a: {text}", "params.yaml")
    assert "\n" not in str(error.value)


def readers(folder: str) -> Iterator[str]:
    """The modules below a folder that import a YAML library."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if any(name.split(".")[0] in {"yaml", "ruamel"} for name in names):
                yield path.relative_to(ROOT).as_posix()


def test_one_module_reads_yaml() -> None:
    modules = {
        name
        for folder in ("cairn", "stages", "service", "deploy", "bench")
        for name in readers(folder)
    }
    assert modules == {"cairn/yaml_text.py", *OTHERS}
