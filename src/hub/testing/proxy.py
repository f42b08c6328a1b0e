"""A TCP proxy that breaks connections in the ways in which networks do."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self, final

from anyio import (
    AsyncContextManagerMixin,
    BrokenResourceError,
    CancelScope,
    EndOfStream,
    Event,
    connect_tcp,
    create_task_group,
    create_tcp_listener,
    move_on_after,
)
from anyio.abc import SocketAttribute, SocketStream
from typing_extensions import override

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with a linger time of zero: closing the socket sends RST, see socket(7)."""

_CLOSE_GRACE: Final = 5.0
"""Seconds for closing two sockets. It is a bound for the case that cannot happen: a reset waits for nobody."""


@dataclass(frozen=True, slots=True)
class FaultProxyStatistics:
    """A snapshot of a `FaultProxy`.

    Attributes:
        connections: Clients that are connected.
        accepted: Connections taken since the start, including those that were refused.
        forwarded: Bytes passed on, both directions together.
    """

    connections: int
    accepted: int
    forwarded: int


@final
class FaultProxy(AsyncContextManagerMixin):
    """Stands between a client and a server and, on command, cuts, swallows or refuses.

    Listens on a free port of 127.0.0.1 while the block runs; every connection is reset when it ends. The faults are
    plain functions; no byte is passed on after they return. Errors of the block arrive in an `ExceptionGroup`.

    ```python
    async with FaultProxy("127.0.0.1", 5672) as proxy:
        client = await connect(f"amqp://127.0.0.1:{proxy.port}")
        proxy.hole()  # from here on the server is silent, and the client must find out by itself
    ```

    Args:
        host: Address of the server behind the proxy.
        port: Its port. The proxy connects to it only when a client comes, so it may be down.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target: Final = (host, port)
        self._port = 0
        self._refusing = False
        self._unholed: Event | None = None
        self._scopes: set[CancelScope] = set()
        self._accepted = 0
        self._forwarded = 0

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with await create_tcp_listener(local_host="127.0.0.1") as listener:
            self._port = listener.extra(SocketAttribute.local_port)
            async with create_task_group() as tg:
                tg.start_soon(listener.serve, self._carry, tg, name=f"hub.testing.proxy {self._port}")
                yield self
                tg.cancel_scope.cancel("proxy closed")

    @property
    def port(self) -> int:
        """Where clients connect, on 127.0.0.1; 0 before the block."""
        return self._port

    def statistics(self) -> FaultProxyStatistics:
        return FaultProxyStatistics(connections=len(self._scopes), accepted=self._accepted, forwarded=self._forwarded)

    def cut(self) -> None:
        """Resets (RST) every open connection, on both sides. New ones are taken as before."""
        for scope in self._scopes:
            scope.cancel("cut")

    def hole(self) -> None:
        """Stops passing bytes on, in both directions, without closing anything, until `unhole`.

        Neither side is told, as when a firewall drops a route; an end of stream or a reset is held back too. New
        connections are taken and get no answer. What is sent meanwhile waits in socket buffers; once they are full,
        so do the writers.
        """
        if self._unholed is None:
            self._unholed = Event()

    def unhole(self) -> None:
        """Ends `hole`: what was held back arrives, in order."""
        if self._unholed is not None:
            self._unholed.set()
            self._unholed = None

    def refuse(self) -> None:
        """Resets each new connection as soon as it is made, until `accept`. Open ones go on; see `cut`."""
        self._refusing = True

    def accept(self) -> None:
        """Ends `refuse`."""
        self._refusing = False

    async def _carry(self, client: SocketStream) -> None:
        """Serves one client until either side is gone, or it is cut."""
        self._accepted += 1
        orderly = False
        with CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if not self._refusing:
                    orderly = await self._connect_and_pump(client)
            finally:
                self._scopes.discard(scope)
                with move_on_after(_CLOSE_GRACE, shield=True):
                    await _close(client, reset=not orderly)

    async def _connect_and_pump(self, client: SocketStream) -> bool:
        """Returns whether both directions came to their end of stream."""
        await self._passable()
        try:
            server = await connect_tcp(*self._target)
        except OSError:
            return False
        orderly = False
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._pump, client, server, tg.cancel_scope, name="hub.testing.proxy to server")
                tg.start_soon(self._pump, server, client, tg.cancel_scope, name="hub.testing.proxy to client")
            orderly = not tg.cancel_scope.cancel_called
        finally:
            with move_on_after(_CLOSE_GRACE, shield=True):
                await _close(server, reset=not orderly)
        return orderly

    async def _pump(self, source: SocketStream, sink: SocketStream, both: CancelScope) -> None:
        """Passes on one direction until its end of stream; a broken side breaks the other one too."""
        try:
            while True:
                chunk = await source.receive()
                await self._passable()
                self._forwarded += len(chunk)
                await sink.send(chunk)
        except EndOfStream:
            await self._passable()
            try:
                await sink.send_eof()
            except (
                OSError,
                BrokenResourceError,
            ):  # it was reset meanwhile; on trio anyio lets the socket's error through
                both.cancel("one side broke")
        except BrokenResourceError:
            await self._passable()
            both.cancel("one side broke")

    async def _passable(self) -> None:
        while self._unholed is not None:
            await self._unholed.wait()


async def _close(stream: SocketStream, *, reset: bool) -> None:
    if reset:
        with suppress(OSError):  # the other side has reset it first, and asyncio has closed the socket
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    await stream.aclose()
