"""The Bento's version: made from what is in it, not from the clock."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import bentoml
import yaml  # what BentoML reads and writes its files with

from cairn import console
from service.bento import labels
from service.bento.store import NAME, register_packed

BENTOFILE = Path("bentofile.yaml")
HEX = 12


def main() -> None:
    """Print the tag that a Bento of this folder has; with --json its labels, too."""
    model = register_packed()
    if sys.argv[1:] == ["--json"]:
        print(json.dumps(describe(model)))
    else:
        print(f"{NAME}:{make_version(model, read_files_sha256(model))}")


def make_version(model: str, content: str = "") -> str:
    """Make the version of a Bento of this model and of the code in the current folder.

    Parameters
    ----------
    model
        The model's tag, NAME:<hex>.
    content
        SHA-256 of all files that travel with the model, its card and plots too, which are served.

    Returns
    -------
    str
        The model's hex, `-`, and 12 hex of the SHA-256 of every file that the Bento is made of.
    """
    digest = hashlib.sha256(content.encode())
    for path in list_files():
        digest.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n".encode())
    return f"{model.partition(':')[2]}-{digest.hexdigest()[:HEX]}"


def read_files_sha256(model: str) -> str:
    """Return the hash of a model's files in the store; empty where older code registered it."""
    return str(bentoml.models.get(model).info.metadata.get("files_sha256", ""))


def list_files() -> tuple[Path, ...]:
    """Every file that a Bento is made of, beside the model."""
    content = yaml.safe_load(BENTOFILE.read_text(encoding="utf-8"))
    named = (content["python"]["requirements_txt"], content["docker"]["dockerfile_template"])
    included = (path for glob in content["include"] for path in Path().glob(glob.lstrip("/")))
    return tuple(sorted({BENTOFILE, *map(Path, named), *included}))


def describe(model: str) -> dict[str, Any]:
    """Return tag and labels of a Bento of this model and of the code in the current folder."""
    version = make_version(model, read_files_sha256(model))
    chain = bentoml.models.get(model).info.metadata
    return {
        "tag": f"{NAME}:{version}",
        "labels": labels.make_labels(version, model, chain, list_files()),
    }


if __name__ == "__main__":
    console.run(main)
