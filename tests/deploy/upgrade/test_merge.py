from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.upgrade import __main__ as command
from deploy.local.upgrade import merge
from deploy.local.upgrade.errors import UpgradeError
from deploy.local.upgrade.migrations import PARAMS, Move, migrate_files
from tests.deploy.upgrade.repositories import (
    CODE,
    OWN,
    RELEASES,
    clone,
    commit,
    git,
    read_files,
    release_all,
    use_template,
)
from tests.history import WHO

Upgrade = Callable[[Path, str], None]
OWNED = [name for name in OWN if not name.startswith(("stages/tables", "deploy/prometheus"))]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release_all(tmp_path_factory.mktemp("upstream") / "cairn")


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    """Fetch and merge in a folder, without the report about the stages."""

    def run(folder: Path, version: str) -> None:
        monkeypatch.chdir(folder)
        for name, value in WHO.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(command, "report", lambda _: None)
        command.fetch()
        command.upgrade(*command.find_release(version))

    return run


def expected() -> dict[str, str | None]:
    """The files of a user of v0.1.0 after the upgrade to v0.2.0."""
    tables = CODE.replace("line_2 = 2\n", "line_2 = 'second'\n")
    rules = CODE.replace(" = ", ": ")
    return {
        **{name: OWN[name] for name in OWNED},
        "cairn/tables.py": f"{tables}mine = True\n",
        "stages/tables.py": None,
        "stages/train.py": RELEASES["v0.2.0"]["stages/train.py"],
        "deploy/prometheus/rules.yml": f"groups: new\n{rules}mine: yes\n",
        "bench/more.py": None,
        "data/evaluation/metrics.json": None,
    }


def differences(folder: Path, expected: dict[str, str | None]) -> list[str]:
    files = read_files(folder)
    return [name for name, text in expected.items() if files.get(name) != text]


def test_a_clone_keeps_what_is_its_own_and_has_the_rest_merged(
    upstream: Path, tmp_path: Path, upgrade: Upgrade, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    before = commit(folder, OWN)
    upgrade(folder, "v0.2.0")
    assert differences(folder, expected()) == []
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "log", "-1", "--format=%P").split() == [
        before, git(upstream, "rev-parse", "v0.2.0^{}")
    ]  # fmt: skip
    text = capsys.readouterr().out
    assert "kept your version of README.md;" in text
    assert "files that you deleted stay deleted: in bench" in text
    assert "MODEL_TAG=shop:0123456789ab make serve" in text
    git(folder, "reset", "--hard", before)  # as it says


