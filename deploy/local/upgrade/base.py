"""The release that the user's branch started from: the base of the three-way merge."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from deploy.local.upgrade.git import git, list_paths, succeeds
from deploy.local.upgrade.ownership import Tree, is_owned

REFS = "refs/cairn"  # where the tags of releases are kept, away from the user's own tags


def choose_base(distances: Mapping[str, int], common: Collection[str]) -> str | None:
    """Choose the commit whose files are the most like the user's.

    Where history was squashed, git's own common ancestor is older than what the branch holds;
    where the repository began from a template, there is none.

    Parameters
    ----------
    distances
        Commit → number of Cairn's files that differ from the user's.
    common
        Those of them that git itself calls common ancestors: of equals they are the base.

    Returns
    -------
    str or None
        None where there is no commit to choose from.

    Examples
    --------
    >>> choose_base({"a": 5, "b": 2, "c": 2}, common=["c"])
    'c'
    """
    return min(
        distances, key=lambda commit: (distances[commit], commit not in common), default=None
    )


def find_base(release: str) -> tuple[str | None, bool]:
    """Find the base for the merge of a release.

    Parameters
    ----------
    release
        Its commit.

    Returns
    -------
    str or None, bool
        The base, and whether git finds it by itself.
    """
    common = _common_ancestors(release)
    candidates = [*common, *_releases_before(release), *([] if common else _templates(release))]
    ours, trees = read_tree("HEAD"), {each: read_tree(each) for each in candidates}
    distances = {
        each: measure_distance(tree, ours) for each, tree in trees.items() if is_akin(tree, ours)
    }
    base = choose_base(distances, common)
    return base, base in common


def read_tree(commit: str) -> Tree:
    """Read which files a commit has: path → hash of its content and mode."""
    entries = (entry.partition("\t") for entry in list_paths("ls-tree", "-r", "-z", commit))
    return {path: facts for facts, _, path in entries}


def is_akin(one: Tree, other: Tree) -> bool:
    """Tell whether two trees share a file, content and all."""
    return not one.items().isdisjoint(other.items())


def measure_distance(one: Tree, other: Tree) -> int:
    """Count the files of Cairn in which two trees differ."""
    paths = one.keys() | other.keys()
    return sum(one.get(path) != other.get(path) for path in paths if not is_owned(path))


def _common_ancestors(release: str) -> Sequence[str]:
    if not succeeds("merge-base", "HEAD", release):
        return []
    return git("merge-base", "--all", "HEAD", release).split()


def _releases_before(release: str) -> list[str]:
    """List the releases that a release rests on, itself among them."""
    names = git("for-each-ref", f"--merged={release}", "--format=%(refname)", REFS).split()
    return [git("rev-parse", f"{name}^{{commit}}") for name in names]


def _templates(release: str) -> list[str]:
    """List the commits of Cairn with which the user's repository began, as a template does."""
    roots = git("rev-list", "--max-parents=0", "HEAD").split()
    trees = {git("rev-parse", f"{root}^{{tree}}") for root in roots}
    commits = (line.split() for line in git("log", "--format=%H %T", release).splitlines())
    return [commit for commit, tree in commits if tree in trees]
