"""Disconnects at any moment cause no error, in the server of each backend."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast, final
from urllib.parse import urlsplit

import anyio
import msgspec
import pytest
from anyio import current_time, fail_after
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint
from litestar import Litestar, Request, Response, get, post
from litestar.params import JSONBody
from structlog.testing import capture_logs
from typing_extensions import override

from hub.concurrency.services import background_service
from hub.http.disconnect import cancelled_on_disconnect
from hub.http.problems import EXCEPTION_HANDLERS
from hub.http.serve.client import DISCONNECT_TIMEOUT, ConnectionLimits
from hub.http.serve.connection import HttpConnection
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.http.streaming import DuplexStreamingResponse, RequestBody, Write

if TYPE_CHECKING:
    from litestar.types import ASGIApp

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

LARGE = b"x" * 5_000_000


class Body(msgspec.Struct):
    number: int


class Routes:
    """An application whose handlers tell how each request has ended."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.ended = anyio.Event()

    @asynccontextmanager
    async def _request(self) -> AsyncGenerator[None]:
        self.begun.set()
        try:
            yield
        finally:
            self.ended.set()

    def app(self) -> Litestar:
        @post("/raw")
        async def raw(request: Request[Any, Any, Any]) -> int:
            async with self._request():
                return len(await request.body())

        @post("/json")
        async def json(data: JSONBody[Body]) -> int:
            return data.number

        @post("/wait")
        async def wait(request: Request[Any, Any, Any]) -> int:
            async with self._request():
                await request.body()
                await cancelled_on_disconnect(request.scope, request.receive, anyio.sleep_forever)
            return 0

        @post("/talk")
        async def talk() -> Response[bytes]:
            async def echo(body: RequestBody, write: Write) -> None:
                async with self._request():
                    async for chunk in body:
                        assert isinstance(chunk, bytes)
                        await write(chunk)

            return DuplexStreamingResponse(echo, media_type="text/plain")

        @get("/large")
        async def large() -> Response[bytes]:
            async with self._request():
                return Response(LARGE)

        return Litestar(
            [raw, json, wait, talk, large],
            exception_handlers=EXCEPTION_HANDLERS,
            openapi_config=None,
            logging_config=None,
        )


def post_to(path: str, framing: str, body: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n{body}".encode()
    )


GET_LARGE = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH, CHUNKED = "Content-Length: 1000", "Transfer-Encoding: chunked"
UNREAD_BODIES = {
    "half a body": post_to("/raw", LENGTH, "{"),
    "no body": post_to("/raw", LENGTH, ""),
    "half a chunk": post_to("/raw", CHUNKED, "5\r\nhe"),
    "it waits for 100 Continue": post_to("/raw", f"{LENGTH}\r\nExpect: 100-continue", ""),
    "half a JSON text": post_to("/json", LENGTH, "{"),
}
OTHERS = {
    "it waits for its answer": post_to("/wait", "Content-Length: 1", "1"),
    "it talks": post_to("/talk", LENGTH, "hello"),
    "it talks in chunks": post_to("/talk", CHUNKED, "5\r\nhe"),
    "its reply is on its way": GET_LARGE,
    "its replies are on their way": GET_LARGE * 3,
}


async def hang_up(stream: SocketStream, *, reset: bool) -> None:
    if reset:
        linger = struct.pack("ii", 1, 0)
        stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await stream.aclose()


async def logged(routes: Routes, request: bytes, *, reset: bool, capfd: pytest.CaptureFixture[str]) -> list[Any]:
    """What is logged of a client that sends this and hangs up, when the server has ended too."""
    with fail_after(20), capture_logs() as logs:
        async with background_service(partial(serve, routes.app(), ListenAddress(), grace=5.0), name="server") as url:
            stream = await anyio.connect_tcp("127.0.0.1", urlsplit(url).port or 0)
            await stream.send(request)
            if b"/json" not in request:  # whose body is read before the handler begins
                await routes.begun.wait()
            await hang_up(stream, reset=reset)
            while not (routes.ended.is_set() or logs):
                await anyio.sleep(0.01)
    assert capfd.readouterr().err == ""
    return list(logs)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("request_bytes", UNREAD_BODIES.values(), ids=UNREAD_BODIES.keys())
async def test_a_disconnect_before_the_body_is_complete_is_one_debug_line(
    request_bytes: bytes, reset: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    (line,) = await logged(Routes(), request_bytes, reset=reset, capfd=capfd)

    assert line["event"] == "client disconnected before its request was complete"
    assert line["log_level"] == "debug"
    assert "exc_info" not in line


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("request_bytes", OTHERS.values(), ids=OTHERS.keys())
async def test_a_disconnect_at_any_other_moment_is_no_error(
    request_bytes: bytes, reset: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lines = await logged(Routes(), request_bytes, reset=reset, capfd=capfd)

    assert [line for line in lines if line["log_level"] != "debug"] == []
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR", "CRITICAL"}] == []


@final
class LostStream(ByteStream):
    """A client whose request has arrived. That it has gone is noticed by the second write to it, not by reading."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.sent = 0

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._request:
            await anyio.sleep_forever()
        request, self._request = self._request, b""
        return request

    @override
    async def send(self, item: bytes) -> None:
        await checkpoint()
        self.sent += 1
        if self.sent > 1:
            raise anyio.BrokenResourceError

    @override
    async def send_eof(self) -> None:
        raise NotImplementedError

    @override
    async def aclose(self) -> None:
        await checkpoint()


def lost_connection(app: Litestar) -> HttpConnection:
    return HttpConnection(
        LostStream(post_to("/talk", "Content-Length: 0", "")),
        cast("ASGIApp", app),
        limits=ConnectionLimits(),
        scheme="http",
        server=("127.0.0.1", 80),
        client=None,
    )


async def test_a_client_whose_disconnect_is_noticed_by_a_write_is_reported() -> None:
    reported: list[str] = []

    async def report() -> None:
        await checkpoint()
        reported.append("disconnected")

    @post("/talk")
    async def talk(request: Request[Any, Any, Any]) -> Response[bytes]:
        async def endless(_body: RequestBody, write: Write) -> None:
            while True:
                await write(b"a")

        await request.body()
        return DuplexStreamingResponse(endless, media_type="text/plain", body_read=True, on_disconnect=report)

    with fail_after(5):
        await lost_connection(Litestar([talk], openapi_config=None, logging_config=None)).run()
    assert reported == ["disconnected"]


async def test_an_application_that_does_not_heed_a_disconnect_is_cancelled() -> None:
    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"a", "more_body": True})

    connection = lost_connection(cast("Any", endless))
    began = current_time()
    with fail_after(5):
        async with anyio.create_task_group() as tg:
            tg.start_soon(connection.run)
            await anyio.wait_all_tasks_blocked()
            connection.close_when_expired(began + DISCONNECT_TIMEOUT - 0.1)
            await anyio.wait_all_tasks_blocked()
            assert not connection.scope.cancel_called
            connection.close_when_expired(current_time() + DISCONNECT_TIMEOUT)
