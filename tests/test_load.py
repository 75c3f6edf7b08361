"""The clients tell a request that a server loses from one that comes too late."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import load
from tests.load import EARLY, REQUEST, Load
from tests.ports import PATIENCE, wait_until

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LAST = ANSWER.replace(b"content", b"connection: close\r\ncontent")
Peer = Callable[[socket.socket], None]


def answer(peer: socket.socket, text: bytes = ANSWER) -> None:
    read = b""
    while len(read) < len(REQUEST):
        read += peer.recv(2**16)
    peer.sendall(text)


def close_unanswered(peer: socket.socket) -> None:
    answer(peer)
    peer.recv(2**16)


def close_unread(peer: socket.socket) -> None:
    answer(peer)
    peer.recv(1)


def close_halfway(peer: socket.socket) -> None:
    answer(peer)
    peer.recv(2**16)
    peer.sendall(ANSWER[:20])


def lost(peer: Peer) -> list[str]:
    """What one client loses to a server that does this with its first connection, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                peer(connection)
            again, _ = listener.accept()  # the client goes on
            with again:
                answer(again, LAST)

        served = pool.submit(serve)
        with Load(listener.getsockname()[1], connections=1) as client:
            wait_until(lambda: client.answered >= 2)
            served.result()
            kinds = [loss.kind for loss in client.lost]
            listener.close()  # with what the client has sent since
    return kinds


@pytest.mark.parametrize(
    ("peer", "kind"),
    [
        (close_unanswered, "IncompleteReadError"),
        (close_halfway, "IncompleteReadError"),
        (close_unread, "ConnectionResetError"),
        (answer, EARLY),
    ],
)
def test_what_a_server_has_and_does_not_answer_is_lost(
    peer: Peer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "LINGER_SECONDS", PATIENCE)  # of a machine that is busy
    monkeypatch.setattr(load, "RESET_SECONDS", 0.5)
    assert lost(peer) == [kind]


def test_what_is_sent_after_the_server_waited_long_enough_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "LINGER_SECONDS", load.PAUSE / 2)
    assert lost(answer) == []


def test_a_request_came_late_only_where_the_end_came_before_it() -> None:
    async def late(use: Callable[[socket.socket, asyncio.StreamWriter], Awaitable[None]]) -> bool:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            peer, _ = listener.accept()
            try:
                await use(peer, writer)
                await reader.readuntil(b"ok")
            except OSError as error:
                return await load.came_late(error, writer)
            except asyncio.IncompleteReadError as error:
                return await load.came_late(error, writer)
            finally:
                peer.close()
                writer.close()
        raise AssertionError("there is no answer")

    async def ends_before(peer: socket.socket, writer: asyncio.StreamWriter) -> None:
        peer.close()
        writer.write(REQUEST)

    async def ends_with_it_unread(peer: socket.socket, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST)
        await writer.drain()
        peer.close()

    assert asyncio.run(late(ends_before))
    assert not asyncio.run(late(ends_with_it_unread))
