"""Objects from S3 and from the web, each whole or not at all, gone on with where they broke off.

What has come so far is in the file itself. Beside it lies a note that says what it is a part of:
which source, and which version of it, by the server's own word. Only while the server gives that
version is anything added to it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cairn.console import EVERY, CairnError, patience, repeated, say
from cairn.sources import archive
from cairn.sources.archive import CHUNK, Member, Piece

# ruff: noqa: PLC0415 - httpx and botocore take longer to import than a file as source need pay

if TYPE_CHECKING:
    import httpx

PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before it is tried again, where nothing more has come
CONNECT, SILENCE = 10.0, 60.0  # seconds: to connect, and from one byte to the next
BUSY = 429
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Dropped(Exception):
    """It broke off, and may be gone on with; the text says how."""


class Changed(Dropped):
    """The source is no longer what a part of came before."""


@dataclass(frozen=True)
class Version:
    """What a server says of an object, as far as it does.

    Attributes
    ----------
    size
        Bytes.
    etag, modified
        Its headers ETag and Last-Modified, as they came.
    """

    size: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def mark(self) -> str | None:
        """What tells this version byte for byte from any other; a weak ETag does not."""
        strong = self.etag and not self.etag.startswith("W/")
        return self.etag if strong else self.modified

    def agrees(self, other: Version) -> bool:
        """Whether nothing that both say differs."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return all(one is None or another is None or one == another for one, another in pairs)


@dataclass(frozen=True)
class Answer:
    """An object from some byte on, at a server that has begun to send it."""

    version: Version
    start: int
    chunks: Iterator[bytes]


@dataclass(frozen=True)
class Note:
    """Of what the file beside it is a part: the source's digest, and the version."""

    origin: str
    version: Version


Opener = Callable[[Version | None, int], AbstractContextManager[Answer]]


def fetch(url: str, into: Path, *, plain: bool) -> None:
    """Write an object, or a tar of all objects below a prefix, to a file.

    Parameters
    ----------
    url
        s3://BUCKET/KEY, s3://BUCKET/PREFIX/, https://… or http://….
    into
        Where a part of it may be already. It is whole once this returns; where this raises, what
        has come is kept if it can be gone on with.
    plain
        Whether http will do also where the host is not this machine.

    Raises
    ------
    CairnError
        Where it is not there, not allowed, or breaks off again and again.
    """
    opener = from_s3(url) if url.startswith("s3://") else partial(over_http, url, plain=plain)
    whole(opener, origin(url), into)
    note(into).unlink(missing_ok=True)


def whole(opener: Opener, of: str, into: Path) -> None:
    """Go on until all of it is there, or nothing more has come in a row of tries."""
    best, left = 0, list(PAUSES)
    while True:
        try:
            attempt(opener, of, into)
        except Dropped as error:
            came = size(into)
            if isinstance(error, Changed):
                forget(into)
            if came > best:
                best, left = came, list(PAUSES)
            if not left:
                raise CairnError(f"raw.source: {error}; {kept(into)}") from None
            what = "it changed" if isinstance(error, Changed) else f"broke off at {came:,} bytes"
            say(f"raw: {what}; trying again in {left[0]:.0f} s")
            time.sleep(left.pop(0))
        else:
            return


def kept(into: Path) -> str:
    """What to do next, and from where that goes on."""
    if not note(into).exists():
        return "run it again"
    return f"run it again to go on from {size(into):,} bytes"


def attempt(opener: Opener, of: str, into: Path) -> None:
    """Ask once for what is missing, and add it; raises Dropped unless all is there then."""
    since, offset = begun(into, of)
    with ExitStack() as stack:
        with patience("raw: waiting for the server", EVERY):
            answer = stack.enter_context(opener(since, offset))
        if answer.start == 0:
            begin(into, Note(of, answer.version))
        elif since is None or answer.start != offset or not since.agrees(answer.version):
            raise Changed("the server sent something else than it was asked for")
        else:
            say(f"raw: going on from {offset:,} bytes")
        with watch(into, answer.version.size):
            add(into, answer.start, answer.chunks)
    check(into, answer.version.size)


