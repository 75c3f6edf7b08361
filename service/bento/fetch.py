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
import zlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from cairn.errors import CairnError
from service.process import run_folder

# How often and how long to try again, to connect, and for all of the file.
RETRIES, PATIENCE = 3, timedelta(seconds=30)
CONNECT, TRANSFER = timedelta(seconds=5), timedelta(minutes=10)
# Settings of AWS's that the client takes as they are, and may not survive.
PRINTABLE = re.compile(r"[\x21-\x7e]*")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def fetch_model(uri: str, sha256: str) -> Path:
    """Return the folder of the model, fetched once for all workers of this run and those to come.

    Parameters
    ----------
    uri
        s3://BUCKET/KEY of an export of one model. Credentials and region are the environment's,
        the instance's or the pod's, as AWS's own tools take them.
    sha256
        The file's, hex.

    Raises
    ------
    CairnError
        Where it cannot be fetched, or is another file, or no export.
    """
    run = run_folder.find_folder() or Path(tempfile.mkdtemp(prefix="cairn-model-"))
    folder = run / "model"
    with (run / "model.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            part = Path(tempfile.mkdtemp(dir=run))
            try:
                file = part / "model.bentomodel"
                download(uri, file, sha256)
                unpack(file, part / "model")
                (part / "model").rename(folder)
            finally:
                shutil.rmtree(part)
    return folder


def download(uri: str, into: Path, sha256: str) -> None:
    """Write the object to a file; raises CairnError unless it has that SHA-256."""
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


def unpack(file: Path, into: Path) -> None:
    """Unpack an export of `bentoml models export`: plain files and folders, and none elsewhere."""
    try:
        with tarfile.open(file) as archive:
            entries = archive.getmembers()
            if not all(is_harmless(entry) for entry in entries):
                raise tarfile.TarError("it holds more than plain files in its own folders")
            # Debian 12's Python 3.11.2 has no filters, so each entry was looked at above.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(into, entries)  # noqa: S202
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise CairnError(f"MODEL_URI: this is not an export of a model: {error}") from None


def is_harmless(entry: tarfile.TarInfo) -> bool:
    """Tell whether an archive's entry is a plain file or a folder below where it is unpacked."""
    path = PurePosixPath(entry.name)
    return (entry.isreg() or entry.isdir()) and not path.is_absolute() and ".." not in path.parts


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
