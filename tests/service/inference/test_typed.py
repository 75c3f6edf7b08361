"""Two readers of a body have one meaning: the quick one agrees with the other, or declines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cairn.contract import Column, Contract, LeftOut, Target
from cairn.transform import Engineering, to_matrix
from service.http.errors import Refused
from service.inference import lists, matrix
from service.inference.matrix import MatrixReader, is_matrix
from service.inference.request_rows import RequestRows
from service.inference.rows import Reader
from stages import engineering
from tests import small

TARGET = Target(name="y", header="The Y?", classes=("no", "yes"))
NAMED = Contract(
    columns=(
        Column(name="mean_radius", header="mean radius", kind="number", minimum=0, maximum=30),
        Column(name="count", header="Count", kind="integer", missing=True, markers=("-999",)),
        Column(name="code", kind="category", categories=(1, 0, 2), missing=True, markers=("0",)),
        Column(name="zip", header="ZIP code", kind="category", categories=("07030", 'a"b', "},{")),
        Column(name="flag", kind="boolean"),
    ),
    identifier="row_id",
    identifier_header="Row Id",
    left_out=(LeftOut(name="note", header="Note!", reason="free text"),),
    target=TARGET,
)
NUMBERS = Contract(
    columns=tuple(Column(name=name, kind="number") for name in ("features", "x", "z")),
    target=TARGET,
)
ONE = Contract(columns=(Column(name="records", kind="number", missing=True),), target=TARGET)
MARKED = Contract(
    columns=(Column(name='a"', header="b\\", kind="integer"), Column(name="c", kind="number")),
    target=TARGET,
)
RANGED = Contract(
    columns=(
        Column(name="p", kind="number", minimum=-1, maximum=30),
        Column(name="q", kind="integer", minimum=0),
        Column(name="r", kind="number", maximum=1.5),
    ),
    target=TARGET,
)
CONTRACTS = (small.FULL, small.CONTRACT, small.FOUR, NAMED, NUMBERS, ONE, MARKED, RANGED)
READERS = [Reader(contract, max_rows=20) for contract in CONTRACTS]
# What stands where a value is due: JSON and what is none, of every kind.
TOKENS = (
    "0", "-0", "-0.0", "1", "2", "5", "-7", "30", "1.0", "1.5", "1e0", "1E+2", "1e-17", "-999",
    "-999.0", "-9.99e2", "9", "9.000000000000001", "1e999", "-1e999", "1e-999", "1e39", "-1e39",
    "3.4028235e38", "3.4028236e38", "9007199254740993", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "1" + "0" * 30,
    "1" + "0" * 400, "1" * 5000, "0." + "1" * 400, "1." + "0" * 5000, "01", "+1", ".5", "1.", "1e",
    "0x1", "1_0", "NaN", "Infinity", "-Infinity", "nan", "null", "nul", "true", "false", "True",
    '""', '"x"', '"y"', '"blue"', '"red"', '"green"', '" blue"', '"blu\\u0065"', '"NA"', '"null"',
    '"1"', '"1.5"', '"07030"', '"a\\"b"', '"},{"', '"],["', '"a,b:c"', '"\\ud800"',
    '"\\ud83d\\ude00"', '"\\u0000"', '"\x01"', '"\\x"', '"é"', '"2024-02-29"', '"2023-02-29"',
    '"2024-02-29T13:45"', '"2024-02-29 13:45:60"', '"2024-02-29T13:45:01.5"', '"0000-01-01"',
    '"2024-02-29\\n"', '"2024-02-29\\n2024-02-29"', '"2024-02-29T10:00Z"', "1451606400000",
    "[]", "[1]", "[[1]]", "{}", '{"a": 1}', '{"a": 1, "a": 1}', "[" * 300 + "]" * 300,
)  # fmt: skip
GOOD = {
    "number": ("0", "1.5", "-2", "8.25e0"), "integer": ("3", "-2", "7.0"),
    "boolean": ("true", "false"), "date": ('"2024-02-29"', '"1999-12-31T23:59:58.5"'),
}  # fmt: skip
IDENTIFIERS = (
    "1", '"C-1"', '"\\""', "null", "1.0", "true", "9223372036854775808", '"é"', '"\\ud800"',
)  # fmt: skip
BLANKS = st.sampled_from(("", "", "", " ", "\n", "\t ", "\r\n", "\f", "\N{NO-BREAK SPACE}"))


def list_good(column: Column) -> tuple[str, ...]:
    """List values that keep the contract."""
    values = GOOD.get(column.kind) or tuple(map(json.dumps, column.categories))
    return (*values, "null") if column.missing else values


class Writer:
    """Writes one body, most of which is right, if not all of it."""

    def __init__(self, draw: st.DrawFn, contract: Contract) -> None:
        self.draw = draw
        self.contract = contract
        self.is_odd = draw(st.integers(0, 3)) == 0

    def happens(self, times: int) -> bool:
        """Whether something odd happens, once in so many times."""
        return self.is_odd and self.draw(st.integers(1, times)) == 1

    def blank(self) -> str:
        return self.draw(BLANKS if self.is_odd else st.sampled_from(("", "", " ")))

    def value(self, column: Column) -> str:
        return self.draw(st.sampled_from(TOKENS if self.happens(10) else list_good(column)))

    def row(self) -> str:
        """One row as an object."""
        headers, name = self.contract.headers, self.contract.identifier
        by_header = self.draw(st.booleans())
        columns = [c for c in self.contract.columns if not (c.missing and self.happens(5))]
        pairs = [(c.name, self.value(c)) for c in columns]
        if name and self.draw(st.booleans()):
            pairs.append((name, self.draw(st.sampled_from(IDENTIFIERS))))
        pairs = [(headers[key] if by_header else key, text) for key, text in pairs]
        if self.is_odd:
            pairs = self.draw(st.permutations(pairs))
            keys = [*headers, *headers.values(), *self.contract.aliases, "b", "", "features"]
            for _ in range(self.draw(st.integers(0, 2))):
                more = (self.draw(st.sampled_from(keys)), self.draw(st.sampled_from(TOKENS)))
                pairs.insert(self.draw(st.integers(0, len(pairs))), more)
        blank = self.blank
        texts = [f"{blank()}{json.dumps(k)}{blank()}:{blank()}{text}" for k, text in pairs]
        return "{" + f"{blank()},".join(texts) + blank() + "}"

    def values(self) -> str:
        """One row as a list."""
        texts = [f"{self.blank()}{self.value(c)}{self.blank()}" for c in self.contract.columns]
        if self.happens(10):
            texts = self.draw(st.sampled_from((texts[:-1], [*texts, "1"])))
        return "[" + ",".join(texts) + "]"

    def rows(self, row: Callable[[], str]) -> str:
        count = self.draw(st.integers(0, 8))
        parts = ",".join(self.blank() + row() + self.blank() for _ in range(count))
        return f"[{parts}{',' if self.happens(10) else ''}]"

    def frame(self) -> str:
        """Two rows by column."""
        columns = self.contract.columns
        lists = (f"{json.dumps(c.name)}: [{self.value(c)}, {self.value(c)}]" for c in columns)
        return "{" + ", ".join(lists) + "}"

    def shaped(self, key: str, content: str) -> str:
        blank = self.blank
        if self.happens(5):
            key = self.draw(st.sampled_from(("features", "records", "dataframe", "x")))
        more = f', "{key}": {content}' if self.happens(10) else ""
        return f'{{{blank()}"{key}"{blank()}:{blank()}{content}{blank()}{more}}}'

    def body(self) -> str:
        row = self.draw(st.sampled_from((self.row, self.values)))
        shapes: tuple[Callable[[], str], ...] = (
            self.row,
            self.frame,
            lambda: self.rows(row),
            lambda: self.shaped("features", self.values()),
            lambda: self.shaped("features", self.rows(self.values)),
            lambda: self.shaped("records", self.rows(self.row)),
        )
        return self.blank() + self.draw(st.sampled_from(shapes))() + self.blank()

    def damage(self, body: bytes) -> bytes:
        """Damage a body, so that it may be no JSON."""
        index, cut = self.draw(st.integers(0, len(body))), self.draw(st.integers(0, 1))
        odd = self.draw(st.sampled_from(list(b'\xff\x00"\\,:[]{}1-ea \x0b')))
        return self.draw(
            st.sampled_from(
                (
                    b"\xef\xbb\xbf" + body,
                    body + bytes([odd]),
                    body[:index] + bytes([odd]) + body[index + cut :],
                    body[:index],
                )
            )
        )


@st.composite
def bodies(draw: st.DrawFn, contract: Contract) -> bytes:
    """Draw bodies most of which are almost right."""
    writer = Writer(draw, contract)
    body = writer.body().encode("utf-8", "surrogatepass")
    return writer.damage(body) if writer.happens(3) else body


def explain(reader: Reader, body: bytes) -> RequestRows | None:
    """Read a body without the quick reader; None where it is refused."""
    try:
        return reader.explain(body)
    except Refused:
        return None


def compare(reader: Reader, body: bytes) -> bool:
    """Hold all readers' results against each other; return whether the quick one had any."""
    assert reader.typed is not None
    compare_matrix(reader, body)
    compare_rows(reader, reader.typed.read_numbers(body), body)
    return compare_rows(reader, reader.typed.read(body), body)


