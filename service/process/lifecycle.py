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
import errno
import gc
import os
import shutil
import signal
import socket
import struct
from contextlib import ExitStack, suppress
from functools import cache

from uvicorn import Server

from service.http import compat
from service.http.protocol import Application, Limits, Pool
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
START_CHECK_SECONDS = 0.01
MAX_ACCEPT = 64  # connections of one turn of the loop: some milliseconds
# Bytes of answers and of requests that the kernel holds for a client; it takes twice as many for
# its own accounts. Otherwise it holds megabytes for each that does not read, or sends on while its
# answer waits, and they count as the container's memory. With half of the second, long bodies take
# longer.
SEND_BUFFER = 2**17
RECEIVE_BUFFER = 2**18
TCP_INFO_UNACKED = 24  # where Linux has the length of a listening socket's queue in TCP_INFO
# No more connections can be had just now.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


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

    def start(self, settings: Settings, application: Application) -> None:
        """Take up requests; called once the model is loaded, in the loop that will serve.

        Outside a worker, where no uvicorn runs, it only marks the service as ready.

        Parameters
        ----------
        settings
            How long to drain, to wait, to keep connections.
        application
            What answers requests.
        """
        self.ready = True
        server = compat.find_server()
        if server is None:
            return
        site = configure(server, settings, application)
        gc.collect()
        gc.freeze()  # what is loaded stays, so the collector need not look at it again
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_sigterm, site, settings.drain_seconds)
        self._tasks.append(loop.create_task(self._watch(site, settings)))
        if folder := run_folder.find_folder():
            longest = settings.drain_seconds + LINGER_SECONDS + settings.graceful_seconds
            run_folder.write_note(run_folder.locate_ready_file(folder, os.getpid()), str(longest))
        if server.should_exit:  # SIGTERM came while the model was loading
            server.should_exit = False
            self._on_sigterm(site, settings.drain_seconds)

    def _on_sigterm(self, site: Site, seconds: float) -> None:
        """Begin the end; where it has begun already, only a process without a supervisor ends now.

        One signal may come twice, from the supervisor and from what stops all of its processes.
        """
        if self.draining:
            if run_folder.find_folder() is None:
                site.server.handle_exit(signal.SIGTERM, None)
            return
        self.draining = True
        site.pool.is_closing = True
        self._tasks.append(asyncio.get_running_loop().create_task(drain(site, seconds)))

    async def _watch(self, site: Site, settings: Settings) -> None:
        """Listen; end what is late, and all as on SIGTERM when the supervisor is gone.

        Nobody would replace this process any more.
        """
        await open_queue(site)
        while not run_folder.is_orphaned():  # a process that is gone tells nobody
            await asyncio.sleep(CHECK_SECONDS)
            await site.pool.end_late()
        if folder := run_folder.find_folder():
            shutil.rmtree(folder, ignore_errors=True)
        if not self.draining:
            self._on_sigterm(site, settings.drain_seconds)


@cache
def find_lifecycle() -> Lifecycle:
    """Return the lifecycle of this process."""
    return Lifecycle()


class Site:
    """uvicorn's server of this process, its connections, and the queue they come from.

    Parameters
    ----------
    server, pool
        The server and the connections.
    workers
        How many processes share the queue.
    """

    def __init__(self, server: Server, pool: Pool, workers: int) -> None:
        self.server = server
        self.pool = pool
        self.queue = Queue(self, workers)


def configure(server: Server, settings: Settings, application: Application) -> Site:
    """Have uvicorn serve an application by the service's protocol."""
    limits = Limits(
        body=settings.max_body_bytes,
        seconds=settings.timeout_seconds,
        idle_seconds=settings.keep_alive_seconds,
        requests=settings.max_concurrency,
        connections=settings.max_connections,
    )
    pool = Pool(application, limits, server.server_state)
    compat.configure(server, graceful_seconds=settings.graceful_seconds, connect=pool.connect)
    return Site(server, pool, settings.workers)


async def open_queue(site: Site) -> None:
    """Accept what waits whenever something does, once uvicorn listens."""
    while not site.server.started:  # noqa: ASYNC110, uvicorn sets no event
        await asyncio.sleep(START_CHECK_SECONDS)
    site.queue.open()


