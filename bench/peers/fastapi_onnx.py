"""FastAPI tuned: ONNX Runtime on one thread, orjson both ways, uvloop, httptools, no access log."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel


class Row(BaseModel):
    """One row."""

    features: list[float]


class Rows(BaseModel):
    """Many rows."""

    features: list[list[float]]


class OrjsonRequest(Request):
    """A request whose JSON orjson reads."""

    async def json(self) -> Any:
        """Parse the body."""
        return orjson.loads(await self.body())


class OrjsonRoute(APIRoute):
    """FastAPI's way to have a request of one's own."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:
        """Return the route's handler, which gets an `OrjsonRequest`."""
        handler: Callable[[Request], Awaitable[Response]] = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(OrjsonRequest(request.scope, request.receive))

        return handle


def create_app() -> FastAPI:
    """Load the model and make the application around it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(os.environ["MODEL"], options)
    app = FastAPI()
    app.router.route_class = OrjsonRoute

    @app.post("/predict")
    async def predict(row: Row) -> Response:
        labels, probabilities = session.run(
            None, {"features": np.array([row.features], np.float32)}
        )
        return reply(
            {
                "prediction": int(labels[0]),
                "confidence": probabilities[0].max(),
                "probabilities": probabilities[0],
            }
        )

    @app.post("/predict/batch")
    async def predict_batch(rows: Rows) -> Response:
        labels, probabilities = session.run(None, {"features": np.array(rows.features, np.float32)})
        return reply(
            {
                "predictions": labels,
                "confidences": probabilities.max(axis=1),
                "probabilities": probabilities,
            }
        )

    def reply(content: dict[str, Any]) -> Response:
        body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, media_type="application/json")

    return app