def compare_matrix(reader: Reader, body: bytes) -> bool:
    """Hold the features of the reader of numbers against those of the rows."""
    if not is_matrix(reader.contract):
        return False
    features = MatrixReader(reader.contract, max_rows=20).read(body)
    if features is None:
        return False
    expected = explain(reader, body)
    assert expected is not None, body
    assert not expected.single
    assert expected.identifiers is None
    rest = to_matrix(expected.values, reader.contract, Engineering(engineering))
    assert features.tobytes() == rest.tobytes(), body
    return True


def compare_rows(reader: Reader, actual: RequestRows | None, body: bytes) -> bool:
    """Hold what a quick reader has read against what the other one does."""
    if actual is None:
        return False
    expected = explain(reader, body)
    assert expected is not None, body
    assert actual.single == expected.single
    # `repr` tells 1 from 1.0 and true, and 0.0 from -0.0.
    assert repr(list(map(list, actual.values))) == repr(list(map(list, expected.values))), body
    assert repr(actual.identifiers) == repr(expected.identifiers), body
    return True


@settings(max_examples=500)
@given(data=st.data(), piece=st.sampled_from((1, 20, 200, lists.PIECE)))
def test_it_reads_what_the_other_reader_does_or_declines(data: st.DataObject, piece: int) -> None:
    reader = data.draw(st.sampled_from(READERS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "PIECE", piece)
        compare(reader, data.draw(bodies(reader.contract)))


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.contract.names[0])
def test_no_value_is_read_in_two_ways(reader: Reader, token: str) -> None:
    columns = reader.contract.columns
    good = [list_good(column)[0] for column in columns]
    for index in range(len(columns)):
        values = [*good[:index], token, *good[index + 1 :]]
        pairs = ",".join(map("{}:{}".format, map(json.dumps, reader.contract.names), values))
        for body in (
            f'{{"features": [{",".join(values)}]}}',
            f'{{"features": [[{",".join(values)}]]}}',
            f"{{{pairs}}}",
            f'{{"records": [{{{pairs}}}]}}',
        ):
            compare(reader, body.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("piece", [1, 50, 10**6])
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.contract.names[0])
def test_bodies_that_keep_the_contract_are_read_by_it(
    reader: Reader, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PIECE", piece)
    values = [orjson.loads(list_good(column)[0]) for column in reader.contract.columns]
    row = dict(zip(reader.contract.names, values, strict=True))
    by_header = {reader.contract.headers[name]: value for name, value in row.items()}
    arrays: list[Any] = [{"features": values}, {"features": [values] * 5}, [values] * 5]
    objects: list[Any] = [{key: [row] * 5} for key in ("records", "dataframe")]
    objects += [row, [row] * 5, by_header, {"records": [by_header] * 5}]
    # Names with quotes are none that msgspec takes.
    for content in [*arrays, *(objects if reader.contract is not MARKED else [])]:
        for indent in (None, 2):
            assert compare(reader, json.dumps(content, indent=indent).encode()), content


@pytest.mark.parametrize("piece", [1, 50, 10**6])
def test_lists_of_numbers_are_read_into_a_matrix(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PIECE", piece)
    for reader in (
        READERS[CONTRACTS.index(contract)] for contract in (NUMBERS, ONE, MARKED, RANGED)
    ):
        row = [1.0] * len(reader.contract.columns)
        for content in ([row] * 7, {"features": [row]}, {"features": [row] * 20}):
            assert compare_matrix(reader, json.dumps(content).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"[[[5]]]", b"[[5], [[5]]]", b"[[5, 6]]", b"[[5], 6]", b"[[5], []]", b"[[5], [true]]",
        b'{"features": [[1], [2]], "features": [[1]]}', b'{"records": [[1]]}', b"[[1e39]]",
        b"[[5], [5]", b"[[5],, [5]]", b"[[5], [nan]]", b'[[5], ["5"]]', b"[[5] [5]]", b"[]",
        b"[%b]" % b",".join([b"[1]"] * 21),
    ],
)  # fmt: skip
def test_lists_of_anything_else_are_not(body: bytes) -> None:
    assert not compare_matrix(READERS[CONTRACTS.index(ONE)], body)


def test_without_simdjson_lists_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_matrix(NUMBERS)
    monkeypatch.setattr(matrix, "simdjson", None)
    assert not is_matrix(NUMBERS)


DOUBLE = (
    b'{"features": 1, "x": 2, "z": 3, "x": 2}', b'{"features": 1, "x": 2, "z": 3, "\\u0078": 2}',
    b'{"records": [{"features": 1, "x": 2, "z": 3, "x": 2}]}',
    b'{"features": [[1, 2, 3]], "features": [[1, 2, 3]]}',
    b'{"records": [], "records": [{"features": 1, "x": 2, "z": 3}]}',
)  # fmt: skip


@pytest.mark.parametrize("body", DOUBLE)
def test_a_key_that_comes_twice_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="duplicate key"):
        READERS[CONTRACTS.index(NUMBERS)].read(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"features": [[1, 2, 3]',
        b'{"features": [[1, 2, 3],]}',
        b'{"features": [[1, 2, 3],[1, 2, 3]',
        b'{"features": [,[1, 2, 3]]}',
        b'{"features": [[1, 2, 3]]]}',
        b'{"features": [[1, 2, 3]]}}',
        b"[[1, 2, 3] [1, 2, 3]]",
        b"[[1, 2, 3], \n ]",
    ],
)
@pytest.mark.parametrize("piece", [1, 10, 10**6])
def test_what_is_no_json_is_declined(
    body: bytes, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PIECE", piece)
    reader = READERS[CONTRACTS.index(NUMBERS)]
    assert not compare(reader, body)
    with pytest.raises(Refused, match="not JSON"):
        reader.read(body)


def test_more_rows_than_allowed_are_declined_before_all_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lists, "PIECE", 1)
    reader = READERS[CONTRACTS.index(NUMBERS)]
    assert not compare(reader, b'{"features": [%s]}' % b",".join([b"[1, 2, 3]"] * 21))


@pytest.mark.parametrize(
    "column",
    [
        Column(name="a", kind="date", parts=("year",), format="%Y-%d-%m"),
        Column(name="a", kind="category", categories=(1, 2**63)),
    ],
)
def test_a_contract_that_it_cannot_keep_to_has_none(column: Column) -> None:
    contract = Contract(columns=(column,), target=TARGET)
    assert Reader(contract).typed is None


@example(values=[-0.0, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308])
@given(values=st.lists(st.floats(-1e38, 1e38), min_size=1, max_size=20))
def test_numbers_are_those_that_the_other_parser_reads(values: list[float]) -> None:
    reader = READERS[CONTRACTS.index(ONE)]
    compare(reader, b'{"features": [%s]}' % b",".join(b"[%s]" % repr(v).encode() for v in values))
