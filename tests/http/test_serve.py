from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from functools import partial

import anyio
import pytest
from anyio import create_task_group, fail_after
from httpx2 import AsyncClient, ConnectError, RemoteProtocolError
from litestar import Litestar, get

from hub.errors import ConfigurationError
from hub.http.client import open_client
from hub.http.problems import EXCEPTION_HANDLERS
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Slow:
    """An application whose one route answers when told to."""

    def __init__(self) -> None:
        self.entered = anyio.Event()
        self.answer = anyio.Event()

        @get("/")
        async def slow() -> str:
            self.entered.set()
            await self.answer.wait()
            return "done"

        self.app = Litestar([slow], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None, logging_config=None)


async def test_the_bound_url_is_reported_once_requests_are_answered() -> None:
    slow = Slow()
    slow.answer.set()
    with fail_after(10):
        async with open_client() as client, create_task_group() as tg:
            url = await tg.start(serve, slow.app, ListenAddress())
            reply = await client.get(url)
            tg.cancel_scope.cancel()
    assert reply.text == "done"


async def test_a_request_in_flight_finishes_while_the_server_drains() -> None:
    slow = Slow()
    replies: list[str] = []

    async def ask(client: AsyncClient, url: str) -> None:
        replies.append((await client.get(url)).text)

    with fail_after(10):
        async with open_client() as client, create_task_group() as clients:
            async with create_task_group() as tg:
                url = await tg.start(serve, slow.app, ListenAddress())
                clients.start_soon(ask, client, url)
                await slow.entered.wait()
                tg.cancel_scope.cancel()
                slow.answer.set()
    assert replies == ["done"]


async def test_a_request_that_exceeds_the_drain_grace_is_cancelled() -> None:
    slow = Slow()
    cut: list[BaseException] = []

    async def ask(client: AsyncClient, url: str) -> None:
        try:
            await client.get(url)
        except RemoteProtocolError as error:
            cut.append(error)

    with fail_after(10):
        async with open_client() as client, create_task_group() as clients:
            async with create_task_group() as tg:
                url = await tg.start(
                    lambda *, task_status: serve(slow.app, ListenAddress(), grace=1, task_status=task_status)
                )
                clients.start_soon(ask, client, url)
                await slow.entered.wait()
                tg.cancel_scope.cancel()
    assert len(cut) == 1


async def test_the_drain_is_announced_so_that_long_polls_can_be_answered() -> None:
    slow = Slow()
    replies: list[str] = []

    async def ask(client: AsyncClient, url: str) -> None:
        replies.append((await client.get(url)).text)

    with fail_after(10):
        async with open_client() as client, create_task_group() as clients:
            async with create_task_group() as tg:
                url = await tg.start(
                    lambda *, task_status: serve(
                        slow.app, ListenAddress(), on_drain=slow.answer.set, task_status=task_status
                    )
                )
                clients.start_soon(ask, client, url)
                await slow.entered.wait()
                tg.cancel_scope.cancel()
    assert replies == ["done"]


async def test_after_the_drain_the_port_is_closed() -> None:
    with fail_after(10):
        async with create_task_group() as tg:
            url = await tg.start(serve, Slow().app, ListenAddress())
            tg.cancel_scope.cancel()
        async with open_client() as client:
            with pytest.raises(ConnectError):
                await client.get(url)


async def test_a_taken_port_is_a_configuration_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with fail_after(10), pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
            await serve(Slow().app, ListenAddress(port=port))


async def test_a_client_that_reads_nothing_does_not_keep_the_server_from_stopping() -> None:
    @get("/", media_type="application/octet-stream")
    async def huge() -> bytes:
        sent.set()
        return bytes(64 * 1024 * 1024)  # more than the buffers of both sides take

    sent = anyio.Event()
    app = Litestar([huge], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None, logging_config=None)
    with fail_after(30):
        async with AsyncExitStack() as clients, create_task_group() as tg:
            url = await tg.start(partial(serve, app, ListenAddress(), grace=1))
            host, _, port = url.removeprefix("http://").rpartition(":")
            stream = await clients.enter_async_context(await anyio.connect_tcp(host, int(port)))
            await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await sent.wait()
            tg.cancel_scope.cancel()
