"""What the service patches and reads of BentoML that is not its documented interface.

Nothing happens when this module is imported, and it imports the standard library only: the
supervisor, which has to stay small, imports it. tests/service/bento/test_compat.py fails where one
of these seams moves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from service.process import streams
from service.versions import check_version

LOWEST, BELOW = (1, 4, 39), (1, 5)
# In the command of a worker: the number of the listening socket, and the worker's own, from 1.
FD, NUMBER = "{fd}", "{number}"
WORKER = "service.serve"  # the program of a worker
# What BentoML's own worker is given of which ours has no need: the service has settings for the
# times, and how TLS is spoken comes always, but means something with a certificate only.
NEEDLESS = {
    *("--fd", "--worker-id", "--service-name", "--backlog", "--timeout"),
    *("--timeout-keep-alive", "--timeout-graceful-shutdown"),
    *("--ssl-version", "--ssl-cert-reqs", "--ssl-ciphers"),
}


class Launch(NamedTuple):
    """What `bentoml serve` was about to start.

    Attributes
    ----------
    host, port
        Where to listen.
    workers
        Number of processes.
    folder
        The folder that they work in.
    command
        Arguments of Python that start one, with FD and NUMBER in them.
    environment
        Variables that they have beside those of this process.
    """

    host: str
    port: int
    workers: int
    folder: str
    command: tuple[str, ...]
    environment: dict[str, str]


# The arguments of Python that start a worker.
WORKER_COMMAND = ("-m", WORKER, "--fd", FD, "--worker-id", NUMBER)
ROOT = Path(__file__).resolve().parents[2]  # where `-m` finds this package


def use_own_worker(launch: Launch, environment: dict[str, str]) -> Launch:
    """Have a launch start our own worker, unless it asks for what only BentoML's has: TLS.

    Parameters
    ----------
    environment
        Variables for it, beside those of the launch.
    """
    _, _, _, *words = launch.command  # -m PROGRAM BENTO
    options = dict(zip(words[::2], words[1::2], strict=False))
    if options.pop("--args", "{}") != "{}" or len(words) % 2 or not options.keys() <= NEEDLESS:
        return launch
    return launch._replace(
        folder=str(ROOT),
        command=WORKER_COMMAND,
        environment={**launch.environment, **environment},
    )


def replace_arbiter(become: Callable[[Launch], Any]) -> None:
    """Have `bentoml serve` hand over to another supervisor; called before it makes its own.

    BentoML 1.4 supervises with circus: it restarts a worker that cannot start for ever
    (circus-tent/circus#1103), lets a container end with the first worker that dies, and stays in
    memory at 113 MB. It has no setting for another supervisor, so `circus.Arbiter` is replaced in
    the one module that makes it. With `--reload` circus stays: watching files is its work.

    Parameters
    ----------
    become
        Is called with what was about to start, and does not return.
    """
    check_version("bentoml", LOWEST, BELOW, "the supervisor of `bentoml serve`")
    from bentoml._internal.utils import circus  # noqa: PLC0415 - heavy, and not for the supervisor

    original = circus.Arbiter

    class Arbiter:
        """Takes the arguments and the calls that BentoML has for circus's."""

        def __init__(self, watchers: list[Any], sockets: list[Any], **_: Any) -> None:
            [self._watcher], [self._socket] = watchers, sockets
            self.exit_stack = ExitStack()  # BentoML's own clean-up, which is due here

        def start(self, **_: Any) -> None:
            """Hand over."""
            self.exit_stack.close()
            streams.flush()
            become(read_launch(self._watcher, self._socket))

    def make_arbiter(*watchers: Any, **options: Any) -> Any:
        return (original if options.get("plugins") else Arbiter)(*watchers, **options)

    circus.Arbiter = make_arbiter  # type: ignore[assignment, misc]


def stop_tracking() -> None:
    """Have BentoML report nothing to its maker, whichever command line started it.

    The command has by now looked at the variable, and keeps what it saw.
    """
    from bentoml._internal.utils.analytics import usage_stats  # noqa: PLC0415 - heavy, as above

    os.environ[usage_stats.BENTOML_DO_NOT_TRACK] = "True"
    usage_stats.do_not_track.cache_clear()


def read_launch(watcher: Any, listener: Any) -> Launch:
    """Return what circus's watcher and socket were to run."""
    words = {f"$(circus.sockets.{listener.name})": FD, "$(CIRCUS.WID)": NUMBER}
    return Launch(
        host=listener.host,
        port=listener.port,
        workers=watcher.numprocesses,
        folder=watcher.working_dir,
        command=tuple(words.get(word, word) for word in watcher.args),
        environment=dict(watcher.env),
    )


def execute(program: str, launch: Launch) -> None:
    """Become a program of this project: a module that takes a launch as its arguments."""
    arguments = (launch.host, str(launch.port), str(launch.workers), launch.folder, *launch.command)
    os.environ.update(launch.environment)
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", program, *arguments])  # noqa: S606


def read_static(name: str) -> bytes:
    """Return one of the files of Swagger UI that BentoML's own `/docs` is made of.

    They are in the image already; a copy of our own would be 1.5 MB more, to be kept up to date.
    """
    from importlib.resources import files  # noqa: PLC0415 - not for the supervisor

    return (files("bentoml") / "_internal" / "server" / "static_content" / name).read_bytes()
