from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cairn.params.file import load_params
from cairn.paths import CONTRACT
from cairn.tables import contract_file
from deploy.local.upgrade.migrations import (
    MOVES,
    PARAMS,
    Move,
    add_sections,
    find_new_keys,
    migrate,
    migrate_files,
)
from tests.conftest import ROOT
from tests.release_before import ARCHIVE

TEXT = "train:\n  # Of all.\n  seed: 42\n  over: [{whole: true}]\n"


def test_a_second_time_changes_nothing() -> None:
    moves = [Move(PARAMS, "train.seed", "fit.seed"), Move(PARAMS, "train.over.*.whole",
             "train.over.*.integer")]  # fmt: skip
    once = migrate(TEXT, moves)
    assert once.text == "train:\n  over: [{integer: true}]\n\nfit:\n  # Of all.\n  seed: 42\n"
    assert once.notes == (
        "params.yaml: moved train.seed to fit.seed",
        "params.yaml: renamed train.over.*.whole to train.over.*.integer",
    )
    assert migrate(once.text, moves) == (once.text, ())


def test_what_cannot_be_moved_is_reported_and_left() -> None:
    text = "train: {seed: 42}\nfit:\n  rows: 1\n"
    result = migrate(text, [Move(PARAMS, "train.seed", "fit.seed")])
    assert result.text == text
    [note] = result.notes
    assert note == (
        "params.yaml: train.seed is fit.seed now; move it by hand, for it or its new place is "
        "written as {…}"
    )


def test_a_key_under_both_names_is_reported_and_left() -> None:
    text = "train:\n  old: 1\n  new: 2\n"
    for old, new in (("train.old", "train.new"), ("train", "fit")):
        both = text if old == "train.old" else f"{text}fit:\n  x: 1\n"
        result = migrate(both, [Move(PARAMS, old, new)])
        assert result.text == both
        assert result.notes == (
            f"params.yaml: {old} is now {new}, and your file has both; delete the old one",
        )


def test_files_keep_the_line_ends_that_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    PARAMS.write_bytes(b"train:\r\n  seed: 1\r\n")
    moves = [Move(PARAMS, "train.seed", "train.start"), Move(Path("absent.yaml"), "a", "b")]
    assert len(migrate_files("train: {seed: 1}\n", moves)) == 1
    assert PARAMS.read_bytes() == b"train:\r\n  start: 1\r\n"


def test_a_section_that_is_new_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    PARAMS.write_text("train:\n  seed: 1  # mine")
    shipped = "raw: {source: a}\ntrain: {seed: 2}\n"
    assert migrate_files(shipped, []) == ["params.yaml: added the new section raw"]
    assert PARAMS.read_text() == "train:\n  seed: 1  # mine\n\nraw: {}\n"
    assert migrate_files(shipped, []) == []


def test_what_is_new_is_reported_by_its_highest_key() -> None:
    assert find_new_keys("a:\n  x: 1\n  y: {z: 1}\nb:\n  c: 1\n", "a:\n  x: 2\n") == ["b", "a.y"]
    assert find_new_keys("a:\n  x: {y: 1}\n", "a:\n  x: {z: 1}\n") == []
    assert find_new_keys("a:\n  x: 1\n", "") == ["a"]


def test_the_files_of_the_release_before_load_once_they_are_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with tarfile.open(ARCHIVE) as files:
        for name in (str(PARAMS), str(CONTRACT)):
            files.extract(name, filter="data")
    values = YAML(typ="safe", pure=True).load(PARAMS)
    PARAMS.write_text(f"# Ours.\n{PARAMS.read_text()}")
    shipped = (ROOT / PARAMS).read_text()
    notes = migrate_files(shipped)
    assert [note for note in notes if "by hand" in note or "delete the old one" in note] == []
    migrated = load_params(PARAMS)
    assert migrated.train.arguments == values["train"]["arguments"]
    assert contract_file.read(CONTRACT).target.name == "target"
    assert PARAMS.read_text().startswith("# Ours.\n# Every knob")
    assert migrate_files(shipped) == []


@pytest.mark.parametrize("file", sorted({PARAMS, *(move.file for move in MOVES)}))
def test_no_migration_touches_what_is_shipped(file: Path) -> None:
    text = (ROOT / file).read_text()
    assert migrate(text, [move for move in MOVES if move.file == file]) == (text, ())
    assert add_sections(text, text) == (text, ())
