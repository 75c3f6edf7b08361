"""Requests to /predict that are nearly right: made by number, so that each can be made again.

Half of them are good rows, in every shape that the service reads, with something changed in their
structure; in the others bytes are changed. Some are sent encoded, and some of those wrongly.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson
import zstandard

from tests.serving import MALIGNANT

JSON = "application/json"
KINDS = (
    JSON, "application/json; charset=utf-8", "Application/JSON", "application/json;", "text/plain",
    "application/json; charset=utf-16", "", "application/octet-stream",
)  # fmt: skip
CODINGS = (
    "gzip", "zstd", "identity", "deflate", "br", "x-gzip", "GZIP", "gzip, gzip", "zstd, gzip",
    "gzip,",
    "compress", "", "\xff", "none",
)  # fmt: skip
# What stands where a number should: JSON, or what others write.
TOKENS = (
    b"1e999", b"-1e999", b"1e308", b"1e-999", b"-0", b"-0.0", b"0e0", b"0E+9", b"1E400", b"3.5e38",
    b"1e39",
    b"1" + b"0" * 400, b"-" + b"9" * 5000, b"0." + b"3" * 5000, b"9007199254740993",
    b"18446744073709551616",
    b"1" * 20 + b"." + b"1" * 20, b"NaN", b"Infinity", b"-Infinity", b"nan", b"null", b"true",
    b"false", b"None",
    b"01", b"+1", b".5", b"5.", b"1e", b"0x10", b"1_0", b"--1", b"- 1", b"1 2", b'""', b'"1.5"',
    b'" 1.5 "',
    b'"1e999"', b'"NaN"', b'"nan"', b'"inf"', b'"1_0"', b'"\\u0031"', b'"\\u0000"', b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\ud83d\\ude00"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\x00"', b'"\n"', b'"\\x"',
    b'"%s"' % (b"x" * 9000),
    b"[]", b"{}", b"[1]", b"[[1]]", b'{"a": 1}',
    b"[" * 200 + b"]" * 200, b"[" * 20_000 + b"]" * 20_000,
    b'{"a":' * 200 + b"1" + b"}" * 200, b"[" * 20_000, b'{"a":' * 5000, b"'1'", b"", b",", b"1,",
    b"/**/1",
    b"2024-02-29", b'"2024-02-29"', b"undefined", b"1n", b"\xef\xbb\xbf1", b"\xe2\x80\x8b1",
)  # fmt: skip
NAMES = (
    "features", "records", "dataframe", "columns", "data", "index", "instances", "inputs", "", " ",
    "\x00",
    "__proto__", "__class__", "constructor", "a" * 5000, "\U0001f4a9", "\u202e", "prediction", "id",
    "Features",
)  # fmt: skip
# What is put between bytes.
PIECES = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xfe\xff", b'"', b"'", b"\\", b"\\u", b"\\ud800", b"{",
    b"}", b"[", b"]",
    b",", b":", b" ", b"\n", b"\t", b"\x0c", b"\xc2\xa0", b"e", b"E9", b"-", b".", b"0",
    b"9" * 400, b"null",
    b"{}", b"[]", b"[[", b"}}", b'"a":', b'"features":', b"//", b"/*", b"#", b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
)  # fmt: skip
BOMB = 64 * 2**20  # bytes that a few hundred or thousand turn into
ENCODED = 0.12  # of all requests
BOMBS = 0.02  # of those
RAW = 0.4


class Raw(bytes):
    """A part of a body that is written as it is."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object of JSON, which may name a key twice."""

    __slots__ = ()


class Post(NamedTuple):
    """A request to /predict.

    Attributes
    ----------
    body
        As it is sent, but for chunks.
    headers
        Beside those of its framing.
    query
        With its question mark; or nothing.
    cuts
        Where the body is cut into chunks; None: it comes with its length.
    """

    body: bytes
    headers: tuple[tuple[str, str], ...]
    query: str = ""
    cuts: tuple[int, ...] | None = None


