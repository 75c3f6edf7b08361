"""Whose each file is: the user's, which no release overwrites, or Cairn's, which is merged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatch

# A name, or what a folder's paths begin with. These are the user's from the first day, even where
# they still are as Cairn ships them: a new default must not change somebody's model.
OWNED = (
    "params.yaml",
    "dvc.lock",
    "data/",
    "stages/engineering.py",
    "deploy/ec2/parameters.json",
    "deploy/k8s/overlays/",
)
# The user's once they have changed it; until then Cairn's.
ADOPTED = (".dvc/config", "LICENSE", "*.md")

Tree = Mapping[str, str]  # path → hash of its content


def is_owned(path: str) -> bool:
    """Tell whether a file is the user's.

    >>> is_owned("data/raw/.gitignore"), is_owned("params.yaml"), is_owned("params.yaml.orig")
    (True, True, False)
    """
    return any(path.startswith(own) if own.endswith("/") else path == own for own in OWNED)


def is_adoptable(path: str) -> bool:
    """Tell whether a file is the user's once they have changed it.

    >>> is_adoptable("README.md"), is_adoptable("docs/upgrade.md")
    (True, False)
    """
    return any(fnmatch(path, name) and path.count("/") == name.count("/") for name in ADOPTED)


def find_user_paths(
    changed_paths: Iterable[str], base: Tree, ours: Tree, deleted_paths: Collection[str] = ()
) -> list[str]:
    """Select what a merge changed and the user keeps, as it is or as deleted.

    Parameters
    ----------
    changed_paths
        Paths in which the result of the merge differs from the user's side.
    base, ours
        The files of the release that the user started from, and the user's.
    deleted_paths
        Paths of files that the user has deleted and the release has moved.

    Returns
    -------
    list of str
        Those of the user's own files, of the adopted ones, and of what they have deleted: a file,
        or a folder at the top of the repository with all that the release adds to it.

    Examples
    --------
    >>> base = {"README.md": "a", "params.yaml": "b", "bench/scale.py": "c", "dvc.yaml": "d"}
    >>> ours = {"README.md": "mine", "params.yaml": "b", "dvc.yaml": "mine"}
    >>> find_user_paths([*base, "bench/new.py", "docs/new.md"], base, ours)
    ['README.md', 'params.yaml', 'bench/scale.py', 'bench/new.py']
    """
    deleted = _folders(base) - _folders(ours)
    return [
        path
        for path in changed_paths
        if is_owned(path)
        or path in deleted_paths
        or (path in base and path not in ours)
        or (path not in ours and path.partition("/")[0] in deleted)
        or (is_adoptable(path) and base.get(path) != ours.get(path))
    ]


def _folders(tree: Tree) -> set[str]:
    """Return the folders at the top."""
    return {path.partition("/")[0] for path in tree if "/" in path}
