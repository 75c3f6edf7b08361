"""The embedded S3 store: start it, stop it, and check DVC's default remote, wherever that is.

`start` makes what the default remote needs, if that remote is the embedded one: keys, a SeaweedFS
server on loopback, the bucket. Everything of it lives in `.store/`, beside `.dvc/`; the keys, and
the port where it is not the one in `.dvc/config`, also go to `.dvc/config.local`, into the section
of the remote `embedded` and nowhere else. So a default remote that does not refer to `embedded`
finds none of them, and AWS's ordinary ones apply.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # where it is called by its path

from cairn.s3 import Keys, open_client
from deploy.local import keep, loopback, ports
from deploy.local.errors import StoreError, one_line
from deploy.local.remote import (
    EMBEDDED,
    Remote,
    default_remote,
    diagnose,
    is_moved,
    project_root,
    write_local,
)
from deploy.local.server import LISTENERS, POLL, Store, format_listeners

# ruff: noqa: PLC0415 - botocore takes longer to import than most calls take

STARTS_WITHIN = 30.0  # seconds
PROBE = ".cairn-ready"  # an object that is there for a moment
LAST_PORT = 65536 - len(LISTENERS)


def start() -> str:
    """Start the embedded store, unless the default remote is elsewhere or it runs already."""
    remote = default_remote()
    if not remote.is_embedded:
        return f"store: {remote} is not the embedded store; nothing to start"
    store = Store(remote.root)
    notes = []
    with store.lock():
        keys = store.read_keys()
        first = loopback_port(remote.embedded)
        running = store.find_process()
        port = (
            running_port(store, running, remote, keys) if running else bring_up(store, first, keys)
        )
        endpoint = f"http://127.0.0.1:{port}"
        if port != first:
            notes.append(explain_move(first, port, is_running=running is not None))
        write_local(remote.root, format_options(keys, endpoint, remote))
        remote = reread_remote(remote, endpoint)
        client = s3_client(endpoint, keys)
        create_bucket(client, remote.bucket)
        if not running:
            wait_for_objects(client, remote.bucket)
    if not loopback.install() and loopback.has_proxy(os.environ):
        notes.append(f"for `dvc` beside `make`: export no_proxy={','.join(loopback.LOOPBACK)}")
    notes.append(f"{remote} {'runs already' if running else 'is up'}")
    return "\n".join(f"store: {note}" for note in notes)


def format_options(keys: Keys, endpoint: str, remote: Remote) -> dict[str, str]:
    """Return the options of the embedded store that DVC needs beyond those in git."""
    where = {} if endpoint == remote.embedded else {"endpointurl": endpoint}
    return {"access_key_id": keys.access, "secret_access_key": keys.secret, **where}


def reread_remote(remote: Remote, endpoint: str) -> Remote:
    """Read the default remote once the store's endpoint is written."""
    current = default_remote()
    if current.options.get("endpointurl") != endpoint:
        raise StoreError(
            f"remote {remote.name} has an endpointurl of its own, {remote.options['endpointurl']},"
            f" but the store listens at {endpoint}; write its URL as remote://{EMBEDDED}/…"
        )
    return current


def explain_move(first: int, port: int, *, is_running: bool) -> str:
    """Say why the store is not at the port of DVC's configuration, and where it is."""
    more = len(LISTENERS) - 1
    conflict = f"one of the ports {first} to {first + more} is taken"
    reason = "this checkout's store runs" if is_running else conflict
    return f"{reason}; now at {port} to {port + more}, which .dvc/config.local remembers"


def running_port(store: Store, process: Any, remote: Remote, keys: Keys) -> int:
    """Return the port of the store that runs; raise a StoreError where DVC would not reach it."""
    port = store.port_of(process)
    endpoint = f"http://127.0.0.1:{port}"
    is_asked = endpoint == remote.embedded or not is_moved(remote.root)
    if is_asked and answers(s3_client(endpoint, keys)):
        return port
    url = endpoint if is_asked else remote.embedded
    raise StoreError(
        f"this checkout's store runs (process {process.pid}, port {port}) but does not answer at"
        f" {url}; run `make store-down`, then `make store`"
    )


def stop() -> str:
    """Stop the store that this checkout started."""
    store = Store(project_root())
    if not store.home.exists():
        return "store: not running"
    with store.lock():
        return "store: stopped" if store.end() else "store: not running"


