"""One Redis connection, kept alive, and commands carried over it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self, final

from anyio import (
    TASK_STATUS_IGNORED,
    AsyncContextManagerMixin,
    create_task_group,
    move_on_after,
)
from anyio.abc import TaskStatus
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.notify import Notifier
from hub.concurrency.periodic import every
from hub.concurrency.reconnect import run_reconnecting
from hub.concurrency.retrying import ExponentialBackoff
from hub.errors import CallRefused, ConnectionLost, Undecodable
from hub.redis.connection import Command, Connector, ErrorReply, ErrorReplyKind, RedisConnection, Reply
from hub.redis.script import Script

BACKOFF: Final = ExponentialBackoff(initial=0.05, maximum=1.0)
"""Between two attempts to connect. One attempt at a time per process is cheap, and all calls wait for it."""


def _ignore(_: Sequence[bytes]) -> None: ...


def _nothing() -> None: ...


@final
class RedisClient(AsyncContextManagerMixin):
    """Keeps one connection open while its block runs, and opens the next one when it breaks.

    A call that meets no connection waits for the next one, `timeout` seconds at most. A call that was under way when the
    connection broke ends in `ConnectionLost`: whether the server carried it out is unknown.

    Args:
        connector: Opens connections.
        channel: What to subscribe each connection to.
        on_messages: Called with the messages of the channel, as many as have arrived.
        on_connected: Called each time a connection works and is subscribed. Messages from before then may have been missed.
        timeout: Seconds that a call waits for a connection; also how often a connection is tested.
        probe: Made by each test too, to find out whether the server carries out what hub needs; see `refusal`.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        channel: str | None = None,
        on_messages: Callable[[Sequence[bytes]], None] = _ignore,
        on_connected: Callable[[], None] = _nothing,
        timeout: float,
        probe: Command | None = None,
    ) -> None:
        self._connector = connector
        self._channel = channel
        self._on_messages = on_messages
        self._on_connected = on_connected
        self._timeout = timeout
        self._connection: RedisConnection | None = None
        self._connected = Notifier()
        self._reason = "it was never reached"
        self._probe = probe
        self._refusal: str | None = None
        self.round_trips = 0
        self.connections_opened = 0

    @property
    def server(self) -> str:
        return self._connector.server

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def refusal(self) -> str | None:
        """Why the server did not carry out the last probe, in its words; `None`: it did, or there is none."""
        return self._refusal

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Enters with a connection that works.

        Raises:
            ConnectionRefused: The server does not accept the credentials, or speaks TLS where the URL does not, or otherwise.
            ConnectionLost: The server cannot be reached.
            ConfigurationError: The client library cannot run on this backend.
        """
        with collapse_exception_group():
            async with create_task_group() as tg:
                await tg.start(self._keep_connected, name=f"hub.redis client of {self.server}")
                try:
                    yield self
                finally:
                    tg.cancel_scope.cancel("redis client closed")

    async def run(self, script: Script, commands: Sequence[Command]) -> Sequence[Reply]:
        """Carries out commands made by `script.by_digest`, in one round trip, or two when the server lacks the script.

        Raises:
            ConnectionLost: The server is out of reach, or refused one of them.
            Undecodable: There is something else under a key of hub.
        """
        replies = list(await self.call(commands))
        unknown = [
            index
            for index, reply in enumerate(replies)
            if isinstance(reply, ErrorReply) and reply.kind is ErrorReplyKind.NO_SCRIPT
        ]
        if unknown:
            again = await self.call([script.in_full(commands[index]) for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return self.accepted(replies)

    def accepted(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """`replies`, if the server refused none of the commands.

        Raises:
            CallRefused: It did; such a refusal passes, as that of a server which is out of memory or still loading.
            Undecodable: There is something else under a key of hub.
        """
        for reply in replies:
            if isinstance(reply, ErrorReply):
                if reply.kind is ErrorReplyKind.WRONG_TYPE:
                    raise Undecodable("value of hub", reply.text)
                raise CallRefused(self.server, f"it refused: {reply.text}")
        return replies

    async def call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        """Carries out commands in one round trip; the server's error replies are among the replies.

        Raises:
            ConnectionLost: The server is out of reach.
        """
        connection = self._connection
        if connection is None:
            with move_on_after(self._timeout):
                await self._connected.wait_for(lambda: self._connection is not None)
            connection = self._connection
            if connection is None:
                raise ConnectionLost(self.server, self._reason)
        self.round_trips += 1
        try:
            replies = await connection.call(commands)
        except ConnectionLost as lost:
            self._disconnect(connection, lost.reason)
            connection.abort(lost.reason)  # or the session would keep a connection that is not used any more
            raise
        if any(isinstance(reply, ErrorReply) and reply.kind is ErrorReplyKind.NOT_PRIMARY for reply in replies):
            connection.abort("it is no longer the primary")
        return replies

    async def _keep_connected(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        async def session(connected: Callable[[], None]) -> None:
            try:
                with collapse_exception_group():
                    async with self._connector.connect(self._channel) as connection:
                        self._connection = connection
                        self.connections_opened += 1
                        connected()
                        if self.connections_opened == 1:
                            task_status.started()
                        self._connected.notify()
                        self._on_connected()
                        await self._use(connection)
            except ConnectionLost as lost:
                self._reason = lost.reason
                raise
            finally:
                self._disconnect(self._connection, self._reason)

        await run_reconnecting(session, name=self.server, backoff=BACKOFF, retry_for=0.0)

    def _disconnect(self, connection: RedisConnection | None, reason: str) -> None:
        """Makes calls wait for the next connection from here on."""
        if connection is not None and connection is self._connection:
            self._connection = None
            self._reason = reason

    async def _use(self, connection: RedisConnection) -> None:
        async with create_task_group() as tg:
            tg.start_soon(self._test, connection, name=f"hub.redis test of {self.server}")
            while True:
                self._on_messages(await connection.receive())

    async def _test(self, connection: RedisConnection) -> None:
        # A connection that has just been made needs no ping.
        async for _ in every(self._timeout, immediately=self._probe is not None):
            (reply,) = await connection.call([self._probe or ("PING",)])
            self._refusal = reply.text if isinstance(reply, ErrorReply) else None
