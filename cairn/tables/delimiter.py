"""How the lines of a CSV file are written: what stands between two fields, and around rows."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import NamedTuple

COMMON = ",;\t|"
# Signs that texts have, too: taken only where every line has the same number of them.
SELDOM = ":"
BLANK = " "
RECORDS = 1000  # that are looked at
LEAST = 3  # records that must agree on a seldom delimiter
LONGEST = 2**22  # characters of a field
WORDS = {"\t": "tabs", BLANK: "blanks"}
# Excel's own first line, which names the delimiter.
SEPARATOR = re.compile(rb'"?sep=([\t -!#-~])"?[ \t]*(?:\r\n|\r|\n)', re.IGNORECASE)
# A row that is one quoted field, as Excel saves a table that it took for one column, and what is in
# it; or another row; or ends of lines. So each match begins where a row does.
ROWS = re.compile(
    rb'"((?:[^"]|"")*+)"[,;\t]*(?=[\r\n]|\Z)|(?:[^"\r\n]+|"(?:[^"]|"")*+"|")++|[\r\n]+'
)
FIELD_OR_BLANKS = re.compile(rb'(?<![^ \t\r\n])"(?:[^"]|"")*"|[ \t]+')
BLANKS_AT_ENDS = re.compile(rb"^ | (?=[\r\n]|\Z)", re.MULTILINE)


class Layout(NamedTuple):
    """How the rows of a CSV file are written.

    Attributes
    ----------
    delimiter
        Between two fields.
    has_runs
        Whether a run of blanks and tabs is one delimiter.
    is_wrapped
        Whether each row is one quoted field.
    is_padded
        Whether blanks stand between a delimiter and the quote that opens a field.
    """

    delimiter: str
    has_runs: bool = False
    is_wrapped: bool = False
    is_padded: bool = False

    @property
    def openers(self) -> bytes:
        """What may stand before a quote that opens a field, in the text of the file."""
        if self.is_wrapped:
            return b"\r\n"
        has_blanks = self.has_runs or self.is_padded
        return self.delimiter.encode() + (b" \t\r\n" if has_blanks else b"\r\n")

    def plain(self, content: bytes) -> bytes:
        """Whole rows as plain CSV, on the same lines."""
        if self.is_wrapped:
            return unwrapped(content)
        if self.is_padded:
            return unpadded(content, self.delimiter)
        return squeezed(content) if self.has_runs else content


class _Fit(NamedTuple):
    """How well a delimiter fits some records; the larger, the better.

    Attributes
    ----------
    agreement
        2 where the header has as many fields as the rows, 1 where it has one more or less.
    is_strict
        Whether every quote that opens or closes a field stands beside a delimiter.
    share
        Of the rows, those with the usual number of fields.
    fields
        That number.
    """

    agreement: int
    is_strict: bool
    share: float
    fields: int


def layout(sample: bytes, *, is_whole: bool, given: str | None = None) -> Layout | None:
    """Find how a file is written from its first lines; None where that is one column.

    Parameters
    ----------
    sample
        The begin of the file, UTF-8.
    is_whole
        Whether that is all of it; else its last record may be cut.
    given
        The delimiter, where it is known.
    """
    plain = _best(sample, given or COMMON, is_whole=is_whole)
    if _is_wrapped(sample):
        inside = unwrapped(sample)
        fit = _best(inside, given or COMMON, is_whole=is_whole)
        if fit and fit[0].share == 1 and (plain is None or fit[0][:3] > plain[0][:3]):
            return Layout(fit[1], is_wrapped=True)
    is_clear = plain and plain[0].agreement and not (plain[1] == "\t" and _is_aligned(sample))
    seldom = None if given or is_clear else _seldom(sample, is_whole=is_whole)
    sign = given or (plain[1] if plain else None)
    if seldom or sign is None:
        return seldom
    return Layout(sign, is_padded=_is_padded(sample, sign, is_whole=is_whole))


def _is_wrapped(sample: bytes) -> bool:
    """Whether some rows are one quoted field, and what is in it has all its quotes closed."""
    if b'"' not in sample:
        return False
    rows = [match[1] for match in ROWS.finditer(sample) if match[1] is not None]
    return bool(rows) and all(row.replace(b'""', b'"').count(b'"') % 2 == 0 for row in rows)


def _seldom(sample: bytes, *, is_whole: bool) -> Layout | None:
    """The delimiters that texts have too, where every line has the same number of them."""
    found = _best(sample, SELDOM, is_whole=is_whole)
    if found and _is_certain(sample, found[0]):
        return Layout(found[1])
    runs = _best(squeezed(sample), BLANK, is_whole=is_whole)
    return Layout(BLANK, has_runs=True) if runs and _is_certain(sample, runs[0]) else None


def _is_padded(sample: bytes, delimiter: str, *, is_whole: bool) -> bool:
    """Whether the sample is better CSV without the blanks before its quotes."""
    plain = unpadded(sample, delimiter)
    if plain == sample:
        return False
    fit, before = (_fit(text, delimiter, is_whole=is_whole) for text in (plain, sample))
    return fit is not None and fit.is_strict and (before is None or fit[:3] >= before[:3])


def _is_certain(sample: bytes, fit: _Fit) -> bool:
    lines = sum(bool(line.strip()) for line in sample.splitlines())
    return fit.agreement > 0 and fit.share == 1 and lines >= LEAST


def _is_aligned(sample: bytes) -> bool:
    """Whether blanks put the fields of each line one below the other."""
    runs = _best(squeezed(sample), BLANK, is_whole=False)
    lines = [line for line in sample.splitlines()[:RECORDS] if line.strip()]
    return bool(runs and _is_certain(sample, runs[0])) and all(b"  " in line for line in lines)


def _best(sample: bytes, delimiters: str, *, is_whole: bool) -> tuple[_Fit, str] | None:
    """The delimiter that fits best, the first of equals; None where none is in the sample."""
    fits = [(_fit(sample, one, is_whole=is_whole), one) for one in delimiters]
    found = [(fit, one) for fit, one in fits if fit]
    return max(found, key=lambda pair: pair[0]) if found else None


def _fit(sample: bytes, delimiter: str, *, is_whole: bool) -> _Fit | None:
    """How well a delimiter fits; None where nothing has two fields."""
    if delimiter.encode() not in sample:
        return None
    rows = records(sample, delimiter, is_whole=is_whole)
    counts = list(map(len, rows))
    if max(counts, default=0) < 2:  # noqa: PLR2004
        return None
    below = Counter(counts[1:] or counts)
    usual, times = max(below.items(), key=lambda item: (item[1], item[0]))
    least, apart = min(usual, counts[0]), abs(counts[0] - usual)
    agreement = 0 if least < 2 else 2 - min(2, apart)  # noqa: PLR2004
    is_strict = b'"' not in sample or len(rows) == len(
        records(sample, delimiter, is_whole=is_whole, strict=True)
    )
    return _Fit(agreement, is_strict, times / below.total(), usual)


def records(
    sample: bytes, delimiter: str, *, is_whole: bool, strict: bool = False
) -> list[list[str]]:
    """The first records of a sample, blank lines aside, each as its fields.

    Parameters
    ----------
    strict
        End at a quote that closes a field and has no delimiter after it.
    """
    csv.field_size_limit(LONGEST)
    text = io.StringIO(sample.decode(errors="replace"), newline="")
    rows: list[list[str]] = []
    try:
        for row in csv.reader(text, delimiter=delimiter, strict=strict):
            if row:
                rows.append(row)
            if len(rows) > RECORDS:
                return rows[:RECORDS]
    except csv.Error:  # which reading the file tells, with its line
        return rows
    return rows if is_whole or len(rows) == 1 else rows[:-1]


def unwrapped(content: bytes) -> bytes:
    """Rows without the quotes around each of them."""
    rows = ROWS.finditer(content)
    return b"".join(m[0] if m[1] is None else m[1].replace(b'""', b'"') for m in rows)


def squeezed(content: bytes) -> bytes:
    """Rows with one blank in the place of each run of blanks, and none at their ends."""
    if b'"' not in content:
        end = b"\n" if content.endswith((b"\n", b"\r")) else b""
        return b"\n".join(b" ".join(line.split()) for line in content.splitlines()) + end
    text = FIELD_OR_BLANKS.sub(lambda m: m[0] if m[0].startswith(b'"') else b" ", content)
    return BLANKS_AT_ENDS.sub(b"", text)


def unpadded(content: bytes, delimiter: str) -> bytes:
    """Rows without the blanks between a delimiter and a quote."""
    before = re.escape(delimiter.encode())
    blanks = {"\t": b" +", " ": b"\t+"}.get(delimiter, b"[ \t]+")
    if not re.search(before + blanks + b'"', content):
        return content
    pattern = re.compile(rb'"(?:[^"]|"")*"|(?<=' + before + b")" + blanks + b'(?=")')
    return pattern.sub(lambda match: match[0] if match[0].startswith(b'"') else b"", content)


def word(delimiter: str) -> str:
    """The delimiter as people call it."""
    return WORDS.get(delimiter, repr(delimiter))
