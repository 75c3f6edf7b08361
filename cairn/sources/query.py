"""The rows of an SQL query as JSON lines, written as they come; the database is only read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import orjson

from cairn.console import CairnError

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
REFUSES_TO_WRITE = ("read-only", "read only", "readonly")


class Unfit(Exception):
    """A value that JSON cannot hold; its text says what it is."""


def fetch(url: str, query: str, into: Path) -> None:
    """Write the rows to a file: one JSON object a row, its keys the columns in the query's order.

    Parameters
    ----------
    url
        SQLAlchemy's, as in sqlite:///shop.db.
    query
        One SELECT, sent as it is; most databases are told to refuse all else, and nothing is
        committed.

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
        with into.open("wb") as file, closing(sent(known(url), query)) as found:
            file.writelines(found)
    except (
        SQLAlchemyError,
        TypeError,
        ValueError,
    ) as error:  # drivers raise the last two of options
        raise CairnError(f"raw.query: the database says: {explain(error)}") from None


def known(url: str) -> URL:
    """The URL taken apart; raises CairnError where it is none, or its file is missing."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        made = make_url(url)
    except (ArgumentError, ValueError):
        raise CairnError(
            "raw.source: not an SQLAlchemy URL: dialect+driver://user@host:port/database"
        ) from None
    if made.drivername in POSTGRESQL:
        return made.set(drivername="postgresql+psycopg")
    path = made.database if made.get_backend_name() == "sqlite" else None
    # SQLite would make an empty one.
    if path and not path.startswith((":memory:", "file:")) and not Path(path).is_file():
        raise CairnError(f"raw.source: no SQLite file {path!r}; allowed: sqlite:///PATH")
    if path and Path(path).is_file() and made.drivername in SQLITE:
        return read_only_file(made, path)
    return made


def read_only_file(url: URL, path: str) -> URL:
    """Return the URL that opens an SQLite file for reading alone."""
    file = "file:" + quote(path)
    return url.set(database=file).update_query_dict({"mode": "ro", "uri": "true"})


def begin_read_only(connection: Connection) -> None:
    """Begin a transaction in which the database refuses to write, where READ_ONLY says how."""
    statement = READ_ONLY.get(connection.dialect.name)
    if statement:
        connection.exec_driver_sql(statement)


def sent(url: URL, query: str) -> Generator[bytes, None, None]:
    """The lines of the rows that a database sends."""
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
            yield from lines(result)


def lines(result: CursorResult[Any]) -> Iterator[bytes]:
    """A result's lines; some rows of it are in memory at a time."""
    if not result.returns_rows:
        raise CairnError("raw.query: it gives no rows; allowed: one SELECT")
    names = unique(list(result.keys()))
    count = 0
    for rows in result.partitions(ROWS):
        yield from (line(names, row, place) for place, row in enumerate(rows, count + 1))
        count += len(rows)
    if not count:
        raise CairnError("raw.query: the result has no rows; see its WHERE")


def unique(names: list[str]) -> list[str]:
    """The columns' names; raises CairnError where one comes twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CairnError(
            f"raw.query: more than one column is named {twice[0]!r}; tell them apart with AS"
        )
    return names


def line(names: Sequence[str], row: Sequence[Any], place: int) -> bytes:
    """A row as one line of JSON; raises CairnError naming the column that cannot be in it."""
    kept: dict[str, Any] = {}
    for name, value in zip(names, row, strict=True):
        try:
            kept[name] = jsonable(value)
        except Unfit as error:
            raise CairnError(
                f"raw.query: column {name!r}, row {place:,}: {error} has no place in JSON; "
                "leave it out or cast it in the query"
            ) from None
    return orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)


def jsonable(value: Any) -> Any:
    """A value as `orjson` takes it without losing anything; raises Unfit where there is no way."""
    for kind, convert in CONVERT.items():
        if isinstance(value, kind):
            return convert(value)
    raise Unfit(f"a value of type {type(value).__name__}")


def _same(value: Any) -> Any:
    return value


def _float(value: float) -> float | None:
    """A number, None if it is none; orjson itself would make infinity a null too."""
    if math.isinf(value):
        raise Unfit("infinity")
    return None if math.isnan(value) else value


def _integer(value: int) -> Any:
    """A whole number of any length; orjson itself stops at 64 bits."""
    return value if abs(value) < 2**63 else orjson.Fragment(str(value))


def _decimal(value: Decimal) -> Any:
    """A number with the digits that it has."""
    if value.is_infinite():
        raise Unfit("infinity")
    return None if value.is_nan() else orjson.Fragment(str(value))


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unfit("text that is not Unicode") from None
    return value


def _iso(value: date | time) -> str:
    return value.isoformat()


def _list(value: Sequence[Any]) -> list[Any]:
    return [jsonable(item) for item in value]


def _object(value: dict[Any, Any]) -> dict[str, Any]:
    return {_text(str(key)): jsonable(item) for key, item in value.items()}


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
    """What the database says, on one line and without the statement."""
    said = str(getattr(error, "orig", None) or error)
    return " ".join(said.split()) or type(error).__name__
