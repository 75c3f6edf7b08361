from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bentoml
import pytest
import yaml

from cairn.errors import CairnError
from cairn.paths import ONNX, TRAIN
from cairn.releases import comparison, promotion, release, versions, working_tree
from cairn.releases.__main__ import main
from tests import history, small
from tests.conftest import ROOT
from tests.history import Model, dvc, git, tags

GOOD = Model(small.fitted(), history.scores(0.95))
BAD = Model(history.worse(), history.scores(0.6))
OTHER = GOOD._replace(scores=history.scores(0.99))

STAGED = ("promote", "rollback", "tag")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec"),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a clone with three versions, of which only the second is a bad model."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "clone").mkdir()
    with pytest.MonkeyPatch.context() as patch, small.store(folder / "bentoml"):
        history.enter(folder / "clone", patch)
        patch.setenv("BENTOML_HOME", str(folder / "bentoml"))
        history.begin()
        for model in (GOOD, BAD, OTHER):
            history.commit(model)
            release.release()
    return folder


@pytest.fixture(autouse=True)
def clone(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Copy that clone, and make it the current folder."""
    shutil.copytree(template / "clone", tmp_path / "clone")
    history.enter(tmp_path / "clone", monkeypatch)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setattr(comparison, "RESAMPLES", 100)
    with small.store(tmp_path / "bentoml"):
        yield tmp_path / "clone"


def in_prod() -> str | None:
    holder = versions.read_registry("small").find_holder("prod")
    return holder and holder.number


def refused(call: Callable[[], object]) -> str:
    """Return the error of a call, which must change nothing."""
    before = tags(), git("rev-parse", "HEAD"), git("status", "--porcelain")
    with pytest.raises(CairnError) as error:
        call()
    assert (tags(), git("rev-parse", "HEAD"), git("status", "--porcelain")) == before
    return str(error.value)


@pytest.mark.parametrize("field", ["name", "email"])
@pytest.mark.parametrize(
    "write",
    [release.release, lambda: promotion.promote("prod"), lambda: promotion.rollback("prod")],
    ids=["release", "promote", "rollback"],
)
def test_without_a_user_in_git_it_is_one_line_with_the_commands(
    write: Callable[[], None], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(f"GIT_COMMITTER_{field.upper()}")
    text = refused(write)
    assert text.startswith(f"git has no user.{field}")
    assert '`git config --global user.name "Your Name"`' in text
    assert "\n" not in text


NO_GATES: dict[str, object] = {
    "minimum": {},
    "maximum": {},
    "latency_us": None,
    "size_mb": None,
    "against": [],
}


def gates(**params: object) -> None:
    """Write params.yaml with these gates only."""
    path = Path("params.yaml")
    params = {**NO_GATES, **params}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "gates": params}))


def test_a_version_names_its_model() -> None:
    assert tags() == ["small@v1.0.0", "small@v1.0.1", "small@v1.0.2"]
    facts = versions.read_registry("small").get_version().tag.facts
    assert facts["model"] == f"small:{facts['sha256'][:12]}"


def test_versions_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    promotion.promote("prod", "v1.0.0")
    capsys.readouterr()
    head, newest, _, oldest = release.format_releases(versions.read_registry("small")).splitlines()
    assert head.split() == list(release.COLUMNS)
    assert newest.split()[:2] == ["v1.0.2", "–"]
    assert oldest.split()[:2] == ["v1.0.0", "prod"]
    assert oldest.split()[-3:] == ["0.9500", "0.9500", "0.0500"]
    assert newest.split()[4] == git("rev-parse", "--short=7", "HEAD")


def test_the_newest_version_is_promoted_and_rolled_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    promotion.promote("prod", "v1.0.0")
    promotion.promote("prod")
    text = capsys.readouterr().out
    assert in_prod() == "v1.0.2"
    assert "promote: to publish: dvc push --all-tags; git push origin 'small#prod#2'" in text
    message = git("tag", "--list", "--format=%(contents)", "small#prod#2")
    assert "before: v1.0.0" in message
    assert message.partition("\n\ngate")[2] in text
    promotion.promote("prod")
    assert "promote: v1.0.2 is already in prod" in capsys.readouterr().out
    promotion.rollback("prod")
    assert in_prod() == "v1.0.0"
    assert "no version was in prod before v1.0.0" in refused(lambda: promotion.rollback("prod"))


def test_a_commit_with_two_versions_is_promoted_and_rolled_back() -> None:
    promotion.promote("prod", "v1.0.0")
    git("tag", "--annotate", "--message", "by hand", "small@v1.0.9", "small@v1.0.2^{}")
    promotion.promote("prod", "v1.0.2")
    assert in_prod() == "v1.0.2"
    promotion.promote("prod", "v1.0.9")
    assert in_prod() == "v1.0.9"
    for before in ("v1.0.2", "v1.0.0"):
        promotion.rollback("prod")
        assert in_prod() == before


LONG = "a" * 300


@pytest.mark.parametrize(
    ("command", "message"),
    [
        *[((c, "--stage", LONG), f"STAGE: got '{LONG[:63]}…'; allowed: ") for c in STAGED],
        *[((c, "--stage", "a b\nc"), "STAGE: got 'a b\\nc'; allowed: ") for c in STAGED],
        (("register", "--version", f"v1.0.7-{LONG}"), "VERSION: got 'v1.0.7-aaa"),
        (("register", "--version", "v1\n2"), "VERSION: got 'v1\\n2'; allowed: "),
        (("register", "--bump", LONG), "BUMP: got 'aaa"),
        (
            ("promote", "--stage", "prod", "--version", "v1\n2"),
            "VERSION: small has no version 'v1\\n2'; its",
        ),
        (("checkout", "--version", LONG), "VERSION: small has no version 'aaa"),
    ],
)
def test_what_nothing_can_be_called_is_one_line(
    command: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("commit", "--quiet", "--allow-empty", "--message", "one without a version")
    monkeypatch.setattr(sys, "argv", ["release", *command])
    text = refused(main)
    assert text.startswith(message)
    assert "\n" not in text
    assert len(text) < 300


def test_a_worse_one_is_stopped_with_by_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    promotion.promote("prod", "v1.0.0")
    message = refused(lambda: promotion.promote("prod", "v1.0.1"))
    assert message.startswith(
        "v1.0.1 is not promoted to prod, nothing has changed: roc_auc 0.6000 is"
    )
    assert "roc_auc 0.6000 is 0.3 under 0.9; roc_auc 0." in message
    assert "worse by at least 0." in message
    assert capsys.readouterr().out.count("FAILED") == 2
    assert in_prod() == "v1.0.0"


def test_a_reason_overrides_and_is_kept() -> None:
    promotion.promote("prod", "v1.0.0")
    promotion.promote("prod", "v1.0.1", 'the "old" one\nbroke')
    assert in_prod() == "v1.0.1"
    latest = max(versions.list_tags(), key=lambda tag: (tag.time, tag.name))
    assert latest.facts["forced"] == 'the "old" one broke'
    assert "FAILED" in latest.message


def test_time_and_size_stop_too() -> None:
    gates(size_mb=1e-6)
    text = refused(lambda: promotion.promote("prod"))
    assert "model.onnx" in text
    assert "MB over 1e-06" in text
    gates(latency_us=1e-3)
    assert "latency" in refused(lambda: promotion.promote("prod"))


def test_without_gates_everything_passes(capsys: pytest.CaptureFixture[str]) -> None:
    gates()
    promotion.promote("prod", "v1.0.1")
    assert "params.yaml has no gates" in capsys.readouterr().out
    assert in_prod() == "v1.0.1"


def test_what_is_not_committed_is_no_version() -> None:
    git("commit", "--quiet", "--allow-empty", "--message", "another")
    Path("notes.txt").touch()
    assert refused(release.release).startswith("not committed: notes.txt; a version is of a commit")


def test_a_commit_has_one_version() -> None:
    commit = git("rev-parse", "--short=7", "HEAD")
    assert refused(release.release) == f"commit {commit} is already v1.0.2 of small"


def test_a_model_that_is_not_the_commits_is_no_version() -> None:
    git("commit", "--quiet", "--allow-empty", "--message", "another")
    ONNX.unlink()
    ONNX.write_bytes(b"other")
    assert "is not the one that dvc.lock names" in refused(release.release)


def test_params_that_the_model_was_not_made_with_are_no_version() -> None:
    path = Path("params.yaml")
    content = yaml.safe_load(path.read_text())
    content["train"]["seed"] = 7
    path.write_text(yaml.safe_dump(content))
    git("commit", "--quiet", "--all", "--message", "not run")
    text = refused(release.release)
    assert text.startswith("dvc.lock is not what the stages would write now: train changed")


@pytest.mark.parametrize(
    ("number", "bump", "text"),
    [
        ("v1.2", None, "VERSION: got 'v1.2'; allowed: v and three numbers, such as v1.2.3"),
        (None, "huge", "BUMP: got 'huge'; allowed: major, minor, patch"),
        ("v2.0.0", "major", "VERSION, BUMP: set one of them"),
        ("v1.0.1", None, "VERSION: v1.0.1 is already commit "),
    ],
)
def test_a_number_that_cannot_be_is_refused(
    number: str | None, bump: str | None, text: str
) -> None:
    git("commit", "--quiet", "--allow-empty", "--message", "another")
    assert refused(lambda: release.release(number, bump)).startswith(text)


@pytest.mark.parametrize(
    ("number", "bump", "written"),
    [(None, "minor", "v1.1.0"), (None, "major", "v2.0.0"), ("v3.0.0-rc.1", None, "v3.0.0-rc.1")],
)
def test_a_number_can_be_chosen(number: str | None, bump: str | None, written: str) -> None:
    git("commit", "--quiet", "--allow-empty", "--message", "another")
    release.release(number, bump)
    assert f"small@{written}" in tags()


def test_what_others_still_lack_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    git("commit", "--quiet", "--allow-empty", "--message", "another")
    release.release()
    assert re.search(
        r"dvc push --all-tags \(\d+ files are not in the remote\)", capsys.readouterr().out
    )
    dvc("push", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "yet another")
    release.release()
    text = capsys.readouterr().out
    assert "dvc push" not in text
    assert "git push origin 'small@v1.0.4'" in text


def test_a_stage_is_served_from_any_working_tree(capfd: pytest.CaptureFixture[str]) -> None:
    promotion.promote("prod", "v1.0.0")
    shutil.rmtree("data")
    tag = promotion.store_model("prod")
    assert tag == versions.read_registry("small").get_version("v1.0.0").tag.facts["model"]
    assert Path(bentoml.models.get(tag).path, "model.onnx").read_bytes() == GOOD.fitted.graph
    assert f"serve: prod is small v1.0.0, {tag}" in capfd.readouterr().err
    assert not Path("data").exists()


@pytest.mark.parametrize("command", ["promote", "rollback", "tag"])
def test_a_stage_must_be_named(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["release", command, "--stage", " ", "--version", ""])
    assert refused(main).startswith("STAGE: missing; set one, such as STAGE=prod")


def test_a_stage_that_nothing_has_is_reported() -> None:
    for call in (promotion.store_model, promotion.rollback):
        assert "no version of small is in live" in refused(lambda call=call: call("live"))  # type: ignore[misc]


def test_a_stage_name_that_git_or_gto_does_not_take_is_refused() -> None:
    assert "GTO cannot read 'small#a stage#1' as a tag" in refused(
        lambda: promotion.promote("a stage")
    )


def test_a_version_comes_back_whole_and_one_goes_back(capfd: pytest.CaptureFixture[str]) -> None:
    commit = git("rev-parse", "HEAD")
    working_tree.switch(versions.read_registry("small").get_version("v1.0.1").tag.commit, "main")
    assert ONNX.read_bytes() == BAD.fitted.graph
    assert git("status", "--porcelain") == ""
    assert dvc("status", "--quiet") == ""
    assert working_tree.get_head() == git("rev-parse", "HEAD") != commit
    git("checkout", "--quiet", "main")
    dvc("checkout", "--quiet")
    assert ONNX.read_bytes() == OTHER.fitted.graph
    assert working_tree.get_head() == "main"
    capfd.readouterr()


def test_nothing_is_lost_by_a_checkout() -> None:
    assert "VERSION: missing" in refused(lambda: release.checkout(None))
    TRAIN.unlink()
    TRAIN.write_bytes(b"mine")
    text = refused(lambda: release.checkout("v1.0.1"))
    assert text.startswith(
        "data/features/train.parquet: not what dvc.lock names, and would be lost"
    )
    Path("mine.py").touch()
    assert refused(lambda: release.checkout("v1.0.1")).startswith("not committed: mine.py; they")


def test_a_version_whose_data_is_nowhere_stays_where_it_is() -> None:
    shutil.rmtree(".dvc/cache")
    assert "is not in DVC's cache" in refused(lambda: release.checkout("v1.0.1"))


@pytest.mark.parametrize("name", release.REGISTER)
def test_the_code_of_an_older_commit_registers_its_model_by_its_own_module(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name.replace('.', '/')}.py"
    path.parent.mkdir(parents=True)
    path.touch()
    assert release.find_register(tmp_path) == name


def test_today_s_module_is_there() -> None:
    assert release.find_register(ROOT) == release.REGISTER[0]
