"""Trace a model: the chain from git and dvc.lock to the bytes that serve.

A model in the BentoML store has files of two kinds. The tag, NAME:<12 hex>, is made from the
SHA-256 of those that serve predictions: the ONNX graph and the contract. Its card, scores, plots
and library versions travel in the same entry and do not change the tag: a sentence in the card
makes no other model. `files_sha256` covers all of them and tells a store, an image or a container
with an older card apart; the Bento's version is made from it.

Commits of older code kept everything in data/model, and made the tag from every file. They are
read as they are: a dvc.lock with a stage `evaluate` has today's layout, one without it the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cairn.errors import CairnError
from cairn.paths import (
    CARD,
    ENVIRONMENT,
    EVALUATION,
    EVALUATION_FOLDER,
    METRICS,
    MODEL,
    MODEL_CONTRACT,
    ONNX,
    PICTURES,
    PLOTS,
)

LOCK = Path("dvc.lock")
PARAMS = "params.yaml"
# How git says that there is no repository, no commit yet, no such commit, no such remote.
NOTHING_THERE = (
    "not a git repository",
    "does not have any commits",
    "unknown revision",
    "bad default revision",
    "No such remote",
)
# What begins the first line that git puts around the two sides of a conflict.
MARK = "<<<<<<< "
# Git takes it in the middle of a merge and of a rebase too, where `git checkout FILE` fails.
RESTORE = f"git checkout HEAD -- {LOCK}"
TRUST = "safe.directory"  # what git's own advice sets for a repository of another user's
# The stages that write the files of a model.
WRITERS = ("train", "evaluate")
# What serves predictions, and so makes the tag.
SERVING_FILES = (MODEL_CONTRACT, ONNX)
# Every file that the service reads. The pickled Pipeline is for people.
FILES = (
    *SERVING_FILES,
    ENVIRONMENT,
    CARD,
    EVALUATION,
    METRICS,
    *(PLOTS / f"{name}.png" for name in PICTURES),
)

# Digits of the SHA-256 in a tag.
HEX = 12

StageHashes = Mapping[str, Mapping[str, str]]  # deps and outs: path → MD5


class ModelFiles(NamedTuple):
    """The files of a model, at their paths of today.

    Attributes
    ----------
    tagged
        Those that make its tag.
    all
        Those that the service reads, the tagged ones among them.
    """

    tagged: tuple[Path, ...] = SERVING_FILES
    all: tuple[Path, ...] = FILES


class Coverage(NamedTuple):
    """What of a model in the store its hashes vouch for.

    The rest of the metadata, such as params, scores and the commit, is what the store says.

    Attributes
    ----------
    by_tag
        Names of the files that the tag is made from, and that were checked.
    other_files_match
        Whether card, scores and plots are those that were registered, by `files_sha256` in the
        metadata; None: older code registered the model, without that hash.
    """

    by_tag: tuple[str, ...]
    other_files_match: bool | None


@dataclass(frozen=True)
class Commit:
    """A commit, or `none`, and whether dvc.lock was changed since."""

    commit: str
    dirty: bool


@dataclass(frozen=True)
class Provenance:
    """The chain of a model, as BentoML keeps it and `GET /model` answers it.

    Attributes
    ----------
    sha256
        Hex, over the files that serve predictions; the tag begins as it does.
    files_sha256
        Hex, over all files that travel with the model.
    dvc
        Stage → its deps and outs, path → MD5, as dvc.lock has them.
    params
        The blocks of params.yaml with which the stages ran.
    metrics, versions
        metrics.json and environment.json.
    git
        The commit that brought dvc.lock.
    """

    sha256: str
    files_sha256: str
    dvc: Mapping[str, StageHashes]
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    versions: Mapping[str, str]
    git: Commit

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.params["train"]["name"])

    def as_dict(self) -> dict[str, Any]:
        """Return the chain as plain values, which JSON and BentoML's metadata hold."""
        return asdict(self)


