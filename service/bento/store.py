"""Which model is served: exactly one, from the Bento or data/model, or as the settings say."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import bentoml
import yaml  # what BentoML reads and writes its files with

from cairn.console import CairnError
from cairn.paths import model_store
from service.process.settings import Settings, settings

NAME = "cairn"  # of our Bentos
JSON = ("metrics", "params")  # as text in the metadata; metrics once were not
BENTO = Path(__file__).resolve().parents[3] / "bento.yaml"


class Chosen(NamedTuple):
    """The model that is served.

    Attributes
    ----------
    folder
        Where its files are.
    tag
        Its name and version.
    chain
        Where it comes from.
    """

    folder: Path
    tag: str
    chain: dict[str, Any]


def main() -> None:
    """Print the tag of the model that a Bento of this folder gets."""
    print(packed_tag())


def packed_tag() -> str:
    """The tag of the model that a Bento has, or gets.

    Inside a Bento that is the one it was built with. In the project it is the one that dvc.lock
    names, which is registered first if the store lacks it. Where there is none the process ends
    here, with one line: BentoML would start a worker that fails again and again.
    """
    if BENTO.is_file():
        bento = yaml.safe_load(BENTO.read_text(encoding="utf-8"))
        return str(bento["services"][0]["models"][0]["tag"])
    # Not shipped in the Bento, which brings its model.
    from cairn import provenance  # noqa: PLC0415
    from cairn.releases import bento_store  # noqa: PLC0415

    try:
        if told := settings().model_tag:  # data/model may be another one, or not be there
            entry(told)
            return told
        return bento_store.register(provenance.locked())
    except (CairnError, OSError) as error:
        sys.exit(f"error: {error}")


def chosen(told: Settings, packed: bentoml.Model) -> Chosen:
    """The model that the settings name, or else the one that came with the code.

    Raises
    ------
    CairnError
        Where the store has none of MODEL_TAG, or what MODEL_URI names cannot be had, or is not
        the file that MODEL_SHA256 says, or the content that MLflow says.
    """
    if told.model_uri and told.mlflow_tracking_uri and told.of_mlflow:
        return read(of_mlflow(told.model_uri, told.mlflow_tracking_uri))
    if told.model_uri and told.model_sha256:
        # Only for those who ask for it.
        from service.bento import fetch  # noqa: PLC0415

        return read(fetch.fetched(told.model_uri, told.model_sha256))
    if told.model_tag:
        return read(entry(told.model_tag))
    return Chosen(Path(packed.path), str(packed.tag), chain(packed.info.metadata))


def of_mlflow(uri: str, server: str) -> Path:
    """The folder in the BentoML store of the version that MLflow names."""
    # Neither is for those who do not ask for it.
    from cairn import provenance  # noqa: PLC0415
    from service.bento import mlflow  # noqa: PLC0415

    version = mlflow.named(uri, server)
    folder = entry(
        version.tag,
        f"MODEL_URI: {uri} is {version.tag}, version {version.number} in MLflow",
        "; bring it by `make register` at the commit whose dvc.lock has it, or by `bentoml models "
        "import`; a container has the store that is mounted at BENTOML_HOME",
    )
    if not provenance.is_model(folder, version.sha256):
        raise CairnError(
            f"MODEL_URI: {uri}: {folder} is damaged: its SHA-256 is not MLflow's {version.sha256}; "
            f"bentoml models delete {version.tag} removes it"
        )
    return folder


def entry(tag: str, asked: str = "MODEL_TAG", hint: str = "") -> Path:
    """The folder of a model in the BentoML store; what asks for it and a hint are for errors."""
    folder = model_store() / tag.replace(":", "/")
    try:
        (folder / "model.yaml").stat()
    except PermissionError:
        reason = f"user {os.getuid()} may not read {folder}; run as its owner: docker run --user"
        raise CairnError(f"{asked}: {reason}") from None
    except OSError:
        there = ", ".join(tags()) or "none"
        raise CairnError(f"{asked}: no {tag} in {model_store()}; there: {there}{hint}") from None
    return folder


def tags() -> list[str]:
    """The models that the store has."""
    return sorted(":".join(path.parts[-2:]) for path in model_store().glob("*/*") if path.is_dir())


def read(folder: Path) -> Chosen:
    """A model as BentoML keeps one, of ours."""
    try:
        content = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
        return Chosen(folder, f"{content['name']}:{content['version']}", chain(content["metadata"]))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise CairnError(f"{folder} holds no model of Cairn: {error!r}") from error


def chain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Where a model comes from, as the metadata of its entry in the store say."""
    texts = {
        name: said for name, said in metadata.items() if name in JSON and isinstance(said, str)
    }
    return {**metadata, **{name: json.loads(said) for name, said in texts.items()}}


if __name__ == "__main__":
    main()
