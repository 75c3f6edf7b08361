"""Release, list and check out versions, for `make release`, `releases` and `checkout`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import cast, get_args

from cairn import provenance
from cairn.console import patience, say
from cairn.errors import CairnError
from cairn.params.base import read_params
from cairn.params.train import Train
from cairn.paths import METRICS
from cairn.releases import bento_store, commands, revision, versions, working_tree
from cairn.releases.commands import git
from cairn.releases.text import NONE, format_table
from cairn.releases.versions import Bump, Registry, Version, quote

HEADLINES = ("accuracy", "roc_auc", "log_loss")
COLUMNS = ("version", "stages", "model", "date", "commit", *HEADLINES)
SHORT = 7  # digits of a commit
# What registers a model: of this code, and of release 0.1.0.
REGISTER = ("cairn.releases.bento_store", "stages.register")


def read_registry() -> Registry:
    """Read the registry of the model that params.yaml names."""
    return versions.read_registry(read_params(Train).name)


def release(number: str | None = None, bump: str | None = None) -> None:
    """Tag the current commit as a version, with its model.

    Raises
    ------
    CairnError
        If the working tree, its data or its model are not those of the commit, or the commit has a
        version already.
    """
    versions.check_identity()
    registry, commit = read_registry(), git("rev-parse", "HEAD").strip()
    working_tree.check_clean("a version is of a commit")
    existing = registry.find(commit)
    if existing:
        raise CairnError(f"commit {commit[:SHORT]} is already {existing.number} of {registry.name}")
    new_version = _choose_number(registry, number, bump)
    chain = provenance.trace_locked()
    working_tree.check_reproduced()
    tag = bento_store.register(chain)
    message = f"{registry.name} {new_version}\n\nmodel: {tag}\nsha256: {chain.sha256}\n"
    written = versions.add_version(registry.name, new_version, message)
    say(f"release: commit {commit[:SHORT]} is {registry.name} {new_version}, its model {tag}")
    for advice in (working_tree.describe_unpushed(), f"git push origin '{written}'"):
        if advice:
            say(f"release: to publish: {advice}")


def _choose_number(registry: Registry, number: str | None, bump: str | None) -> str:
    """Choose the number of the new version: the given one, or the next one."""
    if number and bump:
        raise CairnError("VERSION, BUMP: set one of them")
    if bump is not None and bump not in get_args(Bump):
        raise CairnError(f"BUMP: got {quote(bump)}; allowed: {', '.join(get_args(Bump))}")
    if number is None:
        return versions.compute_next_number(registry, cast(Bump, bump or "patch"))
    if not versions.is_version(number):
        raise CairnError(
            f"VERSION: got {quote(number)}; allowed: v and three numbers, such as v1.2.3, up to "
            f"{versions.LONGEST} characters"
        )
    existing = next((each for each in registry.versions if each.number == number), None)
    if existing:
        raise CairnError(f"VERSION: {number} is already commit {existing.tag.commit[:SHORT]}")
    return number


def format_releases(registry: Registry) -> str:
    """Format the versions, newest first, with their stages, models and scores."""
    registry.get_version()  # raises if there is none
    rows = [_list_cells(registry, version) for version in reversed(registry.versions)]
    return format_table(COLUMNS, rows)


def _list_cells(registry: Registry, version: Version) -> list[str]:
    tag = version.tag
    scores = _read_scores(tag.commit)
    date = datetime.fromtimestamp(tag.time, UTC).strftime("%Y-%m-%d")
    values = [f"{scores[name]:.4f}" if name in scores else NONE for name in HEADLINES]
    stages = ", ".join(registry.list_stages(version)) or NONE
    model = tag.facts.get("model", NONE)
    return [version.number, stages, model, date, tag.commit[:SHORT], *values]


def _read_scores(commit: str) -> dict[str, float]:
    """Read the scores on the test rows of a commit; empty if it has no such file."""
    try:
        return dict(json.loads(git("show", f"{commit}:./{METRICS.as_posix()}"))["test"])
    except CairnError:
        return {}


def find_register(root: Path) -> str:
    """Find the module by which the code in a folder registers a model."""
    return next(
        (name for name in REGISTER if (root / f"{name.replace('.', '/')}.py").is_file()),
        REGISTER[0],
    )


def checkout(number: str | None) -> None:
    """Bring code, data and model of a version back together.

    Raises
    ------
    CairnError
        If something would be lost, or cannot be fetched; nothing has changed then.
    """
    registry = read_registry()
    if number is None:
        raise CairnError(
            "VERSION: missing; set one, such as VERSION=v1.0.0; `make releases` lists them"
        )
    version = registry.get_version(number)
    working_tree.check_clean("they would be lost")
    working_tree.check_data()
    with patience("checkout: fetching data"):
        revision.fetch("HEAD", only_present=True)  # DVC removes no file that its cache lacks
        revision.fetch(version.tag.commit)
    head = working_tree.get_head()
    working_tree.switch(version.tag.commit, head)
    print(commands.run_module(find_register(Path())), end="", flush=True)
    say(f"checkout: code, data and model are those of {registry.name} {number}")
    say(f"checkout: to go back: git checkout {head} && dvc checkout")
