"""The whole of params.yaml, which no stage depends on: see `cairn.params.base.WHOLE_FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from cairn.params.base import ADVICE, PATH, StrictModel
from cairn.params.compute import Compute
from cairn.params.errors import refuse
from cairn.params.evaluate import Evaluate
from cairn.params.features import Features
from cairn.params.gates import Gates
from cairn.params.processed import Processed
from cairn.params.raw import Raw
from cairn.params.train import Train
from cairn.yaml_text import read_yaml


class Params(StrictModel):
    """All sections of params.yaml; one that is left out or empty has its defaults."""

    raw: Raw
    processed: Processed
    features: Features
    train: Train
    evaluate: Evaluate
    compute: Compute
    gates: Gates

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, content: Any) -> Any:
        """Read a section that is missing, or has nothing in it, as an empty mapping."""
        if not isinstance(content, dict):
            return content
        sections: dict[str, Any] = {
            name: {} for name in cls.model_fields if content.get(name) is None
        }
        return {**content, **sections}


def check_params(content: Any, source: str) -> Params:
    """Check the content of the file, which the errors call `source`.

    Raises
    ------
    CairnError
        For each wrong key or value: the key, what it is, what is allowed.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise refuse(error, Params, source) from None


def load_params(path: Path = PATH) -> Params:
    """Read and check the whole file; raise a CairnError that lists all problems."""
    return check_params(read_yaml(path, ADVICE), str(path))
