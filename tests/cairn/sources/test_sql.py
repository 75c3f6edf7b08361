"""Rows from SQLite and from a PostgreSQL server of the test's own."""

from __future__ import annotations

import json
import math
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.sources import sql, table
from tests.ports import free_ports
from tests.tools import missing

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_infinity=False, allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.executescript(
            "create table sales (id integer, what text, price real);"
            "insert into sales values (2, 'tea', 1.5), (1, '50% off: ½', null);"
        )
    return tmp_path / "rows"


def fetch(url: str, query: str, into: Path) -> None:
    table.transfer(url, Raw(source=url, query=query), into)


def rows(into: Path, statement: str, url: str = "sqlite:///shop.db") -> list[dict[str, Any]]:
    fetch(url, statement, into)
    return [json.loads(line) for line in into.read_text(encoding="utf-8").splitlines()]


def refused(into: Path, statement: str, url: str = "sqlite:///shop.db") -> str:
    with pytest.raises(CairnError) as error:
        fetch(url, statement, into)
    assert "\n" not in str(error.value)
    return str(error.value)


def numbers(count: int) -> str:
    """A query for the numbers from 1, one a row."""
    upto = f"select 1 union all select i + 1 from n where i < {count}"  # noqa: S608 - it is a number
    return f"with recursive n(i) as ({upto}) select i from n"  # noqa: S608


def test_rows_are_lines_with_the_columns_in_the_querys_order(shop: Path) -> None:
    fetch("sqlite:///shop.db", "select price, id, what from sales order by id", shop)
    assert shop.read_bytes() == (
        '{"price":null,"id":1,"what":"50% off: ½"}\n{"price":1.5,"id":2,"what":"tea"}\n'.encode()
    )


def test_the_statement_is_sent_as_it_is(shop: Path) -> None:
    statement = "select ':x' as a, id % 2 as b from sales where what like '50% off: %';"
    assert rows(shop, statement) == [{"a": ":x", "b": 1}]


def test_more_rows_than_are_held_at_a_time_all_come_in_order(shop: Path) -> None:
    count = 2 * sql.ROWS + 1
    assert [row["i"] for row in rows(shop, numbers(count))] == list(range(1, count + 1))


@pytest.mark.parametrize(
    "statement",
    [
        "drop table sales",
        "delete from sales returning id",
        "update sales set id = 3",
        "insert into sales values (3, 'milk', 1) returning id",
        "create table other (id integer)",
        "replace into sales values (3, 'milk', 1)",
        "pragma user_version = 7",
        "reindex",
        "attach database 'other.db' as other",
        "vacuum into 'other.db'",
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///shop.db",
        "sqlite+pysqlite:///shop.db?timeout=5",
        "sqlite:///file:shop.db?uri=true",
    ],
)
def test_sqlite_is_only_read(shop: Path, statement: str, url: str) -> None:
    before = Path("shop.db").read_bytes()
    message = refused(shop, statement, url)
    assert message.startswith("raw.query: ")
    assert "allowed: one SELECT" in message
    assert Path("shop.db").read_bytes() == before
    assert not Path("other.db").exists()


def test_an_sqlite_file_may_have_any_name(shop: Path) -> None:
    name = "50% of #1? é.db"
    Path("shop.db").replace(name)
    assert len(rows(shop, "select * from sales", "sqlite:///50%25 of #1%3F é.db")) == 2
    assert "allowed: one SELECT" in refused(
        shop, "drop table sales", f"sqlite:///{Path.cwd()}/50%25 of #1%3F é.db"
    )


def test_an_sqlite_file_that_others_write_is_read(shop: Path) -> None:
    """With a write-ahead log, whose newest rows are not in the file itself yet."""
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("insert into sales values (3, 'milk', 1)")
        connection.commit()
        assert len(rows(shop, "select * from sales")) == 3
    assert len(rows(shop, "select * from sales")) == 3


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("select 1 as a, 2 as b, 3 as a", "raw.query: more than one column is named 'a'"),
        ("select id, x'00' as b from sales", "raw.query: column 'b', row 1: a value of type bytes"),
        (
            "select 1e999 as big",
            "raw.query: column 'big', row 1: infinity cannot be written as JSON",
        ),
        ("select * from sales where id > 9", "raw.query: the result has no rows"),
        ("pragma foreign_keys = 1", "raw.query: it returns no rows; allowed: one SELECT"),
        ("select * from none", "raw.query: the database says: no such table: none"),
        ("selec", "raw.query: the database says: near"),
    ],
)
def test_what_cannot_be_kept_is_an_error(shop: Path, statement: str, message: str) -> None:
    assert refused(shop, statement).startswith(message)


