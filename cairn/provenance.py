"""Where a model comes from: the chain from git and dvc.lock to the bytes that serve."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cairn.console import CairnError
from cairn.paths import (
    CARD,
    ENVIRONMENT,
    EVALUATION,
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
# What the service reads and the tag is made from. The pickled Pipeline is for people.
FILES = (
    CARD,
    MODEL_CONTRACT,
    ENVIRONMENT,
    EVALUATION,
    METRICS,
    ONNX,
    *(PLOTS / f"{name}.png" for name in PICTURES),
)


def sha256(folder: Path, files: Iterable[Path] = FILES) -> str:
    """SHA-256, in hex, over the names and contents of the model's files in a folder.

    Parameters
    ----------
    files
        Which files those are, as in data/model. Models of older code have fewer.

    Raises
    ------
    CairnError
        Where one is missing.
    """
    whole = hashlib.sha256()
    for name in sorted(map(inside, files)):
        whole.update(f"{digest(folder / name, 'sha256')}  {name}\n".encode())
    return whole.hexdigest()


def inside(path: Path) -> str:
    """The name of a file of data/model in any folder that holds a model."""
    return path.relative_to(MODEL).as_posix()


def digest(path: Path, algorithm: str) -> str:
    """A file's hash in hex; a CairnError where there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except FileNotFoundError:
        raise CairnError(
            f"no model: {path} is missing; run `dvc repro` to train one, or `dvc pull` to fetch it"
        ) from None


def fresh(block: dict[str, Any]) -> dict[str, Any]:
    """The chain of what `train` has just made with this block, before it is in dvc.lock."""
    before = {name: stage for name, stage in lock().items() if name != "train"}
    return _chain(before, {**_params(before), "train": block})


def locked() -> dict[str, Any]:
    """The chain of the model in data/model, which must be the one that dvc.lock names.

    Raises
    ------
    CairnError
        Where there is none, or another one.
    """
    stages = lock()
    named = {out["path"]: out["md5"] for out in stages.get("train", {}).get("outs", ())}
    for path in FILES:
        if named.get(path.as_posix()) != digest(path, "md5"):
            raise CairnError(
                f"{path} is not the one that dvc.lock names: run `dvc checkout` for the model of "
                "this commit, or `dvc repro` to train it anew"
            )
    return _chain(stages, _params(stages))


def lock() -> dict[str, Any]:
    """The stages of dvc.lock, by name; none where there is no such file."""
    if not LOCK.is_file():
        return {}
    text = LOCK.read_text(encoding="utf-8", errors="replace")
    if has_conflict(text):
        raise CairnError(
            f"{LOCK} holds both sides of a conflict: resolve the other files first, then "
            f"`{RESTORE}` and `dvc repro`, which writes it anew; then "
            "`git add --update` and `git commit` (in a rebase: `git rebase --continue`)"
        )
    try:
        return stages_in(text, str(LOCK))
    except CairnError as error:
        raise CairnError(f"{error}; `{RESTORE}` brings back the committed one") from None


def has_conflict(text: str) -> bool:
    """Tell whether git left both sides of a conflict in a text.

    >>> has_conflict("schema: '2.0'")
    False
    """
    return any(line.startswith(MARK) for line in text.splitlines())


def stages_in(text: str, place: str) -> dict[str, Any]:
    """The stages of the text of a dvc.lock, by name; a CairnError names its place if it is none."""
    # No container has a dvc.lock, nor what reads it.
    from cairn.yaml_text import parse_yaml  # noqa: PLC0415

    try:
        content = parse_yaml(text, place)
        return {str(name): dict(stage) for name, stage in content["stages"].items()}
    except (CairnError, AttributeError, KeyError, TypeError, ValueError):
        raise CairnError(f"{place} is not what DVC wrote") from None


def at(commit: str, text: str, folder: Path) -> dict[str, Any]:
    """The chain of a commit's model.

    Parameters
    ----------
    commit, text
        The commit and its dvc.lock.
    folder
        Where the files of its model are, `files_in` its dvc.lock.
    """
    stages = stages_in(text, f"the {LOCK} of commit {commit[:7]}")
    brought = git_says("log", "-1", "--format=%H", commit, "--", str(LOCK))
    chain = _content(stages, _params(stages), folder, files_in(stages))
    return {**chain, "git": {"commit": brought or "none", "dirty": False}}


def files_in(stages: dict[str, Any]) -> tuple[Path, ...]:
    """What the service reads of the model that these stages made: older code made fewer files."""
    named = {out["path"] for out in stages.get("train", {}).get("outs", ())}
    return tuple(path for path in FILES if path.as_posix() in named)


def _params(stages: dict[str, Any]) -> dict[str, Any]:
    """The params with which the stages ran, by block."""
    read = (stage.get("params", {}).get(PARAMS, {}) for stage in stages.values())
    return {name: block for blocks in read for name, block in blocks.items()}


def _chain(stages: dict[str, Any], blocks: dict[str, Any]) -> dict[str, Any]:
    """The chain, as BentoML keeps it and `GET /model` answers it."""
    return {**_content(stages, blocks, MODEL, FILES), "git": git()}


def _content(
    stages: dict[str, Any], blocks: dict[str, Any], folder: Path, files: Iterable[Path]
) -> dict[str, Any]:
    """The chain, but for git, of the model whose files are in a folder."""
    return {
        "sha256": sha256(folder, files),
        "dvc": {name: _hashes(stage) for name, stage in stages.items()},
        "params": blocks,
        "metrics": json.loads((folder / METRICS.name).read_bytes()),
        "versions": json.loads((folder / ENVIRONMENT.name).read_bytes()),
    }


def _hashes(stage: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What went into a stage and what came out, path → MD5, as dvc.lock has it."""
    return {
        side: {entry["path"]: entry["md5"] for entry in stage.get(side, ())}
        for side in ("deps", "outs")
    }


def git() -> dict[str, Any]:
    """The commit that brought the dvc.lock which is checked out, and whether it was changed since.

    Not HEAD: a later commit that leaves dvc.lock alone makes no other model.
    """
    commit = git_says("log", "-1", "--format=%H", "--", str(LOCK))
    return {"commit": commit or "none", "dirty": bool(git_says("status", "--porcelain", str(LOCK)))}


def git_says(*arguments: str) -> str:
    """What git answers; empty outside a repository, without git, or where it has no such thing.

    Raises
    ------
    CairnError
        Where git fails in any other way, as in a repository that belongs to another user.
    """
    # In English, so that its reasons can be told apart.
    english = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, env=english
        )
    except FileNotFoundError:
        return ""
    if done.returncode and not any(reason in done.stderr for reason in NOTHING_THERE):
        raise CairnError(f"git {arguments[0]}: {refusal(done.stderr)}")
    return "" if done.returncode else done.stdout.strip()


def refusal(text: str) -> str:
    """One line of what git says where it fails, with the command that helps where there is one.

    Examples
    --------
    >>> refusal("fatal: bad object HEAD")
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