class Queue:
    """The connections that the kernel has made and nobody has accepted yet.

    libuv accepts one connection a turn of its loop. With hundreds of connections to be served in a
    turn, those who are new would wait for seconds, and a probe among them.

    Parameters
    ----------
    site
        Who listens, and where the connections go.
    workers
        How many processes share the queue: each takes its part of what waits.
    """

    def __init__(self, site: Site, workers: int) -> None:
        self._site = site
        self._workers = workers
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Begin to empty the queue each time that a connection is made."""
        self._listeners = duplicate(compat.list_sockets(self._site.server))
        for listener in self._listeners:
            # A process that had the socket before may have been ended while it let nobody in.
            limit_ttl(listener, 0)
            # Each connection has them from here.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._site.pool.accept = self.accept

    def close(self) -> None:
        """Leave the queue as it is."""
        self._site.pool.accept = None
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def accept(self) -> None:
        """Accept what waits, or this process's part of it."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            connections = accept_all(listener, self._count_due(listener))
            if len(connections) == MAX_ACCEPT:  # those who are served have their turn first
                loop.call_soon(self.accept)
            for connection in connections:
                task = loop.create_task(serve(self._site, connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _count_due(self, listener: socket.socket) -> int:
        """Return how many connections to accept."""
        if self._workers == 1:
            return MAX_ACCEPT
        try:
            info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
            waiting: int = struct.unpack_from("I", info, TCP_INFO_UNACKED)[0]
        except OSError:
            return 1
        return min(-(-waiting // self._workers), MAX_ACCEPT)


async def drain(site: Site, seconds: float) -> None:
    """Answer for that long, stop listening, then have uvicorn end the process.

    The time starts again where the supervisor has all workers end meanwhile.
    """
    server = site.server
    loop = asyncio.get_running_loop()
    stopping, ends = None, loop.time() + seconds
    while loop.time() < ends:
        if (latest := run_folder.read_stopping()) != stopping:
            stopping, ends = latest, loop.time() + float(latest or seconds)
        await asyncio.sleep(min(DRAIN_CHECK_SECONDS, max(ends - loop.time(), 0)))
    is_last = run_folder.find_folder() is None or stopping is not None or run_folder.is_orphaned()
    before = loop.time()
    await stop_listening(site, is_last=is_last)
    # What a client sends while `serve_rest` limits its connection is dropped. Its system sends it
    # again, but doubles the pause each time: the next time comes within as long as it was held up.
    await end_connections(site, LINGER_SECONDS + loop.time() - before)
    if server.server_state.connections or server.server_state.tasks:
        server.config.timeout_graceful_shutdown = 0  # they have had that time
    server.handle_exit(signal.SIGTERM, None)


async def end_connections(site: Site, linger: float) -> None:
    """Answer what is in work, and what comes within `linger` seconds; close what is idle then.

    uvicorn would close connections without a look at what has come on them. All of it ends with
    the graceful time, which begins after the usual linger.
    """
    graceful = site.server.config.timeout_graceful_shutdown or 0
    loop, ran = asyncio.get_running_loop(), 0.0
    state, last = site.server.server_state, loop.time()
    while (state.connections or state.tasks) and ran < LINGER_SECONDS + graceful:
        await asyncio.sleep(LINGER_CHECK_SECONDS)
        now = loop.time()
        # No more than a pause and its usual delay: the rest of it, this process did not run.
        ran, last = ran + min(now - last, 2 * LINGER_CHECK_SECONDS), now
        if ran >= linger:
            await site.pool.end_idle()


async def stop_listening(site: Site, *, is_last: bool) -> None:
    """Accept no more connections; the last process that listens leaves none in the queue.

    All workers share one queue. While any of them, or the supervisor, has it open, what waits in
    it is theirs.
    """
    site.queue.close()
    numbers = compat.list_sockets(site.server)
    listeners = duplicate(numbers)
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.remove_reader(number)
    await asyncio.sleep(0.01)  # asyncio makes a task of each connection, and closing breaks those
    for one in site.server.servers:
        one.close()
    with ExitStack() as until_closed:
        for listener in listeners:
            until_closed.enter_context(listener)
        if is_last:
            await serve_rest(site, listeners)


def duplicate(numbers: list[int]) -> list[socket.socket]:
    """Return sockets of our own for these numbers, which do not block."""
    listeners = [socket.socket(fileno=os.dup(number)) for number in numbers]
    for listener in listeners:
        listener.setblocking(False)  # noqa: FBT003, its own signature
    return listeners


async def serve_rest(site: Site, listeners: list[socket.socket]) -> None:
    """Serve what is in the queue, and what is on its way there; the kernel lets in no more."""
    for listener in listeners:
        limit_ttl(listener, HIGHEST)
    for _ in range(SETTLES):
        await asyncio.sleep(SETTLE_SECONDS / SETTLES)
        accepted = [connection for listener in listeners for connection in accept_all(listener)]
        await asyncio.gather(*(serve(site, connection) for connection in accepted))
    for connection in site.pool.state.connections:
        # The limit that another worker set went over to those that were taken after it.
        if peer := connection.transport.get_extra_info("socket"):
            limit_ttl(peer, 0)
    if run_folder.find_folder() is None:
        # Who watches the files for `--reload` keeps the socket, for the next process.
        for listener in listeners:
            limit_ttl(listener, 0)


async def serve(site: Site, connection: socket.socket) -> None:
    """Serve a connection that was accepted."""
    limit_ttl(connection, 0)
    loop, ssl = asyncio.get_running_loop(), site.server.config.ssl
    with suppress(OSError):  # the client is gone already
        await loop.connect_accepted_socket(site.pool.connect_accepted, connection, ssl=ssl)


def accept_all(listener: socket.socket, most: int = 2**16) -> list[socket.socket]:
    """Accept the connections that wait in the queue of a listening socket, up to so many."""
    accepted: list[socket.socket] = []
    while len(accepted) < most:
        try:
            accepted.append(listener.accept()[0])
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno in EXHAUSTED:  # it stays in the queue
                break
            continue  # this one went away while it waited
    return accepted


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
