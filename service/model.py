"""Which model is served: exactly one tag, from the Bento or from data/model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stages.console import CairnError

BENTO = Path(__file__).resolve().parents[2] / "bento.yaml"


def served_tag() -> str:
    """The tag of the model to serve.

    Inside a Bento that is the one it was built with. In the project it is the one that dvc.lock
    names, which is registered first if the store lacks it. Where there is none the process ends
    here, with one line: BentoML would start a worker that fails again and again.
    """
    if BENTO.is_file():
        bento = yaml.safe_load(BENTO.read_text(encoding="utf-8"))
        return str(bento["services"][0]["models"][0]["tag"])
    # Not shipped in the Bento, which brings its model.
    from stages import identity, register  # noqa: PLC0415

    try:
        return register.register(identity.locked())
    except (CairnError, OSError) as error:
        sys.exit(f"error: {error}")


def chain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Where a model comes from, as `stages.register` put it into the store's metadata."""
    return {**metadata, "params": json.loads(metadata["params"])}
