"""Read and write versions of the model and their stages: git tags, as GTO has them.

`NAME@v1.2.3` is a version of NAME, and `NAME#STAGE#7` assigns a stage to the version of its commit;
7 counts the assignments. Each clone of the repository has the registry. If a commit has several
versions, which GTO itself refuses to read, the first line of the tag's message names the version.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from cairn.errors import CairnError
from cairn.releases import compat
from cairn.releases.commands import git
from cairn.releases.compat import SemVer, TagName

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
        Its name, and its commit.
    time
        When it was written, in seconds since 1970.
    message
        All of its lines.
    """

    name: str
    commit: str
    time: int
    message: str

    @property
    def facts(self) -> dict[str, str]:
        """The lines `word: value` of the message."""
        return dict(_FACT.findall(self.message))

    def read_number(self, name: str, stage: str) -> str | None:
        """Read the version of a model that the message assigns a stage to; None: it names none."""
        head, _, _ = self.message.partition("\n")
        prefix = f"{stage}: {name} "
        return head.removeprefix(prefix).strip() if head.startswith(prefix) else None


class Version(NamedTuple):
    """A version of the model, such as v1.2.3, and its tag."""

    number: str
    tag: Tag


class Assignment(NamedTuple):
    """The version that a stage was assigned to.

    Attributes
    ----------
    commit
        None: the stage was removed from its version.
    number
        The version; None: the tag names none.
    """

    commit: str | None
    number: str | None


class Registry(BaseModel):
    """The versions of a model, and their stages.

    Attributes
    ----------
    name
        Name of the model.
    versions
        All versions, the lowest first.
    assignments
        Stage → its assignments but those that were rolled back; the last one holds.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    versions: tuple[Version, ...]
    assignments: dict[str, tuple[Assignment, ...]]

    def find(self, commit: str | None, number: str | None = None) -> Version | None:
        """Find the version of a commit; of several, the one of that number, else the highest."""
        here = [version for version in self.versions if version.tag.commit == commit]
        named = [version for version in here if version.number == number]
        return next(reversed(named or here), None)

    def get_version(self, number: str | None = None) -> Version:
        """Get the version of this number, or the newest one."""
        by_number = {version.number: version for version in self.versions}
        if not by_number:
            raise CairnError(
                f"{self.name} has no version; `make release` creates one, `git fetch --tags` "
                "fetches those of others"
            )
        if number is None:
            return self.versions[-1]
        if number not in by_number:
            raise CairnError(
                f"VERSION: {self.name} has no version {quote(number)}; its versions are "
                f"{', '.join(by_number)}; `git fetch --tags` fetches those of others"
            )
        return by_number[number]

    def find_holder(self, stage: str) -> Version | None:
        """Find the version that is in a stage; None: the stage is free."""
        return self._nth(stage, -1)

    def find_previous(self, stage: str) -> Version | None:
        """Find the version that was in a stage before the last promotion."""
        return self._nth(stage, -2)

    def _nth(self, stage: str, index: int) -> Version | None:
        assignments = self.assignments.get(stage, ())
        return self.find(*assignments[index]) if len(assignments) >= -index else None

    def require_holder(self, stage: str) -> Version:
        """Get the version that is in a stage; raise a CairnError if the stage is free."""
        version = self.find_holder(stage)
        if version is None:
            used = ", ".join(each for each in self.assignments if self.find_holder(each)) or "none"
            raise CairnError(
                f"STAGE: no version of {self.name} is in {stage}; stages in use: {used}; "
                f"`make promote STAGE={stage}` puts one there"
            )
        return version

    def list_stages(self, version: Version) -> list[str]:
        """List the stages of a version."""
        return sorted(each for each in self.assignments if self.find_holder(each) == version)


def read_registry(name: str) -> Registry:
    """Read the registry of a model from this repository's tags."""
    return build_registry(name, list_tags())


def build_registry(name: str, tags: Iterable[Tag]) -> Registry:
    """Build the registry of a model from tags.

    Promotions count in the order of their numbers, not of their times: a clock may be wrong. A
    rollback undoes the promotion before it.
    """
    parsed = [(tag, compat.parse_tag(tag.name)) for tag in tags]
    own = [(tag, parts) for tag, parts in parsed if parts is not None and parts.model == name]
    deleted = {parts.version for _, parts in own if parts.action == "deregister"}
    versions = [
        Version(parts.version, tag)
        for tag, parts in own
        if parts.action == "register" and parts.version and parts.version not in deleted
    ]
    assignments: dict[str, tuple[Assignment, ...]] = {}
    for tag, parts in sorted(own, key=lambda pair: pair[1].counter):
        if parts.stage:
            before = assignments.get(parts.stage, ())
            new = _read_assignment(tag, parts)
            assignments[parts.stage] = _append(before, new, is_rollback=_is_rollback(tag))
    ordered = sorted(versions, key=lambda version: SemVer(version.number))
    return Registry(name=name, versions=tuple(ordered), assignments=assignments)


