"""s3://BUCKET/KEY, an object; s3://BUCKET/PREFIX/, all objects below a prefix as one tar."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from cairn import s3
from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.sources import archive
from cairn.sources.address import scheme_of
from cairn.sources.archive import CHUNK, Member, Piece
from cairn.sources.base import Stream, TransferError, UrlPart, Version, VersionError
from cairn.sources.http import CONNECT, RANGE, SILENCE, TOO_MANY, one_line, status_error

SCHEME = "s3://"
ATTEMPTS = 3  # of botocore's own, for each request

FORM = "s3://…"
SECRETS: frozenset[UrlPart] = frozenset()  # of a key any character may be part
TAKES_QUERY = False


def matches(address: str) -> bool:
    """Tell whether an address is one of S3."""
    return scheme_of(address) == "s3"


@contextmanager
def open_stream(
    address: str,
    params: Raw,  # noqa: ARG001 - the protocol's
    version: Version | None,
    offset: int,
) -> Iterator[Stream]:
    """Open an object, or all below a prefix where the key ends with `/`."""
    path = address[len(SCHEME) :]
    bucket, _, key = path.partition("/")
    if not bucket or not (key or path.endswith("/")):
        raise CairnError("raw.source: allowed: s3://BUCKET/KEY or s3://BUCKET/PREFIX/")
    is_prefix = not key or key.endswith("/")
    with translate_errors(offset):
        with translate_value_errors():
            client = s3.open_client(
                connect_timeout=CONNECT, read_timeout=SILENCE, attempts=ATTEMPTS
            )
        with closing(client):
            opener = open_prefix if is_prefix else open_object
            with opener(client, bucket, key, version, offset) as stream:
                yield stream


@contextmanager
def translate_errors(offset: int = 0) -> Iterator[None]:
    """Turn botocore's errors into those that say to try again, to start again, or to give up."""
    from botocore import exceptions as boto  # noqa: PLC0415 - see cairn.s3

    broken = (
        boto.ConnectionClosedError,
        boto.IncompleteReadError,
        boto.ReadTimeoutError,
        boto.ResponseStreamingError,
    )
    unreachable = (boto.ConnectionError, boto.ConnectTimeoutError, boto.SSLError)
    try:
        yield
    except boto.ClientError as error:
        raise refusal_error(error.response) from None
    except boto.FlexibleChecksumError:
        raise VersionError("the bytes have another checksum than S3 announced") from None
    except broken as error:
        raise TransferError(f"the connection broke: {one_line(error)}") from None
    except unreachable as error:
        text = f"no connection to S3: {one_line(error)}"
        raise TransferError(text) if offset else CairnError(f"raw.source: {text}") from None
    except boto.HTTPClientError:
        raise settings_error() from None
    except boto.BotoCoreError as error:
        raise CairnError(f"raw.source: {one_line(error)}") from None


@contextmanager
def translate_value_errors() -> Iterator[None]:
    """Turn what botocore raises where it cannot build a request into an error for the user."""
    try:
        yield
    except ValueError:
        raise settings_error() from None


def settings_error() -> CairnError:
    """Return the error for settings of AWS's that fit in no request; it repeats none of them."""
    return CairnError(
        "raw.source: S3 cannot be called with these settings; look for a line break or a wrong "
        "address in the AWS_ variables and ~/.aws"
    )


def refusal_error(response: dict[str, Any]) -> Exception:
    """Return the error for what S3 refuses."""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    code = str(response.get("Error", {}).get("Code", ""))
    if code == "NoSuchBucket":
        return CairnError("raw.source: there is no such bucket")
    if code in ("NoSuchKey", "404"):
        return CairnError(
            "raw.source: there is no such object; for all below a prefix, end it with `/`"
        )
    return status_error(TOO_MANY if code == "SlowDown" else status, code)


@contextmanager
def open_object(
    client: Any, bucket: str, key: str, version: Version | None, offset: int
) -> Iterator[Stream]:
    """Open an object from an offset on, if it still is that version."""
    etag = version.etag if version else None
    with closing(get_object(client, bucket, key, etag, offset)) as response:
        yield response.stream


@dataclass(frozen=True)
class Response:
    """An object's stream, and what closes it."""

    stream: Stream
    close: Callable[[], None]


def get_object(client: Any, bucket: str, key: str, etag: str | None, offset: int) -> Response:
    """Request an object, of that ETag only, from an offset on."""
    condition = {"IfMatch": etag} if etag else {}
    ranged = {"Range": f"bytes={offset}-"} if offset else {}
    with translate_value_errors():
        reply = client.get_object(Bucket=bucket, Key=key, **condition, **ranged)
    match = RANGE.fullmatch(reply.get("ContentRange", ""))
    start, total = (int(match[1]), int(match[2])) if match else (0, int(reply["ContentLength"]))
    version = Version(total, reply["ETag"], reply["LastModified"].isoformat())
    return Response(Stream(version, start, reply["Body"].iter_chunks(CHUNK)), reply["Body"].close)


@contextmanager
def open_prefix(
    client: Any, bucket: str, prefix: str, version: Version | None, offset: int
) -> Iterator[Stream]:
    """Open a tar of all objects below a prefix, from an offset on if they are those versions."""
    objects = list_objects(client, bucket, prefix)
    members = [
        Member(key.removeprefix(prefix), Piece(size, partial(read, client, bucket, key, etag)))
        for key, size, etag in objects
    ]
    digest = hashlib.sha256(json.dumps(objects).encode()).hexdigest()
    current = Version(archive.size(members), digest)
    start = offset if current == version else 0
    yield Stream(current, start, archive.chunks(members, start))


def list_objects(client: Any, bucket: str, prefix: str) -> list[tuple[str, int, str]]:
    """List key, size and ETag of the objects below a prefix, by key, without hidden ones."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    with translate_value_errors():
        objects = sorted(
            (entry["Key"], entry["Size"], entry["ETag"])
            for page in pages
            for entry in page.get("Contents", ())
            if is_data(entry["Key"].removeprefix(prefix))
        )
    if not objects:
        raise CairnError("raw.source: no objects below this prefix except hidden ones")
    return objects


def is_data(name: str) -> bool:
    """Tell whether an object is a file of the folder; consoles write `…/` for an empty one."""
    if name.startswith("/") or "//" in name:
        raise CairnError(f"raw.source: {name!r} below this prefix has an empty name in it")
    return not name.endswith("/") and name != "" and not archive.is_hidden(name)


def read(client: Any, bucket: str, key: str, etag: str, offset: int) -> Iterator[bytes]:
    """Read an object from an offset on; raise a VersionError where it has another ETag now."""
    with closing(get_object(client, bucket, key, etag, offset)) as response:
        if response.stream.start != offset or response.stream.version.etag != etag:
            raise VersionError(f"{key} changed during the transfer")
        yield from response.stream.chunks