def make_post(number: int, names: Sequence[str]) -> Post:
    """Make a request; the same number gives the same one.

    Parameters
    ----------
    names
        The contract's columns, in order.
    """
    chance = random.Random(number)  # noqa: S311, no secret
    body = _make_body(chance, names)
    kind = JSON if chance.random() < 0.98 else chance.choice(KINDS)
    headers = [("content-type", kind)]
    if chance.random() < ENCODED:
        coding, body = _encode(chance, body)
        headers.append(("content-encoding", coding))
    query = chance.choice(("?echo=true", "?echo=false", "?a=b")) if chance.random() < 0.1 else ""
    cuts = None
    if chance.random() < 0.15 and body:
        cuts = tuple(
            sorted({chance.randrange(1, len(body) + 1) for _ in range(chance.randint(1, 9))})
        )
    return Post(body, tuple(headers), query, cuts)


def frame(post: Post, identifier: str) -> bytes:
    """Return the bytes of a request."""
    headers = [("host", "x"), ("x-request-id", identifier), *post.headers]
    if post.cuts is None:
        headers.append(("content-length", str(len(post.body))))
        body = post.body
    else:
        headers.append(("transfer-encoding", "chunked"))
        ends = sorted({*post.cuts, len(post.body)})
        parts = (post.body[start:end] for start, end in zip([0, *ends], ends, strict=False))
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"POST /predict{post.query} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def _make_body(chance: random.Random, names: Sequence[str]) -> bytes:
    content = _make_rows(chance, names)
    if chance.random() < 0.15:
        return write(content)
    if chance.random() < RAW:
        body = bytearray(write(content))
        for _ in range(chance.choice((1, 1, 2, 5))):
            _change_bytes(chance, body)
        return bytes(body)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        content = _change(chance, content, names)
    return write(content)


def _make_rows(chance: random.Random, names: Sequence[str]) -> Any:
    """Return good rows in one of the shapes."""
    count = chance.choice((1, 1, 1, 2, 3, 20))
    rows = [[value * chance.choice((1, 1, 0.9, 1.1)) for value in MALIGNANT] for _ in range(count)]
    objects = [Pairs(zip(names, row, strict=True)) for row in rows]
    columns = Pairs((name, [row[index] for row in rows]) for index, name in enumerate(names))
    indexed = Pairs(
        (name, Pairs((str(number), row[index]) for number, row in enumerate(rows)))
        for index, name in enumerate(names)
    )
    split = Pairs([("columns", [*names]), ("index", [*range(count)]), ("data", rows)])
    shapes: tuple[Callable[[], Any], ...] = (
        lambda: objects[0],
        lambda: objects,
        lambda: rows,
        lambda: Pairs([("features", rows[0])]),
        lambda: Pairs([("features", rows)]),
        lambda: Pairs([("records", objects)]),
        lambda: Pairs([("records", objects[0])]),
        lambda: Pairs([("dataframe", objects)]),
        lambda: Pairs([("dataframe", columns)]),
        lambda: columns,
        lambda: indexed,
        lambda: split,
        lambda: Pairs(split[::2]),
    )
    return chance.choice(shapes)()


def _change(chance: random.Random, content: Any, names: Sequence[str]) -> Any:
    """Return content with one part of its structure changed."""
    if not isinstance(content, list) or not content or chance.random() < 0.15:
        return _replace(chance, content, names)
    index = chance.randrange(len(content))
    if chance.random() < 0.5:
        changed = list(content)
        if isinstance(content, Pairs):
            key, value = content[index]
            changed[index] = (key, _change(chance, value, names))
        else:
            changed[index] = _change(chance, content[index], names)
        return type(content)(changed)
    if isinstance(content, Pairs):
        return _change_object(chance, content, index, names)
    return _change_list(chance, content, index)


def _replace(chance: random.Random, content: Any, names: Sequence[str]) -> Any:
    """Return something else where content was."""
    other: tuple[Callable[[], Any], ...] = (
        lambda: Raw(chance.choice(TOKENS)),
        lambda: Raw(chance.choice(TOKENS)),
        lambda: [content],
        lambda: Pairs([(chance.choice((*NAMES, *names)), content)]),
        lambda: orjson.dumps(content).decode() if isinstance(content, float) else "text",
        lambda: chance.uniform(-1, 1) * 10 ** chance.randint(-300, 300),
        lambda: chance.randint(-(2**70), 2**70),
        lambda: None,
    )
    return chance.choice(other)()


