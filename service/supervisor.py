"""The parent process of `bentoml serve`: it replaces workers that die, and ends them in order.

A worker that dies is replaced, in a container too, where BentoML would let all end: one of several
may die while the others answer, the queue of connections outlives it here, and `bentoml serve` on a
laptop has nobody above it to start it again. A worker that cannot start is another matter: the next
one could not either, so the whole process ends, and says so.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bentoml._internal.utils import circus

from service.lifecycle import LINGER_SECONDS, RUN, STOPPING, SUPERVISOR, ready_file
from service.settings import settings

CHECK_SECONDS = 0.5
MARGIN_SECONDS = 5  # for a worker to end by itself before it is killed
TRIES = 3
FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
SHORT = {"arbiter_start_watchers", "manage_watchers"}  # what of circus's has to end before a stop


def install() -> None:
    """Have `bentoml serve` use our supervisor; called before it makes its own."""
    circus.Arbiter = Supervisor  # type: ignore[misc]


class Supervisor(circus.Arbiter):
    """BentoML's arbiter of worker processes, with the promises above.

    Parameters
    ----------
    watchers
        What circus calls the keeper of the processes of one command.
    options
        What else `circus.arbiter.Arbiter` takes.
    """

    def __init__(self, watchers: list[Any], **options: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cairn-"))
        (self.folder / SUPERVISOR).write_text(str(os.getpid()))
        self._serving = tuple(watchers)
        self._stopping = False
        self._ending: asyncio.Future[None] | None = None
        self._failed = False
        self._tries = 0
        told = settings()
        for watcher in watchers:
            watcher.env[RUN] = str(self.folder)
            watcher.respawn = True
            watcher.graceful_timeout = (
                told.drain_seconds + LINGER_SECONDS + told.graceful_seconds + MARGIN_SECONDS
            )
        if not options.get("plugins"):
            # BentoML opens ports on which any user of the machine may give commands.
            options.update(endpoint="inproc://control", pubsub_endpoint="inproc://events")
        super().__init__(watchers, **{**options, "check_delay": CHECK_SECONDS})

    def initialize(self) -> None:
        """Bind the sockets, but leave it to the workers to listen, once they can answer."""
        for one in self.sockets.values():
            one.listen = lambda _: None
        try:
            super().initialize()
        except OSError as error:
            sys.exit(
                f"error: cannot listen there: {error.strerror}; choose another --host or --port"
            )

    def start(self, cb: Callable[[Any], Any] | None = None) -> None:
        """Run until all workers have ended; ends the process with 1 if one could not start."""
        loop = self.loop.asyncio_loop
        for number, seconds in (
            (signal.SIGTERM, settings().drain_seconds),
            (signal.SIGQUIT, settings().drain_seconds),
            (signal.SIGINT, 0.0),
        ):
            loop.add_signal_handler(number, self._on_signal, seconds)
        try:
            super().start(cb)
        finally:
            self.exit_stack.close()
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._failed:
            sys.exit(1)

    def stop(self) -> None:
        """End all workers, then `start`."""
        self._on_signal(settings().drain_seconds)

    def _on_signal(self, seconds: float) -> None:
        """End; a second signal ends the workers without any more waiting."""
        if not self._stopping:
            self._ending = asyncio.ensure_future(self._end(seconds))
            return
        for process in self._processes():
            process.send_signal(signal.SIGTERM)

    async def _end(self, seconds: float) -> None:
        """End the workers, who go on answering for that long."""
        if self._stopping:
            return
        self._stopping = True
        while self._exclusive_running_command in SHORT:  # noqa: ASYNC110  # circus has no event
            await asyncio.sleep(0.01)
        self.ctrl.caller.stop()
        (self.folder / STOPPING).write_text(str(seconds))
        # Whoever closes a listening socket last breaks what waits in its queue; workers do not.
        self.sockets.close_all()
        await self._stop_watchers(close_output_streams=True)
        self.loop.add_callback(self.loop.stop)

    async def manage_watchers(self) -> None:
        """Replace the workers that ended; called every CHECK_SECONDS."""
        if self._stopping or self._exclusive_running_command:
            return
        for process in self._processes():
            if (code := process.poll()) is not None:
                self._note_end(process.pid, code)
        if self._failed:
            await self._end(settings().drain_seconds)
        else:
            await super().manage_watchers()

    def _note_end(self, pid: int, code: int) -> None:
        """Tell a worker that died from one that cannot start."""
        mark = ready_file(self.folder, pid)
        if mark.is_file():
            mark.unlink()
            self._tries = 0
            return
        self._tries += 1
        # One that somebody, or the kernel for want of memory, killed may do better again.
        if code not in FROM_OUTSIDE or self._tries == TRIES:
            ended = f"signal {-code}" if code < 0 else f"exit code {code}"
            print(
                f"error: a worker ended before it was ready ({ended}); its lines above say why",
                file=sys.stderr,
                flush=True,
            )
            self._failed = True

    def _processes(self) -> list[Any]:
        return [one for watcher in self._serving for one in watcher.processes.values()]