def begun(into: Path, of: str) -> tuple[Version | None, int]:
    """The version of which a part is there, if any, and where to go on.

    That is before its last byte, so that the server is asked also where nothing is missing.
    """
    found = noted(into)
    offset = size(into) - 1
    if found is None or found.origin != of or offset < 1 or size(into) > (found.version.size or 0):
        return None, 0
    return found.version, offset


def begin(into: Path, found: Note) -> None:
    """Empty the file, and note of what it will be a part, if a server can be held to that."""
    forget(into)
    if found.version.size is not None and found.version.mark:
        note(into).write_text(json.dumps(asdict(found)), encoding="utf-8")


def add(into: Path, start: int, chunks: Iterator[bytes]) -> None:
    """Write chunks to a file from some byte on."""
    with into.open("r+b") as file:
        file.seek(start)
        file.writelines(chunks)


def check(into: Path, expected: int | None) -> None:
    """Raise Dropped unless the file is as long as the server said."""
    came = size(into)
    if expected is None or came == expected:
        return
    kind = Dropped if came < expected else Changed
    raise kind(f"the server said {expected:,} bytes and sent {came:,}")


def forget(into: Path) -> None:
    """Make the file an empty part of nothing; the note goes first, lest it speak of other bytes."""
    note(into).unlink(missing_ok=True)
    into.write_bytes(b"")


def note(into: Path) -> Path:
    """Where it stands of what the file is a part."""
    return into.with_name(f"{into.name}.json")


def noted(into: Path) -> Note | None:
    """What stands there, if anything that can be read."""
    try:
        content = json.loads(note(into).read_text(encoding="utf-8"))
        return Note(content["origin"], Version(**content["version"]))
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def origin(url: str) -> str:
    """A digest of the address without its password."""
    scheme, _, rest = url.partition("://")
    bare = rest if scheme == "s3" else rest.rpartition("@")[2]
    return hashlib.sha256(f"{scheme}://{bare}".encode()).hexdigest()