def _change_object(
    chance: random.Random, content: Pairs, index: int, names: Sequence[str]
) -> Pairs:
    key, value = content[index]
    before, after = content[:index], content[index + 1 :]
    near = (key.upper(), f" {key}", key.replace(" ", "_"), key[:-1], f"{key}\0")
    ways: tuple[Callable[[], list[tuple[str, Any]]], ...] = (
        lambda: [*before, *after],
        lambda: [*content, (key, value)],  # twice
        lambda: [*content, (key, Raw(chance.choice(TOKENS)))],
        lambda: [*before, (chance.choice(NAMES), value), *after],
        lambda: [*content, (chance.choice((*NAMES, *names)), value)],
        lambda: [*before, (chance.choice(near), value), *after],
        lambda: chance.sample(content, len(content)),
        lambda: [(f"{key}{number}", value) for number in range(chance.choice((1, 40, 400)))],
    )
    return Pairs(chance.choice(ways)())


def _change_list(chance: random.Random, content: list[Any], index: int) -> list[Any]:
    before, value, after = content[:index], content[index], content[index + 1 :]
    ways: tuple[Callable[[], list[Any]], ...] = (
        list,
        lambda: [*before, *after],
        lambda: [*content, value],
        lambda: [*before, Raw(chance.choice(TOKENS)), value, *after],
        lambda: [*before, [value], *after],
        lambda: content * chance.choice((2, 3, 50)),
        lambda: chance.sample(content, len(content)),
    )
    return chance.choice(ways)()


def _change_bytes(chance: random.Random, body: bytearray) -> None:
    """Change some bytes in place."""
    if not body:
        body += chance.choice(PIECES)
        return
    start = chance.randrange(len(body))
    end = min(len(body), start + chance.choice((1, 1, 2, 5, 50)))
    match chance.randrange(8):
        case 0:
            body[start] ^= 1 << chance.randrange(8)
        case 1:
            body[start] = chance.randrange(256)
        case 2:
            del body[start:end]
        case 3:
            del body[start:]
        case 4:
            body[start:start] = chance.choice(PIECES)
        case 5:
            body[start:start] = body[start:end] * chance.choice((1, 2, 100))
        case 6:
            body[start:end] = chance.choice(TOKENS)
        case _:
            text = bytes(body).decode("latin-1")
            body[:] = text.encode(chance.choice(("utf-16", "utf-32", "utf-8-sig", "utf-16-le")))


def _encode(chance: random.Random, body: bytes) -> tuple[str, bytes]:
    """Return a content coding and a body in it, or in another one, or in a broken one."""
    right, encode = chance.choice((("gzip", _gzip), ("zstd", _zstd)))
    other, bomb = chance.choice((("gzip", _gzip), ("zstd", _zstd)))
    encoded = encode(body)
    after = (encoded, b"\x00", b"x", _gzip(b" "), _zstd(b" "))
    ways: tuple[Callable[[], tuple[str, bytes]], ...] = (
        *[lambda: (right, encoded)] * 4,
        lambda: (chance.choice(CODINGS), encoded),
        lambda: (right, encoded[: chance.randrange(len(encoded))]),
        lambda: (right, _change_once(chance, encoded)),
        lambda: (right, encoded + chance.choice(after)),
        lambda: (chance.choice((right, "gzip, gzip")), bomb(encoded)),
        lambda: (chance.choice(CODINGS), chance.choice((body, zlib.compress(body)))),
    )
    if chance.random() < BOMBS:
        return other, _make_bomb(bomb)
    return chance.choice(ways)()


def _change_once(chance: random.Random, body: bytes) -> bytes:
    changed = bytearray(body)
    _change_bytes(chance, changed)
    return bytes(changed)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _zstd(body: bytes) -> bytes:
    return zstandard.compress(body, 1)


@cache
def _make_bomb(encode: Callable[[bytes], bytes]) -> bytes:
    return encode(b"[" + b" " * BOMB)


def write(content: Any) -> bytes:
    """Write content as JSON, but for what is raw in it."""
    if isinstance(content, Raw):
        return bytes(content)
    if isinstance(content, Pairs):
        pairs = (_write_scalar(key) + b": " + write(value) for key, value in content)
        return b"{" + b", ".join(pairs) + b"}"
    if isinstance(content, list):
        return b"[" + b", ".join(map(write, content)) + b"]"
    return _write_scalar(content)


def _write_scalar(content: Any) -> bytes:
    return str(content).encode() if type(content) is int else orjson.dumps(content)
