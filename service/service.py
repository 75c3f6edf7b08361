"""The BentoML service: loads one model, and is the documented contract of `/predict`."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import bentoml
import orjson

from service.front import Front
from service.model import chain, served_tag
from service.predictor import Predictor
from service.version import NAME, pin


@bentoml.service(
    name=NAME,
    workers=1,
    logging={"access": {"enabled": False}},
    envs=[{"name": "BENTOML_DO_NOT_TRACK", "value": "true"}],
)
class Cairn:
    """Predictions of the model that dvc.lock names."""

    # BentoML packs what stands here as a class attribute, so the tag must be known at import.
    model = bentoml.models.BentoModel(served_tag())

    def __init__(self) -> None:
        stored = self.model
        self.predictor = Predictor(Path(stored.path), str(stored.tag), chain(stored.info.metadata))

    # Over HTTP `Front` answers this route, by the same code; this is its documentation, and the
    # way in for Python.
    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(
        self,
        features: list[Any] | None = None,
        records: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Predict the class of one row, or of many.

        `features` takes the values in the order of the columns, or a list of such lists;
        `records` objects with a value for each column. A bare object with a value for each column
        is one row as well.
        """
        body = {"features": features} if records is None else {"records": records}
        answer = self.predictor.predict(self.predictor.reader.check(body), uuid.uuid4().hex)
        return dict(orjson.loads(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)))


service: Any = Cairn  # the decorator made a Service of it
service.add_asgi_middleware(Front)
pin(str(service.inner.model.tag))
