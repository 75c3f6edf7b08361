"""The layout of a CSV file: what stands between two fields, and around rows."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import NamedTuple

COMMON = ",;\t|"
# A sign that texts have, too: a delimiter only where every line has the same number of them.
RARE = ":"
BLANK = " "
RECORDS = 1000  # of a sample that are looked at
LEAST = 3  # records that must agree on a rare delimiter
LONGEST = 2**22  # characters of a field
WORDS = {"\t": "tabs", BLANK: "blanks"}
# Excel's own first line, which names the delimiter.
SEPARATOR = re.compile(rb'"?sep=([\t -!#-~])"?[ \t]*(?:\r\n|\r|\n)', re.IGNORECASE)
# A row that is one quoted field, as Excel saves a table that it read as one column, and what is in
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

    def to_plain(self, content: bytes) -> bytes:
        """Convert complete rows to plain CSV, on the same lines."""
        if self.is_wrapped:
            return unwrap(content)
        if self.is_padded:
            return strip_padding(content, self.delimiter)
        return squeeze(content) if self.has_runs else content


class _Fit(NamedTuple):
    """How well a delimiter fits some records; the larger, the better.

    Attributes
    ----------
    agreement
        2 where the header has as many fields as the rows, 1 where it has one more or less.
    is_strict
        Whether every quote that opens or closes a field stands beside a delimiter.
    fraction
        Of the rows that have the usual number of fields.
    fields
        That number.
    """

    agreement: int
    is_strict: bool
    fraction: float
    fields: int


def find_layout(sample: bytes, *, is_complete: bool, required: str | None = None) -> Layout | None:
    """Find how a file is written from its first lines; None where that is one column.

    Parameters
    ----------
    sample
        The beginning of the file, UTF-8.
    is_complete
        Whether that is the complete file; else its last record may be cut.
    required
        The delimiter, where it is known.
    """
    plain = _find_best(sample, required or COMMON, is_complete=is_complete)
    if _is_wrapped(sample):
        inside = unwrap(sample)
        fit = _find_best(inside, required or COMMON, is_complete=is_complete)
        if fit and fit[0].fraction == 1 and (plain is None or fit[0][:3] > plain[0][:3]):
            return Layout(fit[1], is_wrapped=True)
    is_clear = plain and plain[0].agreement and not (plain[1] == "\t" and _is_aligned(sample))
    rare = None if required or is_clear else _find_rare(sample, is_complete=is_complete)
    sign = required or (plain[1] if plain else None)
    if rare or sign is None:
        return rare
    return Layout(sign, is_padded=_is_padded(sample, sign, is_complete=is_complete))


def _is_wrapped(sample: bytes) -> bool:
    """Tell whether some rows are one quoted field, in which all quotes are closed."""
    if b'"' not in sample:
        return False
    rows = [match[1] for match in ROWS.finditer(sample) if match[1] is not None]
    return bool(rows) and all(row.replace(b'""', b'"').count(b'"') % 2 == 0 for row in rows)


def _find_rare(sample: bytes, *, is_complete: bool) -> Layout | None:
    """Find a delimiter that texts have too, where every line has the same number of them."""
    best = _find_best(sample, RARE, is_complete=is_complete)
    if best and _is_certain(sample, best[0]):
        return Layout(best[1])
    runs = _find_best(squeeze(sample), BLANK, is_complete=is_complete)
    return Layout(BLANK, has_runs=True) if runs and _is_certain(sample, runs[0]) else None


def _is_padded(sample: bytes, delimiter: str, *, is_complete: bool) -> bool:
    """Tell whether the sample is better CSV without the blanks before its quotes."""
    plain = strip_padding(sample, delimiter)
    if plain == sample:
        return False
    fit, before = (_measure(text, delimiter, is_complete=is_complete) for text in (plain, sample))
    return fit is not None and fit.is_strict and (before is None or fit[:3] >= before[:3])


def _is_certain(sample: bytes, fit: _Fit) -> bool:
    lines = sum(bool(line.strip()) for line in sample.splitlines())
    return fit.agreement > 0 and fit.fraction == 1 and lines >= LEAST


def _is_aligned(sample: bytes) -> bool:
    """Tell whether blanks align the fields of the lines."""
    runs = _find_best(squeeze(sample), BLANK, is_complete=False)
    lines = [line for line in sample.splitlines()[:RECORDS] if line.strip()]
    return bool(runs and _is_certain(sample, runs[0])) and all(b"  " in line for line in lines)


def _find_best(sample: bytes, delimiters: str, *, is_complete: bool) -> tuple[_Fit, str] | None:
    """Find the delimiter that fits best, the first of equals; None where the sample has none."""
    fits = [(_measure(sample, one, is_complete=is_complete), one) for one in delimiters]
    present = [(fit, one) for fit, one in fits if fit]
    return max(present, key=lambda pair: pair[0]) if present else None


def _measure(sample: bytes, delimiter: str, *, is_complete: bool) -> _Fit | None:
    """Measure how well a delimiter fits; None where no record has two fields."""
    if delimiter.encode() not in sample:
        return None
    rows = read_records(sample, delimiter, is_complete=is_complete)
    counts = list(map(len, rows))
    if max(counts, default=0) < 2:  # noqa: PLR2004
        return None
    below = Counter(counts[1:] or counts)
    usual, times = max(below.items(), key=lambda item: (item[1], item[0]))
    least, apart = min(usual, counts[0]), abs(counts[0] - usual)
    agreement = 0 if least < 2 else 2 - min(2, apart)  # noqa: PLR2004
    is_strict = b'"' not in sample or len(rows) == len(
        read_records(sample, delimiter, is_complete=is_complete, strict=True)
    )
    return _Fit(agreement, is_strict, times / below.total(), usual)


def read_records(
    sample: bytes, delimiter: str, *, is_complete: bool, strict: bool = False
) -> list[list[str]]:
    """Read the first records of a sample, blank lines aside, each as its fields.

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
    except csv.Error:  # reading the file reports it, with its line
        return rows
    return rows if is_complete or len(rows) == 1 else rows[:-1]


def unwrap(content: bytes) -> bytes:
    """Remove the quotes around each row."""
    rows = ROWS.finditer(content)
    return b"".join(m[0] if m[1] is None else m[1].replace(b'""', b'"') for m in rows)


def squeeze(content: bytes) -> bytes:
    """Replace each run of blanks by one blank, and remove those at the ends of rows."""
    if b'"' not in content:
        end = b"\n" if content.endswith((b"\n", b"\r")) else b""
        return b"\n".join(b" ".join(line.split()) for line in content.splitlines()) + end
    text = FIELD_OR_BLANKS.sub(lambda m: m[0] if m[0].startswith(b'"') else b" ", content)
    return BLANKS_AT_ENDS.sub(b"", text)


def strip_padding(content: bytes, delimiter: str) -> bytes:
    """Remove the blanks between a delimiter and a quote."""
    before = re.escape(delimiter.encode())
    blanks = {"\t": b" +", " ": b"\t+"}.get(delimiter, b"[ \t]+")
    if not re.search(before + blanks + b'"', content):
        return content
    pattern = re.compile(rb'"(?:[^"]|"")*"|(?<=' + before + b")" + blanks + b'(?=")')
    return pattern.sub(lambda match: match[0] if match[0].startswith(b'"') else b"", content)


def name_delimiter(delimiter: str) -> str:
    """Name the delimiter as people do."""
    return WORDS.get(delimiter, repr(delimiter))
