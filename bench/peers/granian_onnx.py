"""Granian, a server in Rust, by its own protocol RSGI, around the same unchecked function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from bench.peers.onnx_bytes import open_predictor

HEADERS = [("content-type", "application/json")]
App = Callable[[Any, Any], Awaitable[None]]


def create_app() -> App:
    """Load the model and make the function around it."""
    predict = open_predictor()

    async def app(_: Any, protocol: Any) -> None:
        protocol.response_bytes(200, HEADERS, predict(await protocol()))

    return app
