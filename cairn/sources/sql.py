"""An SQLAlchemy URL: the rows of `raw.query` as JSON lines; the database is only read."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import orjson

from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.sources.address import scheme_of
from cairn.sources.base import Stream, UrlPart, Version

if TYPE_CHECKING:  # it is an extra
    from sqlalchemy import URL, Connection, CursorResult

ROWS = 1000  # how many are in memory at a time
INSTALL = "run `make install-extras`"
# What the driver is where the URL names none: the extra's, not the one that SQLAlchemy took to.
POSTGRESQL = ("postgres", "postgresql")
SQLITE = ("sqlite", "sqlite+pysqlite")  # drivers that open a file: URI
# The first statement, after which the database refuses to write. PostgreSQL's is of the
# transaction: a pool such as PgBouncer would hand a session on to others. MySQL's is of the
# session: drop table ends a read-only transaction there, and is done.
READ_ONLY = {
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "postgresql": "SET TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}
# What databases call a refusal to write.
REFUSES_TO_WRITE = ("read-only", "read only", "readonly", "not authorized", "authorization denied")
# Schemes that people know from other tools, and that are no database's.
OTHER_TOOLS = ("abfs", "abfss", "az", "file", "ftp", "gcs", "gs", "hdfs", "s3a", "s3n", "sftp")

FORM = "an SQLAlchemy URL with raw.query"
SECRETS: frozenset[UrlPart] = frozenset({"password", "parameters"})
TAKES_QUERY = True


class JsonError(Exception):
    """A value has no form in JSON; the text says what it is."""


def matches(address: str) -> bool:
    """Tell whether an address may be a database's: any URL but those of other tools."""
    return scheme_of(address) not in {"", *OTHER_TOOLS}


@contextmanager
def open_stream(
    address: str,
    params: Raw,
    version: Version | None,  # noqa: ARG001 - the protocol's
    offset: int,  # noqa: ARG001
) -> Iterator[Stream]:
    """Send a query, and open its rows: a JSON object each, its keys in the query's order.

    Parameters
    ----------
    address
        A URL of SQLAlchemy's, as in sqlite:///shop.db.
    params
        `query` is one SELECT, sent as it is; most databases refuse all else in the transaction
        that it gets, and nothing is committed.

    Raises
    ------
    CairnError
        Where there is no driver, the database refuses, two columns have one name, or JSON cannot
        hold a value.
    """
    try:
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - it is an extra
    except ImportError:
        raise CairnError(f"raw.source: a database needs SQLAlchemy; {INSTALL}") from None
    try:
        with closing(send(parse_url(address), str(params.query))) as rows:
            yield Stream(Version(), 0, rows)
    # Drivers raise the last two where an option is wrong.
    except (SQLAlchemyError, TypeError, ValueError) as error:
        raise CairnError(f"raw.query: the database says: {explain(error)}") from None


def parse_url(address: str) -> URL:
    """Parse a URL; raise a CairnError where it is none, or its file is missing."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise CairnError(
            "raw.source: not an SQLAlchemy URL: dialect+driver://user@host:port/database"
        ) from None
    if url.drivername in POSTGRESQL:
        return url.set(drivername="postgresql+psycopg")
    path = url.database if url.get_backend_name() == "sqlite" else None
    # SQLite would create an empty one.
    if path and not path.startswith((":memory:", "file:")) and not Path(path).is_file():
        raise CairnError(f"raw.source: no SQLite file {path!r}; allowed: sqlite:///PATH")
    if path and Path(path).is_file() and url.drivername in SQLITE:
        return read_only_file(url, path)
    return url


def read_only_file(url: URL, path: str) -> URL:
    """Return the URL that opens an SQLite file for reading only."""
    file = "file:" + quote(path)
    return url.set(database=file).update_query_dict({"mode": "ro", "uri": "true"})


def begin_read_only(connection: Connection) -> None:
    """Begin a transaction in which the database refuses to write, where READ_ONLY says how."""
    statement = READ_ONLY.get(connection.dialect.name)
    if statement:
        connection.exec_driver_sql(statement)
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        driver.set_authorizer(_refuse_other_files)


def _refuse_other_files(action: int, *_: str | None) -> int:
    """Have SQLite refuse to attach a file, which it would create; VACUUM INTO attaches one, too."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def send(url: URL, query: str) -> Generator[bytes, None, None]:
    """Send a query, and yield the lines of its rows."""
    import sqlalchemy  # noqa: PLC0415

    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except sqlalchemy.exc.NoSuchModuleError:
        raise CairnError(f"raw.source: SQLAlchemy knows no {url.drivername}://") from None
    except ImportError as error:
        raise CairnError(
            f"raw.source: {url.drivername} needs the Python package {error.name}; {INSTALL}, "
            "which has SQLite and PostgreSQL (psycopg), or install that package into .venv"
        ) from None
    # As it is: no `:name` and no `%` in it means anything but to the database.
    options = {"stream_results": True, "yield_per": ROWS, "no_parameters": True}
    with engine.connect() as connection:
        begin_read_only(connection)
        with closing(connection.exec_driver_sql(query, execution_options=options)) as result:
            yield from format_rows(result)


