"""The model that BentoML packs and serves with the service, as a class attribute of it."""

from __future__ import annotations

import sys
from typing import Any

import bentoml
from bentoml.models import BentoModel

from cairn.errors import CairnError
from service.bento.store import register_packed


class PackedModel(BentoModel):  # type: ignore[misc]
    """The model that a Bento of this project has or gets, looked up when BentoML asks for it.

    BentoML packs the models that are attributes of the service's class. A plain `BentoModel` wants
    the tag when the class is created, and the tag is made from the model's content: to import the
    service would be to read, check and register the model. This one does so when BentoML serves
    (it resolves the models before it starts the workers) and when it builds.
    """

    def __init__(self) -> None:
        """Read nothing yet."""

    @property
    def tag(self) -> bentoml.Tag:
        """The tag; registers the model if the store lacks it."""
        return bentoml.Tag.from_taglike(_register_or_exit())

    def to_info(self, alias: str | None = None) -> Any:
        """Describe the model to `bentoml build`."""
        return BentoModel(self.tag).to_info(alias)

    def resolve(self, base_path: Any = None) -> bentoml.Model:
        """Return the model of the store, for `bentoml serve`."""
        model: bentoml.Model = BentoModel(self.tag).resolve(base_path)
        return model


def _register_or_exit() -> str:
    """Return the tag; where there is no model, the process ends with one line.

    BentoML shows a traceback of any other error, or starts a worker that fails again and again.
    """
    try:
        return register_packed()
    except (CairnError, OSError) as error:
        sys.exit(f"error: {error}")
