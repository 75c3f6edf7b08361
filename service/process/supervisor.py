"""The process above the workers: it starts them, replaces those that die, and ends them in order.

A worker that dies is replaced, in a container too, where BentoML would let all end: one of several
may die while the others answer, the queue of connections outlives it here, and `bentoml serve` on a
laptop has nobody above it to start it again. A worker that cannot start is another matter: the next
one could not either, so the whole process ends, and says so.

It imports the standard library only. `bentoml serve`, which has by then loaded all that a worker
does, becomes this program; the image starts it at once, and so loads the model's libraries once.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from service.bento.compat import FD, NUMBER, WORKER_COMMAND
from service.process import streams
from service.process.heartbeats import Watch, open_heartbeats
from service.process.run_folder import (
    RUN,
    STOPPING,
    SUPERVISOR,
    locate_ready_file,
    read_note,
    write_note,
)

CHECK_SECONDS = 0.5
MARGIN_SECONDS = 5  # for a worker to end by itself before it is killed
TRIES = 3
FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
STOPS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
PROGRAM = "service.process.supervisor"  # this module, which may run as `__main__`


class Service(NamedTuple):
    """What to run.

    Attributes
    ----------
    host, port
        Where to listen.
    workers
        How many.
    command
        A worker's, with FD and NUMBER in it.
    """

    host: str
    port: int
    workers: int
    command: tuple[str, ...]


class Supervisor:
    """Runs the workers of one listening socket.

    Parameters
    ----------
    plan
        What to run.
    folder
        The folder of the run.
    environment
        The workers', but for the folder.
    """

    def __init__(self, plan: Service, folder: Path, environment: Mapping[str, str]) -> None:
        self.plan = plan
        self.folder = folder
        self.failed = False
        # What BentoML says before the service's own log begins is no JSON.
        self._environment = {**environment, RUN: str(folder), "BENTOML_QUIET": "true"}
        self._workers: dict[int, int] = {}  # process id → number
        self._ready: dict[int, float] = {}  # process id → seconds that its end may take
        self._has_served = False
        self._tries = 0
        self._to_renew: list[int] = []
        self._renewing = 0
        # When each process that was asked to end is killed: process id → moment; and how all end.
        self._kill_at: dict[int, float] = {}
        self._stop_with: str | None = None
        self._wait_until = 0.0
        self._ending = False
        self._signals = open_signals()
        self._heartbeats = open_heartbeats(plan.workers, folder)
        self._watch = Watch(self._heartbeats, 2 * CHECK_SECONDS)
        write_note(folder / SUPERVISOR, str(os.getpid()))
        # Bound, but it is left to the workers to listen, once they can answer.
        self._listener = bind(plan.host, plan.port)

    def run(self) -> None:
        """Run until all workers have ended."""
        for number in range(1, self.plan.workers + 1):
            self._start(number)
        while self._workers:
            for number in self._wait_for_signals():
                self._on_signal(number)
            gone = list(reap())
            self._see_ready()  # of those that are gone as well
            for pid, code in gone:
                self._on_end(pid, code)
            self._kill_hung()
            self._renew()
            self._end()
            for pid, moment in self._kill_at.items():
                if time.monotonic() > moment:
                    os.kill(pid, signal.SIGKILL)

    def _start(self, number: int) -> None:
        """Start a worker, in a group of its own: a terminal's Ctrl-C is for the supervisor."""
        words = {FD: str(self._listener.fileno()), NUMBER: str(number)}
        command = [sys.executable, *(words.get(word, word) for word in self.plan.command)]
        pid = os.posix_spawn(
            sys.executable,
            command,
            self._environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setpgroup=0,
        )
        self._workers[pid] = number

    def _wait_for_signals(self) -> Iterator[int]:
        """Wait for signals, up to some time, and yield those that came."""
        if select.select([self._signals], [], [], CHECK_SECONDS)[0]:
            yield from self._signals.recv(1024)

    def _see_ready(self) -> None:
        """Note which workers have become ready; somebody may remove what they write."""
        for pid in self._workers.keys() - self._ready.keys():
            with suppress(OSError, ValueError):
                self._ready[pid] = float(read_note(locate_ready_file(self.folder, pid)))
                if self._ending:
                    self._terminate(pid)

    def _kill_hung(self) -> None:
        """Kill each worker whose event loop has not run for too long; another is then started.

        One that has been asked to end is not among them: that has a time of its own.
        """
        pids = {self._workers[pid] - 1: pid for pid in self._ready.keys() - self._kill_at.keys()}
        for index in self._watch.find_hung(set(pids)):
            limit = self._heartbeats.read(index).limit
            print_error(
                f"worker {index + 1} (process {pids[index]}) hangs: its event loop has not run for "
                f"{limit:g} s (HEARTBEAT_SECONDS); it is killed, and another takes its place"
            )
            self._kill_at[pids[index]] = 0.0

    def _on_signal(self, number: int) -> None:
        """End, or renew the workers; a second signal ends them without any more waiting."""
        if number == signal.SIGHUP:
            self._to_renew = sorted(self._workers.values())
        elif number in STOPS:
            again = self._stop_with is not None
            self._stop("0" if again or number == signal.SIGINT else "")
            if again:
                self._wait_until = 0.0

    def _stop(self, seconds: str) -> None:
        """Have the workers end after so many seconds more; empty: after as many as are configured.

        Where the last one is just being replaced, what waits in the queue is the next one's.
        """
        self._stop_with = seconds
        if self._ending:
            self._write_stopping()
        elif self._has_served and not self._ready and not self.failed:
            self._wait_until = time.monotonic() + MARGIN_SECONDS

    def _end(self) -> None:
        """Begin the end, once it is due."""
        due = self._ready or time.monotonic() > self._wait_until
        if self._stop_with is None or self._ending or not due:
            return
        self._ending = True
        self._write_stopping()
        # Whoever closes a listening socket last breaks what waits in its queue; workers do not.
        self._listener.close()
        for pid in self._workers:
            self._terminate(pid)

    def _write_stopping(self) -> None:
        """Tell the workers how long to go on; where that fails their own settings hold."""
        with suppress(OSError):
            write_note(self.folder / STOPPING, self._stop_with or "")

    def _terminate(self, pid: int) -> None:
        """Send SIGTERM to a worker, and SIGKILL after all the time that it may take."""
        self._kill_at[pid] = time.monotonic() + self._ready.get(pid, 0.0) + MARGIN_SECONDS
        os.kill(pid, signal.SIGTERM)

    def _on_end(self, pid: int, code: int) -> None:
        """Replace a worker that died; where it cannot start, end all."""
        number = self._workers.pop(pid, None)
        was_ready = self._ready.pop(pid, None) is not None
        was_asked = self._kill_at.pop(pid, None) is not None
        with suppress(OSError):
            locate_ready_file(self.folder, pid).unlink()
        if number is None:
            return
        self._heartbeats.stop(number - 1)
        if self._ending or self.failed:
            return
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if self._can_start(code, was_ready=was_ready):
            if was_ready and not was_asked:
                what = f"worker {number} (process {pid}) died ({how})"
                print_error(f"{what}; another takes its place")
            self._start(number)
            return
        self.failed = True
        print_error(f"a worker ended before it was ready ({how}); its lines above say why")
        self._stop("")

    def _can_start(self, code: int, *, was_ready: bool) -> bool:
        """Tell a worker that died from one that cannot start."""
        if was_ready:
            self._has_served = True
            self._tries = 0
            return True
        self._tries += 1
        # One that somebody, or the kernel for want of memory, killed may do better again.
        return code in FROM_OUTSIDE and self._tries < TRIES

    def _renew(self) -> None:
        """End the next worker that is to be replaced, once the last one is, and all are ready."""
        if not self._to_renew or self._renewing in self._workers or self._stop_with is not None:
            return
        if self._workers.keys() == self._ready.keys():
            number = self._to_renew.pop(0)
            [self._renewing] = (pid for pid, its in self._workers.items() if its == number)
            self._terminate(self._renewing)


