from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import dump_yaml

from cairn import provenance
from cairn.errors import CairnError
from cairn.paths import EVALUATION_FOLDER, MODEL, MODEL_CONTRACT, ONNX, PIPELINE
from cairn.provenance import Commit
from tests import small

PARAMS = {"train": small.LINEAR.model_dump()}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small.save_tree()
    return tmp_path


def lock(**changes: Any) -> None:
    """Write a dvc.lock that names the model here."""
    outs = {
        stage: [
            {"path": path.as_posix(), "md5": hashlib.md5(path.read_bytes()).hexdigest()}  # noqa: S324
            for path in provenance.FILES
            if path.is_relative_to(folder)
        ]
        for stage, folder in {"train": MODEL, "evaluate": EVALUATION_FOLDER}.items()
    }
    stages = {
        "raw": {
            "outs": [{"path": "data/raw/table", "md5": "r" * 32}],
            "params": {"params.yaml": {"raw": {"source": "t.csv", "sha256": None}}},
        },
        "train": {
            "deps": [{"path": "stages/train.py", "md5": "t" * 32}],
            "outs": outs["train"],
            "params": {"params.yaml": {"train": {"name": "small"}}},
        },
        "evaluate": {"outs": outs["evaluate"]},
        **changes,
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_the_hash_is_that_of_the_names_and_contents_of_what_serves() -> None:
    before = provenance.hash_entry(MODEL)
    lines = [
        f"{hashlib.sha256((MODEL / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("contract.json", "model.onnx")
    ]
    assert before == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("path", provenance.FILES)
def test_another_content_of_any_file_is_another_hash_of_files(path: Path) -> None:
    before = provenance.trace_new(PARAMS)
    text = path.read_bytes()
    path.write_bytes(text + b" ")
    after = provenance.trace_new(PARAMS)
    assert after.files_sha256 != before.files_sha256
    assert (after.sha256 != before.sha256) == (path in provenance.SERVING_FILES)


def test_what_the_service_does_not_read_is_in_no_hash() -> None:
    before = provenance.trace_new(PARAMS)
    PIPELINE.write_bytes(b"pickle")
    assert provenance.trace_new(PARAMS) == before


def test_the_same_files_elsewhere_have_the_same_hash(folder: Path) -> None:
    shutil.copytree(MODEL, folder / "copy")
    assert provenance.hash_entry(folder / "copy") == provenance.hash_entry(MODEL)


@pytest.mark.parametrize("path", provenance.FILES)
def test_a_missing_file_is_named_with_what_brings_it(path: Path) -> None:
    lock()
    path.unlink()
    for call in (provenance.trace_locked, lambda: provenance.trace_new(PARAMS)):
        with pytest.raises(CairnError) as error:
            call()
        assert str(error.value) == (
            f"no model: {path} is missing; run `dvc repro` to train one, or `dvc pull` to fetch it"
        )


def test_no_model_and_no_lock_is_no_model() -> None:
    shutil.rmtree(MODEL)
    with pytest.raises(CairnError, match=r"no model: .*; run `dvc repro`"):
        provenance.trace_locked()


def test_a_model_without_a_lock_is_not_the_one() -> None:
    with pytest.raises(
        CairnError, match=r"is not the one that dvc\.lock names: run `dvc checkout`"
    ):
        provenance.trace_locked()


def test_a_lock_without_the_train_stage_names_no_model() -> None:
    lock(train={}, evaluate={})
    with pytest.raises(CairnError, match=r"is not the one that dvc\.lock names"):
        provenance.trace_locked()


def test_another_model_than_dvc_lock_names_is_named() -> None:
    lock()
    ONNX.write_bytes(b"other")
    with pytest.raises(CairnError) as error:
        provenance.trace_locked()
    assert f"{ONNX} is not the one that dvc.lock names: run `dvc checkout`" in str(error.value)
    assert "or `dvc repro`" in str(error.value)


def test_the_chain_goes_from_git_to_the_bytes_that_serve() -> None:
    lock()
    md5s = {
        path: hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324
        for path in provenance.FILES
    }
    assert provenance.trace_locked().as_dict() == {
        "sha256": provenance.hash_entry(MODEL),
        "files_sha256": provenance.hash_tree(Path(), provenance.FILES),
        "git": {"commit": "none", "dirty": False},
        "dvc": {
            "raw": {"deps": {}, "outs": {"data/raw/table": "r" * 32}},
            "train": {
                "deps": {"stages/train.py": "t" * 32},
                "outs": {
                    path.as_posix(): md5s[path] for path in md5s if path.is_relative_to(MODEL)
                },
            },
            "evaluate": {
                "deps": {},
                "outs": {
                    path.as_posix(): md5s[path]
                    for path in md5s
                    if path.is_relative_to(EVALUATION_FOLDER)
                },
            },
        },
        "params": {"raw": {"source": "t.csv", "sha256": None}, "train": {"name": "small"}},
        "metrics": {"test": {"accuracy": 0.9}},
        "versions": {"numpy": "2"},
    }


def test_a_model_that_is_not_in_the_lock_yet_has_the_chain_of_what_came_before() -> None:
    lock()
    MODEL_CONTRACT.write_bytes(MODEL_CONTRACT.read_bytes() + b"\n")
    chain = provenance.trace_new(PARAMS)
    assert chain.sha256 == provenance.hash_entry(MODEL)
    assert list(chain.dvc) == ["raw", "train"]
    assert chain.params == {"raw": {"source": "t.csv", "sha256": None}, **PARAMS}


def test_without_a_lock_a_fresh_model_has_itself() -> None:
    chain = provenance.trace_new(PARAMS)
    assert (chain.dvc, list(chain.params)) == ({}, ["train"])
    assert json.dumps(chain.as_dict())


def git(*arguments: str) -> str:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    done = subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_the_one_that_brought_dvc_lock() -> None:
    lock = Path("dvc.lock")
    git("init", "--quiet")
    lock.write_text("1")
    assert provenance.find_commit() == Commit("none", dirty=True)
    git("add", "dvc.lock")
    git("commit", "--quiet", "--message", "one")
    commit = git("rev-parse", "HEAD")
    Path("other").write_text("1")
    git("add", "other")
    git("commit", "--quiet", "--message", "another file")
    Path("other").write_text("2")
    assert provenance.find_commit() == Commit(commit, dirty=False)
    lock.write_text("2")
    assert provenance.find_commit() == Commit(commit, dirty=True)


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert provenance.find_commit() == Commit("none", dirty=False)


def make_foreign(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have git take the repository here for another user's, as git's own tests have it."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
    monkeypatch.setenv("LANGUAGE", "de")


def test_a_repository_of_another_user_is_reported_with_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    git("init", "--quiet")
    Path("dvc.lock").write_text("1")
    make_foreign(monkeypatch, folder)
    with pytest.raises(CairnError, match="belongs to another user") as raised:
        provenance.find_commit()
    [command] = re.findall(r"`(git config .*)`", str(raised.value))
    assert "\n" not in str(raised.value)

    subprocess.run(shlex.split(command), check=True)
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    assert provenance.find_commit() == Commit("none", dirty=True)
    assert git("config", "--global", "safe.directory") == str(folder)


def test_what_else_keeps_git_from_answering_is_reported(folder: Path) -> None:
    git("init", "--quiet")
    Path("dvc.lock").write_text("1")
    git("add", "--all")
    (folder / ".git" / "index").write_bytes(b"no index")
    with pytest.raises(CairnError, match=r"^git status: .*index"):
        provenance.find_commit()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "schema: '2.0'\n",
        "- raw\n",
        "stages:\n",
        "stages: {train: 5}\n",
    ],
)
def test_a_lock_that_is_none_is_refused_by_name(content: str) -> None:
    Path("dvc.lock").write_text(content)
    for call in (provenance.trace_locked, lambda: provenance.trace_new({})):
        with pytest.raises(
            CairnError, match=r"^dvc\.lock is not what DVC wrote; `git checkout HEAD -- dvc"
        ):
            call()


