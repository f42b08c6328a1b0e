"""Disconnects at any moment cause no error, in the server of each backend."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio
import msgspec
import pytest
from anyio import fail_after
from anyio.abc import SocketAttribute, SocketStream
from litestar import Litestar, Request, Response, get, post
from litestar.params import JSONBody
from structlog.testing import capture_logs

from hub.concurrency.services import background_service
from hub.http.disconnect import cancelled_on_disconnect
from hub.http.problems import EXCEPTION_HANDLERS
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.http.streaming import DuplexStreamingResponse, RequestBody, Write

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
                await cancelled_on_disconnect(request.receive, anyio.sleep_forever)
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