def main() -> None:
    """Run the workers that the arguments, or else the variables of an image, ask for."""
    streams.open_missing()
    arguments = sys.argv[1:]
    if not arguments:
        defaults = (("HOST", "0.0.0.0"), ("PORT", "3000"), ("WORKERS", "1"))  # noqa: S104, a container
        arguments = [os.environ.get(name, "").strip() or value for name, value in defaults]
        arguments += [".", *WORKER_COMMAND]
    host, port, workers, folder, *command = arguments
    os.chdir(folder)
    run(
        Service(
            host,
            parse_integer("PORT", port, 65535),
            parse_integer("WORKERS", workers, 256),
            tuple(command),
        )
    )


def run(plan: Service) -> None:
    """Run until all workers have ended; ends the process with 1 if one could not start."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="cairn-"))
    except OSError as error:
        print_error(f"no folder for temporary files: {error}; a container wants --tmpfs /tmp")
        sys.exit(1)
    try:
        supervisor = start_supervisor(plan, folder)
        supervisor.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if supervisor.failed else 0)


def start_supervisor(plan: Service, folder: Path) -> Supervisor:
    """Return the supervisor of a run; where the disk has no room, end the process with one line."""
    try:
        return Supervisor(plan, folder, os.environ)
    except OSError as error:
        reason = error.strerror or error
        print_error(f"{folder}: {reason}; free some space there, or set TMPDIR to another folder")
        sys.exit(1)


def parse_integer(name: str, text: str, most: int) -> int:
    """Read a setting that is an integer; where it is none, the process ends with one line."""
    if len(text) <= len(str(most)) and text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    print_error(f"{name}: {text!r}; allowed: a whole number from 1 to {most}")
    sys.exit(1)


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket that workers inherit and listen at; ends the process if it cannot."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        text = f"cannot listen at {host}, port {port}: {reason}"
        print_error(f"{text}; choose another, by --port or PORT")
        sys.exit(1)
    listener.set_inheritable(True)
    return listener


def open_signals() -> socket.socket:
    """Open a socket from which the numbers of signals are read as they come."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)  # noqa: FBT003, its own signature
    for number in (*STOPS, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer.detach())
    return reader


def reap() -> Iterator[tuple[int, int]]:
    """Yield each child that has ended, with those inherited as a container's first process."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        return


def print_error(error: str) -> None:
    """Print what is wrong to stderr, if anybody still reads that."""
    with suppress(OSError):
        print(f"error: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
