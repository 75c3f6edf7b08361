"""The program of a worker: of `bentoml serve`, and of the image.

    python -m service.serve --fd NUMBER --worker-id NUMBER

BentoML's own worker comes to the same by way of the class in `service.service`, for an application
that answers no request here (see `service.http.front`), and imports what BentoML needs elsewhere:
its cloud's client, its supervisor, HTTP clients, traces. That is more than half of a start, and a
third of the memory.
"""

from __future__ import annotations

import argparse
import gc
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

    from service.http.asgi import App, Receive, Scope, Send

BACKLOG = 2048  # connections that wait to be accepted; as many as with BentoML


def main() -> None:
    """Serve at a listening socket that was inherited, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m service.serve", description=main.__doc__)
    parser.add_argument("--fd", type=int, required=True, help="number of the socket")
    parser.add_argument("--worker-id", type=int, default=1, help="which worker, from 1")
    arguments = parser.parse_args()
    # What is imported stays, so it need not be looked through time and again: a tenth of a start.
    gc.disable()
    make_server(arguments.worker_id - 1).run(sockets=[socket.socket(fileno=arguments.fd)])


def make_server(index: int) -> uvicorn.Server:
    """Return the server of a worker, which is the one of that index, from 0."""
    from asyncio import Protocol  # noqa: PLC0415 - when the collector is off

    import uvicorn  # noqa: PLC0415

    config = uvicorn.Config(
        make_application(index),
        http=Protocol,  # until there is a model; the lifecycle then puts the service's in
        ws="none",
        lifespan="on",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
    )
    return uvicorn.Server(config)


def make_application(index: int) -> App:
    """Return what uvicorn starts and stops: all requests pass it by, see `lifecycle.configure`."""
    from cairn.errors import CairnError  # noqa: PLC0415 - as above
    from service.instance import Instance  # noqa: PLC0415

    async def application(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            instance = Instance()
            instance.start(index)
        except CairnError:  # the log has said why
            await send({"type": "lifespan.startup.failed"})
            return
        gc.enable()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        instance.stop()
        await send({"type": "lifespan.shutdown.complete"})

    return application


if __name__ == "__main__":
    main()
