"""From ready to ended: how a worker takes up requests, and how it stops without losing one.

On SIGTERM `/readyz` turns 503 at once, while requests are answered for DRAIN_SECONDS more, each
with `connection: close`, so that clients and load balancers go elsewhere. Then the listening
socket is closed, the requests in work get GRACEFUL_SECONDS to end, and the process ends. uvicorn
itself stops listening at SIGTERM, and loses the connections that the kernel has taken for it.

A busy machine may keep a worker from running until its time is over. So a connection is closed only
where the kernel holds nothing that came on it, and only time in which the worker ran counts.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any

from uvicorn import Server

from service.http import compat, protocol
from service.process import run_folder
from service.process.settings import Settings

CHECK_SECONDS = 1.0
DRAIN_CHECK_SECONDS = 0.05
SETTLE_SECONDS = 0.1  # for handshakes on their way: more than any round trip within a region
SETTLES = 10  # how often the queue is emptied in that time
HIGHEST = 255  # no system sends packets with a time to live as high, after a hop or without
FAMILIES = {socket.AF_INET, socket.AF_INET6}
_IP_MINTTL, _IPV6_MINHOPCOUNT = 21, 73  # Linux's, which Python does not name
LINGER_SECONDS = 1.0  # for the next request of a connection, once nobody can connect any more
LINGER_CHECK_SECONDS = 0.05


class Lifecycle:
    """Where this process is between its start and its end.

    Attributes
    ----------
    ready
        The model is loaded and has answered once.
    draining
        The end has begun: requests are still answered, but no more should be sent.
    """

    def __init__(self) -> None:
        self.ready = False
        self.draining = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, settings: Settings, front: Callable[[Any], Any] | None = None) -> None:
        """Take up requests; called once the model is loaded, in the loop that will serve.

        Outside a worker, where no uvicorn runs, it only marks the service as ready.

        Parameters
        ----------
        settings
            How long to drain, to wait, to keep connections.
        front
            What makes the application that uvicorn calls from the one that it has.
        """
        self.ready = True
        server = compat.find_server()
        if server is None:
            return
        configure(server, settings)
        if front:
            compat.wrap_application(server, front)
        gc.collect()
        gc.freeze()  # what is loaded stays, so the collector need not look at it again
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_sigterm, server, settings.drain_seconds)
        self._tasks.append(loop.create_task(self._watch(server, settings)))
        if folder := run_folder.find_folder():
            longest = settings.drain_seconds + LINGER_SECONDS + settings.graceful_seconds
            run_folder.write_note(run_folder.locate_ready_file(folder, os.getpid()), str(longest))
        if server.should_exit:  # SIGTERM came while the model was loading
            server.should_exit = False
            self._on_sigterm(server, settings.drain_seconds)

    def _on_sigterm(self, server: Server, seconds: float) -> None:
        """Begin the end; where it has begun already, only a process without a supervisor ends now.

        One signal may come twice, from the supervisor and from what stops all of its processes.
        """
        if self.draining:
            if run_folder.find_folder() is None:
                server.handle_exit(signal.SIGTERM, None)
            return
        self.draining = True
        compat.announce_close(server)
        self._tasks.append(asyncio.get_running_loop().create_task(drain(server, seconds)))

    async def _watch(self, server: Server, settings: Settings) -> None:
        """End what is late, and all as on SIGTERM when the supervisor is gone.

        Nobody would replace this process any more.
        """
        while not run_folder.is_orphaned():  # a process that is gone tells nobody
            await asyncio.sleep(CHECK_SECONDS)
            protocol.end_late(server.server_state.connections, settings.timeout_seconds)
        if folder := run_folder.find_folder():
            shutil.rmtree(folder, ignore_errors=True)
        if not self.draining:
            self._on_sigterm(server, settings.drain_seconds)


@cache
def find_lifecycle() -> Lifecycle:
    """Return the lifecycle of this process."""
    return Lifecycle()


def configure(server: Server, settings: Settings) -> None:
    """Give uvicorn the settings that BentoML's command line does not."""
    compat.configure(
        server,
        keep_alive_seconds=settings.keep_alive_seconds,
        graceful_seconds=settings.graceful_seconds,
        adapt=protocol.adapt,
    )


