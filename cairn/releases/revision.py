"""The model and the data of any commit, with the working tree untouched: from git, DVC's cache, S3.

The dvc.lock of the commit says what there was, so older code may have made fewer files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo

from cairn import provenance
from cairn.console import CairnError
from cairn.provenance import Provenance
from cairn.releases import bento_store
from cairn.releases.commands import git, git_bytes

ADVICE = (
    "`make store` starts the local store, `dvc push --all-tags` where it was made brings it there"
)


class Out(NamedTuple):
    """A file that a stage made: where, its MD5, and its size in bytes."""

    path: Path
    md5: str
    size: int


def lock(commit: str) -> str:
    """The dvc.lock of a commit."""
    return git("show", f"{commit}:./{provenance.LOCK}")


def _place(commit: str) -> str:
    """What messages call the dvc.lock of a commit."""
    return f"the {provenance.LOCK} of commit {commit[:7]}"


def outs(commit: str) -> dict[Path, Out]:
    """What the stages made that the dvc.lock of a commit names, by the paths of today's code."""
    stages = provenance.parse_lock(lock(commit), _place(commit))
    made = (out for stage in stages.values() for out in stage["outs"])
    found = (Out(Path(out["path"]), out["md5"], out["size"]) for out in made)
    return {provenance.current_path(out.path): out for out in found}


@contextmanager
def files(commit: str, paths: Iterable[Path]) -> Iterator[Path]:
    """A folder that holds files of a commit at their paths of today, until the block ends.

    Raises
    ------
    CairnError
        Where the commit has no such file, or neither git, DVC's cache nor its remote holds it.
    """
    named = outs(commit)
    lacking = [path for path in paths if path not in named]
    if lacking:
        raise CairnError(f"{lacking[0]}: the dvc.lock of commit {commit[:7]} names no such file")
    with TemporaryDirectory(prefix="cairn-") as folder:
        wanted = {named[path]: path for path in paths}
        for out, source in _fetched(commit, list(wanted)).items():
            target = Path(folder, wanted[out])
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(out, source, commit, target)
        yield Path(folder)


def _fetched(commit: str, wanted: list[Out]) -> dict[Out, Path | None]:
    """Where DVC's cache holds each, fetched if it was not there; None: git has it."""
    tracked = set(git("ls-tree", "-r", "--name-only", "-z", commit, "data").split("\0"))
    by_dvc = [out for out in wanted if out.path.as_posix() not in tracked]
    with Repo() as repo:
        found = {out: Path(repo.cache.local.oid_to_path(out.md5)) for out in by_dvc}
        absent = [out for out, path in found.items() if not path.is_file()]
        if absent:
            _pull(repo, absent, commit)
    lost = next((out for out in absent if not found[out].is_file()), None)
    if lost:
        raise CairnError(f"{_lacked(lost, commit)}, and the remote does not have it; {ADVICE}")
    return {out: found.get(out) for out in wanted}


def _pull(repo: Repo, absent: list[Out], commit: str) -> None:
    """Fetch files from DVC's remote, as the configuration says today: the commit's may be old."""
    try:
        repo.cloud.pull([HashInfo("md5", out.md5) for out in absent])
    except Exception as error:  # whatever a remote may raise
        said = " ".join(str(error).split())
        raise CairnError(f"{_lacked(absent[0], commit)}: {said}; {ADVICE}") from error


def _lacked(out: Out, commit: str) -> str:
    return f"{out.path} of commit {commit[:7]} is not in DVC's cache"


def _put(out: Out, source: Path | None, commit: str, target: Path) -> None:
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


def fetch(commit: str, *, there: bool = False) -> None:
    """Have DVC's cache hold all that the dvc.lock of a commit names, or what is there of it."""
    named = outs(commit).values()
    _fetched(commit, [out for out in named if out.path.is_file() or not there])


class Kept(NamedTuple):
    """A commit's model in the BentoML store: its tag, and the SHA-256 of its content."""

    tag: str
    sha256: str


def kept(commit: str, facts: dict[str, str]) -> Kept:
    """Put the model of a commit into the BentoML store, if it lacks it.

    Parameters
    ----------
    facts
        What the tag of its version says: where that names a `sha256`, the model must have it.
    """
    text = lock(commit)
    read = provenance.list_files(provenance.parse_lock(text, _place(commit)))
    with files(commit, read.all) as folder:
        chain = provenance.trace_commit(commit, text, folder)
        _same(chain, facts)
        return Kept(bento_store.register(chain, folder, read), chain.sha256)


def _same(chain: Provenance, facts: dict[str, str]) -> None:
    """Raise a CairnError where the model is not the one that was released."""
    said = facts.get("sha256", chain.sha256)
    if said != chain.sha256:
        raise CairnError(
            f"the model's SHA-256 is {chain.sha256[:12]}…, and its version says {said[:12]}…: "
            "git's tag or the repository was changed since"
        )
