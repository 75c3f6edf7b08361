from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.http.asgi import LONG_BODIES, Bodies, Message, choose_request_id
from service.http.errors import Refused

POST: tuple[dict[str, Any], dict[bytes, bytes]] = ({}, {})


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


def test_an_id_of_our_own_is_new_each_time() -> None:
    assert len({choose_request_id({}) for _ in range(100)}) == 100


@pytest.mark.parametrize("parts", [(b"12345",), (b"12", b"345"), (b"", b"12345", b"")])
def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not(parts: tuple[bytes, ...]) -> None:
    assert asyncio.run(Bodies(5, 1).read(*POST, receiver(*parts))) == b"12345"
    with pytest.raises(Refused) as error:
        asyncio.run(Bodies(4, 1).read(*POST, receiver(*parts)))
    assert error.value.status == 413


def test_bodies_that_come_together_may_not_take_all_the_memory() -> None:
    bodies = Bodies(10, 60)

    async def run() -> None:
        last = asyncio.Event()

        async def wait() -> None:
            await last.wait()

        held = [
            asyncio.create_task(bodies.read(*POST, receiver(b"x" * 10, b"", then=wait)))
            for _ in range(LONG_BODIES)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as error:
            await bodies.read(*POST, receiver(b"x", b""))
        assert error.value.status == 429
        assert await bodies.read(*POST, receiver(b"x" * 10)) == b"x" * 10
        last.set()
        assert await asyncio.gather(*held) == [b"x" * 10] * LONG_BODIES
        assert await bodies.read(*POST, receiver(b"x" * 9, b"x")) == b"x" * 10

    asyncio.run(run())


def test_only_what_is_late_is_ended() -> None:
    async def run() -> None:
        bodies = Bodies(10, 0.05)
        never = asyncio.Event()

        async def wait() -> None:
            await never.wait()

        with pytest.raises(Refused) as error:
            await bodies.read(*POST, receiver(b"x", b"", then=wait))
        assert error.value.status == 408
        never.set()
        assert await bodies.read(*POST, receiver(b"x", b"", then=wait)) == b"x"

    asyncio.run(run())
