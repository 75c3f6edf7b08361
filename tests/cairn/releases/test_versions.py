from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.errors import CairnError
from cairn.releases import versions
from cairn.releases.versions import Registry, Tag
from tests import history
from tests.conftest import ROOT
from tests.history import git

NUMBERS = ("v1.0.0", "v1.2.0", "v1.10.0")


def version(number: str, name: str = "m") -> Tag:
    """Build the tag of a version, on a commit that has its number."""
    return Tag(f"{name}@{number}", number, 1, f"{name} {number}\n\nmodel: {name}:abc\n")


def move(count: int, number: str, stage: str = "prod", action: str = "promote") -> Tag:
    return Tag(f"m#{stage}#{count}", number, 1, f"{stage}: m {number}\n\naction: {action}\n")


def read(*moves: Tag) -> Registry:
    return versions.build_registry("m", [*map(version, NUMBERS), *moves])


def numbers(result: Registry, stage: str = "prod") -> list[str | None]:
    """List the version in a stage, and the one before."""
    both = (result.find_holder(stage), result.find_previous(stage))
    return [each and each.number for each in both]


def test_versions_are_ordered_by_their_numbers_and_not_as_texts() -> None:
    result = versions.build_registry("m", map(version, reversed(NUMBERS)))
    assert [each.number for each in result.versions] == list(NUMBERS)
    assert result.get_version().number == "v1.10.0"
    assert result.get_version("v1.2.0").tag.facts == {"model": "m:abc"}


def test_what_other_tags_there_are_does_not_matter() -> None:
    others = [version("v9.0.0", "other"), Tag("v2.0", "c", 1, ""), Tag("m@two", "c", 1, "")]
    assert versions.build_registry("m", others) == versions.build_registry("m", [])


def test_a_version_that_was_taken_back_is_none() -> None:
    gone = Tag("m@v1.10.0!", "v1.10.0", 2, "")
    assert (
        versions.build_registry("m", [*map(version, NUMBERS), gone]).get_version().number
        == "v1.2.0"
    )


def test_a_stage_is_with_the_version_that_it_was_given_last_whatever_the_clock_says() -> None:
    late = move(1, "v1.0.0")._replace(time=99)
    result = read(move(10, "v1.10.0"), move(9, "v1.2.0"), late, move(3, "v1.0.0", "test"))
    assert numbers(result) == ["v1.10.0", "v1.2.0"]
    assert numbers(result, "test") == ["v1.0.0", None]
    assert result.list_stages(result.get_version("v1.0.0")) == ["test"]
    assert result.list_stages(result.get_version("v1.2.0")) == []


def test_a_rollback_undoes_one_promotion_and_the_next_the_one_before() -> None:
    promoted = [move(1, "v1.0.0"), move(2, "v1.2.0"), move(3, "v1.10.0")]
    once = [*promoted, move(4, "v1.2.0", action="rollback")]
    twice = [*once, move(5, "v1.0.0", action="rollback")]
    assert numbers(read(*promoted)) == ["v1.10.0", "v1.2.0"]
    assert numbers(read(*once)) == ["v1.2.0", "v1.0.0"]
    assert numbers(read(*twice)) == ["v1.0.0", None]
    assert numbers(read(*twice, move(6, "v1.10.0"))) == ["v1.10.0", "v1.0.0"]


def test_a_stage_that_gto_took_away_is_free_and_a_rollback_gives_it_back() -> None:
    values = Tag("m#prod!#2", "v1.0.0", 2, "")
    result = read(move(1, "v1.0.0"), values)
    assert numbers(result) == [None, "v1.0.0"]
    with pytest.raises(CairnError, match=r"no version of m is in prod; stages in use: none"):
        result.require_holder("prod")
    assert numbers(read(move(1, "v1.0.0"), values, move(3, "v1.0.0", action="rollback"))) == [
        "v1.0.0",
        None,
    ]


@given(st.lists(st.sampled_from([*NUMBERS, None]), max_size=12))
def test_any_promotions_and_rollbacks_are_a_stack(steps: list[str | None]) -> None:
    """None is a rollback, where there is something to undo."""
    stack: list[str] = []
    moves: list[Tag] = []
    for step in steps:
        if step is None and len(stack) > 1:
            stack.pop()
            moves.append(move(len(moves) + 1, stack[-1], action="rollback"))
        elif step is not None:
            stack.append(step)
            moves.append(move(len(moves) + 1, step))
    assert numbers(read(*moves)) == [*reversed(stack[-2:]), None, None][:2]


def test_a_version_or_stage_that_is_not_there_is_reported_with_those_that_are() -> None:
    with pytest.raises(
        CairnError, match=r"m has no version 'v7'; its versions are v1\.0\.0, v1\.2\.0, v1\.10\.0"
    ):
        read().get_version("v7")
    with pytest.raises(CairnError, match=r"in live; stages in use: prod; `make promote STAGE=live"):
        read(move(1, "v1.0.0")).require_holder("live")
    with pytest.raises(CairnError, match=r"m has no version; `make release` creates one"):
        versions.build_registry("m", []).get_version()