def _read_assignment(tag: Tag, parts: TagName) -> Assignment:
    if parts.action != "assign" or parts.stage is None:
        return Assignment(None, None)
    return Assignment(tag.commit, tag.read_number(parts.model, parts.stage))


def _is_rollback(tag: Tag) -> bool:
    return tag.facts.get("action") == ROLLBACK


def _append(
    assignments: tuple[Assignment, ...], new: Assignment, *, is_rollback: bool
) -> tuple[Assignment, ...]:
    """Add an assignment; a rollback removes the last one instead."""
    previous = [each.commit for each in assignments[-2:-1]]
    return assignments[:-1] if is_rollback and previous == [new.commit] else (*assignments, new)


def list_tags() -> list[Tag]:
    """List the annotated tags of this repository."""
    form = "%00".join(f"%({field})" for field in FIELDS) + "%00"
    fields = git("for-each-ref", f"--format={form}", "refs/tags").split("\0")[:-1]
    rows = zip(*[iter(fields)] * len(FIELDS), strict=True)
    return [
        Tag(name.lstrip("\n"), commit, int(seconds), message)
        for name, commit, seconds, message in rows
        if commit  # a tag without annotation has none here
    ]


def compute_next_number(registry: Registry, bump: Bump = "patch") -> str:
    """Compute the number after the highest one.

    >>> compute_next_number(Registry(name="m", versions=(), assignments={}))
    'v1.0.0'
    """
    if not registry.versions:
        return FIRST
    last = SemVer(registry.versions[-1].number)
    return str(getattr(last, f"bump_{bump}")().version)


def quote(text: str) -> str:
    r"""Quote what somebody typed for a message: on one line, and cut if it is long.

    >>> quote("a\nb")
    "'a\\nb'"
    """
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def is_version(text: str) -> bool:
    """Tell whether a text is v and a semantic version, and short enough for a tag's name."""
    return len(text) <= LONGEST and bool(SemVer.is_valid(text))  # type: ignore[no-untyped-call]


def add_version(name: str, number: str, message: str) -> str:
    """Tag the current commit as a version; return the name of the tag."""
    return _write_tag(compat.name_version(name, number), "HEAD", message)


def assign_stage(name: str, stage: str, version: Version, message: str) -> str:
    """Assign a stage to a version by a tag; return the name of the tag.

    GTO orders tags by the second, so no two tags are written in the same second.
    """
    tags = list_tags()
    latest = max(tag.time for tag in tags)
    while int(time.time()) == latest:
        time.sleep(0.05)
    parsed = (compat.parse_tag(tag.name) for tag in tags)
    count = 1 + max((each.counter for each in parsed if each and each.model == name), default=0)
    return _write_tag(compat.name_stage(name, stage, count), version.tag.commit, message)


def _write_tag(tag: str, commit: str, message: str) -> str:
    """Write an annotated tag by git, and return its name.

    GTO's own function reads all of the registry, and fails after writing if any commit has two
    versions.

    Raises
    ------
    CairnError
        If GTO would not read that name, or git does not take it.
    """
    if compat.parse_tag(tag) is None:
        raise CairnError(f"GTO cannot read {tag!r} as a tag; {NAMES}")
    git("tag", "--annotate", "--cleanup=verbatim", f"--message={message}", tag, commit)
    return tag


def is_stage_name(text: str) -> bool:
    """Tell whether a text can name a stage.

    >>> [is_stage_name(text) for text in ("prod", "pre-prod", "a b", "a" * 300)]
    [True, True, False, False]
    """
    return len(text) <= LONGEST and compat.is_name(text) and "//" not in text


def check_identity() -> None:
    """Raise a CairnError if git does not know the name or address of who writes a tag."""
    for field in ("name", "email"):
        if not os.environ.get(f"GIT_COMMITTER_{field.upper()}") and not _read_setting(
            f"user.{field}"
        ):
            raise CairnError(
                f"git has no user.{field}, and a version is a tag with a name and an address; run "
                '`git config --global user.name "Your Name"` and '
                "`git config --global user.email you@example.org`, then try again"
            )


def _read_setting(name: str) -> str:
    """Read a setting of git; empty if there is none."""
    return git("config", "--default", "", "--get", name).strip()
