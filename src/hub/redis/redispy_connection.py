"""A connection through redis-py (`redis.asyncio`, with hiredis). asyncio only, as that library is.

No caller ever awaits redis-py: a few tasks of the connection carry the calls, several in one pipeline when they queue up, so
that cancelling a caller cannot leave half an answer on a connection. Messages have a connection of their own. The first
failure of any of them breaks the connection; redis-py's own retries are off, for a connection that came back by itself would not
show that messages were missed.
"""

# redis-py's annotations leave some parameters bare.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast, final

import redis.asyncio as redispy
from anyio import TASK_STATUS_IGNORED, CancelScope, create_task_group, move_on_after
from anyio.abc import TaskStatus
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sniffio import current_async_library
from typing_extensions import override

from hub.concurrency.batching import Batcher
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.notify import Notifier
from hub.errors import ConfigurationError, ConnectionLost
from hub.redis.address import RedisAddress
from hub.redis.connection import Command, Connector, ErrorReply, ErrorReplyKind, RedisConnection, Reply
from hub.redis.error_replies import connect_failed, login_refused

PIPELINES: Final = 4
"""Pipelines under way at once."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds to close the connections in; the kernel closes them anyway."""


@final
class RedispyConnection(RedisConnection):
    """See `RedispyConnector`, which opens it."""

    def __init__(self, client: redispy.Redis, server: str, read_timeout: float) -> None:
        self._client = client
        self._server = server
        self._read_timeout = read_timeout
        self._reason: str | None = None
        self._messages: list[bytes] = []
        self._changed = Notifier()
        self._under_way: set[CancelScope] = set()
        self.pipelines = Batcher(self._carry, name=f"pipelines to {server}", concurrency=PIPELINES)

    @override
    async def call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        replies: Sequence[Reply] | None = None
        with CancelScope() as scope:
            self._under_way.add(scope)
            try:
                if self._reason is None:
                    replies = await self.pipelines.submit(commands)
            finally:
                self._under_way.discard(scope)
        if replies is None:
            raise self._lost()
        return replies

    @override
    async def receive(self) -> Sequence[bytes]:
        await self._changed.wait_for(lambda: self._messages or self._reason is not None)
        if not self._messages:
            raise self._lost()
        messages, self._messages = self._messages, []
        return messages

    @override
    def abort(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._changed.notify()
        for scope in self._under_way:
            scope.cancel(reason)

    async def listen(self, channel: str, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Collects the messages of the channel until the connection breaks. Started once it is subscribed."""
        pubsub = self._client.pubsub()
        questioned = False
        try:
            await pubsub.subscribe(channel)
            while True:
                message = await pubsub.get_message(timeout=self._read_timeout)
                if message is None:
                    if questioned:
                        raise exceptions.TimeoutError("no answer on the channel")
                    await pubsub.ping()
                elif message["type"] == "subscribe":
                    task_status.started()
                elif message["type"] == "message":
                    self._messages.append(cast("bytes", message["data"]))  # replies are not decoded
                    self._changed.notify()
                questioned = message is None
        except (exceptions.RedisError, OSError) as error:
            self.abort(_reason(error))
            raise ConnectionLost(self._server, _reason(error)) from error

    async def _carry(self, calls: Sequence[Sequence[Command]]) -> Sequence[Sequence[Reply]]:
        pipeline = self._client.pipeline(transaction=False)
        for commands in calls:
            for command in commands:
                pipeline.execute_command(*command)
        try:
            replies = [_reply(reply) for reply in await pipeline.execute(raise_on_error=False)]
        except (exceptions.RedisError, OSError) as error:
            self.abort(_reason(error))
            raise ConnectionLost(self._server, _reason(error)) from error
        answers: list[Sequence[Reply]] = []
        for commands in calls:
            answers.append(replies[: len(commands)])
            replies = replies[len(commands) :]
        return answers

    def _lost(self) -> ConnectionLost:
        return ConnectionLost(self._server, self._reason or "the connection was closed")


@final
class RedispyConnector(Connector):
    """Opens connections to one address.

    Args:
        address: The server; not one behind Sentinels.
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
        if current_async_library() != "asyncio":
            raise ConfigurationError(
                "redis-py runs on asyncio only: take the '+redispy' out of the URL, or start with --backend asyncio"
            )
        client = self._client()
        connection = RedispyConnection(client, self.server, self._read_timeout)
        try:
            with collapse_exception_group():
                async with create_task_group() as tg, connection.pipelines:
                    await self._greet(client)
                    if channel is not None:
                        await tg.start(connection.listen, channel, name=f"hub.redis messages from {self.server}")
                    yield connection
                    connection.abort("the connection was closed")
                    tg.cancel_scope.cancel("redis connection closed")
        finally:
            connection.abort("the connection was closed")
            with move_on_after(CLOSE_TIMEOUT, shield=True):
                await client.aclose()

    async def _greet(self, client: redispy.Redis) -> None:
        try:
            await client.ping()
        except exceptions.AuthenticationError as error:
            raise login_refused(self._address, error) from error
        except (exceptions.RedisError, OSError) as error:
            raise await connect_failed(self._address, self._address.nodes[0], error, _reason(error)) from error

    def _client(self) -> redispy.Redis:
        address, tls = self._address, self._address.tls
        ((host, port),) = address.nodes
        client = redispy.Redis(
            host=host,
            port=port,
            db=address.db,
            username=address.username,
            password=address.password,
            socket_timeout=self._read_timeout,
            socket_connect_timeout=self._read_timeout,
            retry=Retry(NoBackoff(), 0),
            ssl=tls is not None,
            ssl_ca_certs=tls.cafile if tls else None,
            ssl_certfile=tls.certfile if tls else None,
            ssl_keyfile=tls.keyfile if tls else None,
        )
        client.response_callbacks.clear()  # replies as the server sent them
        return client


def _reply(reply: object) -> Reply:
    match reply:
        case exceptions.NoScriptError():
            return ErrorReply(ErrorReplyKind.NO_SCRIPT, str(reply))
        case exceptions.ReadOnlyError():
            return ErrorReply(ErrorReplyKind.NOT_PRIMARY, str(reply))
        case exceptions.ResponseError() if str(reply).startswith("WRONGTYPE"):
            return ErrorReply(ErrorReplyKind.WRONG_TYPE, str(reply))
        case exceptions.RedisError():
            return ErrorReply(ErrorReplyKind.OTHER, str(reply))
        case _:
            return cast("Reply", reply)  # undecoded RESP of commands that answer with nothing else


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
