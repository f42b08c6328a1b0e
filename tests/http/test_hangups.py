"""Clients that close their connections while nothing reads from them."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager

import anyio
import pytest
from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint

from hub.http.serve.hangups import AVAILABLE, HangUps

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs epoll, which this system does not have")


@asynccontextmanager
async def running() -> AsyncGenerator[HangUps]:
    with closing(HangUps()) as hangups:
        async with create_task_group() as tg:
            tg.start_soon(hangups.run, name="hub.test hang-ups")
            yield hangups
            tg.cancel_scope.cancel("test is over")


@contextmanager
def connection() -> Generator[tuple[socket.socket, socket.socket]]:
    """The server's and the client's end of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    with accepted, client:
        yield accepted, client


@pytest.mark.parametrize("half", [False, True], ids=["closed", "half closed"])
async def test_a_hang_up_is_noticed_although_data_is_unread(half: bool) -> None:
    gone = anyio.Event()
    with connection() as (accepted, client):
        async with running() as hangups:
            with hangups.watching(accepted.fileno(), gone.set):
                client.sendall(b"a request")
                if half:
                    client.shutdown(socket.SHUT_WR)
                else:
                    client.close()
                with fail_after(5):
                    await gone.wait()


async def test_data_alone_is_no_hang_up() -> None:
    seen = list[str]()
    with connection() as (accepted, client), connection() as (other, its_client):
        async with running() as hangups:
            told = anyio.Event()
            with (
                hangups.watching(accepted.fileno(), lambda: seen.append("first")),
                hangups.watching(other.fileno(), told.set),
            ):
                client.sendall(b"a request")
                await checkpoint()
                its_client.close()
                with fail_after(5):
                    await told.wait()
    assert seen == []


async def test_a_socket_is_forgotten_after_its_block_and_may_be_watched_again() -> None:
    seen = list[str]()
    with connection() as (accepted, client):
        async with running() as hangups:
            gone = anyio.Event()
            with hangups.watching(accepted.fileno(), lambda: seen.append("first")):
                await checkpoint()
            with hangups.watching(accepted.fileno(), gone.set):
                client.close()
                with fail_after(5):
                    await gone.wait()
    assert seen == []
