"""A connection of hub's own, on asyncio and on trio. hiredis packs the commands and parses the replies (RESP2).

Commands have one TCP connection, and the messages of a channel another: Redis closes a subscribed connection whose
replies pile up (`client-output-buffer-limit pubsub`, 32 MB), however few of them are messages.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, final

from anyio import (
    BrokenResourceError,
    EndOfStream,
    aclose_forcefully,
    connect_tcp,
    create_task_group,
    fail_after,
)
from anyio.abc import ByteStream, SocketAttribute
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.notify import Notifier
from hub.errors import ConnectionLost, ConnectionRefused
from hub.redis.address import RedisAddress
from hub.redis.connection import Command, Connector, ErrorReply, RedisConnection, Reply
from hub.redis.error_replies import connect_failed, login_refused
from hub.redis.wire import RedisWire, RefusedReply, reason_of

_PASSING: Final = ("LOADING", "BUSY", "MASTERDOWN", "NOPERM")
"""Codes of error replies to the first PING of a connection that works all the same, or will."""


@final
class RespConnection(RedisConnection):
    """See `RespConnector`, which opens it. The loss of one of its connections breaks it."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._wires: list[RedisWire] = []
        self._reason: str | None = None
        self._messages: list[bytes] = []
        self._changed = Notifier()

    @override
    async def call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        return await self._wires[0].call(commands)

    @override
    async def receive(self) -> Sequence[bytes]:
        await self._changed.wait_for(lambda: self._messages or self._reason is not None)
        if not self._messages:
            raise ConnectionLost(self._server, self._reason or "")
        messages, self._messages = self._messages, []
        return messages

    @override
    def abort(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            self._changed.notify()
            for wire in self._wires:
                wire.abort(reason)

    def add(self, stream: ByteStream, read_timeout: float) -> RedisWire:
        """A new TCP connection of it; the first one carries the commands."""
        wire = RedisWire(
            stream,
            server=self._server,
            read_timeout=read_timeout,
            on_push=self._on_push,
            on_broken=self.abort,
        )
        self._wires.append(wire)
        return wire

    def _on_push(self, push: object) -> None:
        match push:
            case [b"message", bytes(), bytes(payload)]:
                self._messages.append(payload)
                self._changed.notify()
            case _:
                self.abort("an answer came that was not asked for")


@final
class RespConnector(Connector):
    """Opens connections to one address.

    Args:
        address: The server, or the Sentinels that know it; they are asked anew for each connection.
        read_timeout: Seconds without an answer after which the server counts as lost.
    """

    def __init__(self, address: RedisAddress, read_timeout: float) -> None:
        self._address = address
        self._read_timeout = read_timeout

    @property
    @override
    def server(self) -> str:
        return self._address.server

    @override
    @asynccontextmanager
    async def connect(self, channel: str | None) -> AsyncGenerator[RedisConnection]:
        address = self._address
        node = await self._primary() if address.service else address.nodes[0]
        greeting: list[Command] = []
        if address.password is not None:
            greeting.append(("AUTH", *filter(None, (address.username,)), address.password))
        if address.db:
            greeting.append(("SELECT", address.db))
        async with self._connected(node, [*greeting, ("PING",)], channel) as connection:
            yield connection

    async def _primary(self) -> tuple[str, int]:
        """Host and port of the primary, by the first Sentinel that knows it. Sentinels are asked without credentials."""
        reasons: list[str] = []
        refusals = 0
        for host, port in self._address.nodes:
            try:
                async with self._connected((host, port), [("PING",)], None) as sentinel:
                    (reply,) = await sentinel.call([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)])
            except ConnectionLost as lost:
                refusals += isinstance(lost, ConnectionRefused)
                reasons.append(lost.reason)
                continue
            match reply:
                case [bytes(primary_host), bytes(primary_port)]:
                    return primary_host.decode(), int(primary_port)
                case _:
                    reasons.append(f"{host}:{port} knows no such service")
        kind = ConnectionRefused if refusals == len(self._address.nodes) else ConnectionLost
        raise kind(self.server, "; ".join(reasons))

    @asynccontextmanager
    async def _connected(
        self, node: tuple[str, int], greeting: Sequence[Command], channel: str | None
    ) -> AsyncGenerator[RespConnection]:
        connection = RespConnection(self.server)
        with collapse_exception_group():
            async with AsyncExitStack() as stack, create_task_group() as tg:
                for subscribed in (None, channel) if channel is not None else (None,):
                    stream = await self._opened(node)
                    stack.push_async_callback(aclose_forcefully, stream)
                    wire = connection.add(stream, self._read_timeout)
                    for job in (wire.write, wire.read, wire.watch):
                        tg.start_soon(job, name=f"hub.redis {job.__name__} {self.server}")
                    await self._greet(wire, node, greeting)
                    if subscribed is not None:
                        await self._greet(wire, node, [("SUBSCRIBE", subscribed)])
                try:
                    yield connection
                finally:
                    connection.abort("the connection was closed")
                tg.cancel_scope.cancel("redis connection closed")

    async def _opened(self, node: tuple[str, int]) -> ByteStream:
        host, port = node
        tls = self._address.tls
        try:
            with fail_after(self._read_timeout):
                stream: ByteStream
                if tls is None:
                    stream = await connect_tcp(host, port)
                else:
                    stream = await connect_tcp(host, port, ssl_context=tls.context(), tls_standard_compatible=False)
        except (OSError, BrokenResourceError, EndOfStream) as error:
            raise await connect_failed(self._address, node, error, reason_of(error)) from error
        stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return stream

    async def _greet(self, wire: RedisWire, node: tuple[str, int], commands: Sequence[Command]) -> None:
        try:
            replies = await wire.call(commands)
        except ConnectionLost as lost:
            raise await connect_failed(self._address, node, lost, lost.reason) from lost
        for (name, *_), reply in zip(commands, replies, strict=True):
            if isinstance(reply, ErrorReply) and not (name == "PING" and reply.text.startswith(_PASSING)):
                error = RefusedReply(reply.text)
                if name == "AUTH" or reply.text.startswith("NOAUTH"):
                    raise login_refused(self._address, error)
                raise await connect_failed(self._address, node, error, reply.text)
