"""Which model is served: exactly one, from the Bento or data/model, or as the settings say."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # what BentoML reads and writes its files with

from cairn import console
from cairn.errors import CairnError
from cairn.paths import model_store
from service.process.settings import Settings, load_settings

NAME = "cairn"  # of our Bentos
REGISTER = "delete it (`bentoml models delete {tag}`) and run `make register` at its commit"
JSON = ("metrics", "params")  # as text in the metadata; metrics once were not
# Of a model.yaml that is read; ours have some 40 kB, 1,000 values and a depth of 6.
LONGEST_DESCRIPTION, MOST_VALUES, DEEPEST = 2**20, 100_000, 20
PACKED = "CAIRN_PACKED_MODEL"  # the variable by which a worker knows what `bentoml serve` found
BENTO = Path(__file__).resolve().parents[3] / "bento.yaml"

logger = logging.getLogger(NAME)


class ServedModel(NamedTuple):
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
    print(register_packed())


def register_packed() -> str:
    """Return the tag of the model that a Bento has, or gets, once the store has it.

    Inside a Bento that is the one it was built with. In the project it is the one that dvc.lock
    names, which is registered if the store lacks it.

    Raises
    ------
    CairnError
        Where there is none, or another one than dvc.lock names.
    """
    if BENTO.is_file():
        bento = yaml.safe_load(BENTO.read_text(encoding="utf-8"))
        return str(bento["services"][0]["models"][0]["tag"])
    # Not shipped in the Bento, which brings its model.
    from cairn import provenance  # noqa: PLC0415
    from cairn.releases import bento_store  # noqa: PLC0415

    if tag := load_settings().model_tag:  # data/model may be another one, or not be there
        find_entry(tag)
        return tag
    return bento_store.register(provenance.trace_locked())


def choose_model(settings: Settings, resolve: Callable[[], ServedModel]) -> ServedModel:
    """Return the model that the settings name, or else the one that came with the code.

    Parameters
    ----------
    resolve
        Returns the model that came with the code.

    Raises
    ------
    CairnError
        Where the store has none of MODEL_TAG, or what MODEL_URI names cannot be had, or is not
        the file that MODEL_SHA256 says, or the content that MLflow says.
    """
    if settings.model_uri and settings.mlflow_tracking_uri and settings.is_of_mlflow:
        entry = find_mlflow_entry(settings.model_uri, settings.mlflow_tracking_uri)
        return check_model(read_model(entry), "MODEL_URI", REGISTER)
    if settings.model_uri and settings.model_sha256:
        # Only for those who ask for it.
        from service.bento import fetch  # noqa: PLC0415

        folder = fetch.fetch_model(
            settings.model_uri, settings.model_sha256, settings.max_model_bytes
        )
        return check_model(read_model(folder), "MODEL_URI", "export it again: `make export`")
    if settings.model_tag:
        served = read_model(find_entry(settings.model_tag))
        if served.tag != settings.model_tag:
            hint = REGISTER.format(tag=settings.model_tag)
            raise CairnError(f"MODEL_TAG: {served.folder} holds {served.tag}; {hint}")
        return check_model(served, "MODEL_TAG", REGISTER)
    served = resolve()
    hint = "build the Bento and its image again: `make image`" if BENTO.is_file() else REGISTER
    return check_model(served, "the packed model", hint)


def find_packed() -> ServedModel:
    """Return the model that came with the code.

    In a Bento that was unpacked, as in an image, it lies beside the code; one in BentoML's store,
    and the project itself, have it in the store of models.
    """
    tag = os.environ.get(PACKED) or register_packed()
    beside = BENTO.parent / "models" / tag.replace(":", "/")
    if BENTO.is_file() and beside.is_dir():
        return read_model(beside)
    return read_model(find_entry(tag, "the packed model"))


def check_model(served: ServedModel, source: str, hint: str) -> ServedModel:
    """Check that the files of a model are those that its tag names; add to its chain which.

    Parameters
    ----------
    source, hint
        What asked for the model, and what brings it back, with `{tag}` in it, for errors.

    Raises
    ------
    CairnError
        Where they are not: its answers would bear the name of another model.
    """
    # Not for those who only ask for a tag.
    from cairn import provenance  # noqa: PLC0415

    hint = hint.format(tag=served.tag)
    try:
        coverage = provenance.check_entry(served.folder, served.tag, served.chain)
    except CairnError as error:
        raise CairnError(f"{source}: {error}; {hint}") from None
    if coverage.other_files_match is False:
        logger.warning(
            "%s: its card, scores or plots changed since it was registered; %s", served.tag, hint
        )
    return served._replace(chain={**served.chain, "coverage": coverage._asdict()})


def find_mlflow_entry(uri: str, server: str) -> Path:
    """Return the folder in the BentoML store of the version that MLflow names."""
    # Neither is for those who do not ask for it.
    from cairn import provenance  # noqa: PLC0415
    from service.bento import mlflow  # noqa: PLC0415

    version = mlflow.resolve_version(uri, server)
    folder = find_entry(
        version.tag,
        f"MODEL_URI: {uri} is {version.tag}, version {version.number} in MLflow",
        "; run `make register` at the commit whose dvc.lock names it, or `bentoml models import`; "
        "a container reads the store that is mounted at BENTOML_HOME",
    )
    if not provenance.is_model(folder, version.sha256):
        raise CairnError(
            f"MODEL_URI: {uri}: {folder} is damaged: its SHA-256 is not {version.sha256}, which "
            f"MLflow has; delete it (`bentoml models delete {version.tag}`) and register it again"
        )
    return folder


def find_entry(tag: str, source: str = "MODEL_TAG", hint: str = "") -> Path:
    """Return the folder of a model in the BentoML store.

    Parameters
    ----------
    source, hint
        What asks for the model, and what brings it, for errors.
    """
    folder = model_store() / tag.replace(":", "/")
    try:
        (folder / "model.yaml").stat()
    except PermissionError:
        reason = f"user {os.getuid()} may not read {folder}; run as its owner: docker run --user"
        raise CairnError(f"{source}: {reason}") from None
    except OSError:
        tags = ", ".join(list_tags()) or "none"
        raise CairnError(
            f"{source}: no {tag} in {model_store()}; models there: {tags}{hint}"
        ) from None
    return folder


def list_tags() -> list[str]:
    """List the models that the store has."""
    return sorted(":".join(path.parts[-2:]) for path in model_store().glob("*/*") if path.is_dir())


def read_model(folder: Path) -> ServedModel:
    """Read a model as BentoML keeps one, of ours."""
    try:
        content = parse_description((folder / "model.yaml").read_bytes())
        tag = f"{content['name']}:{content['version']}"
        return ServedModel(folder, tag, parse_chain(content["metadata"]))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CairnError(f"{folder} holds no model that Cairn registered: {error!r}") from error


def parse_description(text: bytes) -> Any:
    """Parse BentoML's description of a model; raise a ValueError where it is too much for ours.

    A few lines of YAML can stand for gigabytes (a list of one list many times over, and that again)
    once they are written as JSON.
    """
    if len(text) > LONGEST_DESCRIPTION:
        raise ValueError(f"model.yaml has more than {LONGEST_DESCRIPTION} bytes")
    content = yaml.safe_load(text.decode())
    waiting, count = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > DEEPEST or count > MOST_VALUES:
            raise ValueError("model.yaml is nested too deep, or stands for too many values")
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value]
    return content


def parse_chain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a model comes from, as the metadata of its entry in the store say."""
    texts = {
        name: value for name, value in metadata.items() if name in JSON and isinstance(value, str)
    }
    return {**metadata, **{name: json.loads(value) for name, value in texts.items()}}


if __name__ == "__main__":
    console.run(main)
