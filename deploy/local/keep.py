"""Runs the store's server, and ends it once its folder is gone.

SeaweedFS takes no notice of a deleted folder, nor then of SIGTERM: it would hold its ports and its
memory until somebody kills it. Standard library only, so that this process stays small.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

CHECK_SECONDS = 1.0


def main() -> None:
    """Run the command on standard input, JSON, for a folder; print its process id.

    It writes to this program's standard error. Ends when it ends.
    """
    folder = Path(sys.argv[1])
    command: list[str] = json.load(sys.stdin)
    ends = wake_on_end()
    before = identity(folder)
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=2, stderr=2, start_new_session=True
    )
    print(server.pid, flush=True)
    while server.poll() is None:
        if identity(folder) != before:
            server.kill()
            server.wait()
            remove_sockets(command)
            return
        if select.select([ends], [], [], CHECK_SECONDS)[0]:
            os.read(ends, 1024)


def wake_on_end() -> int:
    """Return a file descriptor that can be read once a child has ended."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer)
    return reader


def identity(folder: Path) -> tuple[int, int] | None:
    """Return what distinguishes a folder from a later one at that path; None if there is none."""
    try:
        status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def remove_sockets(arguments: Iterable[str]) -> None:
    """Remove the sockets that the server leaves in /tmp, one for each of its gRPC ports."""
    for argument in arguments:
        name, _, port = argument.partition("=")
        if name.endswith(".port.grpc"):
            for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # noqa: S108
                path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
