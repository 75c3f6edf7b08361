"""Values as pandas, `json.dumps` or a CSV reader write them, turned into the contract's own.

What cannot be turned is left as it came, for the strict check to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cairn.contract import MISSING_TEXTS, NUMBERS, Column, Contract
from cairn.formats import LONGEST, read_date, read_date_of_number, read_number

Convert = Callable[[Any], Any]

# The contract's own form; the calendar says the rest. NumPy takes the same texts, and years that
# no table has.
DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?"
)
# What a text may be made of that `float` reads as `read_number` does.
PLAIN = "0123456789.-+eE"
SHORT = 30  # characters of a number, on average, up to which that way is taken
INTEGER = re.compile(r"([+-]?\d{1,19})(?:\.0*)?", re.ASCII)
EXACT = 2**53  # up to here a float says which whole number it is
BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Dates that have other readings where a format has day and month the other way round.
ISO_EXAMPLES = ("2001-02-03", "2001-02-03 04:05:06", "2001-02-03T04:05:06")


def make_column_reader(column: Column, contract: Contract) -> Callable[[Sequence[Any]], list[Any]]:
    """Make a function that converts all values of a column."""
    convert, missing = make_value_reader(column, contract), list_missing_texts(column, contract)
    if column.kind not in NUMBERS or column.format or _parse_numbers(missing):
        return lambda values: _convert_each(values, convert)

    def read(values: Sequence[Any]) -> list[Any]:
        try:
            return _convert_plain(values, missing)
        except ValueError:
            return _convert_each(values, convert)

    return read


def _convert_each(values: Sequence[Any], convert: Convert) -> list[Any]:
    """Convert each value, those that are the same text once."""
    known: dict[str, Any] = {}
    results = []
    for value in values:
        if type(value) is not str:
            results.append(convert(value))
            continue
        if value not in known:
            known[value] = convert(value)
        results.append(known[value])
    return results


def _convert_plain(values: Sequence[Any], missing: frozenset[str]) -> list[Any]:
    """Numbers in a tenth of the time; raises ValueError where some text is not plain enough."""
    kinds = set(map(type, values))
    texts = values
    if kinds != {str} or not missing.isdisjoint(values):
        texts = [value for value in values if type(value) is str and value not in missing]
    joined = "".join(texts)
    if len(joined) > SHORT * len(texts) or joined.strip(PLAIN):
        raise ValueError("not plain")
    if texts is values:
        return list(map(float, values))
    return [
        value if type(value) is not str else None if value in missing else float(value)
        for value in values
    ]


def make_value_reader(column: Column, contract: Contract) -> Convert:
    """Make a function that converts one value of a column: to None where it stands for none."""
    missing = list_missing_texts(column, contract)
    if column.kind == "category":
        if isinstance(column.categories[0], str):
            return _make_category_reader(column, missing, strip=contract.strip)
        codes = _make_text_reader(_parse_code, missing, strip=contract.strip)
        return lambda value: codes(convert_integral(value))
    if column.kind == "boolean":
        return _make_text_reader(
            lambda text: BOOLEANS.get(text.strip()), missing, strip=contract.strip
        )
    if column.kind == "date":
        return _make_date_reader(column, missing, strip=contract.strip)
    return _make_text_reader(
        lambda text: read_number(text, column.format), missing, strip=contract.strip
    )


def convert_integral(value: Any) -> Any:
    """Return a float without a fraction as an integer: pandas has them beside missing values."""
    return int(value) if type(value) is float and _is_integral(value) else value


def make_watch(column: Column, contract: Contract) -> Callable[[Any], bool] | None:
    """Make a check that a value which is valid JSON may stand for another; None: none may.

    A text that is no known category may be one with blanks around it, or stand for a missing
    value; so may a number; and an ISO date where the table has other ones of the same form.
    """
    if column.kind == "category" and isinstance(column.categories[0], str):
        known = frozenset((*column.categories, None))
        return (lambda value: value not in known) if column.unknown else None
    if column.kind == "date":
        read = {text: read_date(text, column.format) for text in ISO_EXAMPLES}
        if any(date != read_date(text) for text, date in read.items()):
            return lambda value: value is not None
        return None
    gone = list_missing_numbers(column, contract)
    return gone.__contains__ if gone else None


def list_missing_numbers(column: Column, contract: Contract) -> frozenset[float]:
    """List the numbers that stand for a missing value in a column of numbers or codes."""
    if column.kind == "boolean":
        return frozenset()
    return _parse_numbers(list_missing_texts(column, contract))


def list_missing_texts(column: Column, contract: Contract) -> frozenset[str]:
    """List the texts that stand for a missing value in a column."""
    usual = MISSING_TEXTS if contract.missing is None else contract.missing
    texts = frozenset((*usual, *column.markers))
    return texts if column.kind == "category" else texts | {""}


def _parse_numbers(missing: Iterable[str]) -> frozenset[float]:
    """Return the numbers among texts that stand for a missing value, such as -999."""
    numbers = (read_number(text) for text in missing)
    return frozenset(number for number in numbers if number is not None)


def _make_text_reader(
    read: Callable[[str], Any], missing: frozenset[str], *, strip: bool
) -> Convert:
    """Convert texts, and nothing else, but for numbers that stand for a missing value."""
    gone = _parse_numbers(missing)

    def convert(value: Any) -> Any:
        if isinstance(value, str):
            if (value.strip() if strip else value) in missing:
                return None
            result = read(value)
            return value if result is None else result
        if gone and type(value) in {int, float} and value in gone:
            return None
        return value

    return convert


def _parse_code(text: str) -> int | None:
    """Read an integer; 3.0 is one."""
    match = INTEGER.fullmatch(text.strip()) if len(text) <= LONGEST else None
    return int(match[1]) if match else None


def _is_integral(value: float) -> bool:
    return value.is_integer() and abs(value) < EXACT


def _make_category_reader(column: Column, missing: frozenset[str], *, strip: bool) -> Convert:
    """Convert categories that are texts: strip blanks, write numbers as the table has them."""
    known, padded = frozenset(column.categories), column.padded
    is_open = column.unknown and not column.missing  # then "NA" is one that is not listed

    def convert(value: Any) -> Any:
        if type(value) in {int, float}:
            return number(value)
        if not isinstance(value, str) or value in known:
            return value
        text = value.strip() if strip else value
        return None if text in missing and text not in known and not is_open else text

    def number(value: float) -> Any:
        texts = [repr(value)] if abs(value) < EXACT else []
        if type(value) is float and _is_integral(value):
            texts.append(str(int(value)))
        category = next((text for text in reversed(texts) if text in known), None)
        if category is None and texts:
            category = padded.get(int(value)) if value == int(value) else None
        if category is not None:
            return category
        if not missing.isdisjoint(texts) and not is_open:
            return None
        return texts[-1] if column.unknown and texts else value

    return convert


def _make_date_reader(column: Column, missing: frozenset[str], *, strip: bool) -> Convert:
    """Convert dates: texts of the column's format or ISO 8601, and pandas' milliseconds."""

    def read(text: str) -> str | None:
        date = read_date(text, column.format)
        if date is None or (DATE.fullmatch(text) and date == read_date(text)):
            return text
        return date.isoformat()

    of_text = _make_text_reader(read, missing, strip=strip)

    def convert(value: Any) -> Any:
        value = of_text(value)
        if type(value) not in {int, float}:
            return value
        date = read_date_of_number(value, column.format)
        return value if date is None else date.isoformat()

    return convert
