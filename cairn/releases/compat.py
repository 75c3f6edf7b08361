"""Internal parts of DVC and GTO that releases need: neither documents a Python API for them.

Each function says why. `tests/cairn/releases/test_compat.py` fails when a library moves one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo
from gto.constants import Action, name_re
from gto.tag import name_tag, parse_name
from gto.versions import SemVer

__all__ = ["Cache", "SemVer", "TagName", "is_name", "name_stage", "name_version", "parse_tag"]

# The versions whose source was read for this module.
DVC = ">=3.67,<3.68"
GTO = ">=1.10,<1.11"


class TagName(NamedTuple):
    """What GTO reads from the name of a tag.

    Attributes
    ----------
    action
        What the tag does.
    counter
        The number of an assignment; 0: none.
    """

    action: Literal["register", "deregister", "assign", "unassign"]
    model: str
    version: str | None
    stage: str | None
    counter: int


_ACTIONS: dict[Action, Literal["register", "deregister", "assign", "unassign"]] = {
    Action.REGISTER: "register",
    Action.DEREGISTER: "deregister",
    Action.ASSIGN: "assign",
    Action.UNASSIGN: "unassign",
}


def parse_tag(name: str) -> TagName | None:
    """Parse the name of a tag; None if it is no tag of GTO.

    GTO's documented API reads all tags of a repository at once, and fails on some of them.
    """
    parts = parse_name(name, raise_on_fail=False)
    action = _ACTIONS.get(parts.get("action"))
    if action is None:
        return None
    return TagName(
        action, parts["name"], parts.get("version"), parts.get("stage"), parts.get("counter") or 0
    )


def name_version(model: str, number: str) -> str:
    """Name the tag of a version."""
    return str(name_tag(Action.REGISTER, model, version=number, simple=True))


def name_stage(model: str, stage: str, count: int) -> str:
    """Name the tag of the assignment of a stage."""
    return f"{name_tag(Action.ASSIGN, model, stage=stage, simple=True)}#{count}"


def is_name(text: str) -> bool:
    """Tell whether GTO takes a text as the name of a model or a stage."""
    return bool(name_re.fullmatch(text))


class Cache:
    """DVC's cache of the current repository, by MD5.

    `dvc.api` opens files of a revision by the configuration of that revision, whose remote may be
    gone since; this one uses today's.
    """

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Cache]:
        """Open the cache of the repository in the current folder."""
        with Repo() as repo:
            yield cls(repo)

    def locate(self, md5: str) -> Path:
        """Return where the cache keeps a file, present or not."""
        return Path(self._repo.cache.local.oid_to_path(md5))

    def pull(self, md5s: Iterable[str]) -> None:
        """Fetch files from the remote into the cache; raises whatever the remote raises."""
        self._repo.cloud.pull([HashInfo("md5", md5) for md5 in md5s])