def size(path: Path) -> int:
    """Bytes in a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def watch(path: Path, total: int | None = None) -> Iterator[None]:
    """Say every ten seconds how far a file has grown, of how many bytes, and how fast."""
    before, start = size(path), time.monotonic()

    def speak() -> None:
        came = size(path)
        say(f"raw: {progress(came, total, (came - before) / (time.monotonic() - start))}")

    with repeated(speak, EVERY):
        yield


def progress(came: int, total: int | None, speed: float) -> str:
    """How far it is; `speed` in bytes a second."""
    of = "" if total is None else f" of {total:,}"
    return f"{came:,}{of} bytes, {speed / 1e6:.1f} MB/s"


@contextmanager
def over_http(url: str, since: Version | None, offset: int, *, plain: bool) -> Iterator[Answer]:
    """What is at a web address, from some byte on if it still is that version."""
    import httpx

    mark = since.mark if since else None
    ranged = {"Range": f"bytes={offset}-", "If-Range": mark} if mark else {}
    headers = {"Accept-Encoding": "identity", "User-Agent": "cairn", **ranged}
    with ExitStack() as stack:
        try:
            client = stack.enter_context(web(plain=plain))
            yield answered(stack.enter_context(client.stream("GET", url, headers=headers)))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise CairnError("raw.source: no web address: https://HOST/PATH") from None
        except httpx.TooManyRedirects:
            raise CairnError("raw.source: the server leads on and on without an end") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            text = f"no connection to {urlsplit(url).hostname}: {reason(error)}{advice(error)}"
            raise Dropped(text) if offset else CairnError(f"raw.source: {text}") from None
        except httpx.TransportError as error:
            raise Dropped(f"the connection broke: {reason(error)}") from None


def web(*, plain: bool) -> httpx.Client:
    """A client that follows redirects, but to plain http only where that will do."""
    import httpx

    def guard(request: httpx.Request) -> None:
        if request.url.scheme == "http" and not (plain or loopback(request.url.host)):
            raise CairnError(
                "raw.source: anybody on the way can change what comes over plain http; "
                "use https, or say in raw.sha256 what has to come"
            )

    try:
        return httpx.Client(
            follow_redirects=True,
            timeout=httpx.Timeout(SILENCE, connect=CONNECT),
            event_hooks={"request": [guard]},
        )
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        # Not what it says: a proxy's address may have a password in it.
        raise CairnError(
            f"SSL_CERT_FILE, SSL_CERT_DIR or a proxy variable cannot be used "
            f"({type(error).__name__}); correct or unset it"
        ) from None


def loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def answered(response: httpx.Response) -> Answer:
    """What a response brings; raises Dropped or CairnError where that is no object."""
    status, headers = response.status_code, response.headers
    length, start = headers.get("Content-Length"), 0
    if status == 206:  # noqa: PLR2004 - partial content
        found = RANGE.fullmatch(headers.get("Content-Range", ""))
        if not found:
            raise Changed("the server sent a part without saying which")
        start, length = int(found[1]), found[2]
    elif status != 200:  # noqa: PLR2004 - all of it
        raise refused(status, response.reason_phrase)
    total = int(length) if length and length.isdecimal() else None
    version = Version(total, headers.get("ETag"), headers.get("Last-Modified"))
    return Answer(version, start, response.iter_raw())  # of a size, it would lose the last


def refused(status: int, phrase: str) -> Exception:
    """The error for a status without an object, of HTTP's and so of S3's."""
    said = f"{status} {phrase}".strip()
    if status in (412, 416):
        return Changed(f"it changed while it came ({said})")
    if status == BUSY or status >= 500:  # noqa: PLR2004 - the server's own trouble
        return Dropped(f"the server answers {said}")
    what = {
        401: "it wants credentials, or others",
        403: "it is not allowed with these credentials, or not there",
        404: "there is nothing at this address",
        410: "it is no longer there",
    }
    return CairnError(f"raw.source: {what.get(status, 'the server sends no file')} ({said})")


def advice(error: Exception) -> str:
    """What helps where a certificate is one's own company's."""
    if "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return ""
    return "; for a company's own authority, set SSL_CERT_FILE to its certificates"


def reason(error: Exception) -> str:
    """What a client says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def from_s3(url: str) -> Opener:
    """What opens an object, or all below a prefix where the key ends with `/`."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket or not (key or url.endswith("/")):
        raise CairnError("raw.source: allowed: s3://BUCKET/KEY or s3://BUCKET/PREFIX/")
    with told():
        client = s3()
    below = not key or key.endswith("/")
    return partial(from_prefix if below else from_object, client, bucket, key)


def s3() -> Any:
    """A client with AWS's ordinary ways to credentials, region and endpoint; unsigned without any.

    They are botocore's, as for DVC and AWS's own tools: variables, profiles and single sign-on of
    ~/.aws, web identity, the container's and the instance's role.
    """
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config

    session = botocore.session.Session()
    signed = session.get_credentials()
    config = Config(
        connect_timeout=CONNECT,
        read_timeout=SILENCE,
        retries={"mode": "standard", "total_max_attempts": 3},
        signature_version=None if signed else UNSIGNED,
    )
    with sendable():
        return session.create_client("s3", config=config)


@contextmanager
def told(offset: int = 0) -> Iterator[None]:
    """Say what botocore's errors mean: to try again, to begin anew, or to give up."""
    from botocore import exceptions as boto

    broken = (
        boto.ConnectionClosedError,
        boto.IncompleteReadError,
        boto.ReadTimeoutError,
        boto.ResponseStreamingError,
    )
    never = (boto.ConnectionError, boto.ConnectTimeoutError, boto.SSLError)
    try:
        yield
    except boto.ClientError as error:
        raise denied(error.response) from None
    except boto.FlexibleChecksumError:
        raise Changed("what came has another checksum than S3 says") from None
    except broken as error:
        raise Dropped(f"the connection broke: {reason(error)}") from None
    except never as error:
        text = f"no connection to S3: {reason(error)}"
        raise Dropped(text) if offset else CairnError(f"raw.source: {text}") from None
    except boto.HTTPClientError:
        raise unfit() from None
    except boto.BotoCoreError as error:
        raise CairnError(f"raw.source: {reason(error)}") from None


