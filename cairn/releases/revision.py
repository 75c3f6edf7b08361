"""Open model and data of any commit from git, DVC's cache or S3, without touching the working tree.

The dvc.lock of the commit lists its files, so older code may have written fewer of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cairn import provenance
from cairn.errors import CairnError
from cairn.releases import bento_store
from cairn.releases.commands import git, git_bytes
from cairn.releases.compat import Cache

ADVICE = (
    "`make store` starts the local store; `dvc push --all-tags` in the clone that made it fills it"
)


class Out(NamedTuple):
    """A file that a stage wrote: its path, its MD5, and its size in bytes."""

    path: Path
    md5: str
    size: int


def read_lock(commit: str) -> str:
    """Read the dvc.lock of a commit."""
    return git("show", f"{commit}:./{provenance.LOCK}")


def _name_lock(commit: str) -> str:
    """Name the dvc.lock of a commit for messages."""
    return f"the {provenance.LOCK} of commit {commit[:7]}"


def list_outs(commit: str) -> dict[Path, Out]:
    """List the outputs of the stages in the dvc.lock of a commit, by the paths of today's code."""
    stages = provenance.parse_lock(read_lock(commit), _name_lock(commit))
    entries = (out for stage in stages.values() for out in stage["outs"])
    outs = (Out(Path(entry["path"]), entry["md5"], entry["size"]) for entry in entries)
    return {provenance.current_path(out.path): out for out in outs}


@contextmanager
def open_files(commit: str, paths: Iterable[Path]) -> Iterator[Path]:
    """Open a folder with files of a commit at their paths of today, until the block ends.

    Raises
    ------
    CairnError
        If the commit has no such file, or neither git, DVC's cache nor its remote has it.
    """
    outs = list_outs(commit)
    missing = [path for path in paths if path not in outs]
    if missing:
        raise CairnError(f"{missing[0]}: the dvc.lock of commit {commit[:7]} names no such file")
    with TemporaryDirectory(prefix="cairn-") as folder:
        targets = {outs[path]: path for path in paths}
        for out, source in _locate(commit, list(targets)).items():
            target = Path(folder, targets[out])
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(out, source, commit, target)
        yield Path(folder)


def _locate(commit: str, outs: list[Out]) -> dict[Out, Path | None]:
    """Locate each file in DVC's cache, fetched if it was missing there; None: git has it."""
    tracked = set(git("ls-tree", "-r", "--name-only", "-z", commit, "data").split("\0"))
    by_dvc = [out for out in outs if out.path.as_posix() not in tracked]
    with Cache.open() as cache:
        paths = {out: cache.locate(out.md5) for out in by_dvc}
        absent = [out for out, path in paths.items() if not path.is_file()]
        if absent:
            _pull(cache, absent, commit)
    missing = next((out for out in absent if not paths[out].is_file()), None)
    if missing:
        reason = _describe_missing(missing, commit)
        raise CairnError(f"{reason}, and the remote does not have it; {ADVICE}")
    return {out: paths.get(out) for out in outs}


def _pull(cache: Cache, absent: list[Out], commit: str) -> None:
    """Fetch files from DVC's remote."""
    try:
        cache.pull([out.md5 for out in absent])
    except Exception as error:  # any kind of remote, any kind of error
        reason = " ".join(str(error).split())
        raise CairnError(f"{_describe_missing(absent[0], commit)}: {reason}; {ADVICE}") from error


def _describe_missing(out: Out, commit: str) -> str:
    return f"{out.path} of commit {commit[:7]} is not in DVC's cache"


def _copy(out: Out, source: Path | None, commit: str, target: Path) -> None:
    """Copy a file, which must be the one that dvc.lock names."""
    if source is None:
        target.write_bytes(git_bytes("show", f"{commit}:./{out.path.as_posix()}"))
    else:
        shutil.copyfile(source, target)
    if provenance.hash_file(target, "md5") != out.md5:
        raise CairnError(
            f"{out.path} of commit {commit[:7]} is damaged: {source or 'git'} is not what dvc.lock "
            "names; delete it and fetch it again"
        )


def fetch(commit: str, *, only_present: bool = False) -> None:
    """Fetch into DVC's cache all files of a commit's dvc.lock, or those in the working tree."""
    outs = list_outs(commit).values()
    _locate(commit, [out for out in outs if out.path.is_file() or not only_present])


class StoredModel(NamedTuple):
    """A commit's model in the BentoML store: its tag, and the SHA-256 of its content."""

    tag: str
    sha256: str


def store_model(commit: str, facts: dict[str, str]) -> StoredModel:
    """Put the model of a commit into the BentoML store, if it is missing there.

    Parameters
    ----------
    facts
        The facts in the tag of its version: if there is a `sha256`, the model must have it.
    """
    text = read_lock(commit)
    paths = provenance.list_files(provenance.parse_lock(text, _name_lock(commit)))
    with open_files(commit, paths.all) as folder:
        chain = provenance.trace_commit(commit, text, folder)
        _check_sha256(chain.sha256, facts)
        return StoredModel(bento_store.register(chain, folder, paths), chain.sha256)


def _check_sha256(sha256: str, facts: dict[str, str]) -> None:
    """Raise a CairnError if the model is not the one that was released."""
    released = facts.get("sha256", sha256)
    if released != sha256:
        raise CairnError(
            f"the model's SHA-256 is {sha256[:12]}…, but that of its version is {released[:12]}…: "
            "git's tag or the repository has changed since"
        )
