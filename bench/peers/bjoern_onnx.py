"""bjoern, a server in C (libev), by WSGI, around the same unchecked function.

Its argument: the port.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from bench.peers.onnx_bytes import open_predictor


def create_app() -> Callable[[dict[str, Any], Callable[..., Any]], list[bytes]]:
    """Load the model and make the function around it."""
    predict = open_predictor()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        answer = predict(environ["wsgi.input"].read())
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
        start_response("200 OK", headers)
        return [answer]

    return app


def main() -> None:
    """Serve it."""
    import bjoern  # type: ignore[import-not-found]  # noqa: PLC0415 - not where it is checked

    bjoern.run(create_app(), "127.0.0.1", int(sys.argv[1]))


if __name__ == "__main__":
    main()
