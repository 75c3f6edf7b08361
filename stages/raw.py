"""raw: fetch the table, from wherever it is, and keep it byte for byte."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from cairn import console, params
from cairn.console import CairnError, say
from cairn.params import Raw
from cairn.paths import RAW
from cairn.sources import archive, download, query

SHIPPED = ("breast_cancer", "digits", "iris", "wine")
ALLOWED = (
    "the path of a file or a folder, sklearn:NAME, s3://…, https://…, or an SQLAlchemy URL with "
    "raw.query"
)
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
URL = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*)://")
OBJECTS = ("s3", "http", "https")
# Schemes that people know from other tools, and that are no database's.
OTHERS = ("abfs", "abfss", "az", "file", "ftp", "gcs", "gs", "hdfs", "s3a", "s3n", "sftp")
SHORTEST = 4  # characters of a value worth hiding wherever it stands
SECRET = re.compile("cred|key|pass|secret|sig|token", re.IGNORECASE)  # in a parameter's name


def main() -> None:
    """Fetch what params.yaml names into data/raw."""
    block = params.load().raw
    say(f"raw: fetching {shown(block.source)}")
    RAW.parent.mkdir(parents=True, exist_ok=True)
    replace(block)
    say(f"raw: {RAW.stat().st_size:,} bytes in {RAW}")


def replace(block: Raw) -> None:
    """Fetch the source beside the table, and put it in the table's place in one step."""
    part = RAW.with_name(f"{RAW.name}.part")
    with alone(part):
        try:
            fetch(block, part)
            check(part, block.sha256)
            part.replace(RAW)
        finally:
            if not download.note(part).exists():
                part.unlink(missing_ok=True)


@contextmanager
def alone(part: Path) -> Iterator[None]:
    """Keep two runs at the same moment from writing the same file."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CairnError(
                f"another run is writing {part}; wait for it, or end it, and run this again"
            ) from None
        yield


def fetch(block: Raw, into: Path) -> None:
    """Write what the block names to `into`.

    Raises
    ------
    CairnError
        Where it cannot be had, or is empty. No password and no signature is in its text.
    """
    url = expanded(block.source, os.environ)
    try:
        bring(url, block, into)
    except CairnError as error:
        hidden = secrets(block.source, os.environ)
        raise CairnError(without(str(error), hidden)) from None
    if not into.stat().st_size:
        raise CairnError(f"raw.source: {shown(block.source)} is empty; it needs a header and rows")


def bring(url: str, block: Raw, into: Path) -> None:
    """Write what is at the address, its variables replaced, by the way that its scheme asks for."""
    found = URL.match(url)
    scheme = found[1].lower() if found else ""
    asked(scheme, block)
    if scheme in OBJECTS:
        download.fetch(f"{scheme}{url[len(scheme) :]}", into, plain=block.sha256 is not None)
        return
    download.forget(into)
    with download.watch(into):
        if block.query is not None:
            query.fetch(url, block.query, into)
        elif url.startswith("sklearn:"):
            into.write_text(shipped(url.removeprefix("sklearn:")), encoding="utf-8", newline="")
        else:
            copy(local(url), into, block.source)


def asked(scheme: str, block: Raw) -> None:
    """Raise a CairnError unless there is such a source, with a query if it takes one."""
    if scheme in OTHERS:
        raise CairnError(f"raw.source: nothing here reads {scheme}://; allowed: {ALLOWED}")
    database = scheme not in ("", *OBJECTS)
    if database and block.query is None:
        raise CairnError(
            f"raw.query: got null, but raw.source is a database, {scheme}://; give one SELECT"
        )
    if block.query is not None and not database:
        raise CairnError(
            f"raw.query: raw.source is {shown(block.source)}, which takes no query; set it to null"
        )


def local(source: str) -> Path:
    """The path that a source would be."""
    return Path(os.path.expanduser(source))  # noqa: PTH111 - leaves alone a user it does not know


def copy(path: Path, into: Path, source: str) -> None:
    """Write a file's bytes, or a folder's files as one tar."""
    if path.is_dir():
        pack(path, into)
    elif path.is_file():
        shutil.copyfile(path, into)
    else:
        raise CairnError(f"raw.source: no file {source!r}; allowed: {ALLOWED}")


def pack(folder: Path, into: Path) -> None:
    """Write the files below a folder as one tar, unless it is being written there itself."""
    if folder.resolve() in into.resolve().parents:
        raise CairnError(f"raw.source: the table is kept below {folder}; allowed: another folder")
    members = archive.members(folder)
    with into.open("wb") as file:
        for chunk in archive.chunks(members):
            file.write(chunk)


def shipped(name: str) -> str:
    """A table that scikit-learn ships, as CSV: its columns, then `target`."""
    if name not in SHIPPED:
        raise CairnError(
            f"raw.source: got sklearn:{name}; allowed: sklearn:{{{','.join(SHIPPED)}}}"
        )
    from sklearn import datasets  # noqa: PLC0415 - a second that a file as source need not pay

    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    return str(frame.to_csv(index=False, lineterminator="\n"))


def expanded(source: str, environment: Mapping[str, str]) -> str:
    """The source with the environment's values for its `${NAME}`.

    Before the `@` of a URL they are percent-encoded, so that a password may have any character.
    """
    scheme, user, rest = split(source)
    user = VARIABLE.sub(lambda found: quote(value(found[1], environment), safe=""), user)
    return scheme + user + VARIABLE.sub(lambda found: value(found[1], environment), rest)


def value(name: str, environment: Mapping[str, str]) -> str:
    """A variable's value; raises CairnError where it is not set."""
    if name not in environment:
        raise CairnError(f"raw.source: the environment variable {name} is not set; set it")
    return environment[name]


def split(source: str) -> tuple[str, str, str]:
    """A URL's scheme, what may be user and password, and the rest; any other source as the rest."""
    found = URL.match(source)
    if not found or found[1].lower() == "s3":
        return "", "", source
    user, at, rest = source[found.end() :].rpartition("@")
    return found[0], user, at + rest


def shown(source: str) -> str:
    """The source as messages have it: variables by name, no user, no password, no query string."""
    scheme, user, rest = split(source)
    if not scheme:
        return rest
    bare, mark, _ = rest.partition("?")
    return f"{scheme}{'***' if user else ''}{bare}{'?***' if mark else ''}"


def secrets(source: str, environment: Mapping[str, str]) -> set[str]:
    """What no message may hold: passwords, query strings, and the values of variables."""
    scheme, user, rest = split(expanded(source, environment))
    _, _, password = user.partition(":")
    _, _, parameters = rest.partition("?") if scheme else ("", "", "")
    always = {password, unquote(password), parameters}
    values = {environment[name] for name in VARIABLE.findall(source)}
    values |= {value for name, value in parse_qsl(parameters) if SECRET.search(name)}
    if scheme.startswith("http"):
        values.add(user)  # a token needs no colon
    return {text for text in always if text} | {text for text in values if len(text) >= SHORTEST}


def without(text: str, hidden: set[str]) -> str:
    """A text with what is hidden struck out."""
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def check(path: Path, sha256: str | None) -> None:
    """Raise a CairnError unless the file has this SHA-256; None asks for nothing."""
    if sha256 is None:
        return
    with path.open("rb") as file:
        came = hashlib.file_digest(file, "sha256").hexdigest()
    if came != sha256:
        raise CairnError(
            f"raw.sha256: the source has {came}, params.yaml asks for {sha256}; "
            "give the new one if the file was meant to change, else bring the old file back"
        )


if __name__ == "__main__":
    console.run(main)
