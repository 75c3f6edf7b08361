"""release: versions of the model, which of them is where, and how each comes back.

`make release`, `promote`, `rollback`, `releases`, `checkout` and `serve STAGE=…` call it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import get_args

from cairn import console, provenance
from cairn.console import CairnError, patience, say
from cairn.params.base import read_params
from cairn.params.gates import Gates
from cairn.params.train import Train
from cairn.paths import METRICS
from cairn.releases import bento_store, commands, revision, versions
from cairn.releases.commands import dvc, git
from cairn.releases.text import NONE, table
from cairn.releases.versions import ROLLBACK, Bump, Registry, Version, shown

HEADLINES = ("accuracy", "roc_auc", "log_loss")
HEAD = ("version", "stages", "model", "date", "commit", *HEADLINES)
SHORT = 7  # digits of a commit
SHOWN = 5  # files that are named before the rest is counted


def main() -> None:
    """Do what the command line says."""
    told = _parser().parse_args()
    commands: dict[str, Callable[[], None]] = {
        "register": lambda: release(told.version, told.bump),
        "promote": lambda: promote(_stage(told.stage), told.version, told.force),
        "rollback": lambda: rollback(_stage(told.stage)),
        "show": lambda: print(listed(_registry())),
        "tag": lambda: print(served(_stage(told.stage))),
        "checkout": lambda: checkout(told.version),
    }
    commands[told.command]()


def _parser() -> argparse.ArgumentParser:
    """The command line; make gives an empty text for what it was not told."""
    parser = argparse.ArgumentParser(prog="python -m cairn.releases", description=__doc__)
    names = ("register", "promote", "rollback", "show", "tag", "checkout")
    parser.add_argument("command", choices=names)
    for name in ("stage", "version", "bump", "force"):
        parser.add_argument(f"--{name}", type=lambda text: text.strip() or None)
    return parser


def _stage(given: str | None) -> str:
    """The stage that was named; a CairnError where none was, or none can have that name."""
    if given is None:
        raise CairnError("STAGE: say which, such as STAGE=prod; `make releases` lists those in use")
    if not versions.is_stage(given):
        raise CairnError(f"STAGE: got {shown(given)}; {versions.NAMES}")
    return given


def _registry() -> Registry:
    """The registry of the model that params.yaml names."""
    return versions.read(read_params(Train).name)


def release(number: str | None = None, bump: str | None = None) -> None:
    """Give the current commit a version: an annotated tag that names its model.

    Raises
    ------
    CairnError
        Where the working tree, its data or its model are not those of the commit, or it has a
        version already.
    """
    versions.check_identity()
    found, commit = _registry(), git("rev-parse", "HEAD").strip()
    _clean("a version is of a commit")
    there = found.at(commit)
    if there:
        raise CairnError(f"commit {commit[:SHORT]} is {there.number} of {found.name} already")
    wanted = _number(found, number, bump)
    chain = provenance.trace_locked()
    _reproduced()
    tag = bento_store.register(chain)
    message = f"{found.name} {wanted}\n\nmodel: {tag}\nsha256: {chain.sha256}\n"
    written = versions.add_version(found.name, wanted, message)
    say(f"release: commit {commit[:SHORT]} is {found.name} {wanted}, its model {tag}")
    for advice in (_unpushed(), f"git push origin '{written}'"):
        if advice:
            say(f"release: for others: {advice}")


def _number(found: Registry, number: str | None, bump: str | None) -> str:
    """The number of the new version."""
    if number and bump:
        raise CairnError("VERSION, BUMP: one or the other")
    if bump is not None and bump not in get_args(Bump):
        raise CairnError(f"BUMP: got {shown(bump)}; allowed: {', '.join(get_args(Bump))}")
    if number is None:
        return versions.next_number(found, bump or "patch")  # type: ignore[arg-type]
    if not versions.is_number(number):
        raise CairnError(
            f"VERSION: got {shown(number)}; allowed: v and three numbers, such as v1.2.3, up to "
            f"{versions.LONGEST} characters"
        )
    taken = next((each for each in found.versions if each.number == number), None)
    if taken:
        raise CairnError(f"VERSION: {number} is commit {taken.tag.commit[:SHORT]} already")
    return number


def _clean(why: str) -> None:
    """Raise a CairnError where git has changes that are not committed."""
    changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    if changed:
        raise CairnError(f"not committed: {_some(changed)}; {why}: commit them, or put them away")


def _some(names: Sequence[str]) -> str:
    """The first names of some, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _reproduced() -> None:
    """Raise a CairnError where params, code or data changed since the pipeline ran."""
    changed = json.loads(dvc("status", "--json"))
    if changed:
        raise CairnError(
            f"dvc.lock is not what the stages would make now: {_some(list(changed))} changed; run "
            "`dvc repro`, commit dvc.lock, then again"
        )


def _unpushed() -> str | None:
    """What to do so that others find the data; None where all is in the remote."""
    try:
        new = json.loads(dvc("status", "--cloud", "--json", AWS_MAX_ATTEMPTS="1"))
    except CairnError:
        return "dvc push --all-tags (the remote does not answer now)"
    return f"dvc push --all-tags ({len(new)} files are not in the remote)" if new else None


