"""Private parts of Dask and joblib that the cluster needs, for want of a public way.

Each class and function says why. `tests/cairn/compute/test_compat.py` fails when a library moves
one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from distributed import Client

# The versions whose source was read for this module.
DISTRIBUTED = ">=2026.8,<2026.9"
JOBLIB = ">=1.5,<1.6"


class BoundedClient(Client):  # type: ignore[misc]  # untyped
    """A client that closes itself if it cannot start, and that starts within twice its timeout.

    An unstarted client is otherwise closed by the garbage collector. If that happens in the thread
    that is just starting another client, each of the two waits for the other.
    """

    def __init__(self, address: str, *, timeout: float) -> None:
        self._limit = 2 * timeout
        super().__init__(address, timeout=timeout)

    def start(self, **options: Any) -> None:
        """Start, or close the client and end its thread.

        After an OSError the client counts as closed already, and `close` leaves the thread running.
        """
        try:
            super().start(**options)
        except Exception:
            self.close()
            self._loop_runner.stop()
            raise

    async def _ensure_connected(self, **options: Any) -> None:
        """Connect in bounded time.

        Since pull request 7698 of distributed, its timeout does not cover the handshake: where a
        server accepts a connection and stays silent, it waits for ever.
        """
        connecting = super()._ensure_connected(**options)
        await asyncio.wait_for(connecting, self._limit)


def read_workers(client: Client) -> dict[str, Any]:
    """Ask the scheduler for address → what it knows of a worker.

    The client's public `scheduler_info` is a copy that may be old, and of a few workers only.
    """
    return dict(client.sync(client.scheduler.identity, n_workers=-1)["workers"])


def iterate_arguments(batch: Any) -> Iterator[Any]:
    """Yield the arguments of each call in a batch that joblib gives a backend to submit.

    joblib documents backends, but not what they submit.
    """
    for _, arguments, named in batch.items:
        yield from arguments
        yield from named.values()
