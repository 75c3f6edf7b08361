"""Check the working tree, and switch it to another commit, code and data together."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cairn.errors import CairnError
from cairn.releases.commands import dvc, git

MAX_NAMES = 5  # files that a message names before it counts the rest


def check_clean(reason: str) -> None:
    """Raise a CairnError if git has changes that are not committed.

    Parameters
    ----------
    reason
        Why that matters, for the error.
    """
    changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    if changed:
        names = list_names(changed)
        raise CairnError(f"not committed: {names}; {reason}: commit or stash them")


def check_reproduced() -> None:
    """Raise a CairnError if params, code or data changed since the pipeline ran."""
    changed = json.loads(dvc("status", "--json"))
    if changed:
        raise CairnError(
            f"dvc.lock is not what the stages would write now: {list_names(list(changed))} "
            "changed; run `dvc repro`, commit dvc.lock, then try again"
        )


def check_data() -> None:
    """Raise a CairnError if a data file is not the one that dvc.lock names."""
    status = json.loads(dvc("data", "status", "--json"))
    changed = status.get("uncommitted", {}).get("modified", [])
    if changed:
        raise CairnError(
            f"{list_names(changed)}: not what dvc.lock names, and would be lost: run `dvc repro` "
            "and commit, or `dvc checkout --force`"
        )


def list_names(names: Sequence[str]) -> str:
    """List the first names, and the number of the others.

    >>> list_names(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def describe_unpushed() -> str | None:
    """Describe how to push the data that the remote lacks; None if it lacks none."""
    try:
        new = json.loads(dvc("status", "--cloud", "--json", AWS_MAX_ATTEMPTS="1"))
    except CairnError:
        return "dvc push --all-tags (the remote does not answer now)"
    return f"dvc push --all-tags ({len(new)} files are not in the remote)" if new else None


def get_head() -> str:
    """Return the branch that is checked out, or else the commit."""
    try:
        return git("symbolic-ref", "--quiet", "--short", "HEAD").strip()
    except CairnError:
        return git("rev-parse", "HEAD").strip()


def switch(commit: str, head: str) -> None:
    """Check out a commit and its data; go back to `head` if the data cannot be checked out."""
    git("checkout", "--quiet", "--detach", commit)
    try:
        dvc("checkout")
    except CairnError:
        git("checkout", "--quiet", head)
        dvc("checkout")
        raise
