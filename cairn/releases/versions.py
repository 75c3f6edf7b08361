"""Versions of the model and the stages that hold them: git tags, as GTO writes and reads them.

`NAME@v1.2.3` is a version of NAME, and `NAME#STAGE#7` gives a stage to the version of its commit;
7 counts what was given so far. Whatever clones the repository has the registry. Where a commit has
several versions, which GTO itself refuses to read, the first line of the message says which one.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from gto.constants import Action, name_re
from gto.tag import name_tag, parse_name
from gto.versions import SemVer
from pydantic import BaseModel, ConfigDict

from cairn.console import CairnError
from cairn.releases.commands import git

Bump = Literal["major", "minor", "patch"]
FIRST = "v1.0.0"
ROLLBACK = "rollback"
LONGEST = 63  # characters of a stage or a version: git makes a file of that name
NAMES = f"allowed: letters, digits, _, - and /, a letter or digit first and last, up to {LONGEST}"
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

    def number(self, name: str, stage: str) -> str | None:
        """The version of a model that the message gives a stage to; None where it names none."""
        head, _, _ = self.message.partition("\n")
        before = f"{stage}: {name} "
        return head.removeprefix(before).strip() if head.startswith(before) else None


class Version(NamedTuple):
    """A version of the model, such as v1.2.3, and the tag that says so."""

    number: str
    tag: Tag


class Move(NamedTuple):
    """What a stage was given to.

    Attributes
    ----------
    commit
        None: it was taken away.
    number
        The version; None where the tag names none.
    """

    commit: str | None
    number: str | None


class Registry(BaseModel):
    """What is where.

    Attributes
    ----------
    name
        Of the model.
    versions
        All there are, the lowest first.
    held
        Stage → what it was given to, what was rolled back left out; the last one has it.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    versions: tuple[Version, ...]
    held: dict[str, tuple[Move, ...]]

    def at(self, commit: str | None, number: str | None = None) -> Version | None:
        """The version of a commit; of several, the one of that number, or else the highest."""
        here = [version for version in self.versions if version.tag.commit == commit]
        named = [version for version in here if version.number == number]
        return next(reversed(named or here), None)

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
            there = ", ".join(found)
            raise CairnError(
                f"VERSION: there is no {shown(number)} of {self.name}; there are {there}; "
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
        moves = self.held.get(stage, ())
        return self.at(*moves[place]) if len(moves) >= -place else None

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
    parsed = [(tag, _parsed(tag)) for tag in found]
    own = [(tag, said) for tag, said in parsed if said.get("name") == name]
    gone = {said["version"] for _, said in own if said["action"] == Action.DEREGISTER}
    versions = [
        Version(said["version"], tag)
        for tag, said in own
        if said["action"] == Action.REGISTER and said["version"] not in gone
    ]
    moves = [(tag, said) for tag, said in own if "stage" in said]
    held: dict[str, tuple[Move, ...]] = {}
    for tag, said in sorted(moves, key=lambda move: move[1].get("counter", 0)):
        stage = said["stage"]
        given = said["action"] == Action.ASSIGN
        new = Move(tag.commit, tag.number(name, stage)) if given else Move(None, None)
        held[stage] = _after(held.get(stage, ()), new, undone=_undoes(tag))
    ordered = sorted(versions, key=lambda version: SemVer(version.number))
    return Registry(name=name, versions=tuple(ordered), held=held)


def _undoes(tag: Tag) -> bool:
    return tag.facts.get("action") == ROLLBACK


def _after(moves: tuple[Move, ...], new: Move, *, undone: bool) -> tuple[Move, ...]:
    """What a stage was given to, after one more."""
    before = [move.commit for move in moves[-2:-1]]
    return moves[:-1] if undone and before == [new.commit] else (*moves, new)


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


def shown(text: str) -> str:
    r"""Return what somebody typed as a message has it: on one line, and cut where it is long.

    >>> shown("a\nb")
    "'a\\nb'"
    """
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def is_number(text: str) -> bool:
    """Whether it is v and a semantic version, and no longer than a tag's name may be."""
    return len(text) <= LONGEST and bool(SemVer.is_valid(text))  # type: ignore[no-untyped-call]


def add_version(name: str, number: str, message: str) -> str:
    """Give the current commit a version, and return the tag that says so."""
    tag = name_tag(Action.REGISTER, name, version=number, simple=True)
    return _write(tag, "HEAD", message)


def give(name: str, stage: str, version: Version, message: str) -> str:
    """Give a stage to a version, and return the tag that says so.

    GTO orders what it finds by the second: a tag is never made in that of another one.
    """
    there = tags()
    latest = max(tag.time for tag in there)
    while int(time.time()) == latest:
        time.sleep(0.05)
    own = (said for said in map(_parsed, there) if said.get("name") == name)
    count = 1 + max((said.get("counter", 0) for said in own), default=0)
    tag = name_tag(Action.ASSIGN, name, stage=stage, simple=True)
    return _write(f"{tag}#{count}", version.tag.commit, message)


def _parsed(tag: Tag) -> dict[str, Any]:
    """What GTO reads of a tag's name; nothing where it is none of GTO's."""
    return dict(parse_name(tag.name, raise_on_fail=False))


def _write(tag: str, commit: str, message: str) -> str:
    """Write an annotated tag, and return its name.

    By git, as GTO's own way to write reads the whole registry, and fails, once the tag is written,
    where any commit has two versions.

    Raises
    ------
    CairnError
        Where GTO would not read that name, or git does not take it.
    """
    if not parse_name(tag, raise_on_fail=False):
        raise CairnError(f"{tag!r} is no name of a tag that GTO reads; {NAMES}")
    git("tag", "--annotate", "--cleanup=verbatim", f"--message={message}", tag, commit)
    return tag


def is_stage(text: str) -> bool:
    """Tell whether a text can name a stage.

    >>> is_stage("prod"), is_stage("pre-prod"), is_stage("a b"), is_stage("a" * 300)
    (True, True, False, False)
    """
    return len(text) <= LONGEST and bool(name_re.fullmatch(text)) and "//" not in text


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
