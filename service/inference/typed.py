"""Bodies that keep the contract, read in one pass: parsed, checked and typed by msgspec at once.

There are two readers of a body and one meaning. This one returns the rows only where it is certain
that the reader in `rows` would return the same ones; for all others it returns None, and that one
reads the body again, converts what can be converted and describes each problem. What msgspec passes
over, above all a key that comes twice, is found by counting: a body has just the quotes that its
keys and texts need, or it is declined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cairn.contract import LARGEST, Category, Column, Contract
from service.inference.lenient import DATE, list_missing_numbers, make_watch
from service.inference.lists import Declined, ListHead, cut_rows, find_list
from service.inference.parsing import QUOTE, count_byte
from service.inference.request_rows import RequestRows, list_identifiers

# What the answer, the log and the table hold of an integer that is a name or a code.
INT64 = (-(2**63), 2**63 - 1)
SECONDS = 19  # of a date and time, in characters
CHECKED_DATES = 1_000
# The year 0 is no date; NumPy has it, the calendar has not.
DATES = re.compile(rf"(?:(?!0000){DATE.pattern}\n)*")
# Characters that msgspec does not take in the name of a field.
UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')
Tuples = list[tuple[Any, ...]]


class Decoded(NamedTuple):
    """Rows as msgspec decoded them, and the identifiers of those that came as objects."""

    values: Tuples
    identifiers: list[Any]


Decode = Callable[[bytes], Decoded]


class TypedReader:
    """Reads the bodies that keep a contract as they came.

    Parameters
    ----------
    contract
        One for which `is_typed` is true.
    max_rows
        Most rows that one request may have.

    Attributes
    ----------
    has_numbers_only
        Whether each column is a number, or true or false, and none of them stands for no value.
    """

    def __init__(self, contract: Contract, max_rows: int) -> None:
        self._max_rows = max_rows
        types = tuple(make_type(column) for column in contract.columns)
        row = make_row_type(types)
        # Of one row by itself, and of a list of one.
        self._one_row = tuple(make_features_decode(kind) for kind in (row, tuple[row]))  # type: ignore[valid-type]
        lists = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self._lists: tuple[Decode, ...] = (lambda piece: Decoded(lists.decode(piece), []),)
        structs = list(make_structs(contract, types))
        width = len(types)
        self._objects = tuple(
            make_object_decode(msgspec.json.Decoder(struct), width, is_list=False)
            for struct in structs
        )
        self._records = tuple(
            make_object_decode(msgspec.json.Decoder(list[struct]), width, is_list=True)  # type: ignore[valid-type]
            for struct in structs
        )
        self._width = width
        kinds = [column.kind for column in contract.columns]
        self._dates = [index for index, kind in enumerate(kinds) if kind == "date"]
        self._texts = [index for index, column in enumerate(contract.columns) if is_text(column)]
        self._watched = list(list_watched(contract))
        self.has_numbers_only = not (self._texts or self._watched)

    def read(self, body: bytes) -> RequestRows | None:
        """Read the body of a request; None where it must be read by the contract's own reader."""
        try:
            head = find_list(body)
            if head is None:
                return self._check(decode_first(self._objects, body), body, single=True, shaped=0)
            return self._read_list(body, head)
        except (Declined, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def read_numbers(self, body: bytes) -> RequestRows | None:
        """Read a body of one row, all of whose values are numbers: most requests have no more.

        None where it is another, or must be read by another reader.
        """
        # Found, not counted: that would take as long as to decode it.
        bracket = body.find(b"[")
        if bracket < 0 or not self.has_numbers_only:
            return None
        inner = body.find(b"[", bracket + 1)
        single = inner < 0
        if not single and body.find(b"[", inner + 1) >= 0:
            return None
        try:
            features = self._one_row[not single](body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if body.find(b'"', body.find(b'"') + 1) != body.rfind(b'"'):
            return None  # another key, or the same one twice
        return RequestRows([features] if single else features, single)

    def _read_list(self, body: bytes, head: ListHead) -> RequestRows | None:
        """Read a list: of rows, or of the values of one."""
        shaped = int(head.key is not None)
        if not head.bracket:
            if head.key != b"features":
                return None
            row = self._one_row[0](body)
            return self._check(Decoded([row], []), body, single=True, shaped=shaped)
        if not head.is_known:
            return None
        rows = Decoded([], [])
        for piece in self._decode_pieces(body, head):
            rows.values.extend(piece.values)
            rows.identifiers.extend(piece.identifiers)
        return self._check(rows, body, single=False, shaped=shaped)

    def read_pieces(self, body: bytes, head: ListHead) -> Iterator[RequestRows]:
        """Read the list with this head, of rows whose values are numbers, some rows at a time.

        Raises
        ------
        Declined
            The body must be read by another reader, or names its rows.
        """
        if not head.bracket or not head.is_known or not self.has_numbers_only:
            raise Declined
        keys = int(head.key is not None)
        try:
            for piece in self._decode_pieces(body, head):
                if piece.identifiers.count(UNSET) < len(piece.identifiers):
                    raise Declined
                keys += self._width * len(piece.identifiers)
                yield RequestRows(piece.values, single=False)  # type: ignore[arg-type]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Declined from None
        if count_byte(body, QUOTE) != 2 * keys:
            raise Declined

    def _decode_pieces(self, body: bytes, head: ListHead) -> Iterator[Decoded]:
        """Decode a list of rows piece by piece; raises Declined where there are too many."""
        decode: Decode | None = None
        count = 0
        for piece in cut_rows(body, head):
            if decode is None:
                decoders = self._lists if head.bracket == b"[" else self._records
                decode, rows = choose_decode(decoders, piece)
            else:
                rows = decode(piece)
            count += len(rows.values)
            if count > self._max_rows:
                raise Declined
            yield rows

    def _check(
        self, decoded: Decoded, body: bytes, *, single: bool, shaped: int
    ) -> RequestRows | None:
        """Check what the types do not say.

        Parameters
        ----------
        shaped
            How many keys name the shape of the body.
        """
        values, identifiers = decoded
        if len(values) > self._max_rows:
            return None
        texts = 0
        for index in self._texts:
            column = [row[index] for row in values]
            texts += len(column) - column.count(None)
            if index in self._dates and not are_dates(column):
                return None
        keys = shaped
        if identifiers:
            kinds = list(map(type, identifiers))
            keys += self._width * len(values) + len(kinds) - kinds.count(UnsetType)
            texts += kinds.count(str)
        if count_byte(body, QUOTE) != 2 * (keys + texts):
            return None
        for index, gone in self._watched:
            if not gone.isdisjoint([row[index] for row in values]):
                return None
        if not identifiers or kinds.count(UnsetType) == len(kinds):
            return RequestRows(values, single)  # type: ignore[arg-type]
        own = [None if value is UNSET else value for value in identifiers]
        return RequestRows(values, single, list_identifiers(own))  # type: ignore[arg-type]


def is_typed(contract: Contract) -> bool:
    """Tell whether there is a TypedReader of a contract.

    There is none where a date that is valid as it came may stand for another, nor where a code is
    longer than 64 bits.
    """
    lowest, highest = INT64
    return not any(
        make_watch(column, contract)
        if column.kind == "date"
        else any(
            isinstance(code, int) and not lowest <= code <= highest for code in column.categories
        )
        for column in contract.columns
    )


def make_type(column: Column) -> Any:
    """Make msgspec's type of a column's value: what the contract's own type takes, or less."""
    kind: Any = bool
    if column.kind == "category":
        if column.unknown and not is_text(column):
            kind = Annotated[int, Meta(ge=INT64[0], le=INT64[1])]
        else:
            kind = Literal[column.categories]
    elif column.kind == "date":
        kind = str
    elif column.kind != "boolean":
        lowest = -LARGEST if column.minimum is None else column.minimum
        highest = LARGEST if column.maximum is None else column.maximum
        multiple = 1 if column.kind == "integer" else None
        kind = Annotated[float, Meta(ge=lowest, le=highest, multiple_of=multiple)]
    return kind | None if column.missing else kind


def make_row_type(types: tuple[Any, ...]) -> Any:
    """Make the type of a row that is a list."""
    return tuple[types]  # type: ignore[valid-type]


def make_structs(contract: Contract, types: Sequence[Any]) -> Iterator[type[msgspec.Struct]]:
    """Make the types of a row that is an object: its keys are names, or the table's headers.

    Each column must have its key; beside those there may be the identifier's.
    """
    names = list(contract.names)
    fields: list[Any] = [(f"c{index}", kind) for index, kind in enumerate(types)]
    if contract.identifier:
        lowest, highest = INT64
        identifier = str | Annotated[int, Meta(ge=lowest, le=highest)] | None | UnsetType
        names.append(contract.identifier)
        fields.append(("identifier", identifier, UNSET))
    headers = [contract.headers[name] for name in names]
    aliases = contract.aliases
    is_own = all(
        header == name or aliases.get(header) == name
        for header, name in zip(headers, names, strict=True)
    )
    for keys in (names, headers) if is_own and headers != names else (names,):
        if any(map(UNNAMEABLE.search, keys)):
            continue
        rename = dict(zip([field[0] for field in fields], keys, strict=True))
        yield msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, gc=False)


def make_features_decode(kind: Any) -> Callable[[bytes], Any]:
    """Make a function that decodes `{"features": …}` and returns what it holds."""
    body: Any = msgspec.defstruct("Body", [("features", kind)], forbid_unknown_fields=True)
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
    return lambda text: decoder.decode(text).features


def make_object_decode(decoder: msgspec.json.Decoder[Any], width: int, *, is_list: bool) -> Decode:
    """Make a function that decodes a row that is an object, or a list of them."""
    to_tuple = msgspec.structs.astuple

    def decode(piece: bytes) -> Decoded:
        content = decoder.decode(piece)
        rows = list(map(to_tuple, content)) if is_list else [to_tuple(content)]
        if rows and len(rows[0]) > width:
            return Decoded([row[:width] for row in rows], [row[width] for row in rows])
        # No row has an identifier; that they are objects is to be known all the same.
        return Decoded(rows, [UNSET] * len(rows))

    return decode


def decode_first(decoders: tuple[Decode, ...], piece: bytes) -> Decoded:
    """Decode by the first function that can; raises msgspec's error where none can."""
    return choose_decode(decoders, piece)[1]


def choose_decode(decoders: tuple[Decode, ...], piece: bytes) -> tuple[Decode, Decoded]:
    """Find the first function that can decode this; return it and what it returned.

    Raises
    ------
    msgspec.DecodeError
        None of them can.
    """
    for decode in decoders[:-1]:
        with suppress(msgspec.ValidationError):
            return decode, decode(piece)
    if not decoders:
        raise msgspec.DecodeError("no names that msgspec takes")
    return decoders[-1], decoders[-1](piece)


def are_dates(values: Sequence[Category | None]) -> bool:
    """Tell whether all of these are dates of the contract's own form, or None."""
    texts = [value for value in values if value is not None]
    for start in range(0, len(texts), CHECKED_DATES):
        some = texts[start : start + CHECKED_DATES]
        if not DATES.fullmatch("".join(f"{text}\n" for text in some)):
            return False
    try:
        for text in texts:
            datetime.fromisoformat(str(text)[:SECONDS])
    except ValueError:
        return False
    return True


def list_watched(contract: Contract) -> Iterator[tuple[int, frozenset[Any]]]:
    """List the columns of numbers some of which stand for a missing value, and those numbers."""
    for index, column in enumerate(contract.columns):
        numbers = list_missing_numbers(column, contract)
        if numbers and column.kind != "date" and not is_text(column):
            yield index, numbers


def is_text(column: Column) -> bool:
    """Tell whether a column's values are texts in JSON."""
    return column.kind == "date" or any(isinstance(c, str) for c in column.categories)
