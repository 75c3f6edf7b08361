from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import pytest
import yaml
from dvc.repo import Repo

from cairn import provenance
from cairn.errors import CairnError
from cairn.paths import METRICS, MODEL, MODEL_CONTRACT, ONNX, TEST, TRAIN
from cairn.releases import commands, revision
from tests import history, small
from tests.history import Model, dvc, git

CACHE = Path(".dvc/cache")
FILES = (MODEL_CONTRACT, METRICS, ONNX, TEST)

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a clone with two commits, of two models, the second one checked out."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "clone").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        history.enter(folder / "clone", patch)
        history.begin()
        history.commit(Model(small.fitted(), history.scores(0.9)))
        history.commit(Model(history.worse(), history.scores(0.6)))
    return folder


@pytest.fixture(autouse=True)
def commits(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, ...]]:
    """Copy that clone, make it the current folder, and list its two commits."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    history.enter(tmp_path / "clone", monkeypatch)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    with small.store(tmp_path / "bentoml"):
        yield tuple(git("rev-list", "--reverse", "HEAD").split())


def everything() -> dict[Path, bytes]:
    """Every file of the working tree that git or DVC has."""
    names = git("ls-files").splitlines()
    return {path: path.read_bytes() for path in (*(Path(name) for name in names), TEST, ONNX)}


def test_the_files_of_a_commit_come_and_the_working_tree_stays(commits: tuple[str, ...]) -> None:
    before = everything()
    with revision.open_files(commits[0], FILES) as folder:
        assert (folder / ONNX).read_bytes() == small.fitted().graph != ONNX.read_bytes()
        assert b"0.9" in (folder / METRICS).read_bytes()
    assert not folder.exists()
    assert everything() == before
    assert git("status", "--porcelain") == ""


def test_what_the_cache_lacks_comes_from_the_remote(commits: tuple[str, ...]) -> None:
    git("checkout", "--quiet", commits[0])
    dvc("checkout", "--quiet")
    dvc("push", "--quiet")
    git("checkout", "--quiet", "main")
    shutil.rmtree(CACHE)
    with revision.open_files(commits[0], FILES) as folder:
        assert (folder / ONNX).read_bytes() == small.fitted().graph
        assert not (folder / TRAIN).exists()


def test_what_is_nowhere_is_reported(
    commits: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(CACHE)
    output = (
        rf"of commit {commits[0][:7]} is not in DVC's cache, and the remote does not have it; `mak"
    )
    for call in (lambda: revision.store_model(commits[0], {}), lambda: revision.fetch(commits[0])):
        with pytest.raises(CairnError, match=output):
            call()
    capfd.readouterr()


def test_a_damaged_file_is_not_taken(commits: tuple[str, ...]) -> None:
    md5 = revision.list_outs(commits[0])[ONNX].md5
    path = CACHE / "files/md5" / md5[:2] / md5[2:]
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    with pytest.raises(CairnError, match=r"model\.onnx of commit .* is damaged: .* is not what"):
        revision.store_model(commits[0], {})


def test_a_file_that_the_commit_does_not_have_is_named(commits: tuple[str, ...]) -> None:
    with (
        pytest.raises(CairnError, match=r"^data/model/none: the dvc\.lock of commit .* no such"),
        revision.open_files(commits[0], [MODEL / "none"]),
    ):
        pass


def test_the_model_is_kept_as_its_own_commit_would_have(commits: tuple[str, ...]) -> None:
    result = [revision.store_model(commit, {}) for commit in commits]
    metadata: list[Any] = [bentoml.models.get(kept.tag).info.metadata for kept in result]
    assert [kept.tag for kept in result] == [f"small:{kept.sha256[:12]}" for kept in result]
    assert [each["git"] for each in metadata] == [
        {"commit": commit, "dirty": False} for commit in commits
    ]
    assert result[1].sha256 == provenance.hash_entry(MODEL)
    entry = Path(bentoml.models.get(result[0].tag).path)
    assert provenance.hash_entry(entry) == result[0].sha256 != result[1].sha256
    assert {path.relative_to(entry) for path in entry.rglob("*") if path.is_file()} == {
        Path("model.yaml"),
        *(Path(provenance.entry_name(path)) for path in provenance.FILES),
    }


def test_a_model_that_is_not_the_released_one_is_refused(commits: tuple[str, ...]) -> None:
    facts = {"sha256": revision.store_model(commits[0], {}).sha256}
    assert revision.store_model(commits[0], facts).sha256 == facts["sha256"]
    with pytest.raises(CairnError, match=r"the model's SHA-256 is .*, but that of its version is"):
        revision.store_model(commits[1], facts)


def test_a_commit_without_a_pipeline_is_reported(commits: tuple[str, ...]) -> None:
    assert commits
    git("rm", "--quiet", "--cached", "dvc.lock")
    git("commit", "--quiet", "--message", "none")
    with pytest.raises(
        CairnError, match=r"^git show: fatal: path './?dvc.lock' exists on disk|git show"
    ):
        revision.store_model(commands.git("rev-parse", "HEAD").strip(), {})


def test_a_commit_of_older_code_is_read_at_the_paths_of_today(commits: tuple[str, ...]) -> None:
    """One stage wrote everything into data/model, and the tag was made from every file."""
    assert commits
    for path in provenance.FILES:
        old = MODEL / provenance.entry_name(path)
        old.parent.mkdir(exist_ok=True)
        path.rename(old)
    outs = sorted(
        {MODEL / provenance.entry_name(path) for path in provenance.FILES} | {TEST, TRAIN}
    )
    metrics = MODEL / METRICS.name
    kept = [str(path) for path in outs if path != metrics]
    train = {"cmd": "true", "params": ["train"], "outs": [*kept, {str(metrics): {"cache": False}}]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": train}}))
    Path("dvc.lock").unlink()
    with Repo() as repo:
        repo.commit(force=True)
    git("add", "--all")
    git("commit", "--quiet", "--message", "older code")
    commit = git("rev-parse", "HEAD")
    with revision.open_files(commit, FILES) as folder:
        assert b"0.6" in (folder / METRICS).read_bytes()
    kept_model = revision.store_model(commit, {})
    every = provenance.hash_entry(MODEL, provenance.FILES)
    assert kept_model.sha256 == every != provenance.hash_entry(MODEL)
    assert kept_model.tag == f"small:{every[:12]}"
