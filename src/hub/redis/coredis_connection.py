"""A connection through coredis, on asyncio and on trio.

Commands have one RESP3 connection, and the messages of a channel another: Redis closes a subscribed connection whose
replies pile up (`client-output-buffer-limit pubsub`, 32 MB), however few of them are messages. coredis's connections are
used without its pool, which in coredis 6.9 loses a slot with every connection that dies while it is leased.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import cast, final

from anyio import (
    TASK_STATUS_IGNORED,
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    WouldBlock,
    create_task_group,
    fail_after,
)
from anyio.abc import TaskStatus
from coredis import exceptions
from coredis.connection import TCPConnection, TCPLocation
from coredis.typing import ResponseType
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.notify import Notifier
from hub.errors import ConnectionLost, ConnectionRefused
from hub.redis.address import RedisAddress
from hub.redis.connection import Command, Connector, ErrorReply, ErrorReplyKind, RedisConnection, Reply
from hub.redis.error_replies import connect_failed, login_refused


@final
class _Connection(TCPConnection):
    """What hub needs beyond `TCPConnection`: buffers that are closed, and pushes by the batch."""

    @override
    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128 - super does
        """As in the base class, which in coredis 6.9 leaves its buffers open when it cannot connect: anyio warns of those."""
        try:
            await super().run(task_status=task_status)
        finally:
            for buffer in (self._write_buffer_in, self._push_message_buffer_in, self._streamed_message_buffer_in):
                buffer.close()
            for unread in (self._write_buffer_out, self._push_message_buffer_out, self._streamed_message_buffer_out):
                unread.close()

    async def pushes(self) -> Sequence[Sequence[ResponseType]]:
        """Waits for messages that the server pushes, and returns all that have arrived.

        `push_messages` of the base class takes a turn of the event loop for each, which on a loaded loop is some 50 ms.

        Raises:
            coredis.exceptions.ConnectionError: The connection has ended.
        """
        unread = self._push_message_buffer_out
        try:
            pushes = [await unread.receive()]
            with suppress(WouldBlock):
                while True:
                    pushes.append(unread.receive_nowait())
        except (EndOfStream, BrokenResourceError, ClosedResourceError) as error:
            raise exceptions.ConnectionError("the connection has ended") from error
        return pushes


@final
class CoredisConnection(RedisConnection):
    """See `CoredisConnector`, which opens it. The loss of one of its connections breaks it.

    Args:
        connection: Carries the commands.
        messages: Is subscribed; `connection` itself when there is no channel.
        server: For errors.
    """

    def __init__(self, connection: _Connection, messages: _Connection, server: str) -> None:
        self._connection = connection
        self._subscribed = messages
        self._server = server
        self._reason = "the connection was closed"
        self._messages: list[bytes] = []
        self._changed = Notifier()
        self._broken = False
        self.subscribed = Event()

    @override
    async def call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        try:
            requests = [
                self._connection.create_request(str(name).encode(), *arguments, decode=False, raise_exceptions=False)
                for name, *arguments in commands
            ]
            return [self._reply(await request) for request in requests]
        except exceptions.ConnectionError as error:
            raise self._lost(error) from error

    @override
    async def receive(self) -> Sequence[bytes]:
        await self._changed.wait_for(lambda: self._messages or self._broken)
        if not self._messages:
            raise ConnectionLost(self._server, self._reason)
        messages, self._messages = self._messages, []
        return messages

    @override
    def abort(self, reason: str) -> None:
        if not self._broken:
            self._reason = reason
            self._break()

    async def watch(self) -> None:
        """Breaks the connection when the connection of the commands ends."""
        try:
            while True:
                await self._connection.pushes()
        except exceptions.ConnectionError as error:
            self._lost(error)
        finally:
            self._break()

    async def listen(self, channel: str) -> None:
        """Subscribes to a channel and collects its messages until the connection ends, which breaks the connection."""
        try:
            self._subscribed.send_command(b"SUBSCRIBE", channel)
            while True:
                for push in await self._subscribed.pushes():
                    match push:
                        case [b"message", _, bytes(payload)]:
                            self._messages.append(payload)
                        case [b"subscribe", *_]:
                            self.subscribed.set()
                        case _:
                            pass
                self._changed.notify()
        except exceptions.ConnectionError as error:
            self._lost(error)
        finally:
            self._break()

    def _break(self) -> None:
        self._broken = True
        self._changed.notify()
        self._connection.invalidate(self._reason)
        self._subscribed.invalidate(self._reason)

    def _reply(self, reply: object) -> Reply:
        match reply:
            case TimeoutError():
                self.abort(str(reply))
                raise ConnectionLost(self._server, self._reason) from reply
            case exceptions.BusyLoadingError():  # an answer like any other, although its class says otherwise
                return ErrorReply(ErrorReplyKind.OTHER, str(reply))
            case exceptions.ConnectionError():
                raise self._lost(reply) from reply
            case exceptions.NoScriptError():
                return ErrorReply(ErrorReplyKind.NO_SCRIPT, str(reply))
            case exceptions.ReadOnlyError():
                return ErrorReply(ErrorReplyKind.NOT_PRIMARY, str(reply))
            case exceptions.WrongTypeError():
                return ErrorReply(ErrorReplyKind.WRONG_TYPE, str(reply))
            case exceptions.RedisError():
                return ErrorReply(ErrorReplyKind.OTHER, str(reply))
            case _:
                return cast("Reply", reply)  # undecoded RESP of commands that answer with nothing else

    def _lost(self, error: BaseException) -> ConnectionLost:
        if not self._broken and error.__cause__ is not None:
            self._reason = _reason(error)
        return ConnectionLost(self._server, self._reason)


@final
class CoredisConnector(Connector):
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
        open_one = partial(self._connection, node, db=address.db, username=address.username, password=address.password)
        async with self._connected(open_one, node, channel) as connection:
            yield connection

    async def _primary(self) -> tuple[str, int]:
        """Host and port of the primary, by the first Sentinel that knows it. Sentinels are asked without credentials."""
        reasons: list[str] = []
        refusals = 0
        for host, port in self._address.nodes:
            try:
                async with self._connected(partial(self._connection, (host, port)), (host, port), None) as sentinel:
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

    def _connection(
        self, node: tuple[str, int], *, db: int = 0, username: str | None = None, password: str | None = None
    ) -> _Connection:
        return _Connection(
            TCPLocation(*node),
            socket_keepalive=True,
            stream_timeout=self._read_timeout,
            connect_timeout=self._read_timeout,
            db=db,
            username=username,
            password=password,
            ssl_context=self._address.tls.context() if self._address.tls else None,
        )

    @asynccontextmanager
    async def _connected(
        self, open_one: Callable[[], _Connection], node: tuple[str, int], channel: str | None
    ) -> AsyncGenerator[CoredisConnection]:
        server = self.server
        with collapse_exception_group():
            async with create_task_group() as tg:
                try:
                    commands = open_one()
                    await tg.start(commands.run, name=f"hub.redis connection to {server}")
                    messages = commands
                    if channel is not None:
                        messages = open_one()
                        await tg.start(messages.run, name=f"hub.redis subscription to {server}")
                    connection = CoredisConnection(commands, messages, server)
                    tg.start_soon(connection.watch, name=f"hub.redis commands to {server}")
                    if channel is not None:
                        tg.start_soon(connection.listen, channel, name=f"hub.redis messages from {server}")
                        with fail_after(self._read_timeout):
                            await connection.subscribed.wait()
                except exceptions.AuthenticationError as error:
                    raise login_refused(self._address, error) from error
                except (exceptions.RedisError, OSError) as error:  # TimeoutError is an OSError
                    raise await connect_failed(self._address, node, error, _reason(error)) from error
                yield connection
                tg.cancel_scope.cancel("redis connection closed")


def _reason(error: BaseException) -> str:
    causes = [str(error) or type(error).__name__]
    while (cause := error.__cause__) is not None:
        error = cause
        causes.append(str(error) or type(error).__name__)
    return ": ".join(causes)
