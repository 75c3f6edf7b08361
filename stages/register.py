"""register: project data/model into the BentoML store, under a tag made from its content.

DVC is the truth: an entry can be deleted at any time, and comes back the same.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import bentoml
import yaml
from bentoml.exceptions import NotFound
from filelock import FileLock

from stages import console, identity
from stages.console import CairnError, say
from stages.paths import RAW

HEX = 12


def main() -> None:
    """Register the model that dvc.lock names."""
    say(f"register: {register(identity.locked())} is in the BentoML store")


def register(chain: dict[str, Any]) -> str:
    """Make sure that the store holds data/model, once and whole.

    Parameters
    ----------
    chain
        What `identity` says of the model; kept as the entry's metadata. The content of an entry
        never changes, while its metadata follow the commit that names it.

    Returns
    -------
    str
        The tag, NAME:<12 hex of the content's SHA-256>.
    """
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    tag = f"{chain['params']['train']['name']}:{chain['sha256'][:HEX]}"
    with FileLock(_store() / f".{tag.replace(':', '-')}.lock"):
        entry = find(tag, chain["sha256"])
        if entry is None:
            create(tag, chain)
        elif entry.info.metadata != metadata(chain):
            annotate(Path(entry.path), chain)
    return tag


def find(tag: str, sha256: str) -> bentoml.Model | None:
    """The store's entry of this content; one that was cut short or damaged is removed."""
    try:
        entry = bentoml.models.get(tag)
    except NotFound:
        shutil.rmtree(_store() / tag.replace(":", "/"), ignore_errors=True)
        return None
    try:
        if identity.sha256(Path(entry.path)) == sha256:
            return entry
    except CairnError:
        pass
    bentoml.models.delete(tag)
    return None


def create(tag: str, chain: dict[str, Any]) -> None:
    """Copy the model's files into a new entry of the store."""
    with bentoml.models.create(tag, labels=labels(chain), metadata=metadata(chain)) as entry:
        for path in identity.FILES:
            shutil.copyfile(path, entry.path_of(path.name))


def annotate(entry: Path, chain: dict[str, Any]) -> None:
    """Replace an entry's labels and metadata, in one step, by those of the chain."""
    path = entry / "model.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    part = path.with_suffix(".part")
    changed = {**content, "labels": labels(chain), "metadata": metadata(chain)}
    part.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
    part.replace(path)


def metadata(value: Any) -> Any:
    """The chain as BentoML's metadata take it, which know no None."""
    if isinstance(value, dict):
        return {key: metadata(part) for key, part in value.items()}
    if isinstance(value, list):
        return [metadata(part) for part in value]
    return "null" if value is None else value


def labels(chain: dict[str, Any]) -> dict[str, str]:
    """What `bentoml models list` can be searched by."""
    raw = chain["dvc"].get("raw", {}).get("outs", {})
    return {"git_commit": chain["git"]["commit"], "data": raw.get(RAW.as_posix(), "none")}


def _store() -> Path:
    """The folder of BentoML's models, made if there is none yet."""
    home = os.environ.get("BENTOML_HOME", Path.home() / "bentoml")
    folder = Path(home) / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    console.run(main)
