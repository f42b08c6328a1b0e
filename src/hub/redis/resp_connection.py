"""A connection of hub's own, on asyncio and on trio. hiredis packs the commands and parses the replies (RESP2).

Commands have one TCP connection, and the messages of a channel another: Redis closes a subscribed connection whose
replies pile up (`client-output-buffer-limit pubsub`, 32 MB), however few of them are messages.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, cast, final

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    aclose_forcefully,
    connect_tcp,
    create_task_group,
    current_time,
    fail_after,
    sleep_until,
)
from anyio.abc import ByteStream, SocketAttribute
from hiredis import ProtocolError, Reader, pack_command
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.notify import Notifier
from hub.errors import ConnectionLost, ConnectionRefused
from hub.redis.address import RedisAddress
from hub.redis.connection import Command, Connector, ErrorReply, ErrorReplyKind, RedisConnection, Reply
from hub.redis.error_replies import connect_failed, login_refused

READ_SIZE: Final = 65536
"""Bytes of one read at most."""

_KINDS: Final = {
    "NOSCRIPT": ErrorReplyKind.NO_SCRIPT,
    "READONLY": ErrorReplyKind.NOT_PRIMARY,
    "WRONGTYPE": ErrorReplyKind.WRONG_TYPE,
}
_PASSING: Final = ("LOADING", "BUSY", "MASTERDOWN", "NOPERM")
"""Codes of error replies to the first PING of a connection that works all the same, or will."""

_INCOMPLETE: Final = object()
_LOST: Final = (OSError, EndOfStream, BrokenResourceError, ClosedResourceError, ProtocolError)


@final
class _Refused(Exception):
    """An error reply, as hiredis returns it."""


@final
class _Call:
    """Commands that were sent together, and the replies to them that have arrived."""

    __slots__ = ("began", "count", "done", "replies")

    def __init__(self, count: int) -> None:
        self.count = count
        self.began = current_time()
        self.replies: list[Reply] = []
        self.done = Event()


@final
class _Wire:
    """One TCP connection: what is sent at the same time is written at once, and replies go to the calls in order.

    Args:
        stream: Closed by its owner.
        server: For errors.
        read_timeout: Seconds without an answer, or a part of one, after which a call breaks the connection.
        on_push: Called with each message that is no reply.
        on_broken: Called once when the connection ends.
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        server: str,
        read_timeout: float,
        on_push: Callable[[object], None],
        on_broken: Callable[[str], None],
    ) -> None:
        self._stream = stream
        self._server = server
        self._read_timeout = read_timeout
        self._on_push = on_push
        self._on_broken = on_broken
        self._unsent: list[bytes] = []
        self._changed = Notifier()
        self._calls: deque[_Call] = deque()
        self._heard_at = current_time()
        self._reason: str | None = None

    async def call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        """See `RedisConnection.call`."""
        if self._reason is None and commands:
            call = _Call(len(commands))
            self._calls.append(call)
            self._unsent += [pack_command(command) for command in commands]  # type: ignore[arg-type]  # of hiredis, a tuple of one
            self._changed.notify()
            await call.done.wait()
            if len(call.replies) == call.count:
                return call.replies
        if self._reason is None:
            return []
        raise ConnectionLost(self._server, self._reason)

    def abort(self, reason: str) -> None:
        """Ends all calls with `ConnectionLost`. The first reason stands."""
        if self._reason is None:
            self._reason = reason
            self._changed.notify()
            for call in self._calls:
                call.done.set()
            self._on_broken(reason)

    async def write(self) -> None:
        """Sends what calls leave, until the connection ends."""
        try:
            while self._reason is None:
                if not self._unsent:
                    await self._changed.wait()
                    continue
                data, self._unsent = b"".join(self._unsent), []
                await self._stream.send(data)
        except _LOST as error:
            self.abort(_reason(error))

    async def read(self) -> None:
        """Gives replies to their calls, until the connection ends."""
        reader = Reader(replyError=_Refused, notEnoughData=_INCOMPLETE)
        try:
            while self._reason is None:
                reader.feed(await self._stream.receive(READ_SIZE))
                self._heard_at = current_time()
                while (reply := reader.gets()) is not _INCOMPLETE:
                    self._on_reply(reply)
        except _LOST as error:
            self.abort(_reason(error))

    async def watch(self) -> None:
        """Breaks the connection when the server does not answer in time."""
        while self._reason is None:
            waits_since = max(self._heard_at, self._calls[0].began) if self._calls else current_time()
            due = waits_since + self._read_timeout
            if due <= current_time():
                self.abort(f"no answer within {self._read_timeout:g} s")
            else:
                await sleep_until(due)

    def _on_reply(self, reply: object) -> None:
        if not self._calls:
            self._on_push(reply)
            return
        call = self._calls[0]
        call.replies.append(_error_reply(str(reply)) if isinstance(reply, _Refused) else cast("Reply", reply))
        if len(call.replies) == call.count:
            self._calls.popleft()
            call.done.set()


@final
class RespConnection(RedisConnection):
    """See `RespConnector`, which opens it. The loss of one of its connections breaks it."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._wires: list[_Wire] = []
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

    def add(self, stream: ByteStream, read_timeout: float) -> _Wire:
        """A new TCP connection of it; the first one carries the commands."""
        wire = _Wire(
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
            case [b"message", _, bytes(payload)]:
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
                yield connection
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
            raise await connect_failed(self._address, node, error, _reason(error)) from error
        stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return stream

    async def _greet(self, wire: _Wire, node: tuple[str, int], commands: Sequence[Command]) -> None:
        try:
            replies = await wire.call(commands)
        except ConnectionLost as lost:
            raise await connect_failed(self._address, node, lost, lost.reason) from lost
        for (name, *_), reply in zip(commands, replies, strict=True):
            if isinstance(reply, ErrorReply) and not (name == "PING" and reply.text.startswith(_PASSING)):
                error = _Refused(reply.text)
                if name == "AUTH" or reply.text.startswith("NOAUTH"):
                    raise login_refused(self._address, error)
                raise await connect_failed(self._address, node, error, reply.text)


def _error_reply(text: str) -> ErrorReply:
    code, _, rest = text.partition(" ")
    return ErrorReply(_KINDS.get(code, ErrorReplyKind.OTHER), rest if code == "ERR" else text)


def _reason(error: BaseException) -> str:
    if isinstance(error, EndOfStream):
        return "the server closed the connection"
    causes = [str(error) or type(error).__name__]
    while (cause := error.__cause__) is not None:
        error = cause
        causes.append(str(error) or type(error).__name__)
    return ": ".join(causes)
