"""Versions of the model and the stages that hold them: git tags, as GTO writes and reads them.

`NAME@v1.2.3` is a version of NAME, and `NAME#STAGE#7` gives a stage to the version of its commit;
7 counts what was given so far. Whatever clones the repository has the registry.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Literal, NamedTuple

from gto import api
from gto.constants import Action
from gto.exceptions import GTOException
from gto.tag import parse_name
from gto.versions import SemVer
from pydantic import BaseModel, ConfigDict
from scmrepo.exceptions import SCMError

from stages.console import CairnError
from stages.release.commands import git

Bump = Literal["major", "minor", "patch"]
FIRST = "v1.0.0"
ROLLBACK = "rollback"
FIELDS = ("refname:strip=2", "*objectname", "taggerdate:unix", "contents")
_FACT = re.compile(r"^(\w+): (.+)$", re.MULTILINE)


class Tag(NamedTuple):
    """An annotated tag.

    Attributes
    ----------
    name, commit
        Its name, and the commit that it names.
    time
        When it was made, in seconds since 1970.
    message
        The whole of it.
    """

    name: str
    commit: str
    time: int
    message: str

    @property
    def facts(self) -> dict[str, str]:
        """The lines `word: what it is` of the message."""
        return dict(_FACT.findall(self.message))


class Version(NamedTuple):
    """A version of the model, such as v1.2.3, and the tag that says so."""

    number: str
    tag: Tag


class Registry(BaseModel):
    """What is where.

    Attributes
    ----------
    name
        Of the model.
    versions
        All there are, the lowest first.
    held
        Stage → the commits that it was given, those that were rolled back left out; the last one
        has it. None: it was taken away.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    versions: tuple[Version, ...]
    held: dict[str, tuple[str | None, ...]]

    @cached_property
    def _by_commit(self) -> dict[str, Version]:
        return {version.tag.commit: version for version in self.versions}

    def at(self, commit: str | None) -> Version | None:
        """The version of a commit."""
        return self._by_commit.get(commit or "")

    def version(self, number: str | None = None) -> Version:
        """The version of this number, or the newest one."""
        found = {version.number: version for version in self.versions}
        if not found:
            raise CairnError(
                f"there is no version of {self.name}: `make release` makes one, "
                "`git fetch --tags` fetches those of others"
            )
        if number is None:
            return self.versions[-1]
        if number not in found:
            raise CairnError(
                f"VERSION: there is no {number} of {self.name}; there are {', '.join(found)}; "
                "`git fetch --tags` fetches those of others"
            )
        return found[number]

    def holder(self, stage: str) -> Version | None:
        """The version that has a stage now; None: it is free."""
        return self._nth(stage, -1)

    def before(self, stage: str) -> Version | None:
        """The version that had it before the last promotion."""
        return self._nth(stage, -2)

    def _nth(self, stage: str, place: int) -> Version | None:
        commits = self.held.get(stage, ())
        return self.at(commits[place]) if len(commits) >= -place else None

    def in_stage(self, stage: str) -> Version:
        """The version that has a stage; a CairnError where it is free."""
        found = self.holder(stage)
        if found is None:
            there = ", ".join(each for each in self.held if self.holder(each)) or "none"
            raise CairnError(
                f"STAGE: no version of {self.name} is in {stage}; stages in use: {there}; "
                f"`make promote STAGE={stage}` gives it to one"
            )
        return found

    def stages(self, version: Version) -> list[str]:
        """The stages that a version has."""
        return sorted(each for each in self.held if self.holder(each) == version)


def read(name: str) -> Registry:
    """The registry in this repository's tags."""
    return registry(name, tags())


def registry(name: str, found: Iterable[Tag]) -> Registry:
    """The registry in some tags.

    Promotions are taken by their number, not their time: a clock may be wrong. A rollback undoes
    the promotion before it.
    """
    parsed = [(tag, parse_name(tag.name, raise_on_fail=False)) for tag in found]
    own = [(tag, said) for tag, said in parsed if said.get("name") == name]
    gone = {said["version"] for _, said in own if said["action"] == Action.DEREGISTER}
    versions = [
        Version(said["version"], tag)
        for tag, said in own
        if said["action"] == Action.REGISTER and said["version"] not in gone
    ]
    moves = [(tag, said) for tag, said in own if "stage" in said]
    held: dict[str, tuple[str | None, ...]] = {}
    for tag, said in sorted(moves, key=lambda move: move[1].get("counter", 0)):
        stage = said["stage"]
        commit = tag.commit if said["action"] == Action.ASSIGN else None
        held[stage] = _after(held.get(stage, ()), commit, undone=_undoes(tag))
    ordered = sorted(versions, key=lambda version: SemVer(version.number))
    return Registry(name=name, versions=tuple(ordered), held=held)


def _undoes(tag: Tag) -> bool:
    return tag.facts.get("action") == ROLLBACK


def _after(
    commits: tuple[str | None, ...], commit: str | None, *, undone: bool
) -> tuple[str | None, ...]:
    """The commits that a stage was given, after one more."""
    return commits[:-1] if undone and commits[-2:-1] == (commit,) else (*commits, commit)


def tags() -> list[Tag]:
    """The annotated tags of this repository."""
    form = "%00".join(f"%({field})" for field in FIELDS) + "%00"
    said = git("for-each-ref", f"--format={form}", "refs/tags")
    fields = said.split("\0")[:-1]
    rows = zip(*[iter(fields)] * len(FIELDS), strict=True)
    return [
        Tag(name.lstrip("\n"), commit, int(seconds), message)
        for name, commit, seconds, message in rows
        if commit  # of a tag that is not annotated there is none
    ]


def next_number(registry: Registry, bump: Bump = "patch") -> str:
    """The number after the highest one.

    >>> next_number(Registry(name="m", versions=(), held={}))
    'v1.0.0'
    """
    if not registry.versions:
        return FIRST
    last = SemVer(registry.versions[-1].number)
    return str(getattr(last, f"bump_{bump}")().version)


def is_number(text: str) -> bool:
    """Whether it is v and a semantic version."""
    return bool(SemVer.is_valid(text))  # type: ignore[no-untyped-call]


def add_version(name: str, number: str, message: str) -> str:
    """Give the current commit a version, and return the tag that says so."""
    return _told(lambda: api.register(".", name, "HEAD", version=number, message=message))


def give(name: str, stage: str, version: Version, message: str) -> str:
    """Give a stage to a version, and return the tag that says so.

    GTO orders what it finds by the second: a tag is never made in that of another one.
    """
    latest = max(tag.time for tag in tags())
    while int(time.time()) == latest:
        time.sleep(0.05)
    number = version.number
    return _told(lambda: api.assign(".", name, stage, version=number, message=message, force=True))


def check_identity() -> None:
    """Raise a CairnError if git does not know in whose name a tag is written."""
    for field in ("name", "email"):
        if not os.environ.get(f"GIT_COMMITTER_{field.upper()}") and not _setting(f"user.{field}"):
            raise CairnError(
                f"git knows no user.{field}, and each version is a tag with a name and an address: "
                '`git config --global user.name "Your Name"` and '
                "`git config --global user.email you@example.org`, then again"
            )


def _setting(name: str) -> str:
    """A setting of git's; empty where there is none."""
    return git("config", "--default", "", "--get", name).strip()


def _told(write: Callable[[], Any]) -> str:
    """The name of the tag that GTO writes; a CairnError where it does not."""
    try:
        return str(write().tag)
    except (GTOException, SCMError) as error:
        raise CairnError(" ".join(str(error).split())) from None
