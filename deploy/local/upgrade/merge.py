"""A release merged into the user's branch, what is the user's left as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from deploy.local.upgrade.base import find_base, read_tree
from deploy.local.upgrade.errors import UpgradeError
from deploy.local.upgrade.git import git, list_paths, succeeds
from deploy.local.upgrade.ownership import Tree, find_user_paths, is_owned

# A new file of the user's stays where it is, although Cairn's files beside it have moved.
OPTIONS = ("-c", "merge.directoryRenames=false", "-c", "merge.renames=true")
GRAFTS = "refs/cairn-graft/"  # another place than git's own, so that no other command sees them
BASE, THEIRS = 1, 3  # git's stages of a file in a conflict


class Merge(NamedTuple):
    """A merge that is not committed yet.

    Attributes
    ----------
    base
        The commit that the user's branch started from.
    user_paths
        What the release has changed and the user keeps or has deleted; without the files that are
        the user's in any case.
    conflicts
        Files in which both sides changed the same lines.
    """

    base: str
    user_paths: tuple[str, ...]
    conflicts: tuple[str, ...]


def merge(release: str, message: str) -> Merge | None:
    """Merge a release into the branch, up to the commit.

    Parameters
    ----------
    release
        Its commit.
    message
        Of the commit to come.

    Returns
    -------
    Merge or None
        None where the branch holds all of the release: nothing has changed then.

    Raises
    ------
    UpgradeError
        Where git refuses, or nothing tells what the branch started from. Nothing has changed then.
    """
    base, is_natural = find_base(release)
    if base is None:
        raise UpgradeError(
            "this branch shares neither a commit nor a file with any release of Cairn; run this in "
            "a repository that began as one, and see that `git remote get-url upstream` is Cairn's"
        )
    if base == release:
        return None
    ours = read_tree("HEAD")
    with _grafted(None if is_natural else base) as env:
        try:
            git(*OPTIONS, "merge", "--no-ff", "--no-commit", "-m", message, release, env=env)
        except UpgradeError:
            if not is_merging():
                raise
    changed_paths = list_paths("diff", "--name-only", "--no-renames", "-z", "HEAD")
    user_paths = find_user_paths(
        dict.fromkeys(changed_paths), read_tree(base), ours, _deleted_and_moved()
    )
    _restore(user_paths, ours)
    adopted = tuple(path for path in user_paths if not is_owned(path))
    return Merge(base, adopted, list_conflicts())


def is_merging() -> bool:
    """Tell whether a merge waits for its commit."""
    return succeeds("rev-parse", "--quiet", "--verify", "MERGE_HEAD")


def list_conflicts() -> tuple[str, ...]:
    """List the files that a merge has left to the user."""
    return tuple(_conflicts())


def _conflicts() -> dict[str, set[int]]:
    """Return each file in a conflict with the sides of it that there are."""
    sides: dict[str, set[int]] = {}
    for entry in list_paths("ls-files", "--unmerged", "-z"):
        facts, _, path = entry.partition("\t")
        sides.setdefault(path, set()).add(int(facts.split()[2]))
    return sides


def _deleted_and_moved() -> set[str]:
    """Return where the release has put files that the user has deleted."""
    return {path for path, sides in _conflicts().items() if sides == {BASE, THEIRS}}


def _restore(paths: Sequence[str], ours: Tree) -> None:
    """Give files back their content of before the merge, or their absence."""
    there = [path for path in paths if path in ours]
    absent = [path for path in paths if path not in ours]
    literal = {"GIT_LITERAL_PATHSPECS": "1"}
    if there:
        git("checkout", "HEAD", "--", *there, env=literal)
    if absent:
        git("rm", "--force", "--quiet", "--", *absent, env=literal)


@contextmanager
def _grafted(base: str | None) -> Iterator[Mapping[str, str]]:
    """Let git take a commit for a parent of HEAD while the block lasts, in this environment only.

    So git merges three ways although the histories share nothing, or only something older.
    """
    if base is None:
        yield {}
        return
    env = {"GIT_REPLACE_REF_BASE": GRAFTS}
    head, *parents = git("rev-list", "--parents", "--max-count=1", "HEAD").split()
    git("replace", "--force", "--graft", head, *parents, base, env=env)
    try:
        yield env
    finally:
        git("update-ref", "-d", f"{GRAFTS}{head}")


def check_ready(release: str, version: str) -> None:
    """Raise an UpgradeError where the folder is not one that a release can be merged into.

    Parameters
    ----------
    release, version
        Its commit and its tag.
    """
    if git("rev-parse", "--show-prefix"):
        raise UpgradeError("run this at the top of the repository, where the Makefile is")
    if is_merging():
        raise UpgradeError(_going_on(release, version))
    changes = [line[3:] for line in git("status", "--porcelain").splitlines()]
    if changes:
        names = ", ".join(changes[:5]) + (f" and {len(changes) - 5} more" if changes[5:] else "")
        raise UpgradeError(
            f"not committed: {names}; commit or stash them: git stash --include-untracked"
        )
    for field in ("name", "email"):
        if not os.environ.get(f"GIT_COMMITTER_{field.upper()}") and not succeeds(
            "config", "--get", f"user.{field}"
        ):
            raise UpgradeError(
                f"git knows no user.{field}, which a commit needs: git config user.{field} VALUE"
            )


def _going_on(release: str, version: str) -> str:
    """Say how to end the merge that is in progress."""
    if git("rev-parse", "MERGE_HEAD") != release:
        return "another merge is in progress: `git commit` ends it, `git merge --abort` drops it"
    return f"the merge of {version} waits for you\n{describe_conflicts(list_conflicts(), version)}"


def describe_conflicts(conflicts: tuple[str, ...], version: str) -> str:
    """Say which files wait for the user, and the commands that end the merge.

    Examples
    --------
    >>> print(describe_conflicts(("cairn/contract.py",), "v0.2.0"))
    both sides changed the same lines of:
      cairn/contract.py
    edit them, then: git add --update && git commit --no-edit && make upgrade VERSION=v0.2.0
    or cancel the upgrade: git merge --abort
    """
    lines = ["both sides changed the same lines of:"] if conflicts else []
    lines += [f"  {path}" for path in conflicts]
    locks = [path for path in conflicts if path.startswith("requirements")]
    if locks:
        lines.append(
            "the lists of packages are written by `make lock`, once pyproject.toml is resolved; "
            f"before it: git checkout --theirs {' '.join(locks)}"
        )
    first = "edit them, then: git add --update && " if conflicts else "to end it: "
    lines += [
        f"{first}git commit --no-edit && make upgrade VERSION={version}",
        "or cancel the upgrade: git merge --abort",
    ]
    return "\n".join(lines)
