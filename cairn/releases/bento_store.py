"""register: project the model of this folder into the BentoML store, under a tag of its content.

DVC is the truth: an entry can be deleted at any time, and comes back the same. The tag is made from
what serves predictions. The card, scores and plots are in the same entry; registering the model
again with newer ones replaces them there.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import bentoml
import yaml  # what BentoML reads and writes its files with
from filelock import FileLock

from cairn import console, provenance
from cairn.console import say
from cairn.paths import RAW, model_store
from cairn.provenance import HEX, ModelFiles, Provenance, entry_name

JSON = ("metrics", "params")  # of the chain, in BentoML's metadata
DESCRIPTION = "model.yaml"  # BentoML's own file in an entry
TODAY = ModelFiles()


def main() -> None:
    """Register the model that dvc.lock names."""
    say(f"register: {register(provenance.trace_locked())} is in the BentoML store")


def register(model: Provenance, root: Path = Path(), files: ModelFiles = TODAY) -> str:
    """Make sure that the store holds a model once, complete, and with its newest card.

    Parameters
    ----------
    model
        Where it comes from; kept as the entry's metadata, which follow the commit that names it.
    root, files
        Below which folder the model's files are, and which ones it has, at their paths of today.

    Returns
    -------
    str
        The tag, NAME:<12 hex of the SHA-256 of what serves predictions>.
    """
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    tag = f"{model.name}:{model.sha256[:HEX]}"
    with FileLock(_store() / ".cairn.lock"):  # all of it: BentoML reads other entries as well
        entry = find(tag, model, files)
        if entry is None:
            create(tag, model, root, files)
        else:
            update(entry, model, root, files)
    return tag


def find(tag: str, model: Provenance, files: ModelFiles) -> bentoml.Model | None:
    """Find the entry that serves this model; remove what is left of a broken one."""
    folder = _store() / tag.replace(":", "/")
    try:
        entry = bentoml.models.get(tag)
        if provenance.hash_entry(Path(entry.path), files.tagged) == model.sha256:
            return entry
    except Exception:  # noqa: BLE001, S110 - whatever is wrong with it, it can be made anew
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


def create(tag: str, model: Provenance, root: Path, files: ModelFiles) -> None:
    """Copy the model's files into a new entry of the store."""
    with bentoml.models.create(tag, labels=labels(model), metadata=metadata(model)) as entry:
        for path in files.all:
            _copy(root / path, Path(entry.path_of(entry_name(path))))


def update(entry: bentoml.Model, model: Provenance, root: Path, files: ModelFiles) -> None:
    """Bring an entry's card, scores, plots and metadata to those of the model.

    Each file is replaced in one step, the metadata last. If this process is killed in between, the
    metadata still have the old hash, and the next call completes the work.
    """
    folder = Path(entry.path)
    changed = [path for path in files.all if not _is_same(root / path, folder / entry_name(path))]
    parts = [folder / f"{entry_name(path)}.part" for path in changed]
    for path, part in zip(changed, parts, strict=True):
        _copy(root / path, part)
    for part in parts:
        part.replace(part.with_suffix(""))
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in _names(files):
            path.unlink()  # of an older description
    if entry.info.metadata != metadata(model):
        annotate(folder, model)


def _names(files: ModelFiles) -> set[str]:
    return {DESCRIPTION, *map(entry_name, files.all)}


def _is_same(source: Path, target: Path) -> bool:
    return target.is_file() and source.read_bytes() == target.read_bytes()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)


def annotate(entry: Path, model: Provenance) -> None:
    """Replace an entry's labels and metadata, in one step, by those of the model."""
    path = entry / DESCRIPTION
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    part = path.with_suffix(".part")
    changed = {**content, "labels": labels(model), "metadata": metadata(model)}
    part.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
    part.replace(path)


def metadata(model: Provenance) -> dict[str, Any]:
    """Return the chain as BentoML keeps it.

    Params and metrics are JSON, because BentoML's metadata know no null.
    """
    chain = model.as_dict()
    return {**chain, **{name: json.dumps(chain[name], default=str) for name in JSON}}


def labels(model: Provenance) -> dict[str, str]:
    """Return what `bentoml models list` can be searched by."""
    raw = model.dvc.get("raw", {}).get("outs", {})
    return {"git_commit": model.git.commit, "data": raw.get(RAW.as_posix(), "none")}


def _store() -> Path:
    """Return the folder of BentoML's models, made if there is none yet."""
    folder = model_store()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    console.run(main)
