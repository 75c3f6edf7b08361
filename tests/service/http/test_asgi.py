from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.http.asgi import Message, read_body
from service.http.errors import Refused


def receiver(
    *parts: bytes, then: Callable[[], Awaitable[None]] | None = None
) -> Callable[[], Awaitable[Message]]:
    """A body in these parts; `then` is awaited before the last of them."""
    left = list(parts)

    async def receive() -> Message:
        if then and len(left) == 1:
            await then()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return receive


@pytest.mark.parametrize("parts", [(b"12345",), (b"12", b"345"), (b"", b"12345", b"")])
def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not(parts: tuple[bytes, ...]) -> None:
    assert asyncio.run(read_body(receiver(*parts), 5, 60)) == b"12345"
    with pytest.raises(Refused) as error:
        asyncio.run(read_body(receiver(*parts), 4, 60))
    assert error.value.status == 413


def test_a_body_that_is_late_is_408() -> None:
    async def run() -> None:
        never = asyncio.Event()

        async def wait() -> None:
            await never.wait()

        with pytest.raises(Refused) as error:
            await read_body(receiver(b"x", b"", then=wait), 10, 0.01)
        assert error.value.status == 408

    asyncio.run(run())
