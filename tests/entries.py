"""Entries of the BentoML store, to be made from others and to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from cairn import provenance
from cairn.paths import MODEL_CONTRACT


def make_other(entry: Path) -> Path:
    """Copy an entry as that of another model, which differs in a space of its contract."""
    part = entry.with_name("part")
    shutil.copytree(entry, part)
    contract = part / MODEL_CONTRACT.name
    contract.write_bytes(contract.read_bytes() + b" ")
    sha256 = provenance.hash_entry(part)
    content = yaml.safe_load((part / "model.yaml").read_text())
    content["version"] = sha256[: provenance.HEX]
    present = [path for path in provenance.FILES if (part / provenance.entry_name(path)).is_file()]
    content["metadata"] |= {
        "sha256": sha256,
        "files_sha256": provenance.hash_entry(part, present),
    }
    (part / "model.yaml").write_text(yaml.safe_dump(content))
    return part.rename(entry.with_name(content["version"]))


def swap_classes(entry: Path) -> None:
    """Give each class of a model's contract the other's name."""
    contract = entry / MODEL_CONTRACT.name
    text = contract.read_text()
    swapped = text.replace('"no"', '"@"').replace('"yes"', '"no"').replace('"@"', '"yes"')
    assert swapped != text
    contract.write_text(swapped)