def check() -> str:
    """Read from the default remote, by the client that DVC itself builds from its configuration."""
    from botocore.exceptions import BotoCoreError

    remote = default_remote()
    os.environ["AWS_MAX_ATTEMPTS"] = "1"  # the default takes 5 to 10 s over a refused connection
    try:
        s3 = remote.make(**{"connect_timeout": 5, "read_timeout": 10, **remote.options}).fs
        s3.retries = 1
        s3.call_s3("list_objects_v2", Bucket=remote.bucket, Prefix=remote.prefix, MaxKeys=1)
    except (BotoCoreError, OSError) as error:
        raise StoreError(f"{remote}: {diagnose(error, remote)}") from error
    return f"store: {remote} answers"


def bring_up(store: Store, first: int, keys: Keys) -> int:
    """Launch the server at the first ports that are free, `first` if they are; return its own.

    It has answered a signed request, and listens at all of its ports. Nothing is left of a server
    that does not.
    """
    # Until one listens at all its ports, another store would take them for free.
    with ports.one_at_a_time():
        for run in ports.runs(first, len(LISTENERS)):
            if ports.first_busy(run) is None and is_up(store, run, keys):
                return run.start
    raise StoreError(
        f"no {len(LISTENERS)} ports in a row are free from {ports.FIRST} to {ports.EPHEMERAL};"
        " stop what listens there"
    )


def is_up(store: Store, run: range, keys: Keys) -> bool:
    """Launch the server and wait until it is up; return False where it lost a port to another."""
    client = s3_client(f"http://127.0.0.1:{run.start}", keys)
    server = store.launch(run.start)
    deadline = time.monotonic() + STARTS_WITHIN
    # Where a port is in use SeaweedFS ends, or listens at others.
    while (listening := store.list_ports()) != set(run) or not answers(client):
        ended = server.poll() is not None
        if ended or listening - set(run) or time.monotonic() > deadline:
            store.end()
            server.wait()
            keep.remove_sockets(format_listeners(run.start))
            if ports.first_busy(run) is not None:
                return False
            what = "ended" if ended else f"is not up after {STARTS_WITHIN:.0f} s"
            raise StoreError(f"SeaweedFS {what}; see {store.log}: {store.read_log_tail()}")
        time.sleep(POLL)
    return True


def loopback_port(endpoint: str) -> int:
    """Return the port of the embedded endpoint; raise a StoreError unless it can be the store's."""
    parts = urlsplit(endpoint)
    try:
        port = parts.port or 0
    except ValueError:
        port = 0
    if (parts.scheme, parts.hostname) != ("http", "127.0.0.1") or not 0 < port <= LAST_PORT:
        raise StoreError(
            f"endpointurl of remote {EMBEDDED}: got {endpoint}; allowed: http://127.0.0.1:PORT,"
            f" with PORT from 1 to {LAST_PORT}, since the store takes it and the nine after it"
        )
    return port


def s3_client(endpoint: str, keys: Keys) -> Any:
    """Open a client that signs with these keys, asks once, and soon gives up."""
    from botocore.exceptions import BotoCoreError

    try:
        return open_client(
            connect_timeout=2, read_timeout=10, attempts=1, endpoint=endpoint, keys=keys
        )
    except BotoCoreError as error:  # it reads the user's settings, if only to overrule them
        raise StoreError(f"{one_line(error)}; correct ~/.aws or the AWS_ variables") from error


def answers(client: Any) -> bool:
    """Tell whether an S3 server accepts the client's keys."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return "Owner" in client.list_buckets()  # any page of HTML may pass for an empty answer
    except (BotoCoreError, ClientError):
        return False


def create_bucket(client: Any, bucket: str) -> None:
    """Create the bucket unless it is there."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.create_bucket(Bucket=bucket)
    except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        pass
    except (BotoCoreError, ClientError) as error:
        raise StoreError(f"cannot create the bucket {bucket}: {one_line(error)}") from error


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
                raise StoreError(f"no object can be stored: {one_line(error)}") from error
            time.sleep(POLL)
        else:
            return


def main() -> None:
    """Run the command; end with one line either way."""
    commands: dict[str, Callable[[], str]] = {"start": start, "stop": stop, "check": check}
    parser = argparse.ArgumentParser(description="The embedded S3 store, and DVC's default remote.")
    parser.add_argument("command", choices=commands)
    loopback.apply()
    try:
        print(commands[parser.parse_args().command]())
    except StoreError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