async def drain(server: Server, seconds: float) -> None:
    """Answer for that long, stop listening, then have uvicorn end the process.

    The time starts again where the supervisor has all workers end meanwhile.
    """
    loop = asyncio.get_running_loop()
    stopping, ends = None, loop.time() + seconds
    while loop.time() < ends:
        if (latest := run_folder.read_stopping()) != stopping:
            stopping, ends = latest, loop.time() + float(latest or seconds)
        await asyncio.sleep(min(DRAIN_CHECK_SECONDS, max(ends - loop.time(), 0)))
    is_last = run_folder.find_folder() is None or stopping is not None or run_folder.is_orphaned()
    before = loop.time()
    await stop_listening(server, is_last=is_last)
    # What a client sends while `serve_rest` limits its connection is dropped. Its system sends it
    # again, but doubles the pause each time: the next time comes within as long as it was held up.
    await end_connections(server, LINGER_SECONDS + loop.time() - before)
    if server.server_state.connections or server.server_state.tasks:
        server.config.timeout_graceful_shutdown = 0  # they have had that time
    server.handle_exit(signal.SIGTERM, None)


async def end_connections(server: Server, linger: float) -> None:
    """Answer what is in work, and what comes within `linger` seconds; close what is idle then.

    uvicorn would close connections without a look at what has come on them. All of it ends with
    the graceful time, which begins after the usual linger.
    """
    graceful = server.config.timeout_graceful_shutdown or 0
    loop, ran = asyncio.get_running_loop(), 0.0
    find_lifecycle, last = server.server_state, loop.time()
    while (find_lifecycle.connections or find_lifecycle.tasks) and ran < LINGER_SECONDS + graceful:
        await asyncio.sleep(LINGER_CHECK_SECONDS)
        now = loop.time()
        # No more than a pause and its usual delay: the rest of it, this process did not run.
        ran, last = ran + min(now - last, 2 * LINGER_CHECK_SECONDS), now
        if ran >= linger:
            protocol.end_idle(find_lifecycle.connections)


async def stop_listening(server: Server, *, is_last: bool) -> None:
    """Accept no more connections; the last process that listens leaves none in the queue.

    All workers share one queue. While any of them, or the supervisor, has it open, what waits in
    it is theirs.
    """
    numbers = [one.fileno() for listener in server.servers for one in listener.sockets]
    listeners = [socket.socket(fileno=os.dup(number)) for number in numbers]
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.remove_reader(number)
    await asyncio.sleep(0.01)  # asyncio makes a task of each connection, and closing breaks those
    for one in server.servers:
        one.close()
    with ExitStack() as until_closed:
        for listener in listeners:
            until_closed.enter_context(listener)
            listener.setblocking(False)  # noqa: FBT003, its own signature
        if is_last:
            await serve_rest(server, listeners)


async def serve_rest(server: Server, listeners: list[socket.socket]) -> None:
    """Serve what is in the queue, and what is on its way there; the kernel lets in no more."""
    for listener in listeners:
        limit_ttl(listener, HIGHEST)
    for _ in range(SETTLES):
        await asyncio.sleep(SETTLE_SECONDS / SETTLES)
        accepted = [connection for listener in listeners for connection in accept_all(listener)]
        await asyncio.gather(*(serve(server, connection) for connection in accepted))
    for connection in server.server_state.connections:
        # The limit that another worker set went over to those that were taken after it.
        if peer := connection.transport.get_extra_info("socket"):
            limit_ttl(peer, 0)


async def serve(server: Server, connection: socket.socket) -> None:
    """Have uvicorn serve a connection that was accepted."""
    limit_ttl(connection, 0)
    factory: Any = server.config.http_protocol_class

    def protocol() -> Any:
        return factory(
            config=server.config,
            server_state=server.server_state,
            app_state=server.lifespan.state,
        )

    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(protocol, connection, ssl=server.config.ssl)


def accept_all(listener: socket.socket) -> list[socket.socket]:
    """Accept the connections that wait in the queue of a listening socket."""
    accepted = []
    while True:
        try:
            accepted.append(listener.accept()[0])
        except BlockingIOError:
            return accepted
        except OSError:  # this one went away while it waited
            continue


def limit_ttl(connection: socket.socket, lowest: int) -> None:
    """Have the kernel drop packets that have a time to live below this; 0: none.

    A listening socket then lets nobody begin to connect, whose system tries again by itself, while
    those who have begun come to their end, and hand the limit on. Between the last `accept` and
    `close` the kernel would go on to take connections, and break them. No right is needed, as it
    is for a packet filter in newer kernels. Where there is no such option (it is Linux's) a gap of
    microseconds stays.
    """
    if connection.family in FAMILIES:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, lowest)
    if connection.family == socket.AF_INET6:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, lowest)
