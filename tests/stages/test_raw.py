from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.paths import RAW
from cairn.sources import address, download, table
from stages import raw
from tests.conftest import ROOT
from tests.ports import free_ports
from tests.small import PARAMS

BYTES = b'\xef\xbb\xbfa,"b"\r\n1,\xff\r\n'  # a mark, CRLF, a byte that is not UTF-8
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_bytes(BYTES)
    return tmp_path


def write_params(source: str, sha256: str | None = None, query: str | None = None) -> None:
    content = {**PARAMS, "raw": {"source": source, "query": query, "sha256": sha256}}
    Path("params.yaml").write_text(yaml.safe_dump(content))


def raw_params(source: str, query: str | None = None) -> Raw:
    return Raw(source=source, query=query, sha256=None)


def error_of(source: str, query: str | None = None) -> str:
    with pytest.raises(CairnError) as error:
        table.fetch(raw_params(source, query), Path("t"), os.environ)
    assert "\n" not in str(error.value)
    return str(error.value)


def expand(source: str, environment: dict[str, str]) -> str:
    return address.expand(source, table.secrets_of(source), environment)


def secrets_in(source: str, environment: dict[str, str]) -> set[str]:
    expanded = expand(source, environment)
    return address.find_secrets(source, expanded, table.secrets_of(expanded), environment)


def kept() -> list[Path]:
    return sorted(RAW.parent.iterdir())


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_is_kept_byte_for_byte(sha256: str | None) -> None:
    write_params("mine.csv", sha256)
    raw.main()
    assert RAW.read_bytes() == BYTES
    assert kept() == [RAW]


def test_another_file_than_the_one_asked_for_is_refused_and_not_kept() -> None:
    write_params("mine.csv", "0" * 64)
    with pytest.raises(CairnError, match=f"raw.sha256: the source has {SHA256}, .* 000"):
        raw.main()
    assert kept() == []


def test_a_typo_in_the_params_of_another_stage_is_an_error_before_anything_is_fetched() -> None:
    content = {**PARAMS, "raw": {"source": "mine.csv"}, "train": {"estimater": "x"}}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CairnError, match=r"train\.estimater: unknown key; allowed here: name, "):
        raw.main()
    assert not RAW.parent.exists()


@pytest.mark.parametrize(
    "source", ["mine.csv", "none.csv", "http://127.0.0.1:1/t.csv", "sqlite:///none.db"]
)
def test_a_source_that_fails_leaves_the_table_before(source: str) -> None:
    write_params("mine.csv")
    raw.main()
    Path("mine.csv").write_bytes(b"other")
    write_params(source, SHA256, "select 1" if source.startswith("sqlite") else None)
    with pytest.raises(CairnError):
        raw.main()
    assert RAW.read_bytes() == BYTES
    assert kept() == [RAW]