@pytest.mark.parametrize(
    ("bump", "number"), [("patch", "v1.10.1"), ("minor", "v1.11.0"), ("major", "v2.0.0")]
)
def test_the_next_number_is_after_the_highest(bump: versions.Bump, number: str) -> None:
    assert versions.compute_next_number(read(), bump) == number
    assert versions.compute_next_number(versions.build_registry("m", []), bump) == "v1.0.0"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        *[("v1.2.3", True), ("v1.2.3-rc.1", True), ("1.2.3", False), ("v1.2", False), ("v", False)],
        *[(f"v1.2.3-{'a' * 55}", True), (f"v1.2.3-{'a' * 300}", False), ("v1.2.3\n", False)],
    ],
)
def test_a_number_is_v_and_a_semantic_version(text: str, good: bool) -> None:  # noqa: FBT001
    assert versions.is_version(text) is good


@pytest.mark.parametrize("text", ["prod", "pre-prod", "eu/prod", "p", "a" * 63])
def test_what_can_name_a_stage(text: str, repository: str) -> None:
    versions.add_version("m", "v1.0.0", "one")
    assert versions.is_stage_name(text)
    assert (
        versions.assign_stage("m", text, versions.read_registry("m").get_version(), "")
        == f"m#{text}#1"
    )
    assert list(versions.read_registry("m").assignments) == [text]
    assert repository


@pytest.mark.parametrize(
    "text",
    ["a" * 64, "a" * 300, "", "-p", "p-", "a b", "a//b", "../a", "a\nb", "a\n", "prod#1", "é"],
)
def test_what_cannot_name_a_stage(text: str) -> None:
    assert not versions.is_stage_name(text)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Create a repository with one commit; return the commit."""
    history.enter(tmp_path, monkeypatch)
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "one")
    return git("rev-parse", "HEAD")


def gto(*arguments: str) -> str:
    command = [sys.executable, "-m", "gto.cli", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_what_is_written_is_read_here_and_by_gto(repository: str) -> None:
    assert versions.add_version("m", "v1.0.0", "m v1.0.0\n\nmodel: m:ä\n") == "m@v1.0.0"
    git("commit", "--quiet", "--allow-empty", "--message", "two")
    versions.add_version("m", "v1.1.0", "two")
    git("tag", "m@v1.2.0")  # not annotated: GTO takes it for none either
    one, two = versions.read_registry("m").versions
    assert [one.number, one.tag.commit, one.tag.facts] == ["v1.0.0", repository, {"model": "m:ä"}]
    for count, given_to in enumerate((one, two, one)):
        assert (
            versions.assign_stage("m", "prod", given_to, "a message\n\nof lines")
            == f"m#prod#{count + 1}"
        )
    result = versions.read_registry("m")
    assert numbers(result) == ["v1.0.0", "v1.1.0"]
    assert [tag.message for tag in versions.list_tags() if "#" in tag.name] == [
        "a message\n\nof lines"
    ] * 3
    shown = gto("show", "m#prod")
    assert "v1.0.0" in shown
    assert "v1.1.0" not in shown


def test_a_commit_may_have_several_versions(repository: str) -> None:
    """GTO writes no tag then without an error, and reads none."""
    for number in ("v1.0.0", "v1.1.0"):
        git("tag", "--annotate", "--message", "by hand", f"m@{number}")
    first, second = versions.read_registry("m").versions
    assert first.tag.commit == second.tag.commit == repository
    for count, (given_to, action) in enumerate(
        [(first, "promote"), (second, "promote"), (first, "rollback")], 1
    ):
        message = f"prod: m {given_to.number}\n\naction: {action}\n"
        assert versions.assign_stage("m", "prod", given_to, message) == f"m#prod#{count}"
        assert versions.read_registry("m").find_holder("prod") == given_to
    assert numbers(versions.read_registry("m")) == ["v1.0.0", None]


def test_of_several_versions_a_tag_that_names_none_means_the_highest() -> None:
    both = [version("v1.0.0"), version("v1.1.0")._replace(commit="v1.0.0")]
    silent = move(1, "v1.0.0")._replace(message="by GTO")
    gone = move(1, "v1.0.0")._replace(message="prod: m v0.9.0\n")
    for tag in (silent, gone):
        assert numbers(versions.build_registry("m", [*both, tag])) == ["v1.1.0", None]
    assert numbers(versions.build_registry("m", [*both, move(1, "v1.0.0")])) == ["v1.0.0", None]


def test_what_gto_gives_is_read_here(repository: str) -> None:
    gto("register", "m", "--version", "v0.1.0")
    gto("assign", "m", "--version", "v0.1.0", "--stage", "dev")
    result = versions.read_registry("m")
    assert numbers(result, "dev") == ["v0.1.0", None]
    assert result.get_version().tag.commit == repository


def test_what_gto_refuses_is_one_line(repository: str) -> None:
    assert repository
    with pytest.raises(CairnError, match=r"^GTO cannot read '-@v1\.0\.0' as a tag; [^\n]*$"):
        versions.add_version("-", "v1.0.0", "")


def test_a_tag_that_git_has_no_name_for_is_one_line(repository: str, tmp_path: Path) -> None:
    assert repository
    unnamed = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    code = "from cairn import console; from cairn.releases import versions; "
    code += "console.run(lambda: versions.add_version('m', 'v9.0.0', 'nine'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**unnamed, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: git tag: Committer identity unknown\n"


def test_what_git_refuses_is_reported_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CairnError, match=r"^git for-each-ref: fatal: not a git repository"):
        versions.read_registry("m")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CairnError, match="git is not installed"):
        versions.read_registry("m")