def promote(stage: str, number: str | None = None, force: str | None = None) -> None:
    """Give a stage to a version, the newest unless one is named, if it passes the gates.

    Parameters
    ----------
    force
        Why it is to have the stage although it does not; kept in the tag.

    Raises
    ------
    CairnError
        Where a gate failed, with by how much; nothing was changed then.
    """
    # The libraries that compare models take longer to import than other commands take.
    from cairn.releases import gates, promotion  # noqa: PLC0415

    versions.check_identity()
    found = _registry()
    version, holder = found.version(number), found.holder(stage)
    if version == holder:
        say(f"promote: {version.number} is in {stage} already")
        return
    tried = promotion.judged(version, holder, read_params(Gates))
    text = f"{gates.report(tried.gates)}\n{tried.note}".strip()
    print(text, flush=True)
    failed = gates.failures(tried.gates)
    if failed and not force:
        raise CairnError(
            f"{version.number} does not become {stage}, nothing was changed: {'; '.join(failed)}. "
            'FORCE="why" promotes it all the same, and is kept in the tag'
        )
    kept = revision.kept(version.tag.commit, version.tag.facts)
    forced = f"forced: {' '.join(force.split())}\n" if force and failed else ""
    before = f"before: {holder.number}\n" if holder else ""
    head = f"{stage}: {found.name} {version.number}\n\naction: promote\n"
    message = f"{head}{before}{forced}model: {kept.tag}\nsha256: {kept.sha256}\n\n{text}\n"
    _give("promote", found.name, stage, version, message)


def _give(command: str, name: str, stage: str, version: Version, message: str) -> None:
    """Give a stage to a version, and say so."""
    written = versions.give(name, stage, version, message)
    say(f"{command}: {name} {version.number} is in {stage}")
    say(f"{command}: for others: dvc push --all-tags; git push origin '{written}'")


def rollback(stage: str) -> None:
    """Undo the last promotion that still counts: the stage goes to the version before.

    Raises
    ------
    CairnError
        Where there was none before.
    """
    versions.check_identity()
    found = _registry()
    if stage not in found.held:
        found.in_stage(stage)
    now, before = found.holder(stage), found.before(stage)
    if before is None:
        held = now.number if now else "nothing"
        raise CairnError(f"no version was in {stage} before {held}; promote one: `make promote`")
    was = now.number if now else "none"
    message = f"{stage}: {found.name} {before.number}\n\naction: {ROLLBACK}\nbefore: {was}\n"
    _give("rollback", found.name, stage, before, message)


def listed(found: Registry) -> str:
    """The versions, newest first, with their stages, models and scores."""
    found.version()  # there is one
    return table(HEAD, [_listed(found, version) for version in reversed(found.versions)])


def _listed(found: Registry, version: Version) -> list[str]:
    tag = version.tag
    scores = _scores(tag.commit)
    date = datetime.fromtimestamp(tag.time, UTC).strftime("%Y-%m-%d")
    shown = [f"{scores[name]:.4f}" if name in scores else NONE for name in HEADLINES]
    stages = ", ".join(found.stages(version)) or NONE
    model = tag.facts.get("model", NONE)
    return [version.number, stages, model, date, tag.commit[:SHORT], *shown]


def _scores(commit: str) -> dict[str, float]:
    """The scores on the test rows that a commit has; none where it has no such file."""
    try:
        return dict(json.loads(git("show", f"{commit}:./{METRICS.as_posix()}"))["test"])
    except CairnError:
        return {}


def served(stage: str) -> str:
    """The tag of the model that is in a stage, which the BentoML store then has."""
    found = _registry()
    version = found.in_stage(stage)
    kept = revision.kept(version.tag.commit, version.tag.facts)
    print(f"serve: {stage} is {found.name} {version.number}, {kept.tag}", file=sys.stderr)
    return kept.tag


def checkout(number: str | None) -> None:
    """Bring code, data and model of a version back together.

    Raises
    ------
    CairnError
        Where something would be lost, or is nowhere to be had; nothing was changed then.
    """
    found = _registry()
    if number is None:
        raise CairnError("VERSION: say which, such as VERSION=v1.0.0; `make releases` lists them")
    version = found.version(number)
    _clean("they would be lost")
    _data_kept()
    with patience("checkout: fetching data"):
        revision.fetch("HEAD", there=True)  # DVC removes no file that its cache lacks
        revision.fetch(version.tag.commit)
    here = _here()
    _switch(version.tag.commit, here)
    print(commands.stage("register"), end="", flush=True)
    say(f"checkout: code, data and model are those of {found.name} {number}")
    say(f"checkout: to go back: git checkout {here} && dvc checkout")


def _data_kept() -> None:
    """Raise a CairnError where a data file is not the one that dvc.lock names."""
    said = json.loads(dvc("data", "status", "--json"))
    changed = said.get("uncommitted", {}).get("modified", [])
    if changed:
        raise CairnError(
            f"{_some(changed)}: not what dvc.lock names, and would be lost: `dvc repro` and "
            "commit, or `dvc checkout --force`"
        )


def _here() -> str:
    """The branch that is checked out, or else the commit."""
    try:
        return git("symbolic-ref", "--quiet", "--short", "HEAD").strip()
    except CairnError:
        return git("rev-parse", "HEAD").strip()


def _switch(commit: str, here: str) -> None:
    """Check out a commit and its data; go back where the data does not come."""
    git("checkout", "--quiet", "--detach", commit)
    try:
        dvc("checkout")
    except CairnError:
        git("checkout", "--quiet", here)
        dvc("checkout")
        raise


if __name__ == "__main__":
    console.run(main)