@pytest.mark.parametrize("source", [str(RAW), "link", "other/../link", "${THERE}"])
def test_the_table_itself_as_source_stays_as_it_is(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THERE", str(RAW))
    RAW.parent.mkdir(parents=True)
    RAW.write_bytes(BYTES)
    Path("other").mkdir()
    Path("link").symlink_to(RAW)
    write_params(source, SHA256)
    raw.main()
    write_params(source, "0" * 64)
    with pytest.raises(CairnError, match=r"raw\.sha256: "):
        raw.main()
    assert RAW.read_bytes() == BYTES
    assert kept() == [RAW]


def test_a_table_that_is_linked_to_dvc_s_cache_is_replaced_and_the_cache_unchanged() -> None:
    RAW.parent.mkdir(parents=True)
    Path("cache").write_bytes(b"the table before")
    RAW.hardlink_to("cache")
    write_params("mine.csv")
    raw.main()
    assert RAW.read_bytes() == BYTES
    assert Path("cache").read_bytes() == b"the table before"


def test_a_folder_is_one_tar_that_is_the_same_each_time() -> None:
    for name in ("in/b.csv", "in/a/1.parquet", "in/_SUCCESS", "in/.hidden"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(name.encode())
    write_params("in")
    raw.main()
    first = RAW.read_bytes()
    os.utime("in/b.csv", (1, 1))
    raw.main()
    assert RAW.read_bytes() == first
    with tarfile.open(RAW) as opened:
        assert opened.getnames() == ["a/1.parquet", "b.csv"]


def test_a_folder_without_files_is_refused() -> None:
    Path("in").mkdir()
    assert error_of("in") == "raw.source: no files in in except hidden ones"


@pytest.mark.parametrize("source", [".", "data", "data/raw"])
def test_the_folder_in_which_the_table_is_kept_is_refused(source: str) -> None:
    write_params(source)
    with pytest.raises(CairnError, match=r"raw\.source: the table is kept below .*; allowed: an"):
        raw.main()
    assert kept() == []


def test_a_query_s_rows_are_json_lines() -> None:
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.executescript("create table t (b, a); insert into t values (1, 'x'), (2, null)")
    write_params("sqlite:///shop.db", None, "select * from t order by b")
    raw.main()
    assert RAW.read_text() == '{"b":1,"a":"x"}\n{"b":2,"a":null}\n'


@pytest.mark.parametrize("source", ["mine.csv", "sklearn:iris", "s3://b/k", "https://host/t.csv"])
def test_a_query_without_a_database_is_refused(source: str) -> None:
    assert error_of(source, "select 1") == (
        f"raw.query: raw.source is {source}, which takes no query; set it to null"
    )


def test_a_database_without_a_query_is_refused() -> None:
    assert error_of("sqlite:///shop.db") == (
        "raw.query: got null, but raw.source is a database, sqlite://; give one SELECT"
    )


@pytest.mark.parametrize("source", ["gs://bucket/t.csv", "file:///t.csv", "FTP://host/t.csv"])
def test_other_schemes_are_named_with_what_is_allowed(source: str) -> None:
    scheme = source.partition(":")[0].lower()
    assert error_of(source).startswith(
        f"raw.source: nothing here reads {scheme}://; allowed: sklearn:NAME"
    )


@pytest.mark.parametrize(
    ("name", "rows", "columns"), [("breast_cancer", 569, 31), ("iris", 150, 5), ("wine", 178, 14)]
)
def test_a_shipped_table_is_its_columns_then_the_target(name: str, rows: int, columns: int) -> None:
    table.fetch(raw_params(f"sklearn:{name}"), Path("t.csv"), {})
    header, *lines = Path("t.csv").read_bytes().split(b"\n")
    assert header.count(b",") == columns - 1
    assert header.endswith(b",target")
    assert len(lines) == rows + 1  # and an end of line after the last
    assert lines[-1] == b""


@pytest.mark.parametrize("source", ["sklearn:boston", "sklearn:", "sklearn:iris "])
def test_an_unknown_shipped_table_is_named_with_those_that_are_known(source: str) -> None:
    assert f"raw.source: got {source}; allowed: sklearn:{{breast_cancer," in error_of(source)


@pytest.mark.parametrize("source", ["none.csv", "none/", "~none/x", "a?b@c"])
def test_a_source_that_is_not_there_is_named_with_what_is_allowed(source: str) -> None:
    assert error_of(source).startswith(
        f"raw.source: no file '{source}'; allowed: sklearn:NAME, the path of a"
    )


def test_an_empty_file_is_refused() -> None:
    Path("mine.csv").write_bytes(b"")
    write_params("mine.csv")
    with pytest.raises(CairnError, match=r"mine\.csv is empty"):
        raw.main()
    assert kept() == []


def test_a_run_beside_another_is_refused_and_harms_nothing() -> None:
    RAW.parent.mkdir(parents=True)
    part = RAW.with_name(f"{RAW.name}.part")
    write_params("mine.csv")
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b"half")
        with pytest.raises(CairnError, match=r"^another run is writing data/raw/.*part; wait"):
            raw.main()
    assert part.read_bytes() == b"half"
    raw.main()
    assert kept() == [RAW]


def test_what_was_downloaded_in_part_gives_way_to_another_source() -> None:
    RAW.parent.mkdir(parents=True)
    part = RAW.with_name(f"{RAW.name}.part")
    part.write_bytes(b"half")
    download.checkpoint_path(part).write_text("{}")
    write_params("mine.csv")
    raw.main()
    assert kept() == [RAW]


def test_variables_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "mine")
    table.fetch(raw_params("${MINE}.csv"), Path("t"), os.environ)
    assert Path("t").read_bytes() == BYTES


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAIRN_NONE", raising=False)
    write_params("sqlite://${CAIRN_NONE}@host/db", None, "select 1")
    with pytest.raises(CairnError, match=r"raw\.source: the environment variable CAIRN_NONE is no"):
        raw.main()


