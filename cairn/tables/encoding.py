"""Encodings in which bytes that are not of the expected one would be text."""

from __future__ import annotations

import re
import unicodedata

# The likeliest first. The last one decodes any bytes.
ENCODINGS = ("utf-8", "cp1252", "shift_jis", "gb18030", "euc_kr", "cp1250", "cp1251", "latin-1")
CUT = ("unexpected end of data", "incomplete multibyte sequence")  # at the end of the bytes
AROUND = 16  # bytes on each side of the first that is no text
LISTED = 6


def suggest_encodings(content: bytes, start: int) -> str:
    """Suggest what to set in params.yaml: each encoding with how the text would read.

    Parameters
    ----------
    content
        Bytes of the file.
    start
        The index of the first byte that is no text.
    """
    readings: dict[str, str] = {}
    for encoding in ENCODINGS:
        try:
            content.decode(encoding)
        except UnicodeDecodeError as error:
            if error.reason not in CUT:
                continue
        reading = _excerpt(content, start).decode(encoding, errors="ignore")
        if reading.isprintable() and reading not in readings.values():
            readings[encoding] = reading
    oddities = {name: _count_oddities(text) for name, text in readings.items()}
    likely = sorted((name for name in readings if not oddities[name][0]), key=oddities.__getitem__)
    if not likely:
        return f"set processed.encoding to that of the text; {ENCODINGS[-1]} decodes any bytes"
    texts = [f"processed.encoding: {name} to read {readings[name]!r}" for name in likely[:LISTED]]
    return f"set {', or '.join(texts)}"


def _excerpt(content: bytes, start: int) -> bytes:
    """Cut out the field around a byte, or the part of it that is near."""
    before = re.split(rb'[\r\n,;\t|"]', content[max(0, start - AROUND) : start])[-1]
    return before + re.split(rb'[\r\n,;\t|"]', content[start : start + AROUND])[0]


def _count_oddities(text: str) -> tuple[int, int]:
    """Count what is odd in a text: words that mix alphabets, then signs that are no letters."""
    words = re.findall(r"[^\W\d_]+", text)
    alphabets = [{unicodedata.name(letter, "?").split()[0] for letter in word} for word in words]
    signs = sum(not (letter.isalnum() or letter.isspace()) for letter in text)
    return sum(len(alphabet) > 1 for alphabet in alphabets), signs
