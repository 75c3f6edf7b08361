from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.errors import Refused
from service.http.keys import Keys, parse_key, read_presented

ONE, TWO, THREE, FIXED = (f"{name}-0123456789abcdef" for name in ("one", "two", "three", "fixed"))
KEYS = st.text("abc:", min_size=16, max_size=20)


def bearing(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


def opens(keys: Keys, key: str) -> bool:
    try:
        keys.identify(bearing(key))
    except Refused:
        return False
    return True


def test_without_keys_everyone_may_ask() -> None:
    assert Keys((), None).identify({}) == ""


@given(keys=st.lists(KEYS.map("x:".__add__), min_size=1), key=KEYS)
def test_only_a_complete_key_opens(keys: list[str], key: str) -> None:
    assert opens(Keys(tuple(keys), None), key) == (f"x:{key}" in keys)


def test_both_headers_are_looked_at() -> None:
    server = {b"authorization": b"Bearer a", b"x-api-key": TWO.encode()}
    assert read_presented(server) == [b"a", TWO.encode()]
    assert Keys((TWO,), None).identify(server) == ""


def test_a_key_may_have_a_name() -> None:
    keys = Keys((f"alice:{ONE}", TWO, f"{THREE}:with:{FIXED}"), None)
    assert keys.identify(bearing(ONE)) == "alice"
    assert keys.identify(bearing(TWO)) == ""
    assert keys.identify(bearing(f"with:{FIXED}")) == THREE  # a name ends with the first colon
    assert not opens(keys, f"alice:{ONE}")


def test_what_is_no_name_belongs_to_the_key() -> None:
    assert parse_key(f"a/b:{ONE}") == ("", f"a/b:{ONE}")


@pytest.mark.parametrize("text", ["a", "a" * 15, f"{ONE}:", "alice:secretsecret", ":"])
def test_a_key_that_is_too_short_is_refused_with_how_to_make_one(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: 16 or more; make one with `openssl") as error:
        parse_key(text)
    assert "secret" not in str(error.value)


def test_a_file_of_keys_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{ONE}\n\nbob:{TWO}\n")
    keys = Keys((FIXED,), file)
    assert [opens(keys, key) for key in (ONE, TWO, FIXED, THREE)] == [True, True, True, False]
    assert keys.identify(bearing(TWO)) == "bob"
    file.write_text(f"{THREE}\n")
    keys.refresh()
    assert [opens(keys, key) for key in (ONE, FIXED, THREE)] == [False, True, True]
    file.write_text("")
    keys.refresh()
    assert not opens(keys, THREE)


def test_a_change_of_neither_time_nor_size_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(ONE)
    keys = Keys((), file)
    before = file.stat()
    file.write_text(TWO)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (
        before.st_mtime_ns, before.st_size, before.st_ino,
    )  # fmt: skip
    keys.refresh()
    assert (opens(keys, ONE), opens(keys, TWO)) == (False, True)


@pytest.mark.parametrize("content", ["", "\n# none yet\n"])
def test_a_file_without_a_key_opens_to_nobody_and_the_log_warns(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    keys = Keys((), file)
    keys.refresh()
    with pytest.raises(Refused):
        keys.identify({})
    (record,) = caplog.records
    assert "nobody may ask" in record.getMessage()


def test_a_line_that_is_no_key_is_left_out_and_the_log_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{ONE}\nshort\n")
    keys = Keys((), file)
    assert (opens(keys, ONE), opens(keys, "short")) == (True, False)
    (record,) = caplog.records
    assert "API_KEYS_FILE, line 2 is left out: got a key of 5 characters" in record.getMessage()
    assert "short" not in record.getMessage()


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_while_the_file_cannot_be_read_none_of_its_keys_holds_and_the_log_says_so(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text(ONE)
    keys = Keys((FIXED,), file)
    assert opens(keys, ONE)
    file.unlink()
    if content:
        file.write_bytes(content)
    for _ in range(2):
        keys.refresh()
        assert (opens(keys, ONE), opens(keys, FIXED)) == (False, True)
    (record,) = caplog.records
    assert "API_KEYS_FILE cannot be read" in record.getMessage()
    assert ONE not in record.getMessage()
    file.write_text(TWO)
    keys.refresh()
    assert opens(keys, TWO)


def test_a_file_that_was_never_there_opens_to_nobody(tmp_path: Path) -> None:
    assert not opens(Keys((), tmp_path / "none"), ONE)
