from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.keys import Keys, read_presented


def bearing(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


def test_without_keys_everyone_may_ask() -> None:
    assert Keys((), None).allow({})


@given(keys=st.lists(st.text("abc", min_size=1), min_size=1), key=st.text("abc", min_size=1))
def test_only_a_whole_key_opens(keys: list[str], key: str) -> None:
    assert Keys(tuple(keys), None).allow(bearing(key)) == (key in keys)


def test_both_headers_are_looked_at() -> None:
    server = {b"authorization": b"Bearer a", b"x-api-key": b"b"}
    assert read_presented(server) == [b"a", b"b"]
    assert Keys(("b",), None).allow(server)


def test_a_file_of_keys_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one\n\ntwo\n")
    keys = Keys(("fixed",), file)
    assert [keys.allow(bearing(key)) for key in ("one", "two", "fixed", "three")] == [
        True, True, True, False,
    ]  # fmt: skip
    file.write_text("three\n")
    os.utime(file, ns=(1, 1))
    assert [keys.allow(bearing(key)) for key in ("one", "fixed", "three")] == [False, True, True]
    file.write_text("")
    assert not keys.allow(bearing("three"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_while_the_file_cannot_be_read_none_of_its_keys_holds_and_the_log_says_so(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text("one")
    keys = Keys(("fixed",), file)
    assert keys.allow(bearing("one"))
    file.unlink()
    if content:
        file.write_bytes(content)
    for _ in range(2):
        assert not keys.allow(bearing("one"))
        assert keys.allow(bearing("fixed"))
    (record,) = caplog.records
    assert "API_KEYS_FILE cannot be read" in record.getMessage()
    assert "one" not in record.getMessage().replace("none", "")
    file.write_text("two")
    assert keys.allow(bearing("two"))


def test_a_file_that_was_never_there_opens_to_nobody(tmp_path: Path) -> None:
    assert not Keys((), tmp_path / "none").allow({})