def test_the_row_is_counted_across_what_is_held_at_a_time(shop: Path) -> None:
    statement = f"{numbers(sql.ROWS)} union all select x'00'"
    assert f"column 'i', row {sql.ROWS + 1:,}: " in refused(shop, statement)


def test_a_database_that_is_not_there_is_not_made(shop: Path) -> None:
    assert refused(shop, "select 1", "sqlite:///none.db") == (
        "raw.source: no SQLite file 'none.db'; allowed: sqlite:///PATH"
    )
    assert not Path("none.db").exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://host/db", "raw.source: SQLAlchemy knows no nosuch://"),
        ("mysql+pymysql://host/db", "needs the Python package pymysql; run `make install-extras`"),
        ("postgresql://host:port/db", "raw.source: not an SQLAlchemy URL"),
        (
            "postgresql://127.0.0.1/db?nosuch=1",
            'the database says: invalid connection option "nosuch"',
        ),
    ],
)
def test_what_there_is_no_driver_for_is_an_error(shop: Path, url: str, message: str) -> None:
    assert message in refused(shop, "select 1", url)


def test_without_the_extra_it_says_how_to_get_it(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy.exc", None)
    assert refused(shop, "select 1") == (
        "raw.source: a database needs SQLAlchemy; run `make install-extras`"
    )


@given(value=VALUES | st.lists(VALUES) | st.dictionaries(st.text("ab"), VALUES))
def test_json_gives_back_what_was_put_in(value: Any) -> None:
    line = sql.format_row(["a"], [value], 1)
    assert line.endswith(b"}\n")
    assert json.loads(line) == {"a": value}


@given(value=st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_keeps_its_digits(value: Decimal) -> None:
    number = json.loads(sql.format_row(["a"], [value], 1), parse_float=Decimal, parse_int=Decimal)[
        "a"
    ]
    assert number.as_tuple() == value.as_tuple()


@pytest.mark.parametrize("value", [math.nan, Decimal("NaN"), None])
def test_no_number_is_null(value: Any) -> None:
    assert sql.format_row(["a"], [value], 1) == b'{"a":null}\n'


@pytest.mark.parametrize(
    "value",
    [math.inf, -math.inf, Decimal("Infinity"), b"", "\ud800", [math.inf], {"\udc00": 1}, object()],
)
def test_what_json_cannot_hold_names_its_column(value: Any) -> None:
    with pytest.raises(
        CairnError, match=r"^raw\.query: column 'b', row 7: .* cannot be written as JSON"
    ):
        sql.format_row(["a", "b"], [1, value], 7)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, less the password, which is `p@ss/w:rd`."""
    tools = programs()
    # Not pytest's folder: another user than root, whom PostgreSQL refuses, may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="cairn-pg-", dir="/var/tmp"))
    me: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        me = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    port = free_ports(1)
    (folder / "password").write_text("p@ss/w:rd")
    (folder / "password").chmod(0o644)

    def run(name: str, *words: str) -> None:
        subprocess.run(
            [str(tools / name), *words],
            cwd=folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # not a pipe, which the server would hold open
            timeout=600,
            **me,
        )

    try:
        # Whatever language the user has, it speaks English.
        words = ("-U", "user", "-A", "scram-sha-256", "--locale=C", "--encoding=UTF8")
        run("initdb", "-D", "data", *words, "--pwfile=password", "-N")
        listens = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
        run("pg_ctl", "-D", "data", "-w", "-t", "300", "-l", "log", "-o", listens, "start")
        try:
            yield f"127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", "data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def programs() -> Path:
    """The folder of PostgreSQL's programs, which Debian keeps off the PATH."""
    paths = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not paths and not on_path:
        missing("no initdb here; it is in Debian's package postgresql")
    return paths[-1].parent if paths else Path(str(on_path)).resolve().parent


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql", "postgres"])
def test_postgresql_s_types_are_json_s(postgres: str, scheme: str, tmp_path: Path) -> None:
    statement = """
        select date '2024-02-29' as day, timestamp '2024-02-29 12:30:00.5' as at,
            timestamptz '2024-02-29 12:30:00+02' at time zone 'UTC' as utc, time '12:30' as clock,
            12345678901234567890.10::numeric as price, 'NaN'::numeric as no_price, true as yes,
            null::int as nothing, 'NaN'::float8 as no_number, 9223372036854775807 as most,
            '6b1c9cf0-0000-4000-8000-000000000000'::uuid as id, 'x%:y' as text,
            array[1, null] as list, '{"a": [1.5]}'::json as object
    """
    fetch(f"{scheme}://user:p%40ss%2Fw%3Ard@{postgres}", statement, tmp_path / "rows")
    assert (tmp_path / "rows").read_text() == (
        '{"day":"2024-02-29","at":"2024-02-29T12:30:00.500000","utc":"2024-02-29T10:30:00",'
        '"clock":"12:30:00","price":12345678901234567890.10,"no_price":null,"yes":true,'
        '"nothing":null,"no_number":null,"most":9223372036854775807,'
        '"id":"6b1c9cf0-0000-4000-8000-000000000000","text":"x%:y",'
        '"list":[1,null],"object":{"a":[1.5]}}\n'
    )


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("select 1, 2", "raw.query: more than one column is named '?column?'"),
        ("select '\\x00'::bytea as raw", "raw.query: column 'raw', row 1: a value of type"),
        ("select 'infinity'::float8 as big", "raw.query: column 'big', row 1: infinity"),
        ("select '1 day'::interval as long", "column 'long', row 1: a value of type timedelta"),
        ("select * from none", 'raw.query: the database says: relation "none" does not exist'),
        (
            "select 1 / (9000 - i) from generate_series(1, 9000) as s(i)",
            "raw.query: the database says: division by zero",  # long after the first rows came
        ),
    ],
)
def test_what_postgresql_or_json_refuses_is_an_error(
    postgres: str, statement: str, message: str, tmp_path: Path
) -> None:
    url = f"postgresql+psycopg://user:p%40ss%2Fw%3Ard@{postgres}"
    assert message in refused(tmp_path / "rows", statement, url)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("statement", ["select nextval('places')", "select write_sale()"])
