"""An HTTP client that reads the reply while it writes the request, which no library does over HTTP/1.1."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast, final
from urllib.parse import urlsplit

import anyio
import h11
import msgspec
from anyio.abc import ByteStream, SocketAttribute

from hub.concurrency.services import background_service
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from tests.gateway.fixtures import LocalGateway

_RECEIVE: Final = 64 * 1024


@final
class Exchange:
    """One request and its reply, both open as long as they are needed."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._h11 = h11.Connection(h11.CLIENT)
        self.status = 0
        self.headers: dict[str, str] = {}
        self._unread = b""

    def receive_little(self) -> None:
        """Makes the buffer of the connection small, so that little arrives that is not read."""
        self._stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)

    async def begin(self, method: str, path: str, headers: Mapping[str, str | bytes]) -> None:
        given = [
            (name.encode(), value.encode() if isinstance(value, str) else value) for name, value in headers.items()
        ]
        await self._send(h11.Request(method=method, target=path, headers=[(b"Host", b"localhost"), *given]))

    async def write(self, body: bytes) -> None:
        await self._send(h11.Data(data=body))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def told_to_go_on(self) -> None:
        """Waits for `100 Continue`."""
        event = await self._next()
        assert isinstance(event, h11.InformationalResponse), event
        assert event.status_code == 100

    async def head(self) -> int:
        """Waits for the status line."""
        event = await self._next()
        assert isinstance(event, h11.Response), event
        self.status = event.status_code
        self.headers = {name.decode(): value.decode() for name, value in event.headers}
        return self.status

    async def line(self) -> bytes | None:
        """The next line of the reply, as soon as it is there, without its end; `None` once the reply is complete."""
        while b"\n" not in self._unread:
            event = await self._next()
            if not isinstance(event, h11.Data):
                assert isinstance(event, h11.EndOfMessage), event
                assert not self._unread
                return None
            self._unread += bytes(event.data)
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    async def body(self) -> bytes:
        """The rest of the reply."""
        pieces = [self._unread]
        while isinstance(event := await self._next(), h11.Data):
            pieces.append(bytes(event.data))
        assert isinstance(event, h11.EndOfMessage), event
        self._unread = b""
        return b"".join(pieces)

    async def answer(self) -> dict[str, Any]:
        """The next line of the reply, which must be there, as JSON."""
        line = await self.line()
        assert line is not None
        return cast("dict[str, Any]", msgspec.json.decode(line))

    async def answers(self) -> list[dict[str, Any]]:
        """The lines of the reply that are still to come, as JSON."""
        answers: list[dict[str, Any]] = []
        while (line := await self.line()) is not None:
            answers.append(msgspec.json.decode(line))
        return answers

    async def _send(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data:
            await self._stream.send(data)

    async def _next(self) -> object:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            try:
                self._h11.receive_data(await self._stream.receive(_RECEIVE))
            except anyio.EndOfStream:
                self._h11.receive_data(b"")
        return event


@asynccontextmanager
async def serving(gateway: LocalGateway, *, grace: float = 5.0) -> AsyncGenerator[str]:
    """Serves the gateway of a gateway over a socket; leaving the block drains it. Yields the base URL."""
    server = partial(serve, gateway.app, ListenAddress(), grace=grace, on_drain=gateway.parts.polls.cancel_all)
    async with background_service(server, name="gateway") as url:
        yield url


@asynccontextmanager
async def exchange(url: str, method: str, path: str, headers: Mapping[str, str | bytes]) -> AsyncGenerator[Exchange]:
    """A connection with a request begun on it; leaving the block hangs up."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    async with await anyio.connect_tcp(address.hostname, address.port) as stream:
        opened = Exchange(stream)
        await opened.begin(method, path, headers)
        yield opened