@given(password=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_variable_may_be_any_password(password: str) -> None:
    url = expand("postgresql+psycopg://user:${PW}@host/db", {"PW": password})
    parts = make_url(url)
    assert (parts.password or "", parts.host, parts.database) == (password, "host", "db")


def test_a_variable_that_is_all_of_it_is_taken_as_it_is() -> None:
    url = "postgresql+psycopg://user:p%40ss@host/db"
    assert expand("${URL}", {"URL": url}) == url


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("mine.csv", "mine.csv"),
        ("a?b@c", "a?b@c"),
        ("s3://bucket/a@b?c", "s3://bucket/a@b?c"),
        ("https://host/t.csv", "https://host/t.csv"),
        ("https://host/t.csv?X-Amz-Signature=hunter2", "https://host/t.csv?***"),
        ("https://hunter2@host/t.csv", "https://***@host/t.csv"),
        ("postgresql://user:hunter2@host/db", "postgresql://***@host/db"),
        ("postgresql://user:hunt@er/2@host/db?password=x", "postgresql://***@host/db?***"),
        ("postgresql://user:${PW}@${HOST}/db", "postgresql://***@${HOST}/db"),
        ("${URL}", "${URL}"),
        ("sqlite:///shop.db", "sqlite:///shop.db"),
    ],
)
def test_a_source_is_shown_without_what_is_secret(source: str, shown: str) -> None:
    assert table.mask(source) == shown


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4)


@given(secret=SECRETS, before=st.text(max_size=5), after=st.text(max_size=5))
def test_no_message_holds_a_secret(secret: str, before: str, after: str) -> None:
    for source in ("x://u:${S}@h/d", "https://h/?sig=${S}", "${S}", "https://${S}@h/"):
        hidden = secrets_in(source, {"S": secret})
        assert secret not in address.hide(
            f"{before} {secret} {after}".replace("*", ""), hidden
        ) or (secret.strip("*") != secret)


def test_a_token_in_the_place_of_a_user_is_a_secret() -> None:
    assert address.hide("hunter2!", secrets_in("https://hunter2@host/t.csv", {})) == "***!"


def test_a_password_is_a_secret_as_the_database_gets_it_too() -> None:
    hidden = secrets_in("postgresql://user:p%40ss@host/db", {})
    assert address.hide("p@ss, p%40ss", hidden) == "***, ***"


def test_of_a_short_password_nothing_is_shown_either() -> None:
    hidden = secrets_in("postgresql://user:pw@host/db", {})
    assert address.hide('user "user", pw "pw"', hidden) == 'user "user", *** "***"'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "query"),
    [
        ("https://user:${SECRET}@127.0.0.1:{port}/t.csv?sig=${SECRET}", None),
        ("http://user:hunter22@127.0.0.1:{port}/t.csv?sig=hunter22", None),
        ("postgresql+psycopg://user:${SECRET}@127.0.0.1:{port}/db", "select 1"),
        ("postgresql+psycopg://user@127.0.0.1:{port}/db?password=hunter22", "select 1"),
        ("postgresql+psycopg://user:hunter22@127.0.0.1:{port}:9/db", "select 1"),
        ("${WHOLE}", "select 1"),
        ("s3://${SECRET}/${SECRET}", None),
        ("https://host/${SECRET}" + "x" * 300, "select 1"),
        ("${SECRET}/none", None),
    ],
)
def test_nothing_that_is_printed_holds_a_secret(source: str, query: str | None) -> None:
    write_params(source.replace("{port}", str(free_ports(1))), None, query)
    done = subprocess.run(
        [sys.executable, "-m", "stages.raw"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SECRET": "hunter22",
            "WHOLE": "postgresql+nosuch://user:hunter22@host/db?sslpassword=hunter22",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_ACCESS_KEY_ID": "hunter22",
            "AWS_SECRET_ACCESS_KEY": "hunter22",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: raw.")
    assert len(done.stderr.splitlines()) == 1
    assert "hunter22" not in done.stdout + done.stderr