@contextmanager
def sendable() -> Iterator[None]:
    """Have what botocore cannot make a request of told as that."""
    try:
        yield
    except ValueError:
        raise unfit() from None


def unfit() -> CairnError:
    """The error for settings of AWS's of which no request can be made; it repeats none of them."""
    return CairnError(
        "raw.source: S3 cannot be asked with these settings; look for a line break or a wrong "
        "address in the AWS_ variables and ~/.aws"
    )


def denied(response: dict[str, Any]) -> Exception:
    """The error for what S3 refuses."""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    code = str(response.get("Error", {}).get("Code", ""))
    if code == "NoSuchBucket":
        return CairnError("raw.source: there is no such bucket")
    if code in ("NoSuchKey", "404"):
        return CairnError(
            "raw.source: there is no such object; for all below a prefix, end it with `/`"
        )
    if code == "SlowDown":
        status = BUSY
    return refused(status, code)


@contextmanager
def from_object(
    client: Any, bucket: str, key: str, since: Version | None, offset: int
) -> Iterator[Answer]:
    """An object, from some byte on if it still is that version."""
    etag = since.etag if since else None
    with told(offset), closing(opened(client, bucket, key, etag, offset)) as one:
        yield one.answer


@dataclass(frozen=True)
class Opened:
    """An object's answer, and what has to be closed after it."""

    answer: Answer
    close: Callable[[], None]


def opened(client: Any, bucket: str, key: str, etag: str | None, offset: int) -> Opened:
    """Ask for an object, of that ETag only, from some byte on."""
    same = {"IfMatch": etag} if etag else {}
    rest = {"Range": f"bytes={offset}-"} if offset else {}
    with sendable():
        got = client.get_object(Bucket=bucket, Key=key, **same, **rest)
    found = RANGE.fullmatch(got.get("ContentRange", ""))
    start, total = (int(found[1]), int(found[2])) if found else (0, int(got["ContentLength"]))
    version = Version(total, got["ETag"], got["LastModified"].isoformat())
    return Opened(Answer(version, start, got["Body"].iter_chunks(CHUNK)), got["Body"].close)


@contextmanager
def from_prefix(
    client: Any, bucket: str, prefix: str, since: Version | None, offset: int
) -> Iterator[Answer]:
    """A tar of all objects below a prefix, from some byte on if they still are those versions."""
    with told(offset):
        found = listed(client, bucket, prefix)
        members = [
            Member(key.removeprefix(prefix), Piece(count, partial(body, client, bucket, key, etag)))
            for key, count, etag in found
        ]
        digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()
        version = Version(archive.size(members), digest)
        start = offset if version == since else 0
        yield Answer(version, start, archive.chunks(members, start))


def listed(client: Any, bucket: str, prefix: str) -> list[tuple[str, int, str]]:
    """Key, size and ETag of each object below a prefix, by key; hidden ones left out."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    with sendable():
        found = sorted(
            (entry["Key"], entry["Size"], entry["ETag"])
            for page in pages
            for entry in page.get("Contents", ())
            if wanted(entry["Key"].removeprefix(prefix))
        )
    if not found:
        raise CairnError("raw.source: no objects below this prefix, hidden ones aside")
    return found


def wanted(name: str) -> bool:
    """Whether an object is a file of the folder; `…/` is how consoles make an empty one."""
    if name.startswith("/") or "//" in name:
        raise CairnError(f"raw.source: {name!r} below this prefix has an empty name in it")
    return not name.endswith("/") and name != "" and not archive.hidden(name)


def body(client: Any, bucket: str, key: str, etag: str, offset: int) -> Iterator[bytes]:
    """An object's bytes from an offset on; raises Changed where it has another ETag now."""
    with closing(opened(client, bucket, key, etag, offset)) as one:
        if one.answer.start != offset or one.answer.version.etag != etag:
            raise Changed(f"{key} changed while it came")
        yield from one.answer.chunks
