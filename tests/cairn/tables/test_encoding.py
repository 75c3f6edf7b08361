from __future__ import annotations

import pytest

from cairn.tables.encoding import suggest_encodings


def first_bad(content: bytes, encoding: str = "utf-8") -> int:
    with pytest.raises(UnicodeDecodeError) as error:
        content.decode(encoding)
    return error.value.start


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("a,y\n1,Müller\n", "cp1252"),
        ("a,y\n1,5 € für Weiß\n", "cp1252"),
        ("a,y\n1,東京都\n", "shift_jis"),
        ("a,y\n1,Привет\n", "cp1251"),
        ("a,y\n1,Łódź\n", "cp1250"),
        ("a,y\n1,서울\n", "euc_kr"),
        ("a,y\n1,北京\n", "gb18030"),
    ],
)
def test_an_encoding_in_which_the_text_reads_well_is_named_with_the_line_to_paste(
    text: str, encoding: str
) -> None:
    content = text.encode(encoding)
    value = text.rsplit(",", maxsplit=1)[-1].strip()
    advice = suggest_encodings(content, first_bad(content))
    assert f"processed.encoding: {encoding} to read " in advice
    assert value[-2:] in advice


def test_a_reading_that_mixes_alphabets_in_a_word_is_not_named() -> None:
    content = "größe,y\n1,0\n".encode("cp1252")
    advice = suggest_encodings(content, first_bad(content))
    assert advice == "set processed.encoding: cp1252 to read 'größe'"


def test_utf_8_is_named_first_where_another_encoding_was_asked_for() -> None:
    content = "größe,y\n1,0\n".encode()
    advice = suggest_encodings(content, first_bad(content, "ascii"))
    assert advice.startswith("set processed.encoding: utf-8 to read 'größe'")


def test_bytes_that_end_within_a_character_are_text_of_its_encoding() -> None:
    content = "a,y\n1,東京".encode("shift_jis")[:-1]
    assert "shift_jis" in suggest_encodings(content, 6)


def test_latin_1_is_left_where_no_encoding_reads_well() -> None:
    content = "a,y\n1,caf\x81\n".encode("latin-1")
    assert suggest_encodings(content, first_bad(content)).endswith("; latin-1 decodes any bytes")