def hash_entry(folder: Path, files: Iterable[Path] = SERVING_FILES) -> str:
    """Hash the model's files in a flat folder, such as an entry of the BentoML store.

    Parameters
    ----------
    files
        Which files those are, at their paths in the repository.

    Returns
    -------
    str
        SHA-256, in hex, over their names and contents.

    Raises
    ------
    CairnError
        Where one is missing.
    """
    return _hash_files({name: folder / name for name in map(entry_name, files)})


def hash_tree(root: Path, files: Iterable[Path]) -> str:
    """Hash as `hash_entry` the model's files at their paths below the top of a repository."""
    return _hash_files({entry_name(path): root / path for path in files})


def _hash_files(paths: Mapping[str, Path]) -> str:
    return _join_hashes({name: hash_file(path, "sha256") for name, path in paths.items()})


def _join_hashes(hashes: Mapping[str, str]) -> str:
    """Return the SHA-256, in hex, over files' names and their own."""
    lines = (f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class _EntryHashes(NamedTuple):
    """The hashes of an entry's folder: of what serves predictions, and of all files there are."""

    serving: str
    every: str


def _hash_present(folder: Path) -> _EntryHashes:
    """Hash an entry's folder, each file once; raise a CairnError where it cannot serve."""
    names = {entry_name(path): path in SERVING_FILES for path in FILES}
    hashes = {
        name: hash_file(folder / name, "sha256")
        for name, is_serving in names.items()
        if is_serving or (folder / name).is_file()
    }
    serving = {name: digest for name, digest in hashes.items() if names[name]}
    return _EntryHashes(_join_hashes(serving), _join_hashes(hashes))


def is_model(folder: Path, expected: str) -> bool:
    """Tell whether an entry's folder holds the model of a SHA-256, of today's code or of older.

    Older code hashed every file of the model.
    """
    if not all((folder / entry_name(path)).is_file() for path in SERVING_FILES):
        return False
    return expected in _hash_present(folder)


def check_entry(folder: Path, tag: str, chain: Mapping[str, Any]) -> Coverage:
    """Check that an entry's folder holds the model that its tag names.

    Parameters
    ----------
    tag
        NAME:<12 hex of the SHA-256 of what serves predictions>.
    chain
        Where the model comes from, as the metadata of its entry say.

    Raises
    ------
    CairnError
        Where the tag, the SHA-256 in the metadata and the content disagree: which file was
        changed, as far as dvc.lock's MD5s in the metadata tell, what is there and what should be.
    """
    expected = str(chain.get("sha256", ""))
    if tag.partition(":")[2] != expected[:HEX]:
        raise CairnError(
            f"{tag} is no tag of the model in {folder}, whose SHA-256 is {expected or 'unknown'}: "
            "a tag ends with the first 12 digits"
        )
    names = [entry_name(path) for path in SERVING_FILES]
    for name in names:
        if not (folder / name).is_file():
            raise CairnError(f"{tag} is damaged: {folder / name} is missing")
    actual = _hash_present(folder)
    if expected not in actual:
        changed = " and ".join(_list_changed(folder, names, chain) or names)
        raise CairnError(
            f"{tag} is damaged: {changed} in {folder} changed since it was registered; SHA-256 of "
            f"{' and '.join(names)}: {actual.serving}, expected: {expected}"
        )
    others = chain.get("files_sha256")
    return Coverage(tuple(names), actual.every == others if others else None)


def _list_changed(folder: Path, names: Iterable[str], chain: Mapping[str, Any]) -> list[str]:
    """Return the files that have another MD5 than dvc.lock had, by the metadata of their entry."""
    stages: Mapping[str, StageHashes] = chain.get("dvc", {})
    outs = {
        Path(path).name: md5 for stage in stages.values() for path, md5 in stage["outs"].items()
    }
    return [name for name in names if hash_file(folder / name, "md5") != outs.get(name)]


def entry_name(path: Path) -> str:
    """Return the name of a model's file in a flat folder that holds a model.

    >>> entry_name(CARD), entry_name(ONNX)
    ('card.md', 'model.onnx')
    """
    top = EVALUATION_FOLDER if path.is_relative_to(EVALUATION_FOLDER) else MODEL
    return path.relative_to(top).as_posix()


def current_path(path: Path) -> Path:
    """Return where today's code has a file that a commit names.

    >>> current_path(Path("data/model/card.md")).as_posix()
    'data/evaluation/card.md'
    """
    if not path.is_relative_to(MODEL):
        return path
    moved = EVALUATION_FOLDER / path.relative_to(MODEL)
    is_moved = moved in {CARD, EVALUATION, METRICS} or moved.parent == PLOTS
    return moved if is_moved else path


def hash_file(path: Path, algorithm: str) -> str:
    """Return a file's hash in hex; raise a CairnError where there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except FileNotFoundError:
        raise CairnError(
            f"no model: {path} is missing; run `dvc repro` to train one, or `dvc pull` to fetch it"
        ) from None


def trace_new(params: Mapping[str, Any]) -> Provenance:
    """Trace the model that `evaluate` has just described, before that is in dvc.lock.

    Parameters
    ----------
    params
        The blocks of params.yaml that the last two stages read.
    """
    before = {name: stage for name, stage in read_lock().items() if name != "evaluate"}
    return _trace_here(before, {**_params(before), **params})


def trace_locked() -> Provenance:
    """Trace the model of this folder, which must be the one that dvc.lock names.

    Raises
    ------
    CairnError
        Where there is none, or another one.
    """
    stages = read_lock()
    hashes = {path.as_posix(): out["md5"] for path, out in _outs(stages).items()}
    for path in FILES:
        if hashes.get(path.as_posix()) != hash_file(path, "md5"):
            raise CairnError(
                f"{path} is not the one that dvc.lock names: run `dvc checkout` for the model of "
                "this commit, or `dvc repro` to train it again"
            )
    return _trace_here(stages, _params(stages))


def read_lock() -> dict[str, Any]:
    """Read the stages of dvc.lock, by name; none where there is no such file."""
    if not LOCK.is_file():
        return {}
    text = LOCK.read_text(encoding="utf-8", errors="replace")
    if has_conflict(text):
        raise CairnError(
            f"{LOCK} holds both sides of a conflict: resolve the other files first, then "
            f"`{RESTORE}` and `dvc repro`, which rewrites it; then "
            "`git add --update` and `git commit` (in a rebase: `git rebase --continue`)"
        )
    try:
        return parse_lock(text, str(LOCK))
    except CairnError as error:
        raise CairnError(f"{error}; `{RESTORE}` brings back the committed one") from None


def has_conflict(text: str) -> bool:
    """Tell whether git left both sides of a conflict in a text.

    >>> has_conflict("schema: '2.0'")
    False
    """
    return any(line.startswith(MARK) for line in text.splitlines())


def parse_lock(text: str, name: str) -> dict[str, Any]:
    """Parse the text of a dvc.lock into its stages, by name; `name` is what errors call it."""
    # No container has a dvc.lock, nor what reads it.
    from cairn.yaml_text import parse_yaml  # noqa: PLC0415

    try:
        content = parse_yaml(text, name)
        return {str(name): dict(stage) for name, stage in content["stages"].items()}
    except (CairnError, AttributeError, KeyError, TypeError, ValueError):
        raise CairnError(f"{name} is not what DVC wrote") from None


def trace_commit(commit: str, text: str, root: Path) -> Provenance:
    """Trace a commit's model.

    Parameters
    ----------
    commit, text
        The commit and its dvc.lock.
    root
        A folder with the files of its model, `list_files` of its dvc.lock, at their paths of today.
    """
    stages = parse_lock(text, f"the {LOCK} of commit {commit[:7]}")
    origin = ask_git("log", "-1", "--format=%H", commit, "--", str(LOCK))
    commit_of_lock = Commit(origin or "none", dirty=False)
    return _trace(stages, _params(stages), root, list_files(stages), commit_of_lock)


def list_files(stages: Mapping[str, Any]) -> ModelFiles:
    """Return the files of the model that these stages wrote: older code wrote fewer."""
    named = _outs(stages)
    every = tuple(path for path in FILES if path in named)
    if "evaluate" not in stages:
        return ModelFiles(every, every)
    return ModelFiles(tuple(path for path in SERVING_FILES if path in named), every)


def _outs(stages: Mapping[str, Any]) -> dict[Path, Mapping[str, Any]]:
    """Return the entries in dvc.lock of a model's files, by their paths of today."""
    outs = [out for name in WRITERS for out in stages.get(name, {}).get("outs", ())]
    old = "evaluate" not in stages
    return {current_path(Path(out["path"])) if old else Path(out["path"]): out for out in outs}


def _params(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params with which the stages ran, by block."""
    read = (stage.get("params", {}).get(PARAMS, {}) for stage in stages.values())
    return {name: params for blocks in read for name, params in blocks.items()}


def _trace_here(stages: Mapping[str, Any], params: Mapping[str, Any]) -> Provenance:
    """Trace the model in this folder."""
    return _trace(stages, params, Path(), ModelFiles(), find_commit())


def _trace(
    stages: Mapping[str, Any],
    params: Mapping[str, Any],
    root: Path,
    files: ModelFiles,
    commit: Commit,
) -> Provenance:
    """Trace the model whose files are below a folder."""
    return Provenance(
        sha256=hash_tree(root, files.tagged),
        files_sha256=hash_tree(root, files.all),
        dvc={name: _hashes(stage) for name, stage in stages.items()},
        params=params,
        metrics=json.loads((root / METRICS).read_bytes()),
        versions=json.loads((root / ENVIRONMENT).read_bytes()),
        git=commit,
    )


def _hashes(stage: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return what went into a stage and what came out, path → MD5, as dvc.lock has it."""
    return {
        side: {entry["path"]: entry["md5"] for entry in stage.get(side, ())}
        for side in ("deps", "outs")
    }


def find_commit() -> Commit:
    """Find the commit that brought the dvc.lock which is checked out, and if it was changed since.

    Not HEAD: a later commit that leaves dvc.lock alone makes no other model.
    """
    commit = ask_git("log", "-1", "--format=%H", "--", str(LOCK))
    return Commit(commit or "none", dirty=bool(ask_git("status", "--porcelain", str(LOCK))))


def ask_git(*arguments: str) -> str:
    """Ask git; empty outside a repository, without git, or where it has no such thing.

    Raises
    ------
    CairnError
        Where git fails in any other way, as in a repository that belongs to another user.
    """
    # In English, so that its reasons can be told apart.
    english = {**os.environ, "LC_ALL": "C"}
    try:
        result = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, env=english
        )
    except FileNotFoundError:
        return ""
    if result.returncode and not any(reason in result.stderr for reason in NOTHING_THERE):
        raise CairnError(f"git {arguments[0]}: {explain_refusal(result.stderr)}")
    return "" if result.returncode else result.stdout.strip()


def explain_refusal(text: str) -> str:
    """Shorten what git prints where it fails to one line, with the command that helps, if any.

    Examples
    --------
    >>> explain_refusal("fatal: bad object HEAD")
    'fatal: bad object HEAD'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    trust = next((line for line in lines if line.startswith("git config") and TRUST in line), None)
    if trust:
        return (
            "the folder of this repository belongs to another user, so git does not read it; "
            f"if you trust what is in it: `{trust}`"
        )
    return lines[0] if lines else "failed"
