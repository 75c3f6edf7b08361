"""A model from an object store, opened only if it is, byte for byte, the one that was meant."""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from cairn.errors import CairnError
from cairn.paths import ONNX
from service.process import run_folder
from service.process.settings import MAX_MODEL_BYTES

# How often and how long to try again, to connect, and for all of the file.
RETRIES, PATIENCE = 3, timedelta(seconds=30)
CONNECT, TRANSFER = timedelta(seconds=5), timedelta(minutes=10)
# An export has a few dozen files in two folders, and xz as BentoML calls it takes 65 MiB.
MOST_ENTRIES, DEEPEST, LONGEST_DESCRIPTION = 1000, 4, 64 * 1024
# Any file of it but the graph is parsed as a whole, which takes ten times its length.
LONGEST = 16 * 1024**2
MOST_MEMORY, CHUNK = 128 * 1024**2, 64 * 1024
DAMAGES = (
    *(tarfile.TarError, lzma.LZMAError, EOFError, OSError, ValueError),
    RecursionError,  # of descriptions that describe one another
)
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
# Settings of AWS's that the client takes as they are, and may not survive.
PRINTABLE = re.compile(r"[\x21-\x7e]*")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def fetch_model(uri: str, sha256: str, limit: int = MAX_MODEL_BYTES) -> Path:
    """Return the folder of the model, fetched once for all workers of this run and those to come.

    Parameters
    ----------
    uri
        s3://BUCKET/KEY of an export of one model. Credentials and region are the environment's,
        the instance's or the pod's, as AWS's own tools take them.
    sha256
        The file's, hex.
    limit
        Most bytes of the file, and of what it unpacks to.

    Raises
    ------
    CairnError
        Where it cannot be fetched, or is another file, or no export, or too large.
    """
    run = run_folder.find_folder() or Path(tempfile.mkdtemp(prefix="cairn-model-"))
    folder = run / "model"
    with (run / "model.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            part = Path(tempfile.mkdtemp(dir=run))
            try:
                file = part / "model.bentomodel"
                download(uri, file, sha256, limit)
                unpack(file, part / "model", limit)
                (part / "model").rename(folder)
            finally:
                shutil.rmtree(part)
    return folder


def download(uri: str, into: Path, sha256: str, limit: int = MAX_MODEL_BYTES) -> None:
    """Write the object to a file; raises CairnError unless it has that SHA-256, or if it is longer.

    An object without end would fill the disk before its hash is known.
    """
    digest = hashlib.sha256()
    check_environment(os.environ)
    try:
        parts = urlsplit(uri)
        store = S3Store(
            parts.netloc, client_options=make_client_options(), retry_config=make_retry_config()
        )
        with into.open("wb") as file:
            for chunk in obstore.get(store, parts.path.lstrip("/")):
                digest.update(chunk)
                file.write(chunk)
                if file.tell() > limit:
                    raise ValueError(
                        f"it has more than {limit} bytes; if it is that large, set MAX_MODEL_BYTES"
                    )
    except (BaseError, OSError, ValueError) as error:
        raise CairnError(f"MODEL_URI: {uri} cannot be fetched: {summarize_error(error)}") from None
    if digest.hexdigest() != sha256:
        raise CairnError(
            f"MODEL_SHA256: {uri} is another file, {digest.hexdigest()}; it was not opened"
        )


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuse values of AWS's variables that no client could send; none of them is repeated."""
    for name, value in environment.items():
        if name.startswith("AWS_") and not PRINTABLE.fullmatch(value):
            raise CairnError(f"{name} contains a space, a line break or another such character")
        if name in ENDPOINTS and value and not value.startswith(("http://", "https://")):
            raise CairnError(f"{name} must begin with http:// or https://")


def unpack(file: Path, into: Path, limit: int) -> None:
    """Unpack an export of `bentoml models export`: plain files and folders, and none elsewhere.

    Parameters
    ----------
    limit
        Most bytes that it may unpack to.

    Raises
    ------
    CairnError
        Where it is no such export, or larger.
    """
    try:
        with file.open("rb") as packed, open_archive(packed, limit) as archive:
            # Debian 12's Python 3.11.2 has no filters, so each entry is looked at as well.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            for number, entry in enumerate(archive):
                if not is_harmless(entry) or number >= MOST_ENTRIES:
                    raise tarfile.TarError("it holds more than plain files in its own folders")
                name = PurePosixPath(entry.name).name
                if name != ONNX.name and entry.size > LONGEST:
                    raise tarfile.TarError(f"{name[:80]!r} in it has more than {LONGEST} bytes")
                archive.extract(entry, into)
    except TooLargeError:
        raise CairnError(
            f"MODEL_URI: this export unpacks to more than {limit} bytes; if the model is that "
            "large, set MAX_MODEL_BYTES"
        ) from None
    except DAMAGES as error:
        raise CairnError(f"MODEL_URI: this is not an export of a model: {error}") from None


def open_archive(packed: BinaryIO, limit: int) -> tarfile.TarFile:
    """Open an archive that unpacks to so many bytes at most, to read it from its beginning."""
    stream: Any = Unpacked(packed, limit)  # `read` is all that is asked of it
    return tarfile.open(fileobj=stream, mode="r|", tarinfo=Entry)


class TooLargeError(Exception):
    """An archive that unpacks to more than is allowed."""


class Unpacked:
    """The bytes of an archive that xz has packed, as a file to read from its beginning to its end.

    `lzma.open` takes as much memory as a file asks for, 4 GiB at most.

    Parameters
    ----------
    packed
        The archive.
    limit
        Bytes from which on it raises TooLargeError.
    """

    def __init__(self, packed: BinaryIO, limit: int) -> None:
        self._packed = packed
        self._left = limit
        self._decoder = lzma.LZMADecompressor(memlimit=MOST_MEMORY)

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        while not self._decoder.eof:
            chunk = self._packed.read(CHUNK) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not chunk:
                raise EOFError("it ends too early")
            if unpacked := self._decoder.decompress(chunk, size):
                self._left -= len(unpacked)
                if self._left < 0:
                    raise TooLargeError
                return unpacked
        return b""


class Entry(tarfile.TarInfo):
    """An archive's entry; those that describe others are read into memory, and so are short."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header; raise an error where what it describes is too long."""
        entry = super().frombuf(buf, encoding, errors)
        if entry.type not in PLAIN and entry.size > LONGEST_DESCRIPTION:
            raise tarfile.ReadError("the description of an entry is too long")
        return entry


def is_harmless(entry: tarfile.TarInfo) -> bool:
    """Tell whether an archive's entry is a plain file or a folder below where it is unpacked."""
    path = PurePosixPath(entry.name)
    is_inside = not path.is_absolute() and ".." not in path.parts
    return entry.type in PLAIN and is_inside and len(path.parts) <= DEEPEST


def make_client_options() -> Any:
    """Return how to connect: without TLS only to an endpoint whose address says so."""
    endpoints = (os.environ[name] for name in ENDPOINTS if os.environ.get(name))
    plain = next(endpoints, "").startswith("http://")
    return {"allow_http": plain, "connect_timeout": CONNECT, "timeout": TRANSFER}


def make_retry_config() -> Any:
    """Return how often and how long to try again."""
    return {"max_retries": RETRIES, "retry_timeout": PATIENCE}


def summarize_error(error: Exception) -> str:
    """Return the first line of the object store client's error."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
