"""register: project data/model into the BentoML store, under a tag made from its content.

DVC is the truth: an entry can be deleted at any time, and comes back the same.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bentoml
import yaml  # what BentoML reads and writes its files with
from filelock import FileLock

from cairn import console, provenance
from cairn.console import say
from cairn.paths import MODEL, RAW, model_store

HEX = 12
JSON = ("metrics", "params")  # of the chain, in BentoML's metadata


def main() -> None:
    """Register the model that dvc.lock names."""
    say(f"register: {register(provenance.locked())} is in the BentoML store")


def register(
    chain: dict[str, Any], folder: Path = MODEL, files: Sequence[Path] = provenance.FILES
) -> str:
    """Make sure that the store holds a model, that of data/model or of a folder, once and whole.

    Parameters
    ----------
    chain
        What `identity` says of the model; kept as the entry's metadata. The content of an entry
        never changes, while its metadata follow the commit that names it.
    folder, files
        Where the model is, and what it is made of, as in data/model.

    Returns
    -------
    str
        The tag, NAME:<12 hex of the content's SHA-256>.
    """
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    tag = f"{chain['params']['train']['name']}:{chain['sha256'][:HEX]}"
    with FileLock(_store() / ".cairn.lock"):  # all of it: BentoML reads other entries as well
        entry = find(tag, chain["sha256"], files)
        if entry is None:
            create(tag, chain, folder, files)
        elif entry.info.metadata != metadata(chain):
            annotate(Path(entry.path), chain)
    return tag


def find(tag: str, sha256: str, files: Sequence[Path] = provenance.FILES) -> bentoml.Model | None:
    """The store's entry of this content; what is left of one cut short or damaged is removed."""
    folder = _store() / tag.replace(":", "/")
    try:
        entry = bentoml.models.get(tag)
        if provenance.sha256(Path(entry.path), files) == sha256:
            return entry
    except Exception:  # noqa: BLE001, S110 - whatever is wrong with it, it can be made anew
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


def create(tag: str, chain: dict[str, Any], folder: Path, files: Sequence[Path]) -> None:
    """Copy the model's files into a new entry of the store."""
    with bentoml.models.create(tag, labels=labels(chain), metadata=metadata(chain)) as entry:
        for name in map(provenance.inside, files):
            path = Path(entry.path_of(name))
            path.parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, path)


def annotate(entry: Path, chain: dict[str, Any]) -> None:
    """Replace an entry's labels and metadata, in one step, by those of the chain."""
    path = entry / "model.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    part = path.with_suffix(".part")
    changed = {**content, "labels": labels(chain), "metadata": metadata(chain)}
    part.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
    part.replace(path)


def metadata(chain: dict[str, Any]) -> dict[str, Any]:
    """The chain as BentoML keeps it: params and metrics as JSON, for its metadata know no null."""
    return {**chain, **{name: json.dumps(chain[name], default=str) for name in JSON}}


def labels(chain: dict[str, Any]) -> dict[str, str]:
    """What `bentoml models list` can be searched by."""
    raw = chain["dvc"].get("raw", {}).get("outs", {})
    return {"git_commit": chain["git"]["commit"], "data": raw.get(RAW.as_posix(), "none")}


def _store() -> Path:
    """The folder of BentoML's models, made if there is none yet."""
    folder = model_store()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    console.run(main)
