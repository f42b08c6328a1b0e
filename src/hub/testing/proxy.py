"""A TCP proxy that injects network faults."""

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
"""Seconds for closing two sockets. A reset never waits, so it is only a safety limit."""


@dataclass(frozen=True, slots=True)
class FaultProxyStatistics:
    """A snapshot of a `FaultProxy`.

    Attributes:
        connections: Number of connected clients.
        accepted: Number of connections since the start, refused ones included.
        forwarded: Number of forwarded bytes, in both directions together.
    """

    connections: int
    accepted: int
    forwarded: int


@final
class FaultProxy(AsyncContextManagerMixin):
    """A proxy between a client and a server that resets, blackholes or refuses connections on command.

    It listens on a free port of 127.0.0.1 while the block runs; every connection is reset when it ends. The faults are
    plain functions; no byte is forwarded after they return. Errors of the block arrive in an `ExceptionGroup`.

    ```python
    async with FaultProxy("127.0.0.1", 5672) as proxy:
        client = await connect(f"amqp://127.0.0.1:{proxy.port}")
        proxy.blackhole()  # from now on the client receives nothing, not even an error
    ```

    Args:
        host: Address of the server behind the proxy.
        port: Port of the server. The proxy connects to it for each client, so the server may be down.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target: Final = (host, port)
        self._port = 0
        self._refusing = False
        self._restored: Event | None = None
        self._scopes: set[CancelScope] = set()
        self._accepted = 0
        self._forwarded = 0

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with await create_tcp_listener(local_host="127.0.0.1") as listener:
            self._port = listener.extra(SocketAttribute.local_port)
            async with create_task_group() as tg:
                tg.start_soon(listener.serve, self._serve, tg, name=f"hub.testing.proxy {self._port}")
                yield self
                tg.cancel_scope.cancel("proxy closed")

    @property
    def port(self) -> int:
        """The port for clients on 127.0.0.1; 0 before the block."""
        return self._port

    def statistics(self) -> FaultProxyStatistics:
        return FaultProxyStatistics(connections=len(self._scopes), accepted=self._accepted, forwarded=self._forwarded)

    def cut(self) -> None:
        """Resets (RST) every open connection, on both sides. New ones are accepted."""
        for scope in self._scopes:
            scope.cancel("cut")

    def blackhole(self) -> None:
        """Stops forwarding in both directions without closing connections, until `restore`.

        Neither side is notified, as when a firewall drops packets; an end of stream or a reset is held back too. New
        connections are accepted and get no answer. Bytes that are sent meanwhile stay in socket buffers; writers wait
        once these are full.
        """
        if self._restored is None:
            self._restored = Event()

    def restore(self) -> None:
        """Ends `blackhole`: held back bytes are forwarded, in order."""
        if self._restored is not None:
            self._restored.set()
            self._restored = None

    def refuse(self) -> None:
        """Resets each new connection at once, until `accept`. Open ones are not affected; see `cut`."""
        self._refusing = True

    def accept(self) -> None:
        """Ends `refuse`."""
        self._refusing = False

    async def _serve(self, client: SocketStream) -> None:
        """Serves one client until either side has closed, or the connection is cut."""
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
        """Returns whether both directions reached their end of stream."""
        await self._wait_restored()
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
        """Forwards one direction until its end of stream; a broken side breaks the other one too."""
        try:
            while True:
                chunk = await source.receive()
                await self._wait_restored()
                self._forwarded += len(chunk)
                await sink.send(chunk)
        except EndOfStream:
            await self._wait_restored()
            try:
                await sink.send_eof()
            except (
                OSError,
                BrokenResourceError,
            ):  # it was reset meanwhile; on trio anyio does not translate the error of the socket
                both.cancel("one side broke")
        except BrokenResourceError:
            await self._wait_restored()
            both.cancel("one side broke")

    async def _wait_restored(self) -> None:
        while self._restored is not None:
            await self._restored.wait()


async def _close(stream: SocketStream, *, reset: bool) -> None:
    if reset:
        with suppress(OSError):  # the other side has reset it, and asyncio has closed the socket
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    await stream.aclose()
