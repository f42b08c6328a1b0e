"""Replies that are written while the request still arrives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, final

import anyio
import pytest
import trio.testing
from anyio import create_memory_object_stream, create_task_group, current_time, fail_after, sleep_forever
from litestar.types import Message, Receive, Scope, Send

from hub.http.streaming import (
    LINGERING_CLOSE_TIMEOUT,
    SEND_TIMEOUT,
    DuplexStreamingResponse,
    RequestBody,
    StreamHandler,
    Write,
)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@final
class Server:
    """An ASGI server in the hands of a test: it says what the client sends, and when it takes what is sent to it."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.give, self.messages = create_memory_object_stream[dict[str, Any]](100)
        for message in messages:
            self.give.send_nowait(message)
        self.sent: list[Message] = []
        self.taking = anyio.Event()
        self.taking.set()

    async def run(self, talk: StreamHandler) -> None:
        reply = DuplexStreamingResponse(talk, media_type="text/plain")
        with fail_after(1000), self.give, self.messages:
            await reply.to_asgi_response(None, cast("Any", None))(
                cast("Scope", {}), cast("Receive", self.messages.receive), cast("Send", self.send)
            )

    async def send(self, message: Message) -> None:
        await self.taking.wait()
        self.sent.append(message)

    @property
    def bodies(self) -> Sequence[bytes]:
        return [message.get("body", b"") for message in self.sent if message["type"] == "http.response.body"]

    @property
    def complete(self) -> bool:
        last = self.sent[-1]
        return last["type"] == "http.response.body" and not last["more_body"]