def branches_in_conflict() -> None:
    """Two branches whose last commits trained different models: `other`, and `main` here."""
    git("init", "--quiet", "--initial-branch", "main")
    write_trained("first")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    for branch, words in (("other", ("--create",)), ("main", ())):
        git("switch", "--quiet", *words, branch)
        write_trained(branch)
        git("commit", "--quiet", "--all", "--message", branch)


def write_trained(source: str) -> None:
    """Write what a run of the pipeline leaves in git."""
    lock(raw={"params": {"params.yaml": {"raw": {"source": source}}}})
    Path("scores.json").write_text(json.dumps({"source": source}))


@pytest.mark.parametrize("join", ["merge", "rebase"])
def test_the_advice_about_a_conflict_ends_it(
    join: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    branches_in_conflict()
    with pytest.raises(subprocess.CalledProcessError):
        git(join, "other")
    assert "<<<<<<< " in Path("dvc.lock").read_text()
    with pytest.raises(CairnError, match=r"^dvc\.lock holds both sides of a conflict: ") as error:
        provenance.read_lock()
    assert "\n" not in str(error.value)
    commands = re.findall(r"`((?:git|dvc) [^`]*)`", str(error.value))
    assert [command.split()[0] for command in commands] == ["git", "dvc", "git", "git", "git"]
    restore, _, add, commit, proceed = commands

    monkeypatch.setenv("GIT_EDITOR", "true")
    git(*shlex.split(restore)[1:])
    assert provenance.read_lock()["raw"]  # one side, which `dvc repro` starts from
    write_trained("both")
    for command in (add, commit if join == "merge" else proceed):
        git(*shlex.split(command)[1:])
    assert git("status", "--porcelain", "--untracked-files=no") == ""
    assert not (folder / ".git" / "MERGE_HEAD").exists()
    assert not list((folder / ".git").glob("rebase-*"))
    assert provenance.read_lock()["raw"]["params"]["params.yaml"]["raw"]["source"] == "both"


def test_a_lock_that_is_damaged_comes_back_by_the_advice() -> None:
    git("init", "--quiet")
    write_trained("first")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    Path("dvc.lock").write_bytes(b"\xff\n- raw")
    with pytest.raises(CairnError) as error:
        provenance.read_lock()
    [command] = re.findall("`(.*)`", str(error.value))
    git(*shlex.split(command)[1:])
    assert provenance.read_lock()["raw"]


def test_the_chain_has_the_params_as_dvc_wrote_them() -> None:
    """In YAML 1.1, by which others read it, the first is a text and the second true."""
    lock()
    written = {"tol": 1e-05, "columns": ["Yes", "no", "on", "1e-5", "012"]}
    block = {"train": {"name": "small", "arguments": written}}
    path = Path("dvc.lock")
    stages = yaml.safe_load(path.read_text())["stages"]
    stages["train"]["params"]["params.yaml"] = block
    dump_yaml("dvc.lock", {"schema": "2.0", "stages": stages})
    assert "tol: 1e-05" in path.read_text()
    assert "- Yes" in path.read_text()
    assert provenance.trace_locked().params["train"] == block["train"]


def test_a_model_of_older_code_has_every_file_in_its_hash(folder: Path) -> None:
    """It kept them all in data/model, and had no stage `evaluate`."""
    outs = [MODEL / provenance.entry_name(path) for path in provenance.FILES]
    stages = {"train": {"outs": [{"path": path.as_posix(), "md5": "0"} for path in outs]}}
    files = provenance.list_files(stages)
    assert set(files.tagged) == set(files.all) == set(provenance.FILES)
    entry = small.save(folder / "entry")
    old = provenance.hash_entry(entry, files.tagged)
    assert old == provenance.hash_tree(Path(), files.all) != provenance.hash_entry(entry)
    assert provenance.is_model(entry, old)
    assert provenance.is_model(entry, provenance.hash_entry(entry))
    assert not provenance.is_model(entry, "0" * 64)


def test_a_lock_with_both_stages_names_what_makes_the_tag() -> None:
    lock()
    assert provenance.list_files(provenance.read_lock()) == provenance.ModelFiles()


@pytest.mark.parametrize(
    ("path", "current"),
    [
        ("data/model/card.md", "data/evaluation/card.md"),
        ("data/model/plots/roc.csv", "data/evaluation/plots/roc.csv"),
        ("data/model/model.onnx", "data/model/model.onnx"),
        ("data/features/test.parquet", "data/features/test.parquet"),
    ],
)
def test_a_path_of_older_code_is_found_where_it_is_today(path: str, current: str) -> None:
    assert provenance.current_path(Path(path)) == Path(current)