def test_postgresql_is_only_read(postgres: str, statement: str, tmp_path: Path) -> None:
    import psycopg  # noqa: PLC0415 - it is an extra

    url = f"postgresql://user:p%40ss%2Fw%3Ard@{postgres}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create sequence if not exists places")
        connection.execute("create table if not exists sales (id int)")
        connection.execute(
            "create or replace function write_sale() returns int language sql"
            " as 'insert into sales values (1) returning id'"
        )
        message = refused(tmp_path / "rows", statement, url)
        assert "in a read-only transaction" in message
        assert message.endswith("; Cairn only reads it; allowed: one SELECT")
        assert connection.execute("select is_called from places").fetchone() == (False,)
        assert connection.execute("select count(*) from sales").fetchone() == (0,)


@pytest.mark.real
@pytest.mark.slow
def test_a_wrong_password_is_an_error_and_not_repeated(postgres: str, tmp_path: Path) -> None:
    message = refused(
        tmp_path / "rows", "select 1", f"postgresql+psycopg://user:hunter2@{postgres}"
    )
    assert 'password authentication failed for user "user"' in message
    assert "hunter2" not in message


@pytest.mark.slow
def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://user@127.0.0.1:{free_ports(1)}/db"
    assert "onnection refused" in refused(tmp_path / "rows", "select 1", url)


@pytest.mark.real
@pytest.mark.slow
def test_memory_does_not_grow_with_the_result(postgres: str, tmp_path: Path) -> None:
    code = (
        "import re, sys; from pathlib import Path; from tests.cairn.sources.test_sql import fetch;"
        "status = Path('/proc/self/status');"
        # Not getrusage, which begins with the most that the parent had.
        "most = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]);"
        "fetch(sys.argv[1], 'select 1', Path(sys.argv[2])); before = most();"
        "fetch(sys.argv[1], sys.argv[3], Path(sys.argv[2])); print(most() - before)"
    )
    statement = "select repeat('x', 10000) as text from generate_series(1, 30000)"
    url = f"postgresql+psycopg://user:p%40ss%2Fw%3Ard@{postgres}"
    command = [sys.executable, "-c", code, url, str(tmp_path / "rows"), statement]
    done = subprocess.run(command, check=True, timeout=600, capture_output=True, text=True)
    assert (tmp_path / "rows").stat().st_size == 30_000 * len('{"text":""}\n' + "x" * 10_000)
    assert int(done.stdout) < 100_000  # KiB, a third of the rows
    (tmp_path / "rows").unlink()