def format_rows(result: CursorResult[Any]) -> Iterator[bytes]:
    """Yield a line for each row of a result, of which few are in memory at a time."""
    if not result.returns_rows:
        raise CairnError("raw.query: it returns no rows; allowed: one SELECT")
    names = check_names(list(result.keys()))
    count = 0
    for rows in result.partitions(ROWS):
        yield from (format_row(names, row, number) for number, row in enumerate(rows, count + 1))
        count += len(rows)
    if not count:
        raise CairnError("raw.query: the result has no rows; see its WHERE")


def check_names(names: list[str]) -> list[str]:
    """Return the columns' names; raise a CairnError where two are the same."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CairnError(
            f"raw.query: more than one column is named {twice[0]!r}; tell them apart with AS"
        )
    return names


def format_row(names: Sequence[str], row: Sequence[Any], number: int) -> bytes:
    """Format a row as one line of JSON; raise a CairnError that names a column JSON cannot hold."""
    content: dict[str, Any] = {}
    for name, value in zip(names, row, strict=True):
        try:
            content[name] = to_json(value)
        except JsonError as error:
            raise CairnError(
                f"raw.query: column {name!r}, row {number:,}: {error} cannot be written as JSON; "
                "leave it out or cast it in the query"
            ) from None
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def to_json(value: Any) -> Any:
    """Convert a value to one that `orjson` writes without loss; raise a JsonError if none is."""
    for kind, convert in CONVERT.items():
        if isinstance(value, kind):
            return convert(value)
    raise JsonError(f"a value of type {type(value).__name__}")


def _same(value: Any) -> Any:
    return value


def _float(value: float) -> float | None:
    """Convert NaN to None, and refuse infinity, which orjson would write as null, too."""
    if math.isinf(value):
        raise JsonError("infinity")
    return None if math.isnan(value) else value


def _integer(value: int) -> Any:
    """Convert an integer of any length; orjson itself stops at 64 bits."""
    return value if abs(value) < 2**63 else orjson.Fragment(str(value))


def _decimal(value: Decimal) -> Any:
    """Convert a decimal to a number with all its digits."""
    if value.is_infinite():
        raise JsonError("infinity")
    return None if value.is_nan() else orjson.Fragment(str(value))


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise JsonError("text that is not Unicode") from None
    return value


def _iso(value: date | time) -> str:
    return value.isoformat()


def _list(value: Sequence[Any]) -> list[Any]:
    return [to_json(item) for item in value]


def _object(value: dict[Any, Any]) -> dict[str, Any]:
    return {_text(str(key)): to_json(item) for key, item in value.items()}


# The first that fits: a bool is an int.
CONVERT: dict[type | tuple[type, ...], Callable[[Any], Any]] = {
    str: _text,
    bool: _same,
    float: _float,
    int: _integer,
    type(None): _same,
    Decimal: _decimal,
    (datetime, date, time): _iso,
    UUID: str,
    (list, tuple): _list,
    dict: _object,
}


def explain(error: Exception) -> str:
    """Return what the database says, and what is allowed where it refuses to write."""
    text = reason(error)
    writes = any(word in text.lower() for word in REFUSES_TO_WRITE)
    return f"{text}; Cairn only reads it; allowed: one SELECT" if writes else text


def reason(error: Exception) -> str:
    """Return what the database says, on one line and without the statement."""
    text = str(getattr(error, "orig", None) or error)
    return " ".join(text.split()) or type(error).__name__
