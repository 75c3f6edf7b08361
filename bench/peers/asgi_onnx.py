"""The ceiling: a bare ASGI function around ONNX Runtime, which checks nothing."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def create_app() -> App:
    """Load the model and make the function around it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(os.environ["MODEL"], options)

    async def app(_: Message, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        features = np.array(orjson.loads(body)["features"], dtype=np.float32)
        labels, probabilities = session.run(None, {"features": np.atleast_2d(features)})
        if features.ndim == 1:
            content = {
                "prediction": int(labels[0]),
                "confidence": probabilities[0].max(),
                "probabilities": probabilities[0],
            }
        else:
            content = {
                "predictions": labels,
                "confidences": probabilities.max(axis=1),
                "probabilities": probabilities,
            }
        body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