def body(chunk: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": chunk, "more_body": more}


DISCONNECT = {"type": "http.disconnect"}


async def upper(request: RequestBody, write: Write) -> None:
    async for chunk in request:
        assert isinstance(chunk, bytes)
        await write(chunk.upper())


async def test_the_reply_begins_with_the_request_and_ends_with_the_handler() -> None:
    server = Server(body(b"a"), body(b"b"), body(b"", more=False))
    await server.run(upper)
    assert server.sent[0]["type"] == "http.response.start"
    assert server.sent[0]["status"] == 200
    assert server.bodies == [b"A", b"B", b""]
    assert server.complete


async def test_nothing_is_sent_to_a_client_that_disconnected_before_the_handler() -> None:
    server = Server(DISCONNECT)
    await server.run(upper)
    assert server.sent == []


@pytest.mark.parametrize("more", [True, False])
async def test_a_disconnect_cancels_the_handler(more: bool) -> None:
    server = Server(body(b"a", more=more))
    cancelled = anyio.Event()

    async def endless(request: RequestBody, write: Write) -> None:
        try:
            await upper(request, write)
            await sleep_forever()
        finally:
            cancelled.set()

    async with create_task_group() as tg:
        tg.start_soon(server.run, endless)
        await anyio.wait_all_tasks_blocked()
        assert not cancelled.is_set()
        await server.give.send(DISCONNECT)
    assert cancelled.is_set()
    assert not server.complete


async def test_the_client_cannot_send_more_than_the_handler_reads() -> None:
    server = Server(*(body(b"x") for _ in range(50)))
    async with create_task_group() as tg:

        async def read_one(request: RequestBody, _write: Write) -> None:
            await request.receive()
            await sleep_forever()

        tg.start_soon(server.run, read_one)
        await anyio.wait_all_tasks_blocked()
        assert server.give.statistics().current_buffer_used == 48  # one is read, one is being handed over
        tg.cancel_scope.cancel()


async def test_a_client_that_does_not_read_is_disconnected() -> None:
    server = Server(body(b"a"))
    began = current_time()
    async with create_task_group() as tg:
        tg.start_soon(server.run, upper)
        await anyio.wait_all_tasks_blocked()
        server.taking = anyio.Event()
        await server.give.send(body(b"b"))
    assert current_time() - began == pytest.approx(SEND_TIMEOUT)
    assert not server.complete


@pytest.mark.parametrize("ends", [True, False])
async def test_the_rest_of_a_request_is_dropped_before_the_reply_ends_but_not_for_ever(ends: bool) -> None:
    server = Server(body(b"a"), body(b"b"), body(b"c"))
    began = current_time()

    async def read_one(request: RequestBody, write: Write) -> None:
        chunk = await request.receive()
        assert isinstance(chunk, bytes)
        await write(chunk)

    async with create_task_group() as tg:
        tg.start_soon(server.run, read_one)
        await anyio.wait_all_tasks_blocked()
        assert server.bodies == [b"a"]
        await server.give.send(body(b"d", more=not ends))
    assert server.complete
    assert current_time() - began == pytest.approx(0 if ends else LINGERING_CLOSE_TIMEOUT)


async def test_an_error_of_the_handler_leaves_the_reply_incomplete() -> None:
    server = Server(body(b"a"))

    async def broken(_request: RequestBody, _write: Write) -> None:
        raise RuntimeError("a defect")

    with pytest.RaisesGroup(RuntimeError):
        await server.run(broken)
    assert not server.complete


@final
class Called:
    """A reply whose request was read, and how often it said that its client has disconnected."""

    def __init__(self, server: Server, handler: StreamHandler) -> None:
        self._server = server
        self._handler = handler
        self.times = 0

    async def run(self) -> None:
        headers = {"Hub-Task": "7"}
        reply = DuplexStreamingResponse(
            self._handler, media_type="text/plain", headers=headers, body_read=True, on_disconnect=self._disconnected
        )
        with fail_after(1000), self._server.give, self._server.messages:
            asgi = reply.to_asgi_response(None, cast("Any", None))
            await asgi(
                cast("Scope", {}), cast("Receive", self._server.messages.receive), cast("Send", self._server.send)
            )

    async def _disconnected(self) -> None:
        self.times += 1


async def write_and_wait(_: RequestBody, write: Write) -> None:
    await write(b"a")
    await sleep_forever()


async def test_a_reply_after_a_body_that_was_read_begins_at_once_with_its_headers() -> None:
    server = Server()

    async def one(request: RequestBody, write: Write) -> None:
        assert [chunk async for chunk in request] == []
        await write(b"a")

    called = Called(server, one)
    await called.run()
    start = server.sent[0]
    assert start["type"] == "http.response.start"
    assert (b"hub-task", b"7") in start["headers"]
    assert (b"cache-control", b"no-store") in start["headers"]
    assert server.bodies == [b"a", b""]
    assert called.times == 0


async def test_a_client_that_disconnects_is_reported_once() -> None:
    server = Server()
    called = Called(server, write_and_wait)
    async with create_task_group() as tg:
        tg.start_soon(called.run)
        await anyio.wait_all_tasks_blocked()
        assert server.bodies == [b"a"]
        assert called.times == 0
        await server.give.send(DISCONNECT)
    assert called.times == 1
    assert not server.complete


async def test_a_client_that_does_not_read_is_reported() -> None:
    server = Server()
    called = Called(server, write_until_unread(server))
    began = current_time()
    await called.run()
    assert current_time() - began == pytest.approx(SEND_TIMEOUT)
    assert called.times == 1


def write_until_unread(server: Server) -> StreamHandler:
    async def handler(_: RequestBody, write: Write) -> None:
        await write(b"a")
        server.taking = anyio.Event()
        await write(b"b")
        await sleep_forever()

    return handler


async def test_a_reply_that_the_server_ends_is_not_reported() -> None:
    server = Server()
    called = Called(server, write_and_wait)
    async with create_task_group() as tg:
        tg.start_soon(called.run)
        await anyio.wait_all_tasks_blocked()
        tg.cancel_scope.cancel("the grace is over")
    assert called.times == 0


async def test_a_handler_that_fails_is_not_reported_as_a_disconnect() -> None:
    server = Server()

    async def fails(_: RequestBody, write: Write) -> None:
        await write(b"a")
        raise ZeroDivisionError

    called = Called(server, fails)
    with pytest.raises(ExceptionGroup):
        await called.run()
    assert called.times == 0
