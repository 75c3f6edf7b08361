"""Why the body of a request is no JSON, in words that say what to send."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from service.http.errors import Problem, Refused
from service.inference.column_names import Names
from service.inference.parsing import PIECE, Limits, parse_json
from service.inference.problems import LISTED, shorten
from service.inference.shapes import Shaped, read_shape

MARK = codecs.BOM_UTF8
# UTF-32's mark of one order begins with that of UTF-16.
OTHERS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# What Python's own `json.dumps` writes, and no other reader takes.
NOT_FINITE = (b"NaN", b"Infinity")


def parse_again(body: bytes, error: ValueError, names: Names, limits: Limits) -> Any:
    """Parse once more a body that is no JSON, as one without a byte-order mark may be.

    Parameters
    ----------
    error
        The parser's error.
    names, limits
        Of the contract, and of a request: to say where a NaN is.

    Raises
    ------
    Refused
        400 with what is wrong; each NaN, up to LISTED of them, is a problem of its row.
    """
    if body.startswith(MARK):
        body = body.removeprefix(MARK)
        try:
            return parse_json(body, limits)
        except ValueError as other:
            error = other
    if encoding := _find_encoding(body):
        raise _make_refusal(f"{encoding}; send UTF-8")
    if any(word in body for word in NOT_FINITE):
        try:
            content = parse_json(body, limits, allow_inf_nan=True)
        except ValueError:
            pass
        else:
            raise _refuse_not_finite(
                read_shape(content, names, limits.rows), names, has_infinity=NOT_FINITE[1] in body
            )
    raise _make_refusal(str(error))


def _make_refusal(reason: str, detail: list[Problem] | None = None) -> Refused:
    return Refused(400, f"the body is not JSON: {reason}", detail)


def _find_encoding(body: bytes) -> str:
    """Name the encoding of a body that is not UTF-8; empty where it is."""
    for mark, name in OTHERS.items():
        if body.startswith(mark):
            return f"it is {name}"
    if b"\0" in body[:2]:
        return "it is UTF-16 or UTF-32"
    start = 0
    while start < len(body):
        piece = body[start : start + PIECE]
        try:
            _, length = codecs.utf_8_decode(piece, "strict", start + PIECE >= len(body))
        except UnicodeDecodeError as error:
            index = start + error.start
            return f"byte {index + 1:,}, 0x{body[index]:02x}, is not UTF-8"
        start += length
    return ""


def _refuse_not_finite(shaped: Shaped, names: Names, *, has_infinity: bool) -> Refused:
    """Make a refusal that names the numbers which JSON does not have."""
    problems = _describe_not_finite(shaped, names, has_infinity=has_infinity)
    listed = list(islice(problems, LISTED))
    if not listed:
        return _make_refusal("it has NaN or Infinity; send null")
    more = len(listed) - 1 + sum(1 for _ in problems)
    first = listed[0]
    reason = f"row {first.row}, column {first.column!r}: {first.got} is not JSON; send null"
    return _make_refusal(reason + (f" (and {more:,} more)" if more else ""), listed)


def _describe_not_finite(shaped: Shaped, names: Names, *, has_infinity: bool) -> Iterator[Problem]:
    for index, row in enumerate(shaped[0]):
        for key, value in _list_items(row, names):
            # Infinity may be a number that is too large for float64, which JSON has.
            if isinstance(value, float) and (
                math.isnan(value) or (has_infinity and math.isinf(value))
            ):
                yield Problem(
                    row=index,
                    column=shorten(key),
                    problem="not JSON",
                    got=_format_number(value),
                    allowed="null, or a number",
                )


def _list_items(row: Any, names: Names) -> Iterable[tuple[str, Any]]:
    """List the values of a row, each with what names it."""
    if isinstance(row, dict):
        return row.items()
    return zip(names.columns, row, strict=False) if isinstance(row, list) else ()


def _format_number(value: float) -> str:
    """Write a number as Python's JSON has it."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
