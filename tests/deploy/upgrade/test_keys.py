from __future__ import annotations

import pytest
from ruamel.yaml import YAML

from deploy.local.upgrade.errors import UpgradeError
from deploy.local.upgrade.keys import move_key, rename_key
from tests.conftest import ROOT

TEXT = """\
# The file.

raw:
  # Where it comes from,
  # in two lines.
  source: "a: b"   # here

  query: >-
    select *

    from t
  # What is left.
  formats:
  - {name: a, whole: true}   # one
  -   'whole' : false
train:
  seed: 42  # of all
  #   apart
  folds: {count: 5, whole: 1}
"""


def test_a_key_is_renamed_and_nothing_else() -> None:
    for path, new in (("raw.source", "from"), ("train.folds.count", "number"), ("raw", "input")):
        *_, old = keys = path.split(".")
        assert rename_key(TEXT, keys, new) == TEXT.replace(f"{old}:", f"{new}:", 1)


def test_a_key_is_renamed_in_each_item_of_a_list() -> None:
    assert rename_key(TEXT, ["raw", "formats", "*", "whole"], "integer") == TEXT.replace(
        "whole: true", "integer: true"
    ).replace("'whole' :", "integer :")


def test_a_key_that_has_its_new_name_already_is_left() -> None:
    assert rename_key(TEXT, ["raw", "source"], "query") == TEXT


@pytest.mark.parametrize("path", ["raw.nothing", "nothing", "raw.source.deeper", "train.*.x"])
def test_a_key_that_is_not_there_changes_nothing(path: str) -> None:
    assert rename_key(TEXT, path.split("."), "new") == TEXT
    assert move_key(TEXT, path.split("."), ["raw", "new"]) == TEXT


def test_a_key_moves_with_its_comments_and_blanks() -> None:
    assert (
        move_key(TEXT, ["raw", "source"], ["train", "origin"])
        == TEXT.replace(
            '  # Where it comes from,\n  # in two lines.\n  source: "a: b"   # here\n', ""
        )
        + '  # Where it comes from,\n  # in two lines.\n  origin: "a: b"   # here\n'
    )


def test_a_value_of_many_lines_moves_whole() -> None:
    moved = move_key(TEXT, ["raw", "query"], ["evaluate", "text", "query"])
    query = "query: >-\n    select *\n\n    from t\n"
    deeper = query.replace("    ", "      ")
    assert moved == f"{TEXT.replace(f'  {query}', '')}\nevaluate:\n  text:\n    {deeper}"
    moved = move_key(TEXT, ["raw", "formats"], ["formats"])
    assert moved.endswith(
        "\n# What is left.\nformats:\n- {name: a, whole: true}   # one\n-   'whole' : false\n"
    )


def test_a_mapping_that_loses_its_last_key_goes() -> None:
    text = "a:\n  x: 1\n# About b.\nb:\n  y: 2\n"
    assert move_key(text, ["a", "x"], ["b", "x"]) == "# About b.\nb:\n  y: 2\n  x: 1\n"


def test_a_mapping_in_braces_is_left_to_the_user() -> None:
    with pytest.raises(UpgradeError, match=r"train\.folds\.count is train\.count now; move it by"):
        move_key(TEXT, ["train", "folds", "count"], ["train", "count"])
    with pytest.raises(UpgradeError, match="by hand"):
        move_key(TEXT, ["train", "seed"], ["train", "folds", "seed"])


def test_a_text_that_is_none_is_an_error_of_one_line() -> None:
    with pytest.raises(UpgradeError, match=r"^not YAML: .*$"):
        rename_key("a: [", ["a"], "b")


@pytest.mark.parametrize("key", ["raw.source", "evaluate.cross_validation", "gates.against"])
def test_a_key_of_the_shipped_params_moves_and_means_the_same(key: str) -> None:
    text = (ROOT / "params.yaml").read_text()
    block, name = key.split(".")
    moved = move_key(text, [block, name], ["elsewhere", "new"])
    before, after = (YAML(typ="safe", pure=True).load(each) for each in (text, moved))
    value = before[block].pop(name)
    assert after == {**before, "elsewhere": {"new": value}}
    lines = [sorted(line.strip() for line in each.splitlines()) for each in (text, moved)]
    assert [line for line in lines[0] if "#" in line] == [line for line in lines[1] if "#" in line]