def test_what_the_user_never_changed_is_theirs_too(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    upgrade(folder, "0.2.0")
    files, first = read_files(folder), RELEASES["v0.1.0"]
    own = [name for name in OWNED if name in first and not name.startswith(("README", "bench"))]
    assert {name: files[name] for name in own} == {name: first[name] for name in own}
    assert "data/evaluation/metrics.json" not in files
    assert files["README.md"] == RELEASES["v0.2.0"]["README.md"]
    assert files["bench/more.py"] == "more = True\n"


@pytest.mark.parametrize("start", ["v0.1.0", "v0.2.0~1"])
def test_a_template_without_history_is_merged_from_where_it_began(
    upstream: Path, tmp_path: Path, upgrade: Upgrade, start: str
) -> None:
    folder = use_template(upstream, tmp_path / "shop", start)
    commit(folder, OWN)
    upgrade(folder, "v0.2.0")
    assert differences(folder, expected()) == []
    assert git(folder, "for-each-ref", "refs/cairn-graft") == ""
    upgrade(folder, "v0.3.0")
    assert "'third'" in read_files(folder)["cairn/tables.py"]


def test_a_first_commit_with_changes_of_its_own_is_merged_from_the_nearest_release(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = use_template(upstream, tmp_path / "shop", "v0.1.0")
    commit(folder, OWN)
    git(folder, "checkout", "--quiet", "--orphan", "fresh")
    git(folder, "commit", "--quiet", "--message", "all")
    upgrade(folder, "v0.2.0")
    # A file deleted before the first commit is one of the nearest release all the same.
    assert differences(folder, expected()) == []


def test_an_upgrade_that_was_squashed_is_not_merged_again(
    upstream: Path, tmp_path: Path, upgrade: Upgrade, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    commit(folder, {**OWN, "stages/train.py": f"# mine\n{CODE}"})
    git(folder, "switch", "--quiet", "--create", "upgrade")
    upgrade(folder, "v0.2.0")
    git(folder, "switch", "--quiet", "main")
    git(folder, "merge", "--quiet", "--squash", "upgrade")
    git(folder, "commit", "--quiet", "--message", "Upgrade")
    capsys.readouterr()
    upgrade(folder, "v0.2.0")
    assert "v0.2.0 is in this branch already" in capsys.readouterr().out
    upgrade(folder, "v0.3.0")
    files = read_files(folder)
    assert files["cairn/tables.py"].endswith("mine = True\n")
    assert "'third'" in files["cairn/tables.py"]
    assert (files["params.yaml"], "bench/more.py" in files) == (OWN["params.yaml"], False)


def test_a_second_time_says_that_it_is_there(
    upstream: Path, tmp_path: Path, upgrade: Upgrade, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    upgrade(folder, "v0.2.0")
    capsys.readouterr()
    head = git(folder, "rev-parse", "HEAD")
    for version in ("v0.2.0", "v0.1.0"):
        upgrade(folder, version)
        assert f"{version} is in this branch already" in capsys.readouterr().out
    assert git(folder, "rev-parse", "HEAD") == head


def test_a_file_of_the_users_that_git_ignores_stays(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    commit(folder, {**OWN, ".gitignore": "/deploy/ec2/parameters.json\n"})
    parameters = folder / "deploy" / "ec2" / "parameters.json"
    parameters.parent.mkdir()
    parameters.write_text('["ModelUri=mine"]')
    upgrade(folder, "v0.2.0")
    assert parameters.read_text() == '["ModelUri=mine"]'
    assert differences(folder, expected()) == []


@pytest.mark.parametrize("name", ["params.yaml", "notes.txt"])
def test_a_dirty_tree_is_refused(
    upstream: Path, tmp_path: Path, upgrade: Upgrade, name: str
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    (folder / name).write_text("mine\n")
    with pytest.raises(UpgradeError, match=f"not committed: {name}; commit or stash them"):
        upgrade(folder, "v0.2.0")
    assert git(folder, "rev-parse", "HEAD") == git(upstream, "rev-parse", "v0.1.0^{}")
    assert (folder / name).read_text() == "mine\n"


CONFLICT = {"stages/train.py": f"# train\n{CODE.replace('line_9 = 9', 'line_9 = 99')}"}


def test_a_conflict_is_left_in_progress_with_the_commands_that_end_it(
    upstream: Path, tmp_path: Path, upgrade: Upgrade, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    before = commit(folder, {**OWN, **CONFLICT})
    for _ in range(2):  # a second call says what is still to do
        with pytest.raises(UpgradeError) as error:
            upgrade(folder, "v0.2.0")
        text = str(error.value)
        assert "both sides changed the same lines of:\n  stages/train.py\n" in text
        assert "make upgrade VERSION=v0.2.0\n" in text
        assert git(folder, "diff", "--name-only", "--diff-filter=U") == "stages/train.py"
        assert (folder / "README.md").read_text() == OWN["README.md"]
    git(folder, "merge", "--abort")
    assert git(folder, "rev-parse", "HEAD") == before
    assert git(folder, "status", "--porcelain") == ""
    with pytest.raises(UpgradeError):
        upgrade(folder, "v0.2.0")
    (folder / "stages/train.py").write_text("both = True\n")
    git(folder, "add", "--update")
    git(folder, "commit", "--no-edit")
    assert git(folder, "log", "-1", "--format=%s") == "Upgrade Cairn to v0.2.0"
    capsys.readouterr()
    upgrade(folder, "v0.2.0")
    assert "is in this branch already" in capsys.readouterr().out
    assert differences(folder, {**expected(), "stages/train.py": "both = True\n"}) == []


def test_a_template_in_conflict_ends_as_a_clone_does(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = use_template(upstream, tmp_path / "shop", "v0.1.0")
    commit(folder, {**OWN, **CONFLICT})
    with pytest.raises(UpgradeError, match=r"same lines of:\n  stages/train.py\n"):
        upgrade(folder, "v0.2.0")
    git(folder, "commit", "--all", "--no-edit")
    assert len(git(folder, "log", "-1", "--format=%P").split()) == 2


def test_a_file_that_the_user_deleted_and_the_release_moved_stays_deleted(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    commit(folder, {"stages/tables.py": None})
    upgrade(folder, "v0.2.0")
    assert "cairn/tables.py" not in read_files(folder)


def test_the_lists_of_packages_are_to_be_written_anew() -> None:
    text = merge.describe_conflicts(("pyproject.toml", "requirements.txt"), "v0.2.0")
    assert "git checkout --theirs requirements.txt" in text
    assert "git checkout" not in merge.describe_conflicts(("pyproject.toml",), "v0.2.0")


def test_another_merge_is_not_touched(upstream: Path, tmp_path: Path, upgrade: Upgrade) -> None:
    folder = clone(upstream, tmp_path / "shop")
    git(folder, "switch", "--quiet", "--create", "other")
    commit(folder, {"stages/train.py": "other\n"})
    git(folder, "switch", "--quiet", "main")
    git(folder, "merge", "--quiet", "--no-ff", "--no-commit", "other")
    with pytest.raises(UpgradeError, match="another merge is in progress"):
        upgrade(folder, "v0.2.0")


def test_a_repository_of_something_else_is_refused(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = use_template(upstream, tmp_path / "shop", "v0.1.0")
    git(folder, "checkout", "--quiet", "--orphan", "other")
    git(folder, "rm", "--quiet", "-r", "--force", ".")
    commit(folder, {"params.yaml": "mine: 1\n"})
    with pytest.raises(UpgradeError, match="shares neither a commit nor a file"):
        upgrade(folder, "v0.2.0")


def test_without_a_remote_the_command_that_adds_it(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    git(folder, "remote", "rename", "upstream", "origin")
    with pytest.raises(UpgradeError, match=r"git remote add upstream URL$"):
        upgrade(folder, "v0.2.0")
    git(folder, "remote", "add", "upstream", str(tmp_path / "nowhere"))
    with pytest.raises(UpgradeError, match=r"nowhere.*git remote get-url upstream$"):
        upgrade(folder, "v0.2.0")


@pytest.mark.parametrize("version", ["", "v9.9.9", "latest", "--help", "v0.2.0^{tree}", "a\nb"])
def test_a_version_that_is_none_is_reported_with_those_there_are(
    upstream: Path, tmp_path: Path, upgrade: Upgrade, version: str
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    with pytest.raises(UpgradeError, match=r"^VERSION: .*v0\.1\.0, v0\.2\.0, v0\.3\.0$"):
        upgrade(folder, version)


def test_tags_of_the_users_own_are_neither_read_nor_written(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    own = commit(folder, OWN)
    git(folder, "tag", "v0.2.0")
    upgrade(folder, "v0.2.0")
    assert git(folder, "tag").split() == ["v0.2.0"]
    assert git(folder, "rev-parse", "v0.2.0") == own
    assert differences(folder, expected()) == []


def test_a_params_file_that_is_no_yaml_ends_it_before_anything_changes(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    before = commit(folder, {"params.yaml": "train: [\n"})
    with pytest.raises(UpgradeError, match=r"^params\.yaml: not YAML: .*; fix it, commit it"):
        upgrade(folder, "v0.2.0")
    assert git(folder, "rev-parse", "HEAD") == before
    assert git(folder, "status", "--porcelain") == ""


def test_a_hook_that_refuses_the_commit_leaves_the_merge_with_the_commands_that_end_it(
    upstream: Path, tmp_path: Path, upgrade: Upgrade
) -> None:
    folder = clone(upstream, tmp_path / "shop")
    hook = folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no such style >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(UpgradeError) as error:
        upgrade(folder, "v0.2.0")
    assert str(error.value).startswith("git commit: no such style\nto end it: git commit")
    hook.unlink()
    git(folder, "commit", "--no-edit")
    assert differences(folder, {"params.yaml": RELEASES["v0.1.0"]["params.yaml"]}) == []


def test_a_repository_that_git_does_not_read_is_reported_in_its_words(
    tmp_path: Path, upgrade: Upgrade
) -> None:
    with pytest.raises(UpgradeError, match=r"^git rev-parse: not a git repository"):
        upgrade(tmp_path, "v0.2.0")


def test_what_has_moved_in_the_users_files_is_in_the_same_commit(
    upstream: Path, tmp_path: Path, upgrade: Upgrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = [Move(PARAMS, "train.seed", "train.start")]
    monkeypatch.setattr(command, "migrate_files", lambda shipped: migrate_files(shipped, moves))
    folder = clone(upstream, tmp_path / "shop")
    commit(folder, OWN)
    upgrade(folder, "v0.2.0")
    assert git(folder, "show", "HEAD:params.yaml") == "train:\n  start: 7  # mine"
    assert git(folder, "status", "--porcelain") == ""
