"""Put versions into stages, for `make promote`, `make rollback` and `make serve STAGE=…`."""

from __future__ import annotations

import sys

from cairn.console import say
from cairn.errors import CairnError
from cairn.params.base import read_params
from cairn.params.gates import Gates
from cairn.releases import revision, versions
from cairn.releases.release import read_registry
from cairn.releases.versions import ROLLBACK, Version


def promote(stage: str, number: str | None = None, force: str | None = None) -> None:
    """Assign a stage to a version, by default the newest, if it passes the gates.

    Parameters
    ----------
    force
        Why to promote it although it fails; the tag keeps it.

    Raises
    ------
    CairnError
        If a gate failed, with by how much; nothing has changed then.
    """
    # The libraries that compare models take longer to import than other commands take.
    from cairn.releases import checks, gates  # noqa: PLC0415

    versions.check_identity()
    registry = read_registry()
    version, holder = registry.get_version(number), registry.find_holder(stage)
    if version == holder:
        say(f"promote: {version.number} is already in {stage}")
        return
    results = checks.check_gates(version, holder, read_params(Gates))
    text = f"{gates.format_report(results.gates)}\n{results.note}".strip()
    print(text, flush=True)
    failures = gates.list_failures(results.gates)
    if failures and not force:
        raise CairnError(
            f"{version.number} is not promoted to {stage}, nothing has changed: "
            f"{'; '.join(failures)}. "
            'FORCE="reason" promotes it anyway, and the tag keeps the reason'
        )
    stored = revision.store_model(version.tag.commit, version.tag.facts)
    forced = f"forced: {' '.join(force.split())}\n" if force and failures else ""
    before = f"before: {holder.number}\n" if holder else ""
    head = f"{stage}: {registry.name} {version.number}\n\naction: promote\n"
    message = f"{head}{before}{forced}model: {stored.tag}\nsha256: {stored.sha256}\n\n{text}\n"
    _assign("promote", registry.name, stage, version, message)


def _assign(command: str, name: str, stage: str, version: Version, message: str) -> None:
    """Assign a stage to a version, and print how to publish that."""
    written = versions.assign_stage(name, stage, version, message)
    say(f"{command}: {name} {version.number} is in {stage}")
    say(f"{command}: to publish: dvc push --all-tags; git push origin '{written}'")


def rollback(stage: str) -> None:
    """Undo the last promotion: the stage goes back to the version before.

    Raises
    ------
    CairnError
        If there was none before.
    """
    versions.check_identity()
    registry = read_registry()
    if stage not in registry.assignments:
        registry.require_holder(stage)
    current, previous = registry.find_holder(stage), registry.find_previous(stage)
    if previous is None:
        number = current.number if current else "nothing"
        raise CairnError(f"no version was in {stage} before {number}; promote one: `make promote`")
    before = current.number if current else "none"
    head = f"{stage}: {registry.name} {previous.number}"
    message = f"{head}\n\naction: {ROLLBACK}\nbefore: {before}\n"
    _assign("rollback", registry.name, stage, previous, message)


def store_model(stage: str) -> str:
    """Put the model of a stage into the BentoML store; return its tag."""
    registry = read_registry()
    version = registry.require_holder(stage)
    stored = revision.store_model(version.tag.commit, version.tag.facts)
    text = f"serve: {stage} is {registry.name} {version.number}, {stored.tag}"
    print(text, file=sys.stderr)
    return stored.tag
